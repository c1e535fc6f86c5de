//! `docs/rotation.md`, executed: every `sh` block in order in one shell, and what the following `text` block shows must have come out.
//!
//! Blocks of other kinds (`console`) are for machines that a test does not have, and are only read. In a `text` block, lines appear in
//! the order of the output; `...` stands for what is left out. Names that differ from run to run are compared by their form.
#![cfg(feature = "operator")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keywright_testbed::process::{Process, ending};

const PAGE: &str = include_str!("../docs/rotation.md");
/// The whole page takes seconds; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(120);
const MARK: &str = "@@ block ";

/// A shell block with the line that it begins on, and the output that is shown below it.
struct Block {
    line: usize,
    script: String,
    shown: Vec<String>,
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = PAGE.lines().zip(1..);
    while let Some((fence, line)) = lines.next() {
        let Some(kind) = fence.strip_prefix("```") else { continue };
        let body: Vec<String> = lines.by_ref().map(|(text, _)| text.to_owned()).take_while(|text| text != "```").collect();
        match kind {
            "sh" => blocks.push(Block { line, script: body.join("\n"), shown: vec![] }),
            "text" => {
                let block = blocks.last_mut().unwrap_or_else(|| panic!("line {line}: output of nothing"));
                assert!(block.shown.is_empty(), "line {line}: a second output of the block in line {}", block.line);
                block.shown = body;
            }
            "console" | "toml" => {}
            other => panic!("line {line}: a block of an unknown kind {other:?}"),
        }
    }
    blocks
}

/// The text with what differs from run to run replaced by its form, and white space made equal.
fn normal(line: &str) -> String {
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

fn word(word: &str) -> String {
    let bare = word.trim_end_matches([',', ':', ';']);
    let tail = &word[bare.len()..];
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = bare.split('.').collect();
    if let ["kw1", keyring, version, check] = parts[..]
        && hex(keyring, 16)
        && hex(check, 32)
    {
        return format!("kw1.KEYRING.{version}.CHECK{tail}");
    }
    if bare.strip_prefix("sha256:").is_some_and(|digest| hex(digest, 64)) {
        return format!("sha256:DIGEST{tail}");
    }
    if bare.len() == 20 && humantime::parse_rfc3339(bare).is_ok() {
        return format!("TIME{tail}");
    }
    if hex(bare, 16) {
        return format!("KEYRING{tail}");
    }
    word.to_owned()
}

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
    let blocks = blocks();
    let shown = blocks.iter().filter(|block| !block.shown.is_empty()).count();
    assert!(blocks.len() >= 10 && shown >= 8, "{} blocks, {shown} with output: is this the page?", blocks.len());
    let outputs = run(&blocks);
    assert_eq!(outputs.len(), blocks.len());
    for (block, output) in blocks.iter().zip(outputs) {
        let mut rest = output.iter().map(|line| normal(line));
        for line in block.shown.iter().filter(|line| !line.trim().is_empty() && line.trim() != "...") {
            let wanted = normal(line);
            assert!(
                rest.any(|line| line == wanted),
                "the block in line {} of docs/rotation.md does not print (in this place)\n  {wanted}\nbut:\n{}",
                block.line,
                output.join("\n")
            );
        }
    }
}

#[test]
fn names_are_compared_by_their_form_and_everything_else_by_the_letter() {
    let key_id = "kw1.2247dd733dcb73da.2.1f68c85513e53fbe3e8006107ab0a0ed";
    assert_eq!(normal(&format!(" 2  staged   2026-11-25T02:44:50Z {key_id}: 0")), "2 staged TIME kw1.KEYRING.2.CHECK: 0");
    assert_ne!(normal(key_id), normal(&key_id.replace(".2.", ".3.")));
    assert_eq!(normal("keyring 2247dd733dcb73da"), "keyring KEYRING");
}
