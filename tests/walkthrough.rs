//! `docs/rotation.md`, executed: every `sh` block in order in one shell, and what the following `text` block shows must have come out.
#![cfg(feature = "operator")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keywright_testbed::page::{Block, assert_shown, blocks};
use keywright_testbed::process::{Process, ending};

const PAGE: &str = include_str!("../docs/rotation.md");
/// The whole page takes seconds; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(120);
const MARK: &str = "@@ block ";

/// Runs all blocks in one shell and gives what each printed, on either stream.
fn run(blocks: &[Block]) -> Vec<Vec<String>> {
    let home = keywright_testbed::scratch::folder("walk").expect("folder");
    // The page is written for a person who sees a failure; here the first unexpected one ends everything. The background plugins of
    // the page end with the shell.
    let mut script = "set -eu\nexec 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\ncd\n".to_owned();
    for block in blocks {
        script.push_str(&format!("echo '{MARK}{}'\n{}\n", block.line, block.script));
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_keywright"));
    let path = format!("{}:{}", binary.parent().expect("a folder").display(), std::env::var("PATH").expect("a path"));
    let mut command = Command::new("bash");
    command
        .args(["-c", &script])
        .env("PATH", path)
        .env("HOME", home.path())
        .env_remove("XDG_STATE_HOME")
        .env_remove("CREDENTIALS_DIRECTORY");
    let mut shell = Process::spawn("the walk-through", &mut command).expect("bash starts");
    let status = shell.wait(LIMIT).expect("it ends");
    let lines = shell.out().lines();
    assert_eq!(ending(status), "exit 0", "the page stopped here:\n{}", lines.join("\n"));
    let mut outputs: Vec<Vec<String>> = Vec::new();
    for line in lines {
        match outputs.last_mut() {
            _ if line.starts_with(MARK) => outputs.push(vec![]),
            Some(output) => output.push(line),
            None => panic!("output before the first block: {line}"),
        }
    }
    outputs
}

#[test]
fn every_command_of_the_page_does_what_the_page_shows() {
    let blocks = blocks(PAGE);
    let shown = blocks.iter().filter(|block| !block.shown.is_empty()).count();
    assert!(blocks.len() >= 10 && shown >= 8, "{} blocks, {shown} with output: is this the page?", blocks.len());
    let outputs = run(&blocks);
    assert_eq!(outputs.len(), blocks.len());
    for (block, output) in blocks.iter().zip(outputs) {
        assert_shown("docs/rotation.md", block, &output);
    }
}
