//! SIGKILL in the midst of what makes or destroys a key in a token: the keyring is whole, what may have been made is listed and never used, and the
//! command run again comes to its end.

use std::collections::BTreeSet;
use std::path::PathBuf;

use keywright_testbed::process::{Process, ending};
use keywright_testbed::tokens::{Fake, Hsm, Token};

use crate::place::{Place, SOON, folder, id_in, ids, objects};

const INIT: [&str; 3] = ["init", "--provider", "pkcs11"];
const BEGIN: [&str; 4] = ["rotate", "begin", "--provider", "pkcs11"];
const CBC: [&str; 2] = ["--algorithm", "aes-256-cbc-hmac-sha-256"];

fn token(fake: &Fake) -> Token {
    fake.hsm().token("one", "12345678").expect("token")
}

/// Runs `words` until a call of `C_<call>` hangs in the module, and kills it there.
fn killed_in(place: &Place, fake: &Fake, words: &[&str], call: &str) {
    fake.forget_calls().expect("forgets");
    fake.script(&format!("hang {call}")).expect("script");
    killed_once(place, fake, words, &[call]);
}

/// The same, where the script makes the first of `calls` hang: each in turn is let go, into the next that hangs. Killed in the last.
fn killed_once(place: &Place, fake: &Fake, words: &[&str], calls: &[&str]) {
    let mut command = place.start(words);
    for (at, call) in calls.iter().enumerate() {
        let inside = fake.wait_inside(&format!("C_{call}"), 1, SOON);
        inside.unwrap_or_else(|e| panic!("{e}: {}", command.err().tail(5)));
        if let Some(next) = calls.get(at + 1) {
            fake.script(&format!("hang {next}")).expect("script");
        }
    }
    command.kill().expect("kills");
    fake.script("").expect("script");
    fake.forget_calls().expect("forgets");
}

/// Every version is proved, and the keyring serves.
fn whole(place: &Place, versions: &[&str]) {
    place.json(&["keyring", "verify"]);
    assert_eq!(place.column("state"), versions);
    let _plugin = place.serve();
    let wrapped = place.client().encrypt();
    place.client().opens(&[&wrapped]);
}

#[test]
fn an_init_that_is_killed_leaves_no_keyring_and_the_next_takes_another_id() {
    let dir = folder();
    let fake = Fake::new(dir.path()).expect("module");
    let token = token(&fake);
    let place = Place::new(&[&token]);
    let mut left = 0;
    // Before the key is made; while it makes its canary, when it is; and while it is looked at again.
    for (call, made) in [("GenerateKey", 0), ("EncryptInit", 1), ("DecryptInit", 1)] {
        killed_in(&place, &fake, &INIT, call);
        left += made;
        assert!(!place.keyring().exists(), "{call}");
        assert_eq!(ids(&token).len(), left, "{call}");
        place.run(&["serve"]).fails(3, &["No such file", "keywright init"]);
    }
    let orphans = objects(&[&token]);
    place.init(&INIT[1..]);
    whole(&place, &["primary"]);
    let key = place.in_tokens()["keys"][0]["key"].as_str().map(id_in).expect("text");
    assert!(orphans[0].iter().all(|object| object.id != key));
    assert_eq!(ids(&token).len(), left + 1, "what is left is left: nothing deletes it");
}

#[test]
fn a_begin_that_is_killed_lists_its_key_as_one_of_no_version_and_the_next_takes_another_id() {
    let dir = folder();
    let fake = Fake::new(dir.path()).expect("module");
    let token = token(&fake);
    for (more, each) in [(&[][..], 1), (&CBC[..], 2)] {
        let place = Place::new(&[&token]);
        // So that no call of the module is about another key than the one that is made.
        place.init(&[]);
        let words = [&BEGIN[..], more].concat();
        let before: BTreeSet<String> = ids(&token).into_iter().collect();
        let mut seen = BTreeSet::new();
        for (call, made) in [("GenerateKey", false), ("EncryptInit", true), ("DecryptInit", true)] {
            killed_in(&place, &fake, &words, call);
            let orphans: BTreeSet<String> = place.orphans().into_iter().collect();
            assert!(orphans.is_superset(&seen), "{call}: what was listed is listed still");
            assert_eq!(orphans.len(), seen.len() + each, "{call}: each attempt has ids of its own");
            let there: BTreeSet<String> = ids(&token).into_iter().filter(|id| !before.contains(id)).collect();
            assert!(there.is_subset(&orphans), "{call}: what the token has is listed: {there:?}, {orphans:?}");
            assert_eq!(orphans.difference(&seen).all(|id| there.contains(id)), made, "{call}");
            let text = place.run(&["keyring", "show"]).succeeds();
            // The first attempt was killed before its key was made.
            assert!(text.contains("and not seen"), "{call}: {text}");
            assert!(text.contains("there, and of no version") == made, "{call}: {text}");
            whole(&place, &["primary"]);
            seen = orphans;
        }
        let there = ids(&token);
        let begun = place.json(&words);
        assert_eq!(begun["changed"], true);
        place.json(&["rotate", "promote"]);
        whole(&place, &["retired", "primary"]);
        let new: Vec<String> = ids(&token).into_iter().filter(|id| !there.contains(id)).collect();
        assert_eq!(new.len(), each);
        assert!(new.iter().all(|id| !seen.contains(id)), "an id of an attempt that was killed is used again");
        assert_eq!(place.orphans().into_iter().collect::<BTreeSet<_>>(), seen, "its own attempt is one no longer, the others stay");
    }
}

