//! A KMS client that is not ours tries the plugin: grpc-go, kube-apiserver's own client packages, and hand-made HTTP/2 frames.
//!
//! The program is `tests/go/conformance`; it prints one JSON line per sentence. Here is asserted that every sentence holds, and that
//! none of the edge cases that the project promises to try went missing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keywright_testbed::process::{Process, ending};
use keywright_testbed::scratch;
use keywright_testbed::tools::Tools;
use serde_json::Value;

/// Numbers of the edge cases that concern a plugin with local keys; a number may have several sentences.
const REQUIRED: [&str; 24] = [
    "1", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "25", "26", "27", "28", "29", "33", "36",
    "38",
];

/// The program ends itself after four minutes.
const LIMIT: Duration = Duration::from_secs(300);

#[test]
#[expect(clippy::print_stdout, reason = "what was tried is the record of the run")]
fn a_foreign_client_finds_every_edge_case_answered_as_promised() {
    let tools = Tools::locate().unwrap_or_else(|e| panic!("{e}"));
    let work = scratch::folder("conformance").expect("a private folder");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys/insecure-format-1/two-versions.keyring");
    let mut command = Command::new(tools.conformance());
    command.arg("-keywright").arg(env!("CARGO_BIN_EXE_keywright")).arg("-work").arg(work.path()).arg("-fixture").arg(fixture);
    let mut program = Process::spawn("conformance", &mut command).expect("the program starts");
    let status = program.wait(LIMIT).expect("the program ends");
    let said = program.err().tail(40);

    let lines: Vec<Value> = program
        .out()
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("not a JSON line ({e}): {line}\n{said}")))
        .collect();
    let sentences: Vec<&Value> = lines.iter().filter(|line| line.get("item").is_some()).collect();

    let failed: String = sentences.iter().filter(|line| line["ok"] != true).map(|line| describe(line)).collect();
    assert!(failed.is_empty(), "these do not hold:\n{failed}{said}");
    let tried: BTreeSet<&str> = sentences.iter().filter_map(|line| line["item"].as_str()).collect();
    let missing: Vec<&str> = REQUIRED.into_iter().filter(|number| !tried.contains(number)).collect();
    assert!(missing.is_empty(), "nothing was tried for the items {missing:?}\n{said}");
    assert_eq!(ending(status), "exit 0", "{said}");

    for line in sentences {
        println!("{}", describe(line).trim_end());
    }
}

fn describe(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().unwrap_or("?").to_owned();
    format!("{:>3} {}: {}\n", text("item"), text("name"), text("detail"))
}
