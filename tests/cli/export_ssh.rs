//! Exports to SSH keys, as `ssh-keygen` makes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use keywright_testbed::terminal::Terminal;
use tempfile::TempDir;

use crate::common::{Ran, SOON, binary, folder, ran, run, text, write};
use crate::nodes::{Identity, Node};

const WORDS: &str = "plum ladders hum at noon";
const ASKED: &str = "Passphrase of the SSH key: ";

/// A key pair of OpenSSH's own making.
struct Pair {
    _dir: TempDir,
    file: PathBuf,
    line: String,
}

impl Pair {
    fn new(words: &[&str], passphrase: &str) -> Self {
        let dir = folder();
        let file = dir.path().join("id");
        ssh_keygen(&[&["-q", "-C", "anna@station", "-N", passphrase, "-f", text(&file)], words].concat());
        let line = std::fs::read_to_string(file.with_extension("pub")).expect("read");
        Self { _dir: dir, file, line }
    }
}

fn ssh_keygen(words: &[&str]) -> Ran {
    let ran = ran(Command::new("ssh-keygen").args(words));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

/// Exports from a new node to `lines`; the file and its digest.
fn exported(a: &Node, lines: &[&str]) -> (PathBuf, String) {
    let file = a.path("1.age");
    let to: Vec<&str> = lines.iter().flat_map(|line| ["--to", *line]).collect();
    let answer = a.json(&[&["keyring", "export", "--output-file", text(&file)], &to[..]].concat());
    (file, answer["digest"].as_str().expect("digest").to_owned())
}

fn import<'a>(file: &'a Path, identity: &'a Path, digest: &'a str) -> Vec<&'a str> {
    vec!["keyring", "import", text(file), "--identity", text(identity), "--digest", digest]
}

#[test]
fn ed25519_and_rsa_keys_each_open_an_export_to_both_and_to_an_age_key() {
    let (a, who) = (Node::with_keyring(1), Identity::new());
    let (ed25519, rsa) = (Pair::new(&["-t", "ed25519"], ""), Pair::new(&["-t", "rsa", "-b", "3072"], ""));
    let (file, digest) = exported(&a, &[&ed25519.line, &who.recipient, &rsa.line]);
    for identity in [&ed25519.file, &rsa.file, &who.file] {
        let verified = run(&["keyring", "verify", "--export", text(&file), "--identity", text(identity), "--digest", &digest]);
        assert_eq!(verified.code, 0, "{verified:?}");
        let b = Node::new(2);
        let imported = b.run(&import(&file, identity, &digest));
        assert_eq!(imported.code, 0, "{imported:?}");
        assert_eq!(b.versions(), a.versions());
    }
    let other = Pair::new(&["-t", "ed25519"], "");
    let b = Node::new(2);
    b.run(&import(&file, &other.file, &digest)).fails(3, &["none of the identities opens the export"]);
    assert!(!b.path("keyring").exists());
}

#[test]
fn a_public_key_without_its_comment_is_a_recipient_too() {
    let (a, pair) = (Node::with_keyring(1), Pair::new(&["-t", "ed25519"], ""));
    let bare = pair.line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let (file, digest) = exported(&a, &[&bare]);
    assert_eq!(Node::new(2).run(&import(&file, &pair.file, &digest)).code, 0);
}

