//! What is lost is found again: sessions, logins, the module, the token.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keywright::entropy::OsEntropy;
use keywright::provider::pkcs11::{Problem, Turn};
use keywright::provider::{Kek, KekError};
use keywright_testbed::tokens::{Fake, Guarded, Hsm, alone};

use crate::behind::Behind;
use crate::support::{LABEL, gcm, id, made, name, problem, provider, round_trip, within};

#[test]
fn all_sessions_closed_behind_its_back_fail_no_call() {
    let Some(folder) = alone("loss::all_sessions_closed_behind_its_back_fail_no_call").expect("alone") else { return };
    for hsm in [Hsm::softhsm(&folder).expect("module"), Hsm::kryoptic(&folder).expect("module")] {
        let token = hsm.token("one", "12345678").expect("token");
        let tokens = provider(&[&token]);
        let (first, _) = made(&tokens, &gcm(&token, 1));
        let (second, _) = made(&tokens, &gcm(&token, 2));
        let wrapped = first.wrap_key(b"aad", &[7; 32], &OsEntropy).expect("wraps");
        let behind = Behind::new(token.hsm().module());
        for _ in 0..20 {
            behind.close_all_sessions();
            assert_eq!(first.unwrap_key(b"aad", &wrapped.nonce, &wrapped.sealed).expect("opens").expose_secret(), [7; 32]);
            behind.close_all_sessions();
            round_trip(&second).expect("works");
        }
        // The anchor and what is idle; nothing that was lost is counted, or left.
        assert_eq!(behind.sessions(), tokens.sessions_open(&name(&token)));
        assert!(behind.sessions() <= 2, "{} sessions", behind.sessions());
    }
}

#[test]
fn a_module_finalised_or_initialised_behind_its_back_is_found_again_with_the_right_keys() {
    let Some(folder) = alone("loss::a_module_finalised_or_initialised_behind_its_back_is_found_again_with_the_right_keys").expect("alone")
    else {
        return;
    };
    for hsm in [Hsm::softhsm(&folder).expect("module"), Hsm::kryoptic(&folder).expect("module")] {
        let token = hsm.token("one", "12345678").expect("token");
        let tokens = provider(&[&token]);
        let keks: Vec<_> = (1..6).map(|number| made(&tokens, &gcm(&token, number)).0).collect();
        let wrapped: Vec<_> = keks.iter().map(|kek| kek.wrap_key(b"aad", &[7; 32], &OsEntropy).expect("wraps")).collect();
        let behind = Behind::new(token.hsm().module());
        let step = |again: bool| {
            behind.finalise();
            if again {
                behind.initialise();
            }
            // In another order than before, so that handles are given in another order.
            for (kek, wrapped) in keks.iter().zip(&wrapped).rev() {
                let opened = within(|| kek.unwrap_key(b"aad", &wrapped.nonce, &wrapped.sealed));
                assert_eq!(opened.expose_secret(), [7; 32]);
                round_trip(kek).expect("works");
            }
        };
        step(false);
        step(true);
    }
}

#[test]
fn a_token_that_is_pulled_and_put_back_serves_again_and_bytes_are_never_blamed() {
    let Some(folder) = alone("loss::a_token_that_is_pulled_and_put_back_serves_again_and_bytes_are_never_blamed").expect("alone") else {
        return;
    };
    let hsm = Hsm::softhsm(&folder).expect("module");
    let token = hsm.token("one", "1234").expect("token");
    let tokens = provider(&[&token]);
    let (kek, _) = made(&tokens, &gcm(&token, 1));
    let wrapped = kek.wrap_key(b"aad", &[7; 32], &OsEntropy).expect("wraps");
    for _ in 0..2 {
        hsm.take_away().expect("pulls it");
        for _ in 0..20 {
            assert_eq!(problem(kek.unwrap_key(b"aad", &wrapped.nonce, &wrapped.sealed)).turn(), Turn::Wait);
            assert_eq!(problem(kek.prove()).turn(), Turn::Wait);
        }
        hsm.put_back().expect("puts it back");
        let opened = within(|| kek.unwrap_key(b"aad", &wrapped.nonce, &wrapped.sealed));
        assert_eq!(opened.expose_secret(), [7; 32]);
    }
}

#[test]
fn a_key_destroyed_by_somebody_else_is_missed_and_the_others_serve_on() {
    let Some(folder) = alone("loss::a_key_destroyed_by_somebody_else_is_missed_and_the_others_serve_on").expect("alone") else { return };
    for hsm in [Hsm::softhsm(&folder).expect("module"), Hsm::kryoptic(&folder).expect("module")] {
        let token = hsm.token("one", "12345678").expect("token");
        let tokens = provider(&[&token]);
        let (kept, _) = made(&tokens, &gcm(&token, 1));
        token.make_key(LABEL, &id(2), Guarded::Fully).expect("key");
        let lost = tokens.kek(gcm(&token, 2));
        round_trip(&lost).expect("works");
        token.destroy_key(&id(2)).expect("destroys it");
        for _ in 0..5 {
            let error = problem(lost.wrap_key(b"aad", &[7; 32], &OsEntropy));
            assert!(matches!(error, Problem::NoKey { .. } | Problem::Returned { .. }), "{error}");
            round_trip(&kept).expect("serves on");
        }
        assert!(matches!(problem(lost.prove()), Problem::NoKey { .. }));
    }
}

