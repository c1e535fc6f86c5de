//! What export and import ask a person, in which order, and what they find out before they ask.

use keywright_testbed::terminal::{Ended, Terminal};

use crate::common::{SOON, binary, text, write};
use crate::nodes::{Identity, Node};

const WORDS: &str = "eleven lilac otters juggle quietly";
const NEW: &str = "New passphrase of the export: ";
const AGAIN: &str = "Once more: ";
const ASKED: &str = "Passphrase of the export: ";

/// Runs a command of `node` at a terminal, where each prompt is answered in its turn with what is not to be shown.
fn typed(node: &Node, words: &[&str], answers: &[(&str, &str)]) -> Ended {
    let mut terminal = Terminal::run(binary().as_ref(), &node.words(words)).expect("starts");
    for (prompt, line) in answers {
        terminal.answer_hidden(prompt, line, SOON).unwrap_or_else(|e| panic!("{words:?}: {e}"));
    }
    let ended = terminal.finish(SOON).expect("ends");
    for shown in [&ended.shown, &ended.out, &ended.err] {
        assert!(!shown.contains(WORDS), "the passphrase was shown: {ended:?}");
    }
    ended
}

/// Asserts how it ended, and that nobody was asked anything.
fn told_unasked(ended: &Ended, code: i32, why: &str) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.err.contains(why) && ended.err.contains("\n  next: "), "{ended:?}");
    assert_eq!(ended.shown, "", "{ended:?}");
}

#[test]
fn a_passphrase_is_asked_twice_at_the_export_and_once_at_the_import() {
    let (a, b) = (Node::with_keyring(1), Node::new(2));
    let file = a.path("1.age");
    let export = ["keyring", "export", "--passphrase", "--output-file", text(&file), "--output", "json"];
    let before = a.file();
    let different = typed(&a, &export, &[(NEW, WORDS), (AGAIN, "eleven lilac otters")]);
    assert_eq!(different.code, Some(2), "{different:?}");
    assert!(different.err.contains("the two are different"), "{different:?}");
    let short = typed(&a, &export, &[(NEW, "short")]);
    assert_eq!(short.code, Some(2), "{short:?}");
    assert!(short.err.contains("at least 12 bytes") && !short.shown.contains(AGAIN), "{short:?}");
    assert_eq!(a.file(), before);
    assert!(!file.exists());
    let made = typed(&a, &export, &[(NEW, WORDS), (AGAIN, WORDS)]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let answer: serde_json::Value = serde_json::from_str(&made.out).expect("JSON");
    let digest = answer["digest"].as_str().expect("digest");

    let verify = ["keyring", "verify", "--export", text(&file), "--passphrase"];
    let mut terminal = Terminal::run(binary().as_ref(), &verify).expect("starts");
    terminal.answer_hidden(ASKED, WORDS, SOON).expect("asked");
    assert_eq!(terminal.finish(SOON).expect("ends").code, Some(0));
    let import = ["keyring", "import", text(&file), "--passphrase", "--digest", digest];
    let wrong = typed(&b, &import, &[(ASKED, "these are other words")]);
    assert_eq!(wrong.code, Some(3), "{wrong:?}");
    assert!(wrong.err.contains("this passphrase does not open the export"), "{wrong:?}");
    let made = typed(&b, &import, &[(ASKED, WORDS)]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(!made.shown.contains(AGAIN), "{made:?}");
    assert_eq!(b.versions(), a.versions());
}

#[test]
fn a_first_import_without_a_digest_shows_it_and_goes_on_only_when_a_person_says_yes() {
    let (a, who) = (Node::with_keyring(1), Identity::new());
    let (file, digest) = a.export(&who, "1.age");
    for (answer, code) in [("no", 2), ("y", 2), ("", 2), ("yes", 0)] {
        let b = Node::new(2);
        let mut terminal = Terminal::run(
            "sh".as_ref(),
            &["-c", "exec \"$@\" 2>/dev/tty", "sh", text(binary())]
                .into_iter()
                .chain(b.words(&["keyring", "import", text(&file), "--identity", text(&who.file)]))
                .collect::<Vec<_>>(),
        )
        .expect("starts");
        terminal.wait_for(&format!("print the digest {digest}? [yes/no] "), SOON).expect("asked");
        terminal.type_keys(&format!("{answer}\n")).expect("typed");
        let ended = terminal.finish(SOON).expect("ends");
        assert_eq!(ended.code, Some(code), "{answer}: {ended:?}");
        assert_eq!(b.path("keyring").exists(), code == 0, "{answer}: {ended:?}");
        assert_eq!(ended.shown.contains("a first import needs the digest"), code != 0, "{answer}: {ended:?}");
    }
}

#[test]
fn what_is_wrong_with_an_export_is_told_before_its_new_passphrase_is_asked() {
    let a = Node::with_keyring(1);
    let there = a.path("there.age");
    write(&there, b"precious", 0o600);
    let export = ["keyring", "export", "--passphrase", "--output-file"];
    told_unasked(&typed(&a, &[&export[..], &[text(&there)]].concat(), &[]), 6, "write the export to");
    let dry = typed(&a, &["keyring", "export", "--passphrase", "--dry-run"], &[]);
    assert_eq!((dry.code, dry.shown.as_str()), (Some(0), ""), "{dry:?}");
    let file = a.path("1.age");
    let sound = a.file();
    write(&a.path("keyring"), &sound[..500], 0o600);
    told_unasked(&typed(&a, &[&export[..], &[text(&file)]].concat(), &[]), 3, "export the keyring");
    write(&a.path("keyring"), &sound, 0o600);
    std::fs::rename(a.path("seal.key"), a.path("away")).expect("rename");
    told_unasked(&typed(&a, &[&export[..], &[text(&file)]].concat(), &[]), 3, "read what opens the keyring");
    assert!(!file.exists());
}

#[test]
fn what_is_wrong_with_an_import_is_told_before_its_passphrase_is_asked() {
    let (a, b, who) = (Node::with_keyring(1), Node::new(2), Identity::new());
    let (to_a_key, digest) = a.export(&who, "1.age");
    let words = a.path("words");
    write(&words, WORDS, 0o600);
    let by_words = a.path("2.age");
    let made = a.run(&["keyring", "export", "--passphrase-file", text(&words), "--output-file", text(&by_words)]);
    assert_eq!(made.code, 0, "{made:?}");
    let import =
        |file: &str, more: &[&str]| typed(&b, &[&["keyring", "import", file, "--passphrase", "--digest", &digest], more].concat(), &[]);
    told_unasked(&import("/nonexistent.age", &[]), 2, "No such file");
    let none = b.path("none.age");
    write(&none, "no export\n", 0o600);
    told_unasked(&import(text(&none), &[]), 3, "not an age file");
    told_unasked(&import(text(&to_a_key), &[]), 2, "to recipients, not by a passphrase");
    told_unasked(&import(text(&by_words), &["--also-key-file", "/nonexistent.key"]), 3, "No such file");
    let without_digest = b.run(&["keyring", "import", text(&by_words), "--passphrase"]);
    without_digest.fails(2, &["a first import needs the digest"]);
    std::fs::rename(b.path("seal.key"), b.path("away")).expect("rename");
    told_unasked(&import(text(&by_words), &[]), 3, "read what opens the keyring");
    assert!(!b.path("keyring").exists());
}
