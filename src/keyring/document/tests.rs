//! Format 2: keys, slots and attempts in tokens.

use super::*;
use crate::keyring::create::tests::document_with;
use crate::provider::pkcs11::TokenName;

fn key(id: u8) -> KeyAt {
    KeyAt { token: TokenName { label: "kms".into(), serial: "0a1b".into() }, label: "keywright-73616d706c652d31".into(), id: [id; 16] }
}

/// Its first version has a key in a token, with an algorithm that needs two keys if `mac`.
fn document(mac: bool) -> (Document, SecretKey) {
    let (mut document, keys) = document_with(StateLabel::Retired);
    let version = &mut document.versions[0];
    version.algorithm = if mac { Algorithm::Aes256CbcHmacSha256 } else { Algorithm::Aes256Gcm };
    version.canary = Canary::new(version.algorithm, vec![0xc5; Canary::len(version.algorithm)]).expect("as long as it must be");
    version.home = Home::Token(Box::new(InToken { at: key(1), mac: mac.then_some([2; 16]), iv: IvFrom::Host }));
    document.attempts.push(Attempt { at: version.created, key: key(3) });
    (document, keys.authenticate)
}

#[test]
fn a_keyring_that_names_a_token_is_of_format_2_and_read_as_it_was_written() {
    for mac in [false, true] {
        let (document, authenticate) = document(mac);
        let text = document.write(&authenticate);
        assert!(text.starts_with("keywright-keyring 2\n"), "{text}");
        let read = Document::parse(&text).expect("parses");
        assert_eq!(read.write(&authenticate), text);
        Document::authenticate(&text, &authenticate).expect("authentic");
        assert_eq!(read.versions[0].in_token(), document.versions[0].in_token());
        assert_eq!(read.versions[0].canary, document.versions[0].canary);
        assert_eq!(read.attempts, document.attempts);
    }
}

#[test]
fn a_keyring_that_names_no_token_stays_of_format_1() {
    let (document, keys) = document_with(StateLabel::Retired);
    assert!(document.write(&keys.authenticate).starts_with("keywright-keyring 1\n"));
    let (mut document, authenticate) = self::document(false);
    document.versions.remove(0);
    assert_eq!(document.format(), 2, "an attempt alone names a token");
    document.attempts.clear();
    assert_eq!(document.format(), 1);
    // Of the other format, all else alike.
    let text = document.write(&authenticate).replacen("keyring 1\n", "keyring 2\n", 1);
    assert!(matches!(Document::parse(&text), Err(DocumentError::Line { .. })));
}

#[test]
fn what_does_not_fit_together_is_refused_with_its_line() {
    let (document, authenticate) = document(false);
    let text = document.write(&authenticate);
    let at = document.versions[0].in_token().expect("in a token").at.to_string();
    let mac = format!(" mac {}", "02".repeat(16));
    let cases = [
        ("the algorithm of local keys", text.replacen("pkcs11 aes-256-gcm", "pkcs11 xaes-256-gcm", 1)),
        ("an algorithm of tokens for a local key", text.replacen("local xaes-256-gcm", "local aes-256-gcm", 1)),
        ("another provider", text.replacen("pkcs11 aes", "pkcs12 aes", 1)),
        ("a canary of another length", text.replacen("canary c5", "canary ", 1)),
        ("no place", text.replacen(&format!(" at {at}"), "", 1)),
        ("a place in another form", text.replacen("%01", "%1", 1)),
        ("no iv", text.replacen(" iv host", "", 1)),
        ("another iv", text.replacen(" iv host", " iv nobody", 1)),
        ("a key for HMAC where GCM needs none", text.replacen(" iv host", &format!("{mac} iv host"), 1)),
        ("a wrapped key beside", text.replacen(" iv host", &format!(" iv host wrapped {}", "00".repeat(72)), 1)),
        ("an attempt without a time", text.replacen("attempt 2027-01-15T08:00:00Z", "attempt", 1)),
        ("an attempt with a word too many", text.replacen(&"%03".repeat(16), &format!("{} x", "%03".repeat(16)), 1)),
        ("format 1", text.replacen("keyring 2\n", "keyring 1\n", 1)),
        ("format 3", text.replacen("keyring 2\n", "keyring 3\n", 1)),
    ];
    for (what, changed) in cases {
        assert_ne!(changed, text, "{what}: nothing was changed");
        let refused = Document::parse(&changed).err();
        let expected = if what == "format 3" {
            matches!(refused, Some(DocumentError::Format(3)))
        } else {
            matches!(refused, Some(DocumentError::Line { .. }))
        };
        assert!(expected, "{what}: {refused:?}");
    }
    let (document, authenticate) = self::document(true);
    let text = document.write(&authenticate).replacen(&mac, "", 1);
    assert!(matches!(Document::parse(&text), Err(DocumentError::Line { .. })), "AES-CBC without a key for HMAC");
}

#[test]
fn a_destroyed_version_in_a_token_still_says_where_its_key_was() {
    let (mut document, authenticate) = document(false);
    document.versions[0].state = StateLabel::Destroyed;
    let text = document.write(&authenticate);
    let read = Document::parse(&text).expect("parses");
    assert_eq!(read.versions[0].in_token().map(|key| &key.at), Some(&key(1)));
}

#[test]
fn an_export_has_no_slots_and_is_of_the_format_of_the_rest() {
    let (mut document, _) = document_with(StateLabel::Retired);
    document.slots = vec![
        Slot::read({
            let line = format!("pkcs11 {} {}", key(9), "5a".repeat(60));
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let mut words = words.leak().iter().map(String::as_str);
            move || words.next()
        })
        .expect("a slot"),
    ];
    assert_eq!((document.format(), document.format_without_slots()), (2, 1));
}
