//! Many calls at once leave nothing behind.

use std::sync::atomic::{AtomicUsize, Ordering};

use keywright::entropy::OsEntropy;
use keywright::envelope::Algorithm;
use keywright::provider::{Kek, KekError};
use keywright_testbed::tokens::{Hsm, Token, alone};

use crate::behind::Behind;
use crate::support::{SESSIONS, made, name, provider, spec};

const THREADS: usize = 8;
const CALLS: usize = 100_000;

#[test]
fn a_hundred_thousand_mixed_calls_one_in_ten_malformed_leave_no_session_and_no_object_in_softhsm() {
    let name = "many::a_hundred_thousand_mixed_calls_one_in_ten_malformed_leave_no_session_and_no_object_in_softhsm";
    let Some(folder) = alone(name).expect("alone") else { return };
    leave_nothing(&Hsm::softhsm(&folder).expect("module").token("one", "1234").expect("token"), CALLS);
}

#[test]
fn twenty_thousand_mixed_calls_one_in_ten_malformed_leave_no_session_and_no_object_in_kryoptic() {
    let name = "many::twenty_thousand_mixed_calls_one_in_ten_malformed_leave_no_session_and_no_object_in_kryoptic";
    let Some(folder) = alone(name).expect("alone") else { return };
    leave_nothing(&Hsm::kryoptic(&folder).expect("module").token("one", "12345678").expect("token"), CALLS / 5);
}

fn leave_nothing(token: &Token, calls: usize) {
    let tokens = provider(&[token]);
    let keks =
        [(1, Algorithm::Aes256Gcm), (2, Algorithm::Aes256CbcHmacSha256)].map(|(number, how)| made(&tokens, &spec(token, number, how)).0);
    let wrapped = keks.each_ref().map(|kek| kek.wrap_key(b"aad", &[7; 32], &OsEntropy).expect("wraps"));
    let objects = token.objects().expect("objects").len();
    assert_eq!(objects, 3);
    let malformed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (keks, wrapped, malformed) = (&keks, &wrapped, &malformed);
            scope.spawn(move || {
                for call in 0..calls / THREADS {
                    let which = (call / 10 + thread) % 2;
                    let (kek, wrapped) = (&keks[which], &wrapped[which]);
                    if call % 10 == 0 {
                        malformed.fetch_add(1, Ordering::Relaxed);
                        let mut sealed = wrapped.sealed.clone();
                        let at = call % sealed.len();
                        sealed[at] ^= 4;
                        let opened = kek.unwrap_key(b"aad", &wrapped.nonce, &sealed);
                        assert!(matches!(opened, Err(KekError::Authentication)), "{opened:?}");
                    } else if call % 2 == 0 {
                        kek.wrap_key(b"aad", &[7; 32], &OsEntropy).expect("wraps");
                    } else {
                        let opened = kek.unwrap_key(b"aad", &wrapped.nonce, &wrapped.sealed).expect("opens");
                        assert_eq!(opened.expose_secret(), [7; 32]);
                    }
                }
            });
        }
    });
    assert_eq!(malformed.into_inner(), calls / 10);
    let behind = Behind::new(token.hsm().module());
    let open = tokens.sessions_open(&name(token));
    assert_eq!(behind.sessions(), open, "what the module has is what we count");
    assert!(open <= SESSIONS + 1, "{open} sessions: more than the anchor and one for each call at once");
    assert_eq!(token.objects().expect("objects").len(), objects);
    tokens.end();
    assert_eq!(tokens.sessions_open(&name(token)), 0);
}
