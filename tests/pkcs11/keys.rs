//! Wrapping and unwrapping, and which keys are refused.

use keywright::entropy::OsEntropy;
use keywright::envelope::Algorithm;
use keywright::provider::pkcs11::{KeySpec, Problem, Proof, TokenAccess, Tokens, Turn};
use keywright::provider::{Kek, KekError};
use keywright_testbed::tokens::{Guarded, Hsm, Token, alone};

use crate::support::{LABEL, Pin, access, gcm, id, made, name, problem, provider, round_trip, spec};

#[test]
fn what_a_softhsm_key_wraps_opens_whole_and_with_the_same_associated_data_only() {
    let Some(folder) = alone("keys::what_a_softhsm_key_wraps_opens_whole_and_with_the_same_associated_data_only").expect("alone") else {
        return;
    };
    let token = Hsm::softhsm(&folder).expect("module").token("one", "1234").expect("token");
    nothing_changed_opens(&token, &[Algorithm::Aes256Gcm, Algorithm::Aes256CbcHmacSha256]);
}

#[test]
fn what_a_kryoptic_key_wraps_opens_whole_and_with_the_same_associated_data_only() {
    let Some(folder) = alone("keys::what_a_kryoptic_key_wraps_opens_whole_and_with_the_same_associated_data_only").expect("alone") else {
        return;
    };
    let token = Hsm::kryoptic(&folder).expect("module").token("one", "12345678").expect("token");
    nothing_changed_opens(&token, &[Algorithm::Aes256Gcm, Algorithm::Aes256CbcHmacSha256]);
}

#[test]
fn what_an_nss_key_wraps_opens_whole_and_with_the_same_associated_data_only() {
    let Some(folder) = alone("keys::what_an_nss_key_wraps_opens_whole_and_with_the_same_associated_data_only").expect("alone") else {
        return;
    };
    let token = Hsm::nss(&folder).expect("module").token("one", "12345678").expect("token");
    nothing_changed_opens(&token, &[Algorithm::Aes256Gcm, Algorithm::Aes256CbcHmacSha256]);
}

fn nothing_changed_opens(token: &Token, algorithms: &[Algorithm]) {
    let tokens = provider(&[token]);
    for (number, algorithm) in (1..).zip(algorithms) {
        let (kek, _) = made(&tokens, &spec(token, number, *algorithm));
        let before = tokens.sessions_open(&name(token));
        for plaintext in [&[1_u8][..], &[2; 15], &[3; 16], &[4; 32], &[5; 900]] {
            let wrapped = kek.wrap_key(b"aad", plaintext, &OsEntropy).expect("wraps");
            assert_eq!(wrapped.nonce.len(), algorithm.nonce_len());
            assert_eq!(wrapped.sealed.len(), algorithm.sealed_len(plaintext.len()));
            let opened = kek.unwrap_key(b"aad", &wrapped.nonce, &wrapped.sealed).expect("opens");
            assert_eq!(opened.expose_secret(), plaintext);
        }
        let wrapped = kek.wrap_key(b"aad", &[7; 32], &OsEntropy).expect("wraps");
        let refused = |aad: &[u8], nonce: &[u8], sealed: &[u8], what: &str| {
            let opened = kek.unwrap_key(aad, nonce, sealed);
            assert!(matches!(opened, Err(KekError::Authentication)), "{algorithm:?}, {what}: {opened:?}");
        };
        refused(b"aae", &wrapped.nonce, &wrapped.sealed, "other associated data");
        refused(b"", &wrapped.nonce, &wrapped.sealed, "no associated data");
        for at in 0..wrapped.nonce.len() {
            let mut nonce = wrapped.nonce.clone();
            nonce[at] ^= 1;
            refused(b"aad", &nonce, &wrapped.sealed, "a changed nonce");
        }
        for at in 0..wrapped.sealed.len() {
            let mut sealed = wrapped.sealed.clone();
            sealed[at] ^= 0x80;
            refused(b"aad", &wrapped.nonce, &sealed, "a changed byte");
            refused(b"aad", &wrapped.nonce, &wrapped.sealed[..at], "cut short");
        }
        refused(b"aad", &wrapped.nonce[1..], &wrapped.sealed, "a short nonce");
        refused(b"aad", &wrapped.nonce, &[&wrapped.sealed[..], &[0; 16]].concat(), "longer");
        round_trip(&kek).expect("still works");
        assert!(tokens.sessions_open(&name(token)) <= before + 1, "at most one for the next call");
    }
}

