//! Whatever is wrong with a token, its module, its PIN or a key: an exit code, what was found and what to do; and nothing is changed, neither in the
//! token nor in the file.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use keywright_testbed::ran::Ran;
use keywright_testbed::tokens::{Fake, Guarded, Hsm, Token};

use crate::place::{Place, SOON, bytes_of, folder, local_keyring, objects, write};

const BEGIN: [&str; 4] = ["rotate", "begin", "--provider", "pkcs11"];
const INIT: [&str; 3] = ["init", "--provider", "pkcs11"];

/// Runs `words`, which fail, and asserts that neither the keyring nor a token is changed by them.
#[track_caller]
fn fails(place: &Place, tokens: &[&Token], words: &[&str], code: i32, texts: &[&str]) {
    let before = (std::fs::read(place.keyring()).ok(), objects(tokens));
    let ran = place.run(words);
    no_pin(&ran, tokens);
    ran.fails(code, texts);
    let after = (std::fs::read(place.keyring()).ok(), objects(tokens));
    assert!(after == before, "{words:?} changed something");
}

#[track_caller]
fn no_pin(ran: &Ran, tokens: &[&Token]) {
    for token in tokens {
        assert!(!ran.err.contains(token.pin()) && !ran.out.contains(token.pin()), "the PIN is shown: {ran:?}");
    }
}

/// Three commands that need the token: the first keyring, one more version, and the plugin.
fn all_fail(place: &Place, made: &Place, tokens: &[&Token], code: i32, texts: &[&str]) {
    fails(place, tokens, &INIT, code, texts);
    fails(made, tokens, &BEGIN, code, texts);
    // The same where nothing but the new key is in the token: no attempt is on record for what could not begin.
    let kept = made.text();
    write(&made.keyring(), local_keyring(), 0o600);
    fails(made, tokens, &BEGIN, code, texts);
    write(&made.keyring(), &kept, 0o600);
    fails(made, tokens, &["serve"], code, texts);
}

fn one(dir: &Path) -> Token {
    Hsm::softhsm(dir).expect("module").token("one", "a-pin-of-12345678").expect("token")
}

fn pin_file(place: &Place, token: &Token) -> std::path::PathBuf {
    place.dir().join(format!("pin-{}", token.serial()))
}

#[test]
fn a_module_that_is_not_there_or_is_no_module_is_named_with_what_is_wrong() {
    let dir = folder();
    let token = one(dir.path());
    let (place, made) = (Place::new(&[&token]), Place::made(&[&token], "one", &[]));
    let library = token.hsm().module().parent().and_then(Path::parent).expect("two folders up").join("libm.so.6");
    let mut module = token.hsm().module().display().to_string();
    for (file, texts) in [
        ("/no/such/module.so", ["its module is refused: /no/such/module.so: No such file", "absolute path in `token.module`"]),
        ("/usr/lib", ["its module is refused: /usr/lib is not a regular file", "absolute path in `token.module`"]),
        ("/etc/passwd", ["its module /etc/passwd: it does not load", "names the vendor's PKCS#11 library"]),
        (library.to_str().expect("text"), ["it is no PKCS#11 module: it has no C_GetFunctionList", "names the vendor's PKCS#11 library"]),
    ] {
        for place in [&place, &made] {
            place.edit(&format!("module = \"{module}\""), &format!("module = \"{file}\""));
        }
        module = file.to_owned();
        all_fail(&place, &made, &[&token], 3, &texts);
    }
    for place in [&place, &made] {
        place.edit(&format!("module = \"{module}\""), "module = \"libsofthsm2.so\"");
    }
    all_fail(&place, &made, &[&token], 3, &["`token.module` must be an absolute path"]);
}

