//! A PIN is tried once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use keywright::provider::Kek;
use keywright::provider::pkcs11::{Problem, Tokens, Turn};
use keywright_testbed::tokens::{Hsm, alone};

use crate::support::{Pin, access, gcm, made, problem, provider, round_trip};

#[test]
fn a_wrong_pin_is_tried_once_and_a_right_one_after_it() {
    let Some(folder) = alone("pin::a_wrong_pin_is_tried_once_and_a_right_one_after_it").expect("alone") else {
        return;
    };
    let token = Hsm::softhsm(&folder).expect("module").token("one", "1234").expect("token");
    let pin = Pin::new("4321");
    let tokens = Tokens::new(vec![access(&token, &pin)], Instant::now());
    let kek = tokens.kek(gcm(&token, 1));
    let error = problem(kek.prove());
    assert_eq!((error.turn(), &error), (Turn::Pin, &Problem::PinRejected));
    // Longer than any pause after a failed recovery.
    let end = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < end {
        assert_eq!(problem(kek.prove()).turn(), Turn::Pin);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(pin.tries.load(Ordering::SeqCst), 1, "tries of the wrong PIN");
    assert_eq!(tokens.sessions_open(&crate::support::name(&token)), 0, "a login that failed leaves no session");
    // SoftHSM says by now that a wrong one was given; the right one is given all the same. There is no such key, which is known after a login only.
    pin.set("1234");
    let in_time = Duration::from_secs(10);
    let found = keywright_testbed::wait::until("the login", in_time, || match problem(kek.prove()) {
        found @ Problem::NoKey { .. } => Ok(found),
        other => Err(other.to_string()),
    });
    found.expect("logged in");
    // A key that is not seen is looked for in another login too, so the right one may have been given more than once.
    assert!(pin.tries.load(Ordering::SeqCst) >= 2, "the wrong one, and the right one");
}

#[test]
fn a_pin_that_is_changed_in_the_token_is_no_matter_while_the_login_lasts() {
    let Some(folder) = alone("pin::a_pin_that_is_changed_in_the_token_is_no_matter_while_the_login_lasts").expect("alone") else { return };
    let mut token = Hsm::softhsm(&folder).expect("module").token("one", "1234").expect("token");
    let (kek, spec) = made(&provider(&[&token]), &gcm(&token, 1));
    token.change_pin("5678").expect("changes it");
    round_trip(&kek).expect("works on");
    assert!(kek.waits().is_some());
    let again = provider(&[&token]);
    again.kek(spec).prove().expect("the new PIN");
}
