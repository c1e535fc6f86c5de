//! Success is printed after the new file and its name are durable, and never before: seen in a trace of each command.

use super::cases::{self, Case};
use super::ground::Ground;
use super::trace::{Call, fault, parse, traced};

/// Finds each step after the one before, or says which is missing or out of order.
pub(crate) fn in_order(case: &Case, calls: &[Call]) -> Result<(), String> {
    let (_, name) = case.place();
    let new = format!(".{name}.new");
    let (quoted_new, quoted_name, written) = (format!("\"{new}\""), format!("\"{name}\""), format!("/{new}>"));
    let find = |from: usize, what: &str, wanted: &dyn Fn(&Call) -> bool| {
        let found = calls[from..].iter().position(|call| wanted(call) && call.result().is_some());
        found.map(|at| from + at).ok_or_else(|| format!("{what} is missing after:\n{}", shown(&calls[..from])))
    };
    let is = |call: &Call, names: &[&str]| names.contains(&call.name.as_str());
    let locked = find(0, "the lock", &|c| c.name == "flock" && c.line.contains("LOCK_EX"))?;
    let opened = find(locked, "the new file", &|c| c.opens_to_write() && c.line.contains(&quoted_new))?;
    let sync = find(opened, "fsync of the new file", &|c| is(c, &["fsync"]) && c.line.contains(&written))?;
    let renamed = find(sync, "the rename", &|c| {
        is(c, &["rename", "renameat", "renameat2"]) && c.line.contains(&quoted_new) && c.line.contains(&quoted_name)
    })?;
    let folder =
        find(renamed, "fsync of the folder", &|c| c.name == "fsync" && !c.line.contains(&format!("{name}>")) && c.line.contains('/'))?;
    let read_back = if case.target == "keyring" {
        find(folder, "the new keyring being read back", &|c| {
            is(c, &["open", "openat"]) && !c.opens_to_write() && c.line.contains("/keyring\"")
        })?
    } else {
        folder
    };
    let printed = find(0, "the answer", &|c| c.name == "write" && c.line.starts_with("write(1<"))?;
    if printed < read_back {
        return Err(format!("the answer was printed before it was so:\n{}", shown(calls)));
    }
    let late = calls
        .iter()
        .enumerate()
        .find(|(at, call)| *at > sync && is(call, &["write", "pwrite64", "writev", "ftruncate"]) && call.line.contains(&written));
    if let Some((_, call)) = late {
        return Err(format!("{} comes after the sync", call.line));
    }
    let in_place = calls.iter().find(|call| {
        let target =
            call.line.contains(&format!("/{name}>")) || call.line.contains(&format!("/{name}\"")) || call.line.contains(&quoted_name);
        target
            && (call.opens_to_write()
                || is(call, &["truncate", "unlink", "unlinkat"])
                || (call.name.starts_with("rename") && !call.line.contains(&quoted_new)))
    });
    in_place.map_or(Ok(()), |call| Err(format!("the file in place is touched: {}", call.line)))
}

fn shown(calls: &[Call]) -> String {
    calls.iter().map(|call| format!("  {}\n", call.line)).collect()
}

#[test]
fn every_command_writes_syncs_renames_syncs_the_folder_and_only_then_says_so() {
    for case in cases::all() {
        let ground = Ground::new(&case.before);
        let (ran, calls) = traced(&ground, &case.words, &[]);
        let ran = ran.succeeds();
        assert!(!ran.out.is_empty(), "{}: {ran:?}", case.name);
        in_order(&case, &calls).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let written = format!("/.{}.new>", case.place().1);
        let bytes: u64 = calls.iter().filter(|c| c.name == "write" && c.line.contains(&written)).filter_map(Call::result).sum();
        let size = std::fs::metadata(ground.path(case.target)).expect("stat").len();
        assert_eq!(bytes, size, "{}: what was written before the sync is not the file", case.name);
    }
}

#[test]
fn a_trace_with_a_step_left_out_or_moved_does_not_pass() {
    let case = cases::all().into_iter().find(|case| case.name == "rotate begin").expect("it is there");
    let ground = Ground::new(&case.before);
    traced(&ground, &case.words, &[]).0.succeeds();
    let text = std::fs::read_to_string(ground.path("trace")).expect("read");
    let lines: Vec<&str> = text.lines().collect();
    let at = |wanted: &dyn Fn(&str) -> bool| lines.iter().position(|line| wanted(line)).expect("the step is there");
    let sync = at(&|line| line.contains("fsync(") && line.contains(".keyring.new>"));
    let rename = at(&|line| line.contains("rename"));
    let folder = lines.iter().rposition(|line| line.contains("fsync(")).expect("the step is there");
    let answer = at(&|line| line.contains("write(1<"));
    let verdict = |lines: &[&str]| in_order(&case, &parse(&lines.join("\n")));
    assert_eq!(verdict(&lines), Ok(()));
    for left_out in [sync, rename, folder, answer] {
        let mut fewer = lines.clone();
        let line = fewer.remove(left_out);
        assert!(verdict(&fewer).is_err(), "nobody missed {line}");
    }
    for (one, other) in [(sync, rename), (rename, folder), (sync, folder), (folder, answer)] {
        let mut moved = lines.clone();
        moved.swap(one, other);
        assert!(verdict(&moved).is_err(), "nobody noticed {} before {}", lines[other], lines[one]);
    }
    let failed = lines[folder].rsplit_once(" = ").map(|(call, _)| format!("{call} = -1 EIO (Input/output error)")).expect("a result");
    let mut not_synced = lines.clone();
    not_synced[folder] = &failed;
    assert!(verdict(&not_synced).is_err(), "a sync that failed counts as one");
}

#[test]
fn what_a_killed_command_has_renamed_is_made_durable_before_the_next_one_says_that_it_was_done() {
    for case in cases::all().into_iter().filter(|case| case.again == (0, "nothing was changed")) {
        let ground = Ground::new(&case.before);
        let (ran, calls) = traced(&ground, &case.words, &[]);
        ran.succeeds();
        let sync = calls.iter().rfind(|call| call.name == "fsync").expect("a sync of the folder");
        let ground = Ground::new(&case.before);
        let (killed, _) = traced(&ground, &case.words, &["-e", &fault(sync, "signal=SIGKILL")]);
        assert_eq!(killed.ending(), "signal 9", "{}", case.name);
        let (again, calls) = traced(&ground, &case.words, &[]);
        assert!(again.succeeds().out.contains("nothing was changed"), "{}", case.name);
        let at = |wanted: &dyn Fn(&Call) -> bool| calls.iter().position(|call| wanted(call) && call.result().is_some());
        let synced = at(&|call| call.name == "fsync");
        let said = at(&|call| call.line.starts_with("write(1<"));
        assert!(synced.is_some() && synced < said, "{}: told before it is durable:\n{}", case.name, shown(&calls));
    }
}