#[test]
fn a_module_that_others_could_exchange_is_not_loaded() {
    let dir = folder();
    let token = one(dir.path());
    let (place, made) = (Place::new(&[&token]), Place::made(&[&token], "one", &[]));
    let module = token.hsm().module().display().to_string();
    let copy = dir.path().join("module.so");
    std::fs::copy(&module, &copy).expect("copies");
    for place in [&place, &made] {
        place.edit(&module, copy.to_str().expect("text"));
    }
    let next = "it and every folder above it must be root's, and writable by nobody else";
    let mode = |mode| std::fs::set_permissions(&copy, PermissionsExt::from_mode(mode)).expect("chmod");
    for bad in [0o666, 0o664, 0o757] {
        mode(bad);
        all_fail(&place, &made, &[&token], 3, &[&format!("module.so has mode {bad:04o}, which lets others put another module"), next]);
    }
    mode(0o644);
    chown(&copy, Some(12_345), None).expect("chown");
    all_fail(&place, &made, &[&token], 3, &["module.so belongs to uid 12345, not to root", next]);
    chown(&copy, Some(0), None).expect("chown");
    // The folder above it is everybody's.
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).expect("chmod");
    all_fail(&place, &made, &[&token], 3, &[&format!("{} has mode 0777", dir.path().display()), next]);
    // Who asks for it gets it, for tests.
    for place in [&place, &made] {
        place.edit("away_after", "insecure_module_owner = true\naway_after");
    }
    place.init(&INIT[1..]);
    made.json(&BEGIN);
}

#[test]
fn a_token_that_is_not_the_named_one_is_said_with_those_that_are_there() {
    let dir = folder();
    let token = one(dir.path());
    let other = token.hsm().token("other", "another-pin-1234").expect("token");
    let (place, made) = (Place::new(&[&token]), Place::made(&[&token], "one", &[]));
    let tokens = [&token, &other];
    let (uri, missing) = (token.uri(), "no token of this label and serial number");
    let seen = [token.serial(), other.serial()];
    for wrong in [
        uri.replace("token=one", "token=two"),
        uri.replace(token.serial(), "0123456789abcdef"),
        uri.replace(token.serial(), other.serial()),
    ] {
        // Of the keyring made before, the version is in a token that has no table now.
        place.edit(&uri, &wrong);
        fails(&place, &tokens, &INIT, 3, &[missing, seen[0], seen[1], "correct label and serial number in `token.uri`"]);
        place.edit(&wrong, &uri);
        made.edit(&uri, &wrong);
        fails(
            &made,
            &tokens,
            &["serve"],
            3,
            &["the configuration has no [[token]] with this label and serial number", "Add a [[token]] table"],
        );
        made.edit(&wrong, &uri);
    }
    fails(&place, &tokens, &["init", "--token", "two"], 3, &["no token with the label `two`", "Add a [[token]] table"]);
    fails(&made, &tokens, &["rotate", "begin", "--token", "two"], 3, &["no token with the label `two`", "Add a [[token]] table"]);
    let words = ["init", "--provider", "local", "--token", "one"];
    fails(&place, &tokens, &words, 2, &["--token, --algorithm and --iv are for keys in a token"]);
    place.edit(&uri, &uri.replace(";serial", ";pin-value=a-pin-of-12345678;serial"));
    fails(&place, &tokens, &INIT, 3, &["a PIN must not stand in a URI"]);
}

#[test]
fn a_token_that_is_gone_ends_a_command_and_nothing_is_made_when_it_is_back() {
    let dir = folder();
    let token = one(dir.path());
    let fake = Fake::new(dir.path()).expect("module");
    let pulled = fake.hsm().token("pulled", "a-pin-of-12345678").expect("token");
    for (token, code, texts) in [
        (&token, 5, ["token `one`", "C_Initialize returned CKR_GENERAL_ERROR", "Look at the token and into the log of its module"]),
        (&pulled, 3, ["token `pulled`", "it has none", "Put the token in"]),
    ] {
        let (place, made) = (Place::new(&[token]), Place::made(&[token], token.label(), &[]));
        let local = Place::new(&[token]);
        local.init(&[]);
        let before = (made.text(), local.text(), objects(&[token]));
        let away = |away: bool| match (code, away) {
            (5, true) => token.hsm().take_away().expect("pulls it"),
            (5, false) => token.hsm().put_back().expect("puts it back"),
            (_, away) => fake.script(if away { "gone" } else { "" }).expect("script"),
        };
        away(true);
        for (place, words) in [(&place, &INIT[..]), (&made, &BEGIN), (&local, &BEGIN)] {
            let ran = place.run(words);
            no_pin(&ran, &[token]);
            ran.fails(code, &texts);
        }
        away(false);
        assert!((made.text(), local.text(), objects(&[token])) == before, "something was changed");
        assert!(!place.keyring().exists());
        place.init(&INIT[1..]);
        for place in [&made, &local] {
            place.json(&BEGIN);
            assert!(place.orphans().is_empty());
        }
    }
}

