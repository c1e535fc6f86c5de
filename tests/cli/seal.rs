//! What opens a keyring: key files, passphrases at a terminal, credentials, and the change from one to another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use keywright_testbed::leak;
use keywright_testbed::plugin::{Plugin, field};
use keywright_testbed::terminal::{Ended, Terminal};
use tempfile::TempDir;

use crate::common::{Ran, SOON, binary, config, folder, ran, run, socket_table, text, write};

/// The client of the cluster tests; not all of it is needed here.
#[allow(dead_code)]
#[path = "../cluster/kms.rs"]
mod kms;

const WORDS: &str = "eleven lilac otters juggle quietly";
const NEW: &str = "New passphrase: ";
const AGAIN: &str = "Once more: ";
const ASKED: &str = "Passphrase: ";
const RISK: [&str; 2] = ["--accept-risk", "a test: nothing was written"];

/// A folder with a configuration that names a key file, and no keyring yet.
struct Bench {
    dir: TempDir,
    config: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let dir = folder();
        let config = config(dir.path(), &socket_table(dir.path()));
        Self { dir, config }
    }

    /// With a keyring that the key file and [`WORDS`] open.
    fn with_passphrase() -> Self {
        let bench = Self::new();
        let made = bench.typed(&["init", "--hold", "0s", "--also-passphrase"], &[(NEW, WORDS), (AGAIN, WORDS)]);
        assert_eq!(made.code, Some(0), "{made:?}");
        bench
    }

    /// With a keyring that the key file opens, and nothing else.
    fn with_key_file() -> Self {
        let bench = Self::new();
        let made = bench.run(&["init", "--hold", "0s"]);
        assert_eq!(made.code, 0, "{made:?}");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keyring(&self) -> String {
        std::fs::read_to_string(self.path("keyring")).expect("read")
    }

    fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [words, &["--config", text(&self.config)]].concat()
    }

    fn run(&self, words: &[&str]) -> Ran {
        run(&self.words(words))
    }

    /// Runs a command at a terminal, where each prompt is answered in its turn.
    fn typed(&self, words: &[&str], answers: &[(&str, &str)]) -> Ended {
        let mut terminal = self.terminal(words);
        for (prompt, line) in answers {
            terminal.answer_hidden(prompt, line, SOON).unwrap_or_else(|e| panic!("{words:?}: {e}"));
        }
        let ended = terminal.finish(SOON).expect("ends");
        for shown in [&ended.shown, &ended.out, &ended.err] {
            assert!(!shown.contains(WORDS), "the passphrase was shown: {ended:?}");
        }
        ended
    }

    fn terminal(&self, words: &[&str]) -> Terminal {
        Terminal::run(binary().as_os_str(), &self.words(words)).expect("starts")
    }

    /// Brings version 1 as far as it can be destroyed; its key_id.
    fn disable_first(&self) -> String {
        let old = self.versions()[0].0.clone();
        for step in [&["begin"][..], &["promote"], &["verify", &old, RISK[0], RISK[1]], &["disable", &old, RISK[0], RISK[1]]] {
            self.run(&[&["rotate"], step].concat()).succeeds();
        }
        old
    }

    /// The key_ids, oldest first, with their states.
    fn versions(&self) -> Vec<(String, String)> {
        versions(&self.keyring())
    }
}

fn versions(keyring: &str) -> Vec<(String, String)> {
    let words = keyring.lines().filter_map(|line| line.strip_prefix("version "));
    words
        .map(|line| line.split(' '))
        .map(|mut words| (words.next().expect("id").to_owned(), words.next().expect("state").to_owned()))
        .collect()
}

fn slots(keyring: &str) -> Vec<&str> {
    keyring.lines().filter(|line| line.starts_with("slot ")).collect()
}

fn fails(ended: Ended, code: i32, texts: &[&str]) {
    Ran::try_from(ended).expect("ends by itself").fails(code, texts);
}