#[test]
fn keys_of_the_same_name_in_two_tokens_are_never_confused() {
    let Some(folder) = alone("keys::keys_of_the_same_name_in_two_tokens_are_never_confused").expect("alone") else { return };
    let hsm = Hsm::softhsm(&folder).expect("module");
    let (one, two) = (hsm.token("same", "1234").expect("token"), hsm.token("same", "5678").expect("token"));
    let tokens = provider(&[&one, &two]);
    let (first, first_spec) = made(&tokens, &gcm(&one, 1));
    let (second, _) = made(&tokens, &gcm(&two, 1));
    let wrapped = first.wrap_key(b"aad", &[7; 32], &OsEntropy).expect("wraps");
    assert!(matches!(second.unwrap_key(b"aad", &wrapped.nonce, &wrapped.sealed), Err(KekError::Authentication)));
    assert_eq!(first.unwrap_key(b"aad", &wrapped.nonce, &wrapped.sealed).expect("opens").expose_secret(), [7; 32]);
    // The canary of the first, looked for in the second token.
    let swapped = KeySpec { proof: first_spec.proof, ..gcm(&two, 1) };
    let error = problem(tokens.kek(swapped).prove());
    assert_eq!((error.turn(), &error), (Turn::Operator, &Problem::WrongKey));
}

#[test]
fn a_key_that_is_not_the_one_of_its_canary_does_nothing() {
    let Some(folder) = alone("keys::a_key_that_is_not_the_one_of_its_canary_does_nothing").expect("alone") else { return };
    let token = Hsm::softhsm(&folder).expect("module").token("one", "1234").expect("token");
    let tokens = provider(&[&token]);
    for (number, algorithm) in [(1, Algorithm::Aes256Gcm), (3, Algorithm::Aes256CbcHmacSha256)] {
        let (_, right) = made(&tokens, &spec(&token, number, algorithm));
        let (_, other) = made(&tokens, &spec(&token, number + 1, algorithm));
        let wrong = tokens.kek(KeySpec { proof: other.proof, ..right.clone() });
        assert_eq!(problem(wrong.wrap_key(b"aad", &[7; 32], &OsEntropy)), Problem::WrongKey);
        assert_eq!(problem(wrong.prove()), Problem::WrongKey);
        // The right bytes for another plaintext are wrong as well.
        let unlike = Proof { plaintext: b"another thirty-two bytes, fixed.", ..right.proof.clone().expect("has one") };
        assert_eq!(problem(tokens.kek(KeySpec { proof: Some(unlike), ..right.clone() }).prove()), Problem::WrongKey);
        tokens.kek(right).prove().expect("the right one");
    }
}

#[test]
fn a_key_that_is_not_there_or_there_twice_or_can_leave_is_refused_by_name() {
    let Some(folder) = alone("keys::a_key_that_is_not_there_or_there_twice_or_can_leave_is_refused_by_name").expect("alone") else {
        return;
    };
    let token = Hsm::softhsm(&folder).expect("module").token("one", "1234").expect("token");
    token.make_key(LABEL, &id(1), Guarded::Fully).expect("key");
    token.make_key(LABEL, &id(2), Guarded::Fully).expect("key");
    token.make_key(LABEL, &id(2), Guarded::Fully).expect("key");
    token.make_key(LABEL, &id(3), Guarded::Extractable).expect("key");
    token.make_key(LABEL, &id(4), Guarded::Readable).expect("key");
    let tokens = provider(&[&token]);
    let of = |number| problem(tokens.kek(gcm(&token, number)).prove());
    let hex = |byte: &str| byte.repeat(16);
    tokens.kek(gcm(&token, 1)).prove().expect("a good one");
    assert_eq!(of(2), Problem::Duplicate { count: 2, label: LABEL.to_owned(), id: hex("02") });
    assert_eq!(of(3), Problem::Extractable("CKA_EXTRACTABLE is not false"));
    assert_eq!(of(4), Problem::Extractable("CKA_SENSITIVE is not true"));
    assert_eq!(of(9), Problem::NoKey { label: LABEL.to_owned(), id: hex("09") });
    let mut elsewhere = gcm(&token, 1);
    elsewhere.at.label = "other".to_owned();
    assert_eq!(problem(tokens.kek(elsewhere).prove()), Problem::NoKey { label: "other".to_owned(), id: hex("01") });
    round_trip(&tokens.kek(gcm(&token, 1))).expect("the good one works on");
}