#[test]
fn a_destroy_that_is_killed_between_the_token_and_the_file_goes_on_when_it_is_run_again() {
    let dir = folder();
    let fake = Fake::new(dir.path()).expect("module");
    let token = token(&fake);
    for (more, each) in [(&[][..], 1), (&CBC[..], 2)] {
        // In the first call to destroy; after it; with two keys, in the second; and after both, before the file is written.
        let stops: &[(&[&str], usize)] = if each == 1 {
            &[(&["DestroyObject"], 0), (&["DestroyObject", "FindObjectsInit"], 1)]
        } else {
            &[
                (&["DestroyObject"], 0),
                (&["DestroyObject", "FindObjectsInit"], 1),
                (&["DestroyObject", "FindObjectsInit", "DestroyObject"], 1),
            ]
        };
        for (calls, gone) in stops {
            let place = Place::new(&[&token]);
            place.init(&[&INIT[1..], more].concat());
            place.rotate(&["--provider", "local"]);
            let first = place.key_ids().remove(0);
            place.retire(&first);
            let (there, text) = (ids(&token).len(), place.text());
            fake.forget_calls().expect("forgets");
            fake.script("hang DestroyObject").expect("script");
            killed_once(&place, &fake, &Place::destroying(&first), calls);
            assert_eq!(ids(&token).len(), there - gone, "{calls:?}");
            assert_eq!(place.text(), text, "{calls:?}: the file says so only when it is true");
            assert_eq!(place.column("state"), ["disabled", "primary"]);
            // A plugin starts: what it cannot find is needed by nobody.
            let _plugin = place.serve();
            assert_eq!(place.json(&Place::destroying(&first))["changed"], true, "{calls:?}");
            assert_eq!(ids(&token).len(), there - each, "{calls:?}");
            whole_of(&place);
            assert!(place.orphans().is_empty(), "{calls:?}");
        }
    }
}

fn whole_of(place: &Place) {
    place.json(&["keyring", "verify"]);
    assert_eq!(place.column("state"), ["destroyed", "primary"]);
    place.loaded();
    let wrapped = place.client().encrypt();
    place.client().opens(&[&wrapped]);
}

/// The system calls by which a file is made durable and takes its place; SoftHSM makes neither.
const CHANGING: [&str; 2] = ["fsync", "renameat2"];