#[test]
fn a_passphrase_typed_twice_at_init_opens_the_keyring_when_the_key_file_is_gone() {
    let bench = Bench::with_passphrase();
    assert_eq!(
        slots(&bench.keyring()).iter().map(|slot| slot.split(' ').nth(1).expect("kind")).collect::<Vec<_>>(),
        ["key-file", "passphrase"]
    );
    assert_eq!(bench.run(&["keyring", "verify"]).code, 0, "the key file opens it");
    std::fs::remove_file(bench.path("seal.key")).expect("remove");
    bench.run(&["keyring", "verify"]).fails(3, &["key file:", "No such file"]);
    let verified = bench.typed(&["keyring", "verify", "--ask-passphrase"], &[(ASKED, WORDS)]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let begun = bench.typed(&["rotate", "begin", "--ask-passphrase"], &[(ASKED, WORDS)]);
    assert_eq!(begun.code, Some(0), "{begun:?}");
    assert_eq!(bench.versions().len(), 2);
}

#[test]
fn a_wrong_passphrase_opens_nothing_and_changes_nothing() {
    let bench = Bench::with_passphrase();
    let before = bench.keyring();
    for wrong in ["eleven lilac otters juggle quietlY", "eleven lilac otters juggle quietly ", "", "x"] {
        let texts = ["this is not the secret that the keyring's passphrase slot was made with"];
        fails(bench.typed(&["rotate", "begin", "--ask-passphrase"], &[(ASKED, wrong)]), 3, &texts);
    }
    assert_eq!(bench.keyring(), before);
    let other = Bench::with_key_file();
    let refused = other.typed(&["keyring", "verify", "--ask-passphrase"], &[(ASKED, WORDS)]);
    fails(refused, 3, &["the keyring has no passphrase slot; it has: key-file"]);
}

#[test]
fn a_short_passphrase_or_two_different_ones_make_no_keyring() {
    let bench = Bench::new();
    let init = |answers: &[(&str, &str)]| bench.typed(&["init", "--also-passphrase"], answers);
    // It is not asked for a second time.
    let short = [(NEW, "elevenbytes")];
    fails(init(&short), 2, &["the passphrase has 11 bytes; at least 12 are needed", "Choose a longer one"]);
    let different = [(NEW, WORDS), (AGAIN, "eleven lilac otters juggle loudly")];
    fails(init(&different), 2, &["the two are different", "nothing was changed"]);
    assert!(!bench.path("keyring").exists());
    let resealed = Bench::with_key_file();
    let before = resealed.keyring();
    fails(resealed.typed(&["keyring", "reseal", "--to-passphrase"], &short), 2, &["the passphrase has 11 bytes"]);
    assert_eq!(resealed.keyring(), before);
}

#[test]
fn init_asks_for_no_passphrase_where_a_keyring_stands_already() {
    let bench = Bench::with_key_file();
    let before = bench.keyring();
    let ended = bench.terminal(&["init", "--also-passphrase"]).finish(SOON).expect("ends without a word from anybody");
    assert_eq!(ended.shown, "", "it asked");
    fails(ended, 6, &["cannot make the keyring", "exists already and is left as it is"]);
    assert_eq!(bench.keyring(), before);
}

#[test]
fn the_terminal_is_as_it_was_after_a_prompt_and_after_ctrl_c_at_it() {
    let bench = Bench::with_passphrase();
    // Its own exit code, and whether the terminal has all its modes again.
    let script = "before=$(stty -g); \"$@\"; code=$?; test \"$before\" = \"$(stty -g)\" && exit $code; stty -a; exit 99";
    let ask = bench.words(&["keyring", "verify", "--ask-passphrase"]);
    let arguments = [&["-c", script, "sh", text(binary())], &ask[..]].concat();
    for (keys, code) in [(format!("{WORDS}\n"), 0), ("eleven li\u{3}".to_owned(), 130)] {
        let mut terminal = Terminal::run("sh".as_ref(), &arguments).expect("starts");
        terminal.wait_for(ASKED, SOON).expect("asked");
        terminal.type_keys(&keys).expect("typed");
        let ended = terminal.finish(SOON).expect("ends");
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_eq!(ended.shown, "Passphrase: \r\n");
    }
}

#[test]
fn a_line_at_a_prompt_can_be_edited_and_two_can_be_pasted_and_none_is_cut() {
    let bench = Bench::new();
    let paste = |words: &[&str], prompt: &str, keys: &str| {
        let mut terminal = bench.terminal(words);
        terminal.wait_for(prompt, SOON).expect("asked");
        terminal.type_keys(keys).expect("typed");
        let ended = terminal.finish(SOON).expect("ends");
        assert!(!ended.shown.contains("otters"), "{ended:?}");
        ended
    };
    let both = paste(&["init", "--also-passphrase"], NEW, &format!("{WORDS}\n{WORDS}\n"));
    assert_eq!((both.code, both.shown.as_str()), (Some(0), "New passphrase: \r\nOnce more: \r\n"), "{both:?}");
    let ask = ["keyring", "verify", "--ask-passphrase"];
    // The erase key, and the one that takes the whole line back.
    let edited = paste(&ask, ASKED, &format!("wrong\u{15}{WORDS}x\u{7f}\n"));
    assert_eq!(edited.code, Some(0), "{edited:?}");
    fails(paste(&ask, ASKED, &format!("{WORDS}\u{4}")), 2, &["the terminal ended before the line did"]);
    fails(paste(&ask, ASKED, &format!("{}\n", "otters".repeat(700))), 2, &["the line has more than 4094 bytes"]);
}

#[test]
fn without_a_terminal_no_passphrase_is_asked_and_none_is_taken_from_a_pipe() {
    let bench = Bench::new();
    // setsid: a terminal that the tests themselves were started from is not the command's.
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(binary()).args(bench.words(&["init", "--also-passphrase"]));
    ran(&mut command).fails(2, &["cannot ask for the passphrase", "Run the command at a terminal", "seal.passphrase_credential"]);
    assert!(!bench.path("keyring").exists());
}

#[test]
fn a_passphrase_is_in_no_argument_no_environment_and_no_output() {
    let bench = Bench::new();
    let mut terminal = bench.terminal(&["init", "--also-passphrase"]);
    terminal.answer_hidden(NEW, WORDS, SOON).expect("asked");
    terminal.wait_for(AGAIN, SOON).expect("asked");
    // Between the two prompts the process has it, and does nothing else.
    for name in ["cmdline", "environ", "status", "maps", "comm"] {
        let shown = std::fs::read(format!("/proc/{}/{name}", terminal.pid())).expect("root or its owner may read");
        assert!(!shown.is_empty(), "{name}");
        assert_eq!(leak::found_in(&shown, WORDS.as_bytes()), [""; 0], "{name}");
    }
    terminal.type_hidden(WORDS, SOON).expect("typed");
    let ended = terminal.finish(SOON).expect("ends");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for shown in [ended.shown, ended.out, ended.err, bench.keyring()] {
        assert_eq!(leak::found_in(shown.as_bytes(), WORDS.as_bytes()), [""; 0]);
    }
    // A served passphrase comes from a credential; what the server prints and shows holds it no more.
    let credentials = bench.path("credentials");
    std::fs::create_dir(&credentials).expect("mkdir");
    write(&credentials.join("words"), format!("{WORDS}\n"), 0o400);
    let config = std::fs::read_to_string(&bench.config).expect("read");
    let config =
        config.lines().map(|l| if l.starts_with("key_file") { "passphrase_credential = \"words\"" } else { l }).collect::<Vec<_>>();
    write(&bench.config, config.join("\n"), 0o644);
    let script = "export CREDENTIALS_DIRECTORY=$1; shift; exec \"$@\"";
    let arguments = ["-c", script, "sh", text(&credentials), text(binary()), "serve", "--config", text(&bench.config)];
    let mut plugin = Plugin::spawn("sh".as_ref(), arguments.map(Into::into), &bench.path("kms.sock")).expect("starts");
    plugin.ready().expect("ready");
    let read = |name: &str| std::fs::read(format!("/proc/{}/{name}", plugin.pid())).expect("readable");
    for shown in [read("cmdline"), read("environ"), plugin.printed().into_bytes()] {
        assert!(!shown.is_empty());
        assert_eq!(leak::found_in(&shown, WORDS.as_bytes()), [""; 0]);
    }
    plugin.stop(SOON).expect("stops");
}

#[test]
fn init_refuses_a_machine_bound_credential_without_a_second_way_in() {
    let bench = Bench::new();
    let credentials = bench.path("credentials");
    std::fs::create_dir(&credentials).expect("mkdir");
    write(&credentials.join("seal"), [3; 32], 0o400);
    write(&bench.path("recovery.key"), [4; 32], 0o400);
    let with_key_file = std::fs::read_to_string(&bench.config).expect("read");
    let line = with_key_file.lines().find(|line| line.starts_with("key_file")).expect("line");
    let bound = with_key_file.replace(line, "credential = \"seal\"");
    let unbound = with_key_file.replace(line, "credential = \"seal\"\nmachine_bound = false");
    let command = |words: &[&str]| {
        let mut command = Command::new(binary());
        command.args(bench.words(words)).env("CREDENTIALS_DIRECTORY", &credentials);
        ran(&mut command)
    };

    write(&bench.config, &bound, 0o644);
    command(&["init"]).fails(6, &["may be lost with this machine", "--also-passphrase", "--also-key-file", "machine_bound = false"]);
    assert!(!bench.path("keyring").exists());

    write(&bench.config, &unbound, 0o644);
    assert_eq!(command(&["init"]).code, 0);
    assert_eq!(slots(&bench.keyring()).len(), 1);
    std::fs::remove_file(bench.path("keyring")).expect("remove");

    write(&bench.config, &bound, 0o644);
    let recovery = bench.path("recovery.key");
    assert_eq!(command(&["init", "--also-key-file", text(&recovery)]).code, 0);
    assert_eq!(slots(&bench.keyring()).len(), 2);
    assert_eq!(command(&["keyring", "verify"]).code, 0);

    command(&["keyring", "reseal", "--to-credential", "seal"]).fails(6, &["may be lost with this machine", "--to-passphrase"]);
    assert_eq!(command(&["keyring", "reseal", "--to-credential", "seal", "--to-key-file", text(&recovery)]).code, 0);

    // The machine and its credential are gone; the keyring and the recovery key are not.
    std::fs::remove_file(credentials.join("seal")).expect("remove");
    command(&["keyring", "verify"]).fails(3, &["credential:", "No such file"]);
    write(&bench.config, with_key_file.replace("seal.key", "recovery.key"), 0o644);
    assert_eq!(bench.run(&["keyring", "verify"]).code, 0);
}

#[test]
fn a_resealed_keyring_opens_with_the_new_secrets_only_and_holds_the_same_keys() {
    let bench = Bench::with_key_file();
    assert_eq!(bench.run(&["rotate", "begin"]).code, 0);
    assert_eq!(bench.run(&["rotate", "promote"]).code, 0);
    let (before, versions_before) = (bench.keyring(), bench.versions());
    let plugin = Plugin::configured(binary(), &bench.config, &bench.path("kms.sock")).expect("starts");
    let mut client = kms::Client::connect(plugin.socket()).expect("connects");
    let (key_id, ciphertext) = client.encrypt(b"a seed of before").expect("encrypts");

    // The plugin reads its key file at every load, so the new one stands there before the keyring changes.
    std::fs::rename(bench.path("seal.key"), bench.path("old.key")).expect("rename");
    write(&bench.path("seal.key"), [9; 32], 0o400);
    let (old, new) = (bench.path("old.key"), bench.path("seal.key"));
    let words = ["keyring", "reseal", "--from-key-file", text(&old), "--to-key-file", text(&new), "--to-passphrase"];
    let seen = plugin.log().len();
    let calls = while_called(plugin.socket(), || {
        let resealed = bench.typed(&words, &[(NEW, WORDS), (AGAIN, WORDS)]);
        assert_eq!(resealed.code, Some(0), "{resealed:?}");
        let line = plugin.wait_line(seen, SOON, " INFO keyring reloaded").expect("reloaded");
        assert_eq!(field(&line, "key_id").as_ref(), Some(&key_id));
    });
    assert!(calls > 0, "no call was made meanwhile");
    assert!(!plugin.log().lines().iter().any(|line| line.contains("ERROR")), "{}", plugin.printed());
    assert_eq!(client.decrypt(&key_id, &ciphertext).expect("decrypts"), b"a seed of before");

    let after = bench.keyring();
    assert_eq!(bench.versions(), versions_before, "ids and states are the same");
    assert_eq!(canaries(&after), canaries(&before), "and so are the keys");
    assert!(wrapped(&before).iter().all(|old| !after.contains(old)), "each is wrapped anew");
    assert_eq!(bench.run(&["keyring", "verify"]).code, 0, "the new key file");
    assert_eq!(bench.typed(&["keyring", "verify", "--ask-passphrase"], &[(ASKED, WORDS)]).code, Some(0), "the passphrase");

    // The old secret: it does not fit the new slot, and the root key that its old slot gives is not the new file's.
    std::fs::rename(bench.path("old.key"), bench.path("seal.key")).expect("rename");
    bench.run(&["keyring", "verify"]).fails(3, &["this is not the secret that the keyring's key-file slot was made with"]);
    let old_slot = slots(&before)[0];
    let new_slot = slots(&after).into_iter().find(|slot| slot.starts_with("slot key-file")).expect("slot");
    write(&bench.path("keyring"), after.replace(new_slot, old_slot), 0o600);
    bench.run(&["keyring", "verify"]).fails(3, &["not authentic"]);
    plugin.wait_line(0, SOON, "the keyring file did not load").expect("noticed");
    assert_eq!(client.decrypt(&key_id, &ciphertext).expect("the loaded one goes on serving"), b"a seed of before");
}

#[test]
fn reseal_wants_every_slot_named_and_changes_nothing_when_it_fails() {
    let bench = Bench::with_passphrase();
    let before = bench.keyring();
    bench.run(&["keyring", "reseal"]).fails(2, &["no slot was named", "--to-key-file, --to-credential, --to-token, --to-passphrase"]);
    write(&bench.path("short.key"), [9; 31], 0o400);
    write(&bench.path("open.key"), [9; 32], 0o444);
    write(&bench.path("other.key"), [9; 32], 0o400);
    for (name, text_of) in [("short.key", "the secret has 31 bytes"), ("open.key", "has mode 0444"), ("missing.key", "No such file")] {
        bench.run(&["keyring", "reseal", "--to-key-file", text(&bench.path(name))]).fails(3, &[text_of]);
    }
    let other = bench.path("other.key");
    bench.run(&["keyring", "reseal", "--from-key-file", text(&other), "--to-key-file", text(&other)]).fails(3, &["this is not the secret"]);
    bench.run(&["keyring", "reseal", "--to-credential", "seal"]).fails(3, &["this process was given no credentials"]);
    let dry = bench.run(&["keyring", "reseal", "--to-key-file", text(&other), "--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert!(dry.out.contains("nothing was changed"), "{dry:?}");
    assert_eq!(bench.keyring(), before);
}

#[test]
fn destroy_wants_what_opens_every_slot_for_it_changes_the_root_key() {
    let bench = Bench::with_passphrase();
    let old = bench.disable_first();
    let before = bench.keyring();
    let destroy = ["rotate", "destroy", &old, "--yes-destroy", &old, RISK[0], RISK[1]];
    bench.run(&destroy).fails(2, &["what opens the passphrase slot is not at hand", "--also-passphrase"]);
    assert_eq!(bench.keyring(), before);

    let done = bench.typed(&[&destroy[..], &["--also-passphrase"]].concat(), &[(ASKED, WORDS)]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(bench.versions()[0].1, "destroyed");
    assert!(slots(&before).iter().all(|slot| !bench.keyring().contains(slot)), "every slot was sealed anew");
    assert_eq!(bench.run(&["keyring", "verify"]).code, 0);
    assert_eq!(bench.typed(&["keyring", "verify", "--ask-passphrase"], &[(ASKED, WORDS)]).code, Some(0));
}

#[test]
fn absurd_costs_in_a_file_are_refused_before_any_memory_is_taken() {
    let bench = Bench::with_passphrase();
    let sound = bench.keyring();
    // So much address space is enough for the costs that we use, and not for what the file asks for.
    let limit = format!("--as={}", 160 << 20);
    let limited = |words: &[&str]| ran(Command::new("prlimit").args([&limit, text(binary())]).args(bench.words(words)));
    let asked = || {
        let words = [vec![limit.as_str(), text(binary())], bench.words(&["keyring", "verify", "--ask-passphrase"])].concat();
        let mut terminal = Terminal::run("prlimit".as_ref(), &words).expect("starts");
        terminal.answer_hidden(ASKED, WORDS, SOON).expect("asked");
        terminal.finish(SOON).expect("ends")
    };
    assert_eq!(limited(&["keyring", "verify"]).code, 0);
    for cost in [
        "1048577 3 4",
        "4294967295 3 4",
        "65536 4294967295 4",
        "65536 3 4294967295",
        "65536 3 0",
        "8 3 4",
        "65536 1 4",
        "99999999999999999999 3 4",
    ] {
        let absurd = sound.replacen("argon2id 65536 3 4", &format!("argon2id {cost}"), 1);
        assert_ne!(absurd, sound);
        write(&bench.path("keyring"), &absurd, 0o600);
        let started = std::time::Instant::now();
        limited(&["keyring", "verify"]).fails(3, &["is no slot that this release knows"]);
        fails(asked(), 3, &["is no slot that this release knows"]);
        assert!(started.elapsed() < SOON, "{cost}");
        limited(&["serve"]).fails(3, &["is no slot that this release knows"]);
    }
    // The largest that is allowed, with too little memory: an error, not an abort.
    let largest = sound.replacen("argon2id 65536 3 4", "argon2id 1048576 3 4", 1);
    write(&bench.path("keyring"), largest, 0o600);
    fails(asked(), 3, &["deriving the key of a passphrase failed: out of memory", "64 MiB"]);
}

#[test]
fn what_does_not_open_a_slot_never_takes_its_place_at_destroy() {
    let bench = Bench::with_passphrase();
    let old = bench.disable_first();
    let before = bench.keyring();
    let destroy = ["rotate", "destroy", &old, "--yes-destroy", &old, RISK[0], RISK[1], "--also-passphrase"];
    let mistyped = bench.typed(&destroy, &[(ASKED, "eleven lilac otters juggle loudly")]);
    fails(mistyped, 3, &["what was given does not open the keyring's passphrase slot", "nothing was changed"]);
    write(&bench.path("other.key"), [9; 32], 0o400);
    let other = bench.path("other.key");
    let more = [&destroy[..], &["--also-key-file", text(&other)]].concat();
    fails(bench.typed(&more, &[(ASKED, WORDS)]), 2, &["what was given for a key-file slot opens none that is not open already"]);
    assert_eq!(bench.keyring(), before);
}

#[test]
fn reseal_refuses_an_older_file_that_the_plugin_would_not_serve() {
    let bench = Bench::with_key_file();
    let older = bench.keyring();
    assert_eq!(bench.run(&["rotate", "begin"]).code, 0);
    Plugin::configured(binary(), &bench.config, &bench.path("kms.sock")).expect("starts").stop(SOON).expect("stops");
    write(&bench.path("keyring"), &older, 0o600);
    let key = bench.path("seal.key");
    bench.run(&["keyring", "reseal", "--to-key-file", text(&key)]).fails(3, &["an older copy was put in its place", "accept-restore"]);
    assert_eq!(bench.keyring(), older);
}

#[test]
fn what_is_typed_at_once_after_the_prompt_is_not_shown() {
    let bench = Bench::with_passphrase();
    let mut terminal = bench.terminal(&["keyring", "verify", "--ask-passphrase"]);
    terminal.answer(ASKED, WORDS, SOON).expect("asked");
    let ended = terminal.finish(SOON).expect("ends");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.shown.contains(WORDS), "{}", ended.shown);
}

#[test]
fn every_line_of_the_documented_configuration_is_valid_when_it_is_switched_on() {
    let documented = include_str!("../../docs/config.toml");
    // The tables about tokens and the cluster come last, and each is switched on as a whole.
    let (single, tables) = documented.split_once("\n# Tokens that hold KEKs").expect("tables");
    let off: Vec<&str> = single.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| line.contains(" = ")).collect();
    let names: Vec<&str> = off.iter().map(|line| line.split(' ').next().expect("key")).collect();
    assert_eq!(names, ["node", "machine_bound", "key_file", "passphrase_credential", "token", "gid", "allow_uids"]);
    let credential = documented.lines().find(|line| line.starts_with("credential = ")).expect("line");
    let dir = folder();
    for on in off {
        let switched = documented.replace(&format!("# {on}"), on);
        // One seal at a time.
        let replaces = ["key_file", "passphrase_credential", "token"].iter().any(|other| on.starts_with(other));
        let file = dir.path().join("config.toml");
        // A token that is named has a table.
        let token = "[[token]]\nuri = \"pkcs11:token=kms;serial=0123456789abcdef\"\nmodule = \"/m.so\"\n";
        let switched = if on.starts_with("token") { format!("{switched}\n{token}") } else { switched };
        write(&file, if replaces { switched.replace(credential, "") } else { switched }, 0o644);
        let read = run(&["status", "--config", text(&file)]);
        assert!(!read.err.contains("cannot read the configuration"), "{on}: {}", read.err);
        assert_eq!(read.code, 5, "the socket was looked for: {read:?}");
    }
    let tables = tables.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| line.starts_with('[') || line.contains(" = "));
    // Of the two sources of a PIN one at a time.
    let tables: Vec<&str> = tables.filter(|line| !line.starts_with("pin_file")).collect();
    assert_eq!(tables.iter().filter(|line| line.starts_with('[')).copied().collect::<Vec<_>>().len(), 3, "{tables:?}");
    let file = dir.path().join("config.toml");
    write(&file, format!("{single}\n{}\n", tables.join("\n")), 0o644);
    assert_eq!(run(&["status", "--config", text(&file)]).code, 5, "the socket was looked for");
}

/// Encrypts and decrypts on a connection of its own while `work` is done; the number of round trips, none of which failed.
fn while_called(socket: &Path, work: impl FnOnce()) -> u32 {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| {
            let mut client = kms::Client::connect(socket).expect("connects");
            let mut calls = 0;
            while !done.load(Ordering::Relaxed) {
                let (key_id, ciphertext) = client.encrypt(b"a seed of meanwhile").expect("encrypts");
                assert_eq!(client.decrypt(&key_id, &ciphertext).expect("decrypts"), b"a seed of meanwhile");
                calls += 1;
            }
            calls
        });
        // Whatever becomes of the work, the calls end.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let calls = calls.join().expect("no call failed");
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        calls
    })
}

/// The canary of each version, by key_id: it commits to the key.
fn canaries(keyring: &str) -> BTreeMap<String, String> {
    by_word(keyring, "canary")
}

/// The wrapped key of each version.
fn wrapped(keyring: &str) -> Vec<String> {
    by_word(keyring, "wrapped").into_values().collect()
}

fn by_word(keyring: &str, word: &str) -> BTreeMap<String, String> {
    let lines = keyring.lines().filter(|line| line.starts_with("version "));
    let pairs = lines.map(|line| {
        let mut words = line.split(' ').skip(1);
        let key_id = words.next().expect("key_id").to_owned();
        let value = words.skip_while(|found| *found != word).nth(1).unwrap_or_else(|| panic!("{word} is missing"));
        (key_id, value.to_owned())
    });
    pairs.collect()
}
