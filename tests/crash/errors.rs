//! A disk that is full, broken or read-only, at every step: the command says so, and what stands there is as it was.

use super::cases::{self, Case};
use super::ground::{Ground, Ran};
use super::trace::{Call, fault, traced};

/// What the system says, which call says it, and a text that the message must have.
const FAULTS: [(&str, &str, &str); 12] = [
    ("openat", "EROFS", "Read-only file system"),
    ("openat", "ENOSPC", "No space left on device"),
    ("openat", "EACCES", "Permission denied"),
    ("fchmod", "EIO", "Input/output error"),
    ("write", "ENOSPC", "No space left on device"),
    ("write", "EDQUOT", "uota exceeded"),
    ("write", "EIO", "Input/output error"),
    ("fsync", "ENOSPC", "No space left on device"),
    ("fsync", "EIO", "Input/output error"),
    ("renameat2", "ENOSPC", "No space left on device"),
    ("renameat2", "EROFS", "Read-only file system"),
    ("renameat2", "EIO", "Input/output error"),
];

/// The calls up to the rename that a fault can hit, by what they have in common.
fn hit(case: &Case, calls: &[Call], name: &str) -> Vec<Call> {
    let (_, file) = case.place();
    let own = [format!(".{file}.new"), format!(".{file}.lock")];
    calls.iter().filter(|call| call.name == name && own.iter().any(|own| call.line.contains(own))).cloned().collect()
}

#[test]
fn an_error_at_any_step_before_the_rename_is_told_and_changes_nothing() {
    let mut tried = 0;
    for case in cases::all() {
        let ground = Ground::new(&case.before);
        let (ran, calls) = traced(&ground, &case.words, &[]);
        ran.succeeds();
        let expected = ground.shape(case.config_after);
        for (name, error, text) in FAULTS {
            let hit = hit(&case, &calls, name);
            assert!(!hit.is_empty(), "{}: no {name} to fail", case.name);
            for call in hit {
                let ground = Ground::new(&case.before);
                let (ran, _) = traced(&ground, &case.words, &["-e", &fault(&call, &format!("error={error}"))]);
                let place = format!("{} with {error} at {}", case.name, call.line);
                refused(ran, text, &place);
                assert_eq!(ground.files(), case.before, "{place}");
                // It may stay where nothing could be done with it; then the next attempt writes over it.
                assert!(name == "fchmod" || !ground.path(&case.beside(".new")).exists(), "{place}: the new file stays");
                ground.run(&case.words).succeeds();
                assert_eq!(ground.shape(case.config_after), expected, "{place}, run again");
                assert!(!ground.path(&case.beside(".new")).exists(), "{place}, run again: the new file stays");
                tried += 1;
            }
        }
    }
    assert!(tried >= 9 * FAULTS.len(), "{tried} faults only");
}

/// The exit code of what the system refuses, a message with the cause, and no answer.
pub(crate) fn refused(ran: Ran, text: &str, place: &str) {
    assert_eq!(ran.ending(), "exit 5", "{place}: {ran:?}");
    ran.fails(5, &["keywright: cannot ", text]);
}

#[test]
fn a_folder_that_does_not_sync_is_no_success_and_leaves_the_new_state_whole() {
    for case in cases::all() {
        let ground = Ground::new(&case.before);
        let (ran, calls) = traced(&ground, &case.words, &[]);
        ran.succeeds();
        let expected = ground.shape(case.config_after);
        let sync = calls.iter().rfind(|call| call.name == "fsync").expect("a sync");
        assert!(!sync.line.contains(".new>"), "{}: {}", case.name, sync.line);
        let ground = Ground::new(&case.before);
        let (ran, _) = traced(&ground, &case.words, &["-e", &fault(sync, "error=EIO")]);
        refused(ran, "sync folder", case.name);
        assert_ne!(ground.files(), case.before, "{}: the rename was before", case.name);
        assert_eq!(ground.shape(case.config_after), expected, "{}", case.name);
        drop(ground.serve(case.config_after));
    }
}

#[test]
fn a_sync_that_a_signal_interrupts_is_no_success() {
    for case in cases::all().into_iter().filter(|case| case.target == "keyring") {
        let ground = Ground::new(&case.before);
        let (ran, _) = traced(&ground, &case.words, &["-e", "inject=fsync:error=EINTR:when=1"]);
        // No success may be told for a sync that was not finished; either it was tried again, or the command failed.
        if ran.ending() == "exit 0" {
            ground.shape(case.config_after);
        } else {
            refused(ran, "Interrupted", case.name);
            assert_eq!(ground.files(), case.before, "{}", case.name);
        }
    }
}