#[test]
fn a_token_is_found_by_label_and_serial_together_and_the_others_are_named() {
    let Some(folder) = alone("keys::a_token_is_found_by_label_and_serial_together_and_the_others_are_named").expect("alone") else {
        return;
    };
    let hsm = Hsm::softhsm(&folder).expect("module");
    let (one, two) = (hsm.token("one", "1234").expect("token"), hsm.token("two", "1234").expect("token"));
    let mut elsewhere = access(&one, &Pin::new("1234"));
    elsewhere.name.serial = two.serial().to_owned();
    let asked = elsewhere.name.clone();
    let tokens = Tokens::new(vec![elsewhere], std::time::Instant::now());
    let mut wanted = gcm(&one, 1);
    wanted.at.token = asked;
    let Problem::NoToken { mut seen } = problem(tokens.kek(wanted).prove()) else { panic!("another problem") };
    seen.sort();
    let mut there = [name(&one).to_string(), name(&two).to_string()];
    there.sort();
    assert!(there.iter().all(|token| seen.contains(token)), "{seen:?}");
    // A token that is not configured at all.
    assert_eq!(problem(tokens.kek(gcm(&two, 1)).prove()), Problem::NotConfigured);
}

#[test]
fn a_key_asks_its_token_for_nothing_before_its_first_call_and_notes_that_it_worked() {
    let Some(folder) = alone("keys::a_key_asks_its_token_for_nothing_before_its_first_call_and_notes_that_it_worked").expect("alone")
    else {
        return;
    };
    let token = Hsm::softhsm(&folder).expect("module").token("one", "1234").expect("token");
    let tokens = provider(&[&token]);
    let kek = tokens.kek(gcm(&token, 1));
    let age = || kek.waits().expect("waits").last_good.age(std::time::Instant::now());
    assert_eq!(tokens.sessions_open(&name(&token)), 0);
    kek.prove().expect_err("there is no key yet");
    assert_eq!(age(), None);
    tokens.create_key(&gcm(&token, 1)).expect("makes it");
    round_trip(&kek).expect("works");
    assert!(age().is_some());
}

#[test]
fn a_module_must_be_roots_and_that_of_the_system_is() {
    let Some(folder) = alone("keys::a_module_must_be_roots_and_that_of_the_system_is").expect("alone") else { return };
    let token = Hsm::softhsm(&folder).expect("module").token("one", "1234").expect("token");
    let with = |module: &std::path::Path| {
        let access = TokenAccess { module: module.to_owned(), insecure_module_owner: false, ..access(&token, &Pin::new("1234")) };
        Tokens::new(vec![access], std::time::Instant::now()).kek(gcm(&token, 1)).prove()
    };
    assert!(matches!(problem(with(token.hsm().module())), Problem::NoKey { .. }), "nothing is wrong with its module");
    let copy = folder.join("copy.so");
    std::fs::copy(token.hsm().module(), &copy).expect("copies");
    assert!(matches!(problem(with(&copy)), Problem::File(_)), "below a folder that is everybody's");
    let Problem::Module { reason, .. } = problem(with(&std::fs::canonicalize("/usr/bin/env").expect("there"))) else { panic!("no module") };
    assert!(reason.contains("does not load"), "{reason}");
}
