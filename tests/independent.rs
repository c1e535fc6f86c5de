//! What this release writes, read by a program that shares nothing with it: `tests/vectors/plain.py`, Python's standard library alone.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keywright::entropy::OsEntropy;
use keywright::export::Export;
use keywright::keyring::create::First;
use keywright::keyring::rotation;
use keywright::keyring::seal::Opener;
use keywright::keyring::store::{self, Changing, Opened};
use keywright::provider::pkcs11::Tokens;
use keywright::secret::SecretBytes;
use serde_json::Value;

const DEV: Opener = Opener::InsecureDevelopment;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

/// The export that the script makes of `text`; its complaint if it finds fault.
fn read(text: &[u8]) -> Result<String, String> {
    let mut script = Command::new("python3")
        .arg(file("plain.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    // It reads everything before it writes anything.
    script.stdin.take().expect("a pipe").write_all(text).expect("it reads");
    let output = script.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn export(opened: &Opened) -> String {
    String::from_utf8(Export::of(opened).expect("exports").text.expose_secret().to_vec()).expect("text")
}

#[test]
fn a_keyring_of_today_and_its_export_say_the_same_to_an_independent_reader() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let path = dir.path().join("keyring");
    let now = "2026-01-02T03:04:05Z".parse().expect("valid");
    let nodes = vec!["cp-1".parse().expect("valid"), "cp-2".parse().expect("valid")];
    let first =
        First { openers: &[DEV], nodes, hold: std::time::Duration::from_secs(7), key: keywright::keyring::create::NewKey::Local, now };
    store::create(&path, first, &Tokens::none(), &OsEntropy).expect("makes");
    let mut changing = Changing::begin(&path, &DEV, &Tokens::none()).expect("locks");
    rotation::begin(&mut changing.opened.document, &changing.opened.keys, now, &OsEntropy).expect("begins");
    rotation::promote(&mut changing.opened.document, None, now).expect("promotes");
    changing.commit(&path, &[DEV], now, "promote 2".parse().expect("words"), &OsEntropy).expect("commits");

    let text = fs::read(&path).expect("reads");
    let opened = store::read(&path, &DEV, &Tokens::none()).expect("opens");
    assert_eq!(opened.document.versions.len(), 2);
    assert_eq!(read(&text), Ok(export(&opened)));
}

/// Lines of a list in `keyring-2.json`, which another program made.
fn frozen(list: &Value) -> String {
    list.as_array().expect("lines").iter().map(|line| format!("{}\n", line.as_str().expect("a line"))).collect()
}

#[test]
fn a_frozen_keyring_and_an_export_with_keys_in_tokens_say_the_same_to_an_independent_reader() {
    let vectors: Value = serde_json::from_slice(&fs::read(file("keyring-2.json")).expect("reads")).expect("JSON");
    let more = vectors["more"].as_array().expect("a list");
    let development = more.iter().find(|vector| vector["openers"][0]["kind"] == "insecure-development").expect("a development keyring");
    let dir = tempfile::tempdir().expect("a folder");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let (path, text) = (dir.path().join("keyring"), frozen(&development["lines"]));
    fs::write(&path, &text).expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    let own = export(&store::read(&path, &DEV, &Tokens::none()).expect("opens"));
    assert_eq!(read(text.as_bytes()).as_deref(), Ok(own.as_str()));
    assert!(own.starts_with("keywright-export 2\n"), "{own}");

    let text = frozen(&vectors["export"]);
    assert_eq!(read(text.as_bytes()), Ok(text.clone()));
    for (defect, old, new) in [
        ("format 1", "keywright-export 2", "keywright-export 1"),
        ("another form of a place", "%C3", "%c3"),
        ("a place that encodes a letter", "token=S", "token=%53"),
        ("an algorithm that does not fit", "pkcs11 aes-256-gcm", "pkcs11 aes-256-cbc-hmac-sha-256"),
        ("another check", ".4.", ".4.0"),
        ("no iv", " iv token", ""),
        ("an attempt without a time", "attempt 2026-03-05T01:02:03Z", "attempt"),
        ("another past", "history 1 2026", "history 1 2025"),
    ] {
        let changed = text.replacen(old, new, 1);
        assert_ne!(changed, text, "{defect}");
        assert!(read(changed.as_bytes()).is_err(), "{defect}");
        assert!(Export::open(SecretBytes::from_vec(changed.into_bytes()), &Tokens::none(), &OsEntropy).is_err(), "{defect}");
    }
}

#[test]
fn the_frozen_export_is_right_to_an_independent_reader_and_with_a_defect_it_is_not() {
    let text = fs::read_to_string(file("export-1.txt")).expect("reads");
    assert_eq!(read(text.as_bytes()), Ok(text.clone()));
    assert!(Export::open(SecretBytes::from_vec(text.clone().into_bytes()), &Tokens::none(), &OsEntropy).is_ok());
    let lines: Vec<&str> = text.lines().collect();
    let version = lines.iter().position(|line| line.starts_with("version ") && line.contains(" key ")).expect("a version with a key");
    let changed = |at: usize, old: &str, new: &str| {
        let mut lines = lines.clone();
        let line = lines[at].replacen(old, new, 1);
        assert_ne!(line, lines[at], "nothing to change");
        lines[at] = &line;
        lines.join("\n") + "\n"
    };
    let key = lines[version].split(" key ").nth(1).and_then(|rest| rest.get(..4)).expect("digits of a key");
    let canary = lines[version].split(" canary ").nth(1).and_then(|rest| rest.get(..4)).expect("digits of a canary");
    let last = lines.len() - 1;
    let digest = lines[last].split(' ').nth(3).and_then(|digest| digest.get(..4)).expect("digits of a digest");
    let other = |digits: &str| if digits == "0000" { "0001" } else { "0000" };
    for (defect, text) in [
        ("another key", changed(version, &format!(" key {key}"), &format!(" key {}", other(key)))),
        ("another canary", changed(version, &format!(" canary {canary}"), &format!(" canary {}", other(canary)))),
        ("another past", changed(last, &format!("Z {digest}"), &format!("Z {}", other(digest)))),
        ("a torn end", text[..text.len() - 1].to_owned()),
    ] {
        assert!(read(text.as_bytes()).is_err(), "{defect}");
        assert!(Export::open(SecretBytes::from_vec(text.into_bytes()), &Tokens::none(), &OsEntropy).is_err(), "{defect}");
    }
}