#[test]
fn another_key_of_the_same_name_is_refused_and_left_where_it_is() {
    let dir = folder();
    let token = one(dir.path());
    let place = Place::made(&[&token], "one", &[]);
    let key = token.objects().expect("objects").remove(0);
    let id = bytes_of(&key.id);
    let check = |texts: &[&str]| {
        fails(&place, &[&token], &["serve"], 3, texts);
        fails(&place, &[&token], &["keyring", "verify"], 4, &texts[..1]);
    };
    token.make_key(&key.label, &id, Guarded::Fully).expect("key");
    check(&["it has 2 keys with label", "See where the second key came from"]);
    // One of another label is none of ours.
    for _ in 0..2 {
        token.destroy_key(&id).expect("destroys one");
    }
    token.make_key("another", &id, Guarded::Fully).expect("key");
    check(&["it has no key with label", "See that this is the token that the keyring was made with"]);
    token.make_key(&key.label, &id, Guarded::Extractable).expect("key");
    check(&["the key can leave the token or once could: its CKA_EXTRACTABLE is not false"]);
    for _ in 0..2 {
        token.destroy_key(&id).expect("destroys one");
    }
    token.make_key(&key.label, &id, Guarded::Readable).expect("key");
    check(&["the key can leave the token or once could: its CKA_SENSITIVE is not true"]);
    token.destroy_key(&id).expect("destroys it");
    token.make_key(&key.label, &id, Guarded::Fully).expect("key");
    fails(&place, &[&token], &["serve"], 3, &["does not open its canary"]);
    fails(&place, &[&token], &["keyring", "verify"], 4, &["does not open its canary"]);
}

#[test]
fn a_token_without_gcm_is_said_to_have_none_and_the_other_algorithm_is_chosen_by_hand() {
    let dir = folder();
    let fake = Fake::new(dir.path()).expect("module");
    let token = fake.hsm().token("one", "a-pin-of-12345678").expect("token");
    let (place, made, local) = (Place::new(&[&token]), Place::made(&[&token], "one", &[]), Place::new(&[&token]));
    local.init(&[]);
    fake.script("no-gcm").expect("script");
    let texts = ["it cannot do CKM_AES_GCM", "--algorithm aes-256-cbc-hmac-sha-256"];
    fails(&place, &[&token], &INIT, 3, &texts);
    fails(&made, &[&token], &BEGIN, 3, &texts);
    fails(&local, &[&token], &BEGIN, 3, &texts);
    place.init(&[&INIT[1..], &["--algorithm", "aes-256-cbc-hmac-sha-256"]].concat());
    assert_eq!(place.column("algorithm"), ["aes-256-cbc-hmac-sha-256"]);
}

#[test]
fn a_wrong_pin_is_given_once_and_a_right_one_after_it_is_taken() {
    let dir = folder();
    let fake = Fake::new(dir.path()).expect("module");
    let token = fake.hsm().token("one", "a-pin-of-12345678").expect("token");
    let (place, made, local) = (Place::new(&[&token]), Place::made(&[&token], "one", &[]), Place::new(&[&token]));
    local.init(&[]);
    for (place, words) in [(&place, &INIT[..]), (&made, &BEGIN), (&local, &BEGIN), (&made, &["serve"])] {
        write(&pin_file(place, &token), format!("wrong-{}", words[0]), 0o600);
        fake.forget_calls().expect("forgets");
        let before = (std::fs::read(place.keyring()).ok(), kept(&token));
        let first = place.run(words);
        assert!(!first.err.contains("wrong-"), "{first:?}");
        first.fails(3, &["it refused the PIN", "Correct the PIN in its credential or file"]);
        for _ in 0..5 {
            let again = place.run(words);
            assert!(!again.err.contains("wrong-"), "{again:?}");
            again.fails(3, &["was not taken, so it is not given again; the record is", "another one is given at once"]);
        }
        assert_eq!(fake.calls().expect("calls").count("C_Login"), 1, "{words:?}");
        write(&pin_file(place, &token), token.pin(), 0o600);
        // A login that is not ours, so that the token does not count to three.
        token.objects().expect("logs in");
        assert!((std::fs::read(place.keyring()).ok(), kept(&token)) == before, "{words:?} changed something");
    }
    place.init(&INIT[1..]);
    made.json(&BEGIN);
    drop(made.serve());
}