/// Runs `words` and ends it with SIGKILL at the call number `nth` of that name; false if it makes fewer and comes to its end.
fn killed_at(place: &Place, words: &[&str], call: &str, nth: usize) -> bool {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={nth}"));
    let mut command = place.behind("strace", &["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject, "--"], words);
    let mut process = Process::spawn("strace", &mut command).expect("strace is there");
    let ended = ending(process.wait(SOON).expect("ends"));
    assert!(ended == "signal 9" || ended == "exit 0", "{ended}: {}", process.err().tail(5));
    ended == "signal 9"
}

/// Every point at which a command was killed, each on a machine of its own that `before` makes.
fn at_every_point(words: impl Fn(&Place) -> Vec<String>, before: impl Fn(&Token) -> Place, check: impl Fn(&Place, &Token, &str)) -> usize {
    let mut points = 0;
    for call in CHANGING {
        for nth in 1.. {
            let dir = folder();
            let token = Hsm::softhsm(dir.path()).expect("module").token("one", "12345678").expect("token");
            let place = before(&token);
            let words = words(&place);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let killed = killed_at(&place, &words, call, nth);
            // Killed in the login, it leaves a record of the PIN; the right one is given once more, and nobody has to look.
            assert!(killed || latch(&place).is_none(), "{call} {nth}");
            check(&place, &token, &format!("{call} {nth}"));
            if !killed {
                break;
            }
            points += 1;
        }
    }
    points
}

/// The record of a PIN that was given and, as far as is known, not taken.
fn latch(place: &Place) -> Option<PathBuf> {
    let state = std::fs::read_dir(place.dir().join("state")).expect("the state directory");
    let mut files = state.map(|entry| entry.expect("readable").path());
    files.find(|path| path.extension().is_none() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pin-latch-")))
}

#[test]
fn a_plugin_that_is_killed_in_its_login_starts_again_by_itself_once_and_after_that_names_the_record_to_remove() {
    let dir = folder();
    let fake = Fake::new(dir.path()).expect("module");
    let token = token(&fake);
    let place = Place::made(&[&token], "one", &[]);
    assert!(latch(&place).is_none());
    killed_in(&place, &fake, &["serve"], "Login");
    assert!(latch(&place).is_some(), "what became of the PIN nobody knows");
    whole(&place, &["primary"]);
    assert!(latch(&place).is_none(), "the token took it");

    killed_in(&place, &fake, &["serve"], "Login");
    killed_in(&place, &fake, &["serve"], "Login");
    let record = latch(&place).expect("a record");
    for words in [&["serve"][..], &["rotate", "begin"], &["serve"]] {
        place.run(words).fails(3, &["it is not given again", record.to_str().expect("text"), "remove that record"]);
    }
    assert_eq!(fake.calls().expect("calls").count("C_Login"), 0, "a restart loop gives no PIN");
    std::fs::remove_file(record).expect("removes");
    whole(&place, &["primary"]);
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn an_init_in_softhsm_that_is_killed_while_it_writes_leaves_no_keyring_or_a_whole_one() {
    let check = |place: &Place, token: &Token, at: &str| {
        if !place.keyring().exists() {
            let left = ids(token);
            place.init(&INIT[1..]);
            assert_eq!(ids(token).len(), left.len() + 1, "{at}");
        }
        place.run(&INIT).fails(6, &["exists already and is left as it is"]);
        whole(place, &["primary"]);
    };
    let points = at_every_point(|_| owned(&INIT), |token| Place::new(&[token]), check);
    assert!(points >= 3, "{points} points");
}

#[test]
fn a_begin_in_softhsm_that_is_killed_while_it_writes_lists_what_it_made_and_can_be_run_again() {
    let before = |token: &Token| {
        let place = Place::new(&[token]);
        place.init(&[]);
        place
    };
    let check = |place: &Place, token: &Token, at: &str| {
        place.json(&["keyring", "verify"]);
        let (orphans, there) = (place.orphans(), ids(token));
        let staged = place.column("state").len() == 2;
        assert!(orphans.len() <= 1 && there.len() <= 1 && (orphans.is_empty() || !staged), "{at}: {orphans:?}, {there:?}");
        if !staged {
            assert!(there.iter().all(|id| orphans.contains(id)), "{at}: {there:?} is not listed");
        }
        let again = place.json(&BEGIN);
        assert_eq!(again["changed"], !staged, "{at}");
        place.json(&["rotate", "promote"]);
        whole(place, &["retired", "primary"]);
        assert_eq!(place.orphans(), orphans, "{at}");
        let new: Vec<String> = ids(token).into_iter().filter(|id| staged || !there.contains(id)).collect();
        assert!(new.len() == 1 && !orphans.contains(&new[0]), "{at}");
    };
    let points = at_every_point(|_| owned(&BEGIN), before, check);
    assert!(points >= 6, "{points} points");
}

#[test]
fn a_destroy_in_softhsm_that_is_killed_while_it_writes_goes_on_when_it_is_run_again() {
    let before = |token: &Token| {
        let place = Place::made(&[token], "one", &[]);
        place.rotate(&["--provider", "local"]);
        place.retire(&place.key_ids()[0]);
        place
    };
    let check = |place: &Place, token: &Token, at: &str| {
        let first = place.key_ids().remove(0);
        let done = place.column("state") == ["destroyed", "primary"];
        let there = ids(token);
        assert!(!done || there.is_empty(), "{at}: the file says destroyed, and the key is there");
        assert_eq!(place.json(&Place::destroying(&first))["changed"], !done, "{at}");
        whole(place, &["destroyed", "primary"]);
        assert!(ids(token).is_empty() && place.orphans().is_empty(), "{at}");
    };
    let points = at_every_point(|place| owned(&Place::destroying(&place.key_ids()[0])), before, check);
    assert!(points >= 3, "{points} points");
}
