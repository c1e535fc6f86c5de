//! `keyring export`, `import` and `verify --export`: a keyring leaves a node and comes to another one, and what is refused on the way.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use keywright::entropy::OsEntropy;
use keywright::envelope::{Envelope, Purpose};
use keywright::export::Export;
use keywright::export::age::{By, decrypt};
use keywright::provider::pkcs11::Tokens;
use keywright::secret::SecretBytes;
use serde_json::Value;

use crate::common::{Ran, binary, folder, ran, run, text, write};
use crate::nodes::{Identity, Node};

const PLUGIN: &str = include_str!("../age-plugin-keywrighttest");
const PLUGIN_RECIPIENT: &str = "age1keywrighttest1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0sdl24de";
const PLUGIN_IDENTITY: &str = "AGE-PLUGIN-KEYWRIGHTTEST-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SJ49ANX";

/// The text of an export.
fn plain(file: &Path, who: &Identity) -> String {
    let identity = SecretBytes::from_vec(std::fs::read(&who.file).expect("read"));
    let plain = decrypt(&std::fs::read(file).expect("read"), &By::Identities(identity), age::NoCallbacks).expect("opens");
    String::from_utf8(plain.expose_secret().to_vec()).expect("text")
}

#[test]
fn another_node_gets_the_same_keys_under_its_own_seal_and_follows_later_changes() {
    let (a, b, who) = (Node::with_keyring(1), Node::new(2), Identity::new());
    let (file, digest) = a.export(&who, "1.age");
    assert_eq!(std::fs::metadata(&file).expect("stat").permissions().mode() & 0o7777, 0o600);
    let verified = run(&["keyring", "verify", "--export", text(&file), "--identity", text(&who.file), "--digest", &digest]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let made = b.import(&file, &who, &["--digest", &digest]);
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(b.versions(), a.versions());
    let (from, to) = (a.load(), b.load());
    assert_eq!((from.head(), from.generation()), (to.head(), to.generation()), "the export holds the state after the command");
    assert_ne!(a.file(), b.file());
    let wrapped = from.wrap(Purpose::KmsV2, b"seed", &OsEntropy).expect("wraps");
    let version = to.find(from.primary()).expect("there");
    let opened = version.unwrap(Purpose::KmsV2, &Envelope::parse(&wrapped).expect("parses")).expect("opens");
    assert_eq!(opened.expose_secret(), b"seed");

    let before = b.file();
    let again = b.import(&file, &who, &["--output", "json"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(serde_json::from_str::<Value>(&again.out).expect("JSON")["changed"], false);
    assert_eq!(b.file(), before);

    assert_eq!(a.run(&["rotate", "begin"]).code, 0);
    assert_eq!(a.run(&["rotate", "promote"]).code, 0);
    let (file, _) = a.export(&who, "2.age");
    let dry = b.import(&file, &who, &["--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("--dry-run"), "{dry:?}");
    assert_eq!(b.file(), before);
    assert_eq!(b.import(&file, &who, &[]).code, 0, "its own history vouches for it: no digest");
    assert_eq!(b.versions(), a.versions());
    let slots = |file: &[u8]| -> Vec<String> {
        String::from_utf8_lossy(file).lines().filter(|l| l.starts_with("slot ")).map(str::to_owned).collect()
    };
    assert_eq!(slots(&b.file()), slots(&before), "the slots of this node stay");

    a.destroy_first();
    let (file, _) = a.export(&who, "3.age");
    assert_eq!(b.import(&file, &who, &[]).code, 0);
    assert_eq!(b.versions(), a.versions());
    assert_eq!(b.versions()[0]["state"], "destroyed");
    assert_ne!(slots(&b.file()), slots(&before), "the root key is another one");
    assert_eq!(b.load().head(), a.load().head());
}

#[test]
fn an_export_is_recorded_once_and_the_same_one_is_given_again_until_something_changes() {
    let (a, who, other) = (Node::with_keyring(1), Identity::new(), Identity::new());
    let dry = a.json(&["keyring", "export", "--to", &who.recipient, "--dry-run"]);
    assert_eq!((&dry["changed"], &dry["digest"]), (&false.into(), &Value::Null));
    assert_eq!(a.load().generation(), 1);
    let (_, digest) = a.export(&who, "1.age");
    assert_eq!(a.load().generation(), 2);
    assert_eq!(a.versions()[0]["exported"], digest.as_str());
    let before = a.file();
    let (second, same) = a.export(&other, "2.age");
    assert_eq!((a.file(), &same), (before, &digest));
    assert_eq!(
        Export::open(SecretBytes::from_vec(plain(&second, &other).into_bytes()), &Tokens::none(), &OsEntropy)
            .expect("sound")
            .0
            .digest
            .to_string(),
        digest
    );
    assert_eq!(a.run(&["rotate", "begin"]).code, 0);
    let (_, third) = a.export(&who, "3.age");
    assert_ne!(third, digest);
}

#[test]
fn promote_warns_when_the_version_is_in_no_export() {
    let (a, who) = (Node::with_keyring(1), Identity::new());
    a.json(&["rotate", "begin"]);
    let answer = a.json(&["rotate", "promote"]);
    assert!(answer["warning"].as_str().expect("warned").contains("is in no export"), "{answer}");
    a.json(&["rotate", "begin"]);
    a.export(&who, "1.age");
    assert_eq!(a.json(&["rotate", "promote"])["warning"], Value::Null);
    a.json(&["rotate", "begin"]);
    let said = a.run(&["rotate", "promote"]);
    assert!(said.out.contains("WARNING: ") && said.out.contains("is in no export"), "{said:?}");
}

#[test]
fn without_an_output_file_the_export_alone_stands_on_standard_output() {
    let (a, b, who) = (Node::with_keyring(1), Node::new(2), Identity::new());
    let ran = a.run(&["keyring", "export", "--to", &who.recipient]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.out.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n") && ran.out.ends_with("-----END AGE ENCRYPTED FILE-----\n"),
        "{ran:?}"
    );
    let digest = ran.err.lines().find_map(|l| l.trim_start().strip_prefix("digest")).expect("digest").trim().to_owned();
    let file = b.path("e.age");
    write(&file, &ran.out, 0o644);
    assert_eq!(b.import(&file, &who, &["--digest", &digest]).code, 0);
    let json = a.json(&["keyring", "export", "--to", &who.recipient]);
    assert_eq!(json["digest"], digest.as_str());
    assert!(json["export"].as_str().expect("text").starts_with("-----BEGIN AGE"));
}

#[test]
fn what_cannot_be_written_is_refused_before_or_said_with_what_to_do() {
    let (a, who) = (Node::with_keyring(1), Identity::new());
    let before = a.file();
    let there = a.path("there.age");
    write(&there, b"precious", 0o600);
    let export = |file: &str| a.run(&["keyring", "export", "--to", &who.recipient, "--output-file", file]);
    export(text(&there)).fails(6, &["write the export to"]);
    assert_eq!(std::fs::read(&there).expect("read"), b"precious");
    export("/nonexistent/e.age").fails(5, &["write the export to"]);
    assert_eq!(a.file(), before, "the keyring records no export that is nowhere");
    let mut full = Command::new(binary());
    full.args(["keyring", "export", "--to", &who.recipient, "--config", text(&a.config)]);
    let out = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("open");
    let ended = full.stdout(out).output().expect("runs");
    let err = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(ended.status.code(), Some(5), "{err}");
    assert!(err.contains("run the command again, it gives the same one"), "{err}");
}

#[test]
fn recipients_that_are_none_end_with_2_before_anything_is_touched() {
    let a = Node::with_keyring(1);
    let before = a.file();
    let export = |to: &str| a.run(&["keyring", "export", "--to", to]);
    export("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5").fails(2, &["this is no SSH public key", "one .pub file at a time"]);
    export("age1nonsense").fails(2, &["`age1nonsense` is no age recipient"]);
    export("bob").fails(2, &["`bob` is no age recipient"]);
    export(PLUGIN_RECIPIENT).fails(2, &["age-plugin-keywrighttest is not found in $PATH"]);
    assert_eq!(a.run(&["keyring", "export"]).code, 2);
    assert_eq!(a.file(), before);
}

#[test]
fn a_first_import_wants_the_digest_and_the_right_one() {
    let (a, b, who) = (Node::with_keyring(1), Node::new(2), Identity::new());
    let (file, digest) = a.export(&who, "1.age");
    b.import(&file, &who, &[]).fails(2, &["a first import needs the digest", "--digest"]);
    b.import(&file, &who, &["--digest", &"0".repeat(64)]).fails(6, &["the digest of the export is", &digest]);
    assert_eq!(b.import(&file, &who, &["--digest", "abc"]).code, 2);
    assert_eq!(b.import(&file, &who, &["--digest", &digest, "--dry-run"]).code, 0);
    assert!(!b.path("keyring").exists());
}

#[test]
fn another_keyring_an_older_state_and_another_past_are_refused_with_6() {
    let (a, b, other, who) = (Node::with_keyring(1), Node::new(2), Node::with_keyring(3), Identity::new());
    let (first, digest) = a.export(&who, "1.age");
    assert_eq!(b.import(&first, &who, &["--digest", &digest]).code, 0);
    let refused = |node: &Node, file: &Path, why: &str| {
        let before = node.file();
        node.import(file, &who, &[]).fails(6, &["cannot import the export", why]);
        assert_eq!(node.file(), before);
    };
    refused(&other, &first, "the export is of keyring");
    assert_eq!(a.run(&["rotate", "begin"]).code, 0);
    refused(&a, &first, "the export is of generation 2; the keyring is at 3");
    assert_eq!(b.run(&["keyring", "reseal", "--to-key-file", text(&b.path("seal.key"))]).code, 0);
    let (second, _) = a.export(&who, "2.age");
    refused(&b, &second, "the history of the export does not contain generation 3");
}

#[test]
fn a_damaged_keyring_or_export_ends_with_3_and_nothing_is_touched() {
    let (a, b, who) = (Node::with_keyring(1), Node::new(2), Identity::new());
    let (file, digest) = a.export(&who, "1.age");
    let sound = std::fs::read(&file).expect("read");
    let broken = b.path("broken.age");
    let try_it = |bytes: &[u8], what: &str| {
        write(&broken, bytes, 0o600);
        let ran = b.import(&broken, &who, &["--digest", &digest]);
        assert_eq!(ran.code, 3, "{what}: {ran:?}");
        let ran = run(&["keyring", "verify", "--export", text(&broken), "--identity", text(&who.file)]);
        assert_eq!(ran.code, 4, "{what}: {ran:?}");
        assert!(!b.path("keyring").exists());
    };
    for len in [0, 10, 40, 200, sound.len() / 2, sound.len() - 80, sound.len() - 20] {
        try_it(&sound[..len], &format!("cut at {len}"));
    }
    for at in [1, 60, 120, 250, 400, sound.len() / 2, sound.len() - 60] {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        try_it(&bytes, &format!("changed at {at}"));
    }
    assert_eq!(b.import(&file, &who, &["--digest", &digest]).code, 0);
    let torn = &b.file()[..500];
    write(&b.path("keyring"), torn, 0o600);
    b.import(&file, &who, &["--digest", &digest]).fails(3, &["torn"]);
    assert_eq!(b.file(), torn);
}

#[test]
fn what_opens_it_must_be_the_right_thing_of_the_right_kind() {
    let (a, b, who, wrong) = (Node::with_keyring(1), Node::new(2), Identity::new(), Identity::new());
    let (file, digest) = a.export(&who, "1.age");
    b.import(&file, &wrong, &["--digest", &digest]).fails(3, &["none of the identities opens the export"]);
    b.run(&["keyring", "import", text(&file), "--digest", &digest]).fails(2, &["nothing was named that opens it"]);
    let empty = Identity::of("", "");
    b.import(&file, &empty, &["--digest", &digest]).fails(3, &["no line that is an identity"]);
    std::fs::set_permissions(&who.file, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    b.import(&file, &who, &["--digest", &digest]).fails(3, &["has mode 0644"]);
    let passphrase = b.path("passphrase");
    write(&passphrase, "a long passphrase\n", 0o600);
    b.run(&["keyring", "import", text(&file), "--passphrase-file", text(&passphrase), "--digest", &digest])
        .fails(2, &["to recipients, not by a passphrase"]);
    b.import(&b.path("missing.age"), &wrong, &["--digest", &digest]).fails(2, &["No such file"]);
    assert!(!b.path("keyring").exists());
}

#[test]
fn a_passphrase_alone_carries_a_keyring_too() {
    let (a, b) = (Node::with_keyring(1), Node::new(2));
    let (passphrase, other, short) = (a.path("passphrase"), a.path("other"), a.path("short"));
    write(&passphrase, "six random words are good\n", 0o600);
    write(&other, "six other words are not\n", 0o600);
    write(&short, "short\n", 0o600);
    let file = a.path("1.age");
    let export = |by: &Path| a.run(&["keyring", "export", "--passphrase-file", text(by), "--output-file", text(&file), "--output", "json"]);
    assert_eq!(export(&short).code, 2);
    let answer: Value = serde_json::from_str(&export(&passphrase).out).expect("JSON");
    let digest = answer["digest"].as_str().expect("digest");
    let import = |by: &Path| b.run(&["keyring", "import", text(&file), "--passphrase-file", text(by), "--digest", digest]);
    import(&other).fails(3, &["this passphrase does not open the export"]);
    assert_eq!(import(&passphrase).code, 0);
    assert_eq!(b.versions(), a.versions());
}

#[test]
fn a_plugin_recipient_carries_a_keyring_too() {
    let (a, b) = (Node::with_keyring(1), Node::new(2));
    let plugins = folder();
    write(&plugins.path().join("age-plugin-keywrighttest"), PLUGIN, 0o755);
    let path = format!("{}:{}", plugins.path().display(), std::env::var("PATH").expect("PATH"));
    let with_plugin = |node: &Node, arguments: &[&str]| {
        ran(Command::new(binary()).args(node.words(arguments)).args(["--output", "json"]).env("PATH", &path))
    };
    let (file, who) = (a.path("1.age"), Identity::of(PLUGIN_IDENTITY, PLUGIN_RECIPIENT));
    let exported = with_plugin(&a, &["keyring", "export", "--to", PLUGIN_RECIPIENT, "--output-file", text(&file)]);
    assert_eq!(exported.code, 0, "{exported:?}");
    let answer: Value = serde_json::from_str(&exported.out).expect("JSON");
    let digest = answer["digest"].as_str().expect("digest");
    let import = ["keyring", "import", text(&file), "--identity", text(&who.file), "--digest", digest];
    b.run(&import).fails(2, &["age-plugin-keywrighttest is not found in $PATH"]);
    let imported = with_plugin(&b, &import);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert!(imported.err.contains("age plugin: the test plugin was asked"), "{imported:?}");
    assert_eq!(b.versions(), a.versions());
}

#[test]
fn no_key_stands_in_what_is_printed_or_written_in_clear() {
    let (a, b, who) = (Node::with_keyring(1), Node::new(2), Identity::new());
    let file = a.path("1.age");
    let exported = a.run(&["keyring", "export", "--to", &who.recipient, "--output-file", text(&file)]);
    let digest = exported.out.lines().find_map(|l| l.trim_start().strip_prefix("digest")).expect("digest").trim().to_owned();
    let imported = b.import(&file, &who, &["--digest", &digest]);
    let wrong = b.import(&file, &who, &["--digest", &"0".repeat(64)]);
    let verified = run(&["keyring", "verify", "--export", text(&file), "--identity", text(&who.file)]);
    assert_eq!((exported.code, imported.code, wrong.code, verified.code), (0, 0, 6, 0));
    let plain = plain(&file, &who);
    let words: Vec<&str> = plain.split_whitespace().collect();
    let is_secret = |w: &&[&str]| ["key", "coordination"].contains(&w[0]) && w[1].len() == 64;
    let secrets: Vec<&str> = words.windows(2).filter(is_secret).map(|w| w[1]).collect();
    assert_eq!(secrets.len(), 2, "the coordination key and one KEK");
    let mut seen = vec![std::fs::read(&file).expect("read"), a.file(), b.file()];
    for ran in [&exported, &imported, &wrong, &verified] {
        seen.extend([ran.out.clone().into_bytes(), ran.err.clone().into_bytes()]);
    }
    for secret in secrets {
        let raw: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&secret[2 * i..2 * i + 2], 16).expect("hex")).collect();
        for bytes in &seen {
            assert!(!bytes.windows(64).any(|w| w == secret.as_bytes()) && !bytes.windows(32).any(|w| w == raw));
        }
    }
    for node in [&a, &b] {
        let mut names: Vec<_> = std::fs::read_dir(node.dir.path()).expect("list").map(|e| e.expect("entry").file_name()).collect();
        names.retain(|name| name.to_string_lossy().contains(".new"));
        assert!(names.is_empty(), "{names:?}");
    }
}

#[test]
fn a_node_whose_credential_dies_with_it_wants_a_second_slot() {
    let (a, b, who) = (Node::with_keyring(1), Node::new(2), Identity::new());
    let (file, digest) = a.export(&who, "1.age");
    let line = format!("key_file = \"{}\"", b.path("seal.key").display());
    let bound = std::fs::read_to_string(b.path("config.toml")).expect("read").replace(&line, "credential = \"keywright-seal\"");
    write(&b.path("config.toml"), bound, 0o644);
    b.import(&file, &who, &["--digest", &digest]).fails(6, &["may be lost with this machine", "--also-key-file"]);
}

#[test]
fn two_nodes_that_each_made_a_version_are_not_brought_together() {
    let (a, b, who) = (Node::with_keyring(1), Node::new(2), Identity::new());
    let (file, digest) = a.export(&who, "1.age");
    assert_eq!(b.import(&file, &who, &["--digest", &digest]).code, 0);
    assert_eq!(a.run(&["rotate", "begin"]).code, 0);
    assert_eq!(b.run(&["rotate", "begin"]).code, 0);
    let before = b.file();
    let (file, _) = a.export(&who, "2.age");
    b.import(&file, &who, &[]).fails(6, &["One of the two was changed apart from the other"]);
    assert_eq!(b.file(), before);
}

/// Frozen: what a release of format 1 wrote, every release reads. Opened by `tests/vectors/export-1.identity`.
#[test]
fn the_frozen_export_of_format_1_opens_with_every_state_and_its_digest() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let read = |name: &str| std::fs::read(vectors.join(name)).expect(name);
    if std::env::var_os("KEYWRIGHT_WRITE_SAMPLES").is_some() {
        write_vector(&vectors);
    }
    let identity = SecretBytes::from_vec(read("export-1.identity"));
    let plain = decrypt(&read("export-1.age"), &By::Identities(identity), age::NoCallbacks).expect("opens");
    assert_eq!(plain.expose_secret(), read("export-1.txt"));
    let (export, opened) = Export::open(plain, &Tokens::none(), &OsEntropy).expect("sound");
    assert_eq!(format!("{}\n", export.digest).as_bytes(), read("export-1.digest"));
    let states: Vec<_> = opened.document.versions.iter().map(|v| v.state.name()).collect();
    assert_eq!(states, ["destroyed", "disabled", "retired", "primary", "staged"]);
}

/// Makes the vector anew; only ever for a new format.
fn write_vector(vectors: &Path) {
    let (a, who) = (Node::new(1), Identity::new());
    let ok = |ran: Ran| assert_eq!(ran.code, 0, "{ran:?}");
    ok(a.run(&["init", "--hold", "0s", "--nodes", "cp-1,cp-2"]));
    let risk = ["--accept-risk", "a sample"];
    for round in 0..4 {
        ok(a.run(&["rotate", "begin"]));
        if round == 0 {
            a.export(&who, "early.age");
        }
        if round < 3 {
            ok(a.run(&[&["rotate", "promote"][..], &risk].concat()));
        }
    }
    for (version, steps) in [(1, &["verify", "disable", "destroy"][..]), (2, &["verify", "disable"]), (3, &["verify"])] {
        let key_id = a.key_id(version);
        for step in steps {
            let typed = if *step == "destroy" { vec!["--yes-destroy", &key_id] } else { vec![] };
            ok(a.run(&[&["rotate", step, &key_id][..], &risk, &typed].concat()));
        }
    }
    let (file, digest) = a.export(&who, "export.age");
    write(&vectors.join("export-1.txt"), plain(&file, &who), 0o644);
    write(&vectors.join("export-1.age"), std::fs::read(&file).expect("read"), 0o644);
    write(&vectors.join("export-1.digest"), format!("{digest}\n"), 0o644);
    let identity =
        format!("# INSECURE: opens the sample beside it, and nothing else.\n{}", std::fs::read_to_string(&who.file).expect("read"));
    write(&vectors.join("export-1.identity"), identity, 0o644);
}
