//! Files that etcd's own packages wrote, and counted.

use std::process::Command;

use keywright_testbed::process::output;
use keywright_testbed::scratch;
use serde_json::{Value, json};

use crate::common::{read_file, tools};

#[test]
fn counts_are_those_of_the_program_that_wrote_the_file() {
    let folder = scratch::folder("generated").expect("a folder");
    let plans: [(&str, &[&str]); 4] = [
        ("many", &["-values", "20000", "-history", "40", "-deletions", "10"]),
        ("one", &["-values", "1"]),
        // Many pages for one value, in pages of the smallest and the largest size.
        ("small-pages", &["-values", "300", "-size", "20000", "-page-size", "1024", "-history", "50", "-deletions", "20"]),
        ("large-values", &["-values", "5", "-size", "7000000", "-page-size", "65536", "-history", "60"]),
    ];
    for (name, plan) in plans {
        let file = folder.path().join(name).display().to_string();
        let made = output(tools().snapshotgen(), &[&["-out", &file], plan].concat()).expect("the generator writes");
        let made: Value = serde_json::from_slice(&made).expect("it prints JSON");
        let summary = read_file(file.as_ref(), "/registry/secrets/").expect("a good file").summary;
        let found = json!({
            "revision": summary.revision, "keys": summary.keys, "bytes": summary.bytes, "superseded": summary.superseded,
            "superseded_bytes": summary.superseded_bytes, "tombstones": summary.tombstones,
        });
        assert_eq!(found, made, "{name}");
    }
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = scratch::folder("pipe").expect("a folder");
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("coreutils").success());
    assert_eq!(read_file(&pipe, "").expect_err("a pipe").to_string(), format!("{} is not a regular file", pipe.display()));
}