#[test]
fn the_passphrase_of_a_protected_key_is_asked_once_and_hidden() {
    let a = Node::with_keyring(1);
    for kind in [&["-t", "ed25519"][..], &["-t", "ed25519", "-Z", "aes256-gcm@openssh.com"], &["-t", "rsa", "-b", "3072"]] {
        let (pair, other, who) = (Pair::new(kind, WORDS), Pair::new(&["-t", "ed25519"], ""), Identity::new());
        std::fs::remove_file(a.path("1.age")).ok();
        let (file, digest) = exported(&a, &[&other.line, &who.recipient, &pair.line]);
        let b = Node::new(2);
        let words = b.words(&import(&file, &pair.file, &digest));
        let typed = |line: &str| {
            let mut terminal = Terminal::run(binary().as_ref(), &words).expect("starts");
            terminal.answer_hidden(ASKED, line, SOON).expect("asked");
            terminal.finish(SOON).expect("ends")
        };
        let wrong = typed("some other words");
        assert_eq!(wrong.code, Some(3), "{wrong:?}");
        assert!(wrong.err.contains("this passphrase does not open the SSH private key") && wrong.err.contains("\n  next: "), "{wrong:?}");
        let made = typed(WORDS);
        assert_eq!(made.code, Some(0), "{made:?}");
        for shown in [&made.shown, &made.out, &made.err] {
            assert!(!shown.contains(WORDS), "the passphrase was shown: {made:?}");
        }
        assert_eq!(made.shown.matches(ASKED).count(), 1, "{made:?}");
        assert_eq!(b.versions(), a.versions());
        Node::new(2).run(&import(&file, &pair.file, &digest)).fails(2, &["there is no terminal to ask for it"]);
    }
}

#[test]
fn keys_that_cannot_decrypt_or_are_too_short_are_refused_with_what_to_make_in_their_place() {
    let a = Node::with_keyring(1);
    let before = a.file();
    let ecdsa = Pair::new(&["-t", "ecdsa"], "");
    let token =
        "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEAAAABHNzaDo=";
    let (short, long) = (Pair::new(&["-t", "rsa", "-b", "2048"], ""), Pair::new(&["-t", "rsa", "-b", "4104"], ""));
    let longest = Pair::new(&["-t", "rsa", "-b", "4096"], "");
    let export = |to: &str| a.run(&["keyring", "export", "--dry-run", "--to", to]);
    export(&ecdsa.line).fails(2, &["SSH keys of type ecdsa-sha2-nistp256 are not supported", "ssh-keygen -t ed25519"]);
    export(token).fails(2, &["SSH keys of type sk-ssh-ed25519@openssh.com are not supported", "age-keygen"]);
    export(&short.line).fails(2, &["the RSA key has 2048 bits; an export takes 3072 to 4096"]);
    export(&long.line).fails(2, &["the RSA key has 4104 bits"]);
    assert_eq!(export(&longest.line).code, 0);
    export(&format!("{}{}", longest.line, longest.line)).fails(2, &["this is no SSH public key: one line", "one .pub file at a time"]);
    assert_eq!(a.file(), before);
}

#[test]
fn a_private_key_of_another_kind_or_format_or_damaged_is_refused_with_a_next_step() {
    let (a, pair) = (Node::with_keyring(1), Pair::new(&["-t", "ed25519"], ""));
    let (file, digest) = exported(&a, &[&pair.line]);
    let b = Node::new(2);
    let refused = |identity: &Path, texts: &[&str]| b.run(&import(&file, identity, &digest)).fails(3, texts);
    let (ecdsa, locked) = (Pair::new(&["-t", "ecdsa"], ""), Pair::new(&["-t", "ecdsa"], WORDS));
    refused(&ecdsa.file, &["SSH keys of type ecdsa-sha2-nistp256 are not supported"]);
    // Told before its passphrase is asked for.
    refused(&locked.file, &["SSH keys of type ecdsa-sha2-nistp256 are not supported"]);
    let old = Pair::new(&["-t", "rsa", "-b", "3072", "-m", "PEM"], "");
    refused(&old.file, &["the private key is in the old PEM format", "ssh-keygen -p -f COPY"]);
    let sound = std::fs::read(&pair.file).expect("read");
    let broken = b.path("broken");
    for at in (40..sound.len() - 40).step_by(37) {
        write(&broken, [&sound[..at], b"A", &sound[at + 2..]].concat(), 0o600);
        let ran = b.run(&import(&file, &broken, &digest));
        assert!([2, 3].contains(&ran.code) && ran.err.contains("\n  next: ") && !ran.err.contains("panicked"), "{at}: {ran:?}");
    }
    write(&broken, &sound, 0o644);
    refused(&broken, &["has mode 0644"]);
    assert!(!b.path("keyring").exists());
    ssh_keygen(&["-q", "-p", "-N", "", "-f", text(&old.file)]);
}