/// As [`objects`], without a login, which would be in the log of calls and take back wrong PINs.
fn kept(token: &Token) -> Vec<String> {
    let folder = Path::new(token.hsm().env().expect("a variable").1);
    let state = std::fs::read_to_string(folder.join("state")).expect("its state");
    state.lines().filter(|line| !line.starts_with("token ")).map(str::to_owned).collect()
}

#[test]
fn no_pin_is_given_to_a_token_that_would_lock_and_a_locked_one_is_said_to_be() {
    let dir = folder();
    let fake = Fake::new(dir.path()).expect("module");
    let token = fake.hsm().token("one", "a-pin-of-12345678").expect("token");
    let (place, made) = (Place::new(&[&token]), Place::made(&[&token], "one", &[]));
    for (rule, texts) in [
        ("pin-final", ["the next wrong PIN locks it, so none was given", "reset the counter"]),
        ("pin-locked", ["its PIN is locked", "security officer"]),
    ] {
        let before = kept(&token);
        fake.script(rule).expect("script");
        fake.forget_calls().expect("forgets");
        for (place, words) in [(&place, &INIT[..]), (&made, &BEGIN), (&made, &["serve"])] {
            place.run(words).fails(3, &texts);
        }
        if rule == "pin-final" {
            assert_eq!(fake.calls().expect("calls").count("C_Login"), 0);
        }
        fake.script("").expect("script");
        assert_eq!(kept(&token), before);
    }
}

#[test]
fn a_pin_file_that_cannot_be_one_is_said_to_be_and_its_content_is_never_shown() {
    let dir = folder();
    let token = one(dir.path());
    let (place, made) = (Place::new(&[&token]), Place::made(&[&token], "one", &[]));
    let (inside, twice) = (format!("{}\nmore", token.pin()), format!("{}\n\n", token.pin()));
    let (line, alone) = ("it has a line end or another control character in it", "Write the PIN alone into it");
    for (content, mode, texts) in [
        (inside.as_str(), 0o600, [line, alone]),
        (&twice, 0o600, [line, alone]),
        ("tab\tinside", 0o600, [line, alone]),
        ("", 0o600, ["it is empty", alone]),
        ("\n", 0o600, ["it is empty", alone]),
        (&"x".repeat(256), 0o600, ["it has more than 255 bytes", alone]),
        (&"x".repeat(5000), 0o600, ["has more than 4096 bytes", "pin_file"]),
        (token.pin(), 0o644, ["has mode 0644, which lets others", "pin_file"]),
        (token.pin(), 0o640, ["has mode 0640, which lets others", "pin_file"]),
    ] {
        for place in [&place, &made] {
            write(&pin_file(place, &token), content, mode);
        }
        all_fail(
            &place,
            &made,
            &[&token],
            3,
            &[&[pin_file(&place, &token).file_name().and_then(|n| n.to_str()).expect("text")], &texts[..]].concat(),
        );
    }
    for place in [&place, &made] {
        std::fs::remove_file(pin_file(place, &token)).expect("removes");
    }
    all_fail(&place, &made, &[&token], 3, &["No such file", "pin_file"]);
    for place in [&place, &made] {
        write(&pin_file(place, &token), format!("{}\n", token.pin()), 0o400);
    }
    place.init(&INIT[1..]);
    made.json(&BEGIN);
}

#[test]
fn without_a_pin_and_a_terminal_nobody_is_asked() {
    let dir = folder();
    let token = one(dir.path());
    let (place, made) = (Place::new(&[&token]), Place::made(&[&token], "one", &[]));
    for place in [&place, &made] {
        let line = format!("pin_file = \"{}\"\n", pin_file(place, &token).display());
        place.edit(&line, "");
    }
    // Without the terminal from which the tests may have been started.
    let apart = |place: &Place, words: &[&str]| {
        let mut command: Command = place.behind("setsid", &["--wait"], words);
        Ran::within(&mut command, SOON).expect("ends by itself")
    };
    for (place, words) in [(&place, &INIT[..]), (&made, &BEGIN), (&made, &["serve"])] {
        let before = objects(&[&token]);
        apart(place, words).fails(3, &["its PIN:", "Set `pin_credential`"]);
        assert!(objects(&[&token]) == before);
    }
    for place in [&place, &made] {
        place.edit("away_after", "pin_credential = \"kms-pin\"\naway_after");
    }
    all_fail(&place, &made, &[&token], 3, &["credential `kms-pin`: this process was given no credentials", "LoadCredential="]);
}