#[test]
fn a_token_that_comes_and_goes_under_load_blames_no_bytes_and_gives_none_that_are_wrong() {
    let Some(folder) = alone("loss::a_token_that_comes_and_goes_under_load_blames_no_bytes_and_gives_none_that_are_wrong").expect("alone")
    else {
        return;
    };
    let hsm = Hsm::softhsm(&folder).expect("module");
    let (one, two) = (hsm.token("one", "1234").expect("token"), hsm.token("two", "1234").expect("token"));
    let tokens = provider(&[&one, &two]);
    let keks: Vec<_> = [(&one, 1), (&one, 2), (&two, 1), (&two, 2)].map(|(token, number)| made(&tokens, &gcm(token, number)).0).into();
    let wrapped: Vec<_> = (0..).zip(&keks).map(|(mark, kek)| kek.wrap_key(b"aad", &[mark; 32], &OsEntropy).expect("wraps")).collect();
    let end = Instant::now() + Duration::from_secs(8);
    let (good, away) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (keks, wrapped, good, away) = (&keks, &wrapped, &good, &away);
            scope.spawn(move || {
                for call in thread.. {
                    if Instant::now() > end {
                        break;
                    }
                    let which = call % 4;
                    let done = keks[which].unwrap_key(b"aad", &wrapped[which].nonce, &wrapped[which].sealed).and_then(|opened| {
                        assert_eq!(opened.expose_secret(), [u8::try_from(which).expect("small"); 32]);
                        round_trip(&keks[which])
                    });
                    match done {
                        Ok(()) => good.fetch_add(1, Ordering::Relaxed),
                        Err(KekError::Token(error)) if error.problem.turn() == Turn::Wait => away.fetch_add(1, Ordering::Relaxed),
                        Err(error) => panic!("{error}"),
                    };
                }
            });
        }
        while Instant::now() < end {
            hsm.take_away().expect("pulls it");
            std::thread::sleep(Duration::from_millis(60));
            hsm.put_back().expect("puts it back");
            std::thread::sleep(Duration::from_millis(700));
        }
    });
    let (good, away) = (good.into_inner(), away.into_inner());
    assert!(good > 100 && away > 0, "{good} good, {away} while it was away");
    keks.iter().for_each(|kek| within(|| round_trip(kek)));
}

#[test]
fn a_module_that_somebody_else_initialised_is_not_used() {
    let Some(folder) = alone("loss::a_module_that_somebody_else_initialised_is_not_used").expect("alone") else { return };
    let token = Hsm::softhsm(&folder).expect("module").token("one", "1234").expect("token");
    let tokens = provider(&[&token]);
    let behind = Behind::new(token.hsm().module());
    behind.initialise();
    let error = problem(tokens.kek(gcm(&token, 1)).prove());
    assert_eq!(error.to_string(), "C_Initialize returned CKR_CRYPTOKI_ALREADY_INITIALIZED (0x191)");
    // Once they are done with it, it is ours.
    behind.finalise();
    within(|| match tokens.kek(gcm(&token, 1)).prove() {
        Err(KekError::Token(error)) if matches!(error.problem, Problem::NoKey { .. }) => Ok(()),
        other => other,
    });
}

#[test]
fn what_began_in_a_login_that_is_over_is_not_believed_and_asked_for_again() {
    let Some(folder) = alone("loss::what_began_in_a_login_that_is_over_is_not_believed_and_asked_for_again").expect("alone") else {
        return;
    };
    let fake = Fake::new(&folder).expect("module");
    let token = fake.hsm().token("one", "12345678").expect("token");
    let tokens = provider(&[&token]);
    let (kek, _) = made(&tokens, &gcm(&token, 1));
    let wrapped = kek.wrap_key(b"aad", &[7; 32], &OsEntropy).expect("wraps");
    fake.forget_calls().expect("forgets");
    fake.script("hang Encrypt").expect("script");
    std::thread::scope(|scope| {
        let hangs = scope.spawn(|| kek.wrap_key(b"aad", &[7; 32], &OsEntropy));
        fake.wait_inside("C_Encrypt", 1, Duration::from_secs(15)).expect("it hangs");
        fake.script("hang Encrypt\nfail DecryptInit CKR_KEY_HANDLE_INVALID 1").expect("script");
        // Another login begins, with handles of its own.
        kek.unwrap_key(b"aad", &wrapped.nonce, &wrapped.sealed).expect("opens, after the login");
        fake.script("").expect("script");
        hangs.join().expect("no panic").expect("wraps, at the second time");
    });
    assert_eq!(fake.calls().expect("calls").answers("C_Encrypt"), [0, 0]);
}
