//! A file system that is really full, and one that is really read-only.

use std::process::Command;

use super::cases::{self, Case};
use super::errors::refused;
use super::ground::{Ground, Ran, binary, run};

/// Runs the command in a mount namespace of its own, after `prepare` has changed what stands at the folder `$1`; the copy of the folder that the
/// command saw is `after` when it has ended.
fn run_in(case: &Case, ground: &Ground, prepare: &str) -> Ran {
    let script = format!(
        "set -e; dir=$1; shift; {prepare}; code=0; \"$@\" || code=$?; \
         mkdir \"$after\"; cp -a \"$dir/keyring\" \"$after/\" 2>/dev/null || true; cp -a \"$dir/state\" \"$after/\"; exit $code"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash", "-c", &script, "bash"]).arg(ground.path(""));
    run(command.arg(binary()).args(ground.arguments(&case.words)).env("after", after(ground)))
}

/// Outside of the folder, which has something else mounted on it.
fn after(ground: &Ground) -> std::path::PathBuf {
    let dir = ground.path("");
    let name = format!("{}-after", dir.file_name().expect("name").display());
    dir.parent().expect("a scratch folder is in a folder").join(name)
}

fn unchanged(case: &Case, ground: &Ground) {
    let read = |name: &str| std::fs::read(after(ground).join(name)).ok();
    assert_eq!(read("keyring"), case.before.keyring, "{}", case.name);
    assert_eq!(read("state/seen"), case.before.seen, "{}", case.name);
    assert_eq!(ground.files(), case.before, "{}", case.name);
    std::fs::remove_dir_all(after(ground)).expect("remove");
}

#[test]
fn on_a_full_disk_every_command_says_so_and_changes_nothing() {
    // A small tmpfs in the place of the folder, with what was in it, filled to the last block.
    let full = "mkdir /tmp/.keywright-full-$$ && cp -a \"$dir/.\" /tmp/.keywright-full-$$/ && mount -t tmpfs -o size=256k,mode=0700 tmpfs \"$dir\" \
                && cp -a /tmp/.keywright-full-$$/. \"$dir/\" && rm -rf /tmp/.keywright-full-$$ \
                && { dd if=/dev/zero of=\"$dir/fill\" bs=4096 2>/dev/null || true; }";
    for case in cases::all() {
        let ground = Ground::new(&case.before);
        let ran = run_in(&case, &ground, full);
        refused(ran, "No space left on device", case.name);
        unchanged(&case, &ground);
    }
}

#[test]
fn on_a_read_only_file_system_every_command_says_so_and_changes_nothing() {
    let read_only = "mount --bind \"$dir\" \"$dir\" && mount -o remount,bind,ro \"$dir\"";
    for case in cases::all() {
        let ground = Ground::new(&case.before);
        let ran = run_in(&case, &ground, read_only);
        refused(ran, "Read-only file system", case.name);
        unchanged(&case, &ground);
    }
}
