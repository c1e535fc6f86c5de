//! The client against a module that follows a script: what real tokens do rarely, and never when a test asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keywright::entropy::OsEntropy;
use keywright::envelope::Algorithm;
use keywright::provider::pkcs11::{IvFrom, KeySpec, Problem, TokenKek, Tokens};
use keywright::provider::{Kek, KekError, Wrapped};
use keywright::secret::SecretBytes;
use keywright_testbed::tokens::{Calls, Fake, Guarded, Token, alone};
use keywright_testbed::wait;

use crate::support::{LABEL, Pin, access, gcm, made, name, problem, proved, spec};

const PIN: &str = "12345678";
const AAD: &[u8] = b"what it is for";
const SEED: [u8; 32] = [7; 32];

/// Longer than any recovery may take.
const SOON: Duration = Duration::from_secs(15);

const CKR_CANT_LOCK: u64 = 0x0A;
const CKR_PIN_INCORRECT: u64 = 0xA0;
const CKR_SESSION_COUNT: u64 = 0xB1;

/// A fake with one token, and a client of it.
struct Stage {
    fake: Fake,
    token: Token,
    tokens: Tokens,
}

impl Stage {
    /// In a process of its own, where `test` runs again; elsewhere it has run there by now, and there is nothing to do.
    ///
    /// The client gives `pin`, and makes at most eight calls at once.
    fn alone(test: &str, pin: &str) -> Option<Self> {
        let folder = alone(&format!("fake::{test}")).expect("it passes alone")?;
        let fake = Fake::new(&folder).expect("the fake builds");
        let token = fake.hsm().token("a token", PIN).expect("a token can be made");
        let tokens = Tokens::new(vec![access(&token, &Pin::new(pin))], Instant::now());
        Some(Self { fake, token, tokens })
    }

    /// Makes a key, by another client. The log of calls begins after it.
    fn make(&self, number: u8) -> KeySpec {
        self.token.make_key(LABEL, &[number; 16], Guarded::Fully).expect("a key can be made");
        self.fake.forget_calls().expect("calls can be forgotten");
        gcm(&self.token, number)
    }

    /// The same, with a canary, and used.
    fn key(&self, number: u8) -> Arc<TokenKek> {
        let spec = self.make(number);
        let kek = self.tokens.kek(proved(&self.tokens, &spec));
        kek.prove().expect("it opens its canary");
        self.fake.forget_calls().expect("calls can be forgotten");
        kek
    }

    fn script(&self, rules: &str) {
        self.fake.script(rules).expect("the script can be written");
    }

    /// Rules until the value is dropped: what hangs by them comes out then, also when the test fails.
    fn for_now(&self, rules: &str) -> ForNow<'_> {
        self.script(rules);
        ForNow(self)
    }

    fn calls(&self) -> Calls {
        self.fake.calls().expect("calls can be read")
    }

    fn count(&self, name: &str) -> usize {
        self.calls().count(name)
    }

    fn sessions_open(&self) -> usize {
        self.tokens.sessions_open(&name(&self.token))
    }
}

struct ForNow<'a>(&'a Stage);

impl Drop for ForNow<'_> {
    fn drop(&mut self) {
        self.0.script("");
    }
}

fn wrap(kek: &TokenKek) -> Result<Wrapped, KekError> {
    kek.wrap_key(AAD, &SEED, &OsEntropy)
}

fn unwrap(kek: &TokenKek, wrapped: &Wrapped) -> Result<SecretBytes, KekError> {
    kek.unwrap_key(AAD, &wrapped.nonce, &wrapped.sealed)
}

#[track_caller]
fn works(kek: &TokenKek) -> Wrapped {
    let wrapped = wrap(kek).expect("it wraps");
    assert_eq!(unwrap(kek, &wrapped).expect("it opens").expose_secret(), SEED);
    wrapped
}

/// After the script has become harmless again, without a restart.
#[track_caller]
fn works_again(kek: &TokenKek) {
    wait::until("the key works again", SOON, || wrap(kek).map_err(|e| e.to_string())).expect("the token is back");
    works(kek);
}

#[test]
fn a_call_that_hangs_holds_up_no_other() {
    let Some(stage) = Stage::alone("a_call_that_hangs_holds_up_no_other", PIN) else { return };
    let kek = stage.key(1);
    let wrapped = works(&kek);
    std::thread::scope(|scope| {
        let hangs = stage.for_now("hang Decrypt");
        let hanging = scope.spawn(|| unwrap(&kek, &wrapped));
        stage.fake.wait_inside("C_Decrypt", 1, SOON).expect("it hangs");
        for _ in 0..20 {
            wrap(&kek).expect("another session works");
        }
        // What needs the module initialised anew must not have it, for a call is inside; and must not wait for it without end.
        stage.script("hang Decrypt\nfail Encrypt CKR_CRYPTOKI_NOT_INITIALIZED");
        let start = Instant::now();
        let refused = problem(wrap(&kek));
        assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
        assert_eq!((refused, stage.count("C_Finalize")), (Problem::Hung, 0));
        assert!(!hanging.is_finished());
        drop(hangs);
        // It began in a login that is over by now, so its answer may be an error; it must come, and not be a wrong one.
        match hanging.join().expect("no panic") {
            Ok(opened) => assert_eq!(opened.expose_secret(), SEED),
            Err(KekError::Authentication) => panic!("the bytes are good"),
            Err(_) => {}
        }
    });
    works_again(&kek);
    assert_eq!(unwrap(&kek, &wrapped).expect("it opens").expose_secret(), SEED);
}

#[test]
fn a_device_that_says_it_was_removed_is_asked_again() {
    let Some(stage) = Stage::alone("a_device_that_says_it_was_removed_is_asked_again", PIN) else { return };
    let kek = stage.key(1);
    for rule in ["fail Encrypt CKR_DEVICE_REMOVED 1", "fail DecryptInit CKR_DEVICE_ERROR 1", "fail Encrypt CKR_GENERAL_ERROR 1"] {
        stage.script(rule);
        works(&kek);
    }
    let open = stage.sessions_open();
    stage.script("fail Encrypt CKR_DEVICE_REMOVED");
    problem(wrap(&kek));
    stage.script("");
    works_again(&kek);
    assert_eq!(stage.sessions_open(), open);
}

#[test]
fn a_token_that_was_pulled_out_is_found_again() {
    let Some(stage) = Stage::alone("a_token_that_was_pulled_out_is_found_again", PIN) else { return };
    let kek = stage.key(1);
    let wrapped = works(&kek);
    for rule in ["gone", "gone-until-init"] {
        stage.script(rule);
        assert!(matches!(problem(unwrap(&kek, &wrapped)), Problem::NoToken { .. }), "{rule}");
        stage.script("");
        works_again(&kek);
        assert_eq!(unwrap(&kek, &wrapped).expect("it opens").expose_secret(), SEED);
    }
    let logins = stage.calls().answers("C_Login");
    assert!(logins.iter().all(|answer| *answer == 0), "{logins:x?}");
}

#[test]
fn a_token_is_found_in_another_slot() {
    let Some(stage) = Stage::alone("a_token_is_found_in_another_slot", PIN) else { return };
    let kek = stage.key(1);
    let wrapped = works(&kek);
    for rules in ["slot 7\nfail Decrypt CKR_DEVICE_REMOVED 1", "slot 3\nfail Decrypt CKR_SESSION_HANDLE_INVALID 2"] {
        stage.script(rules);
        assert_eq!(unwrap(&kek, &wrapped).expect("it opens").expose_secret(), SEED);
    }
}

#[test]
fn a_busy_token_is_no_reason_to_call_bytes_wrong() {
    let Some(stage) = Stage::alone("a_busy_token_is_no_reason_to_call_bytes_wrong", PIN) else { return };
    let kek = stage.key(1);
    let mut wrapped = works(&kek);
    stage.script("busy");
    for _ in 0..5 {
        problem(unwrap(&kek, &wrapped));
        problem(wrap(&kek));
    }
    wrapped.sealed[0] ^= 1;
    problem(unwrap(&kek, &wrapped));
    stage.script("");
    works_again(&kek);
    assert!(matches!(unwrap(&kek, &wrapped), Err(KekError::Authentication)));
}

#[test]
fn bytes_that_do_not_open_disturb_nobody_whatever_the_token_calls_it() {
    let Some(stage) = Stage::alone("bytes_that_do_not_open_disturb_nobody_whatever_the_token_calls_it", PIN) else { return };
    let kek = stage.key(1);
    let good = works(&kek);
    for rule in ["", "vague"] {
        stage.script(rule);
        let open = stage.sessions_open();
        for place in 0..good.sealed.len() {
            let mut changed = Wrapped { nonce: good.nonce.clone(), sealed: good.sealed.clone() };
            changed.sealed[place] ^= 0x80;
            assert!(matches!(unwrap(&kek, &changed), Err(KekError::Authentication)), "{rule} {place}");
        }
        assert!(stage.sessions_open() <= open);
    }
    assert_eq!((stage.count("C_Login"), stage.count("C_Initialize")), (0, 0));
    assert_eq!(unwrap(&kek, &good).expect("it opens").expose_secret(), SEED);
}

#[test]
fn a_wrong_answer_never_opens() {
    let Some(stage) = Stage::alone("a_wrong_answer_never_opens", PIN) else { return };
    let kek = stage.key(1);
    stage.script("wrong Encrypt 1");
    let wrapped = wrap(&kek).expect("the token says that all went well");
    assert!(matches!(unwrap(&kek, &wrapped), Err(KekError::Authentication)));
    stage.script("wrong Decrypt");
    assert_eq!(problem(kek.prove()), Problem::WrongKey);
    stage.script("");
    works(&kek);
}

#[test]
fn a_handle_of_before_is_not_used_after_an_initialisation() {
    let Some(stage) = Stage::alone("a_handle_of_before_is_not_used_after_an_initialisation", PIN) else { return };
    let (first, second) = (stage.key(1), stage.key(2));
    let before = [works(&first), works(&second)];
    // The numbers of the two keys change places.
    stage.script("swap\nfail Encrypt CKR_CRYPTOKI_NOT_INITIALIZED 1");
    let after = [works(&first), works(&second)];
    assert_eq!(stage.count("C_Initialize"), 1);
    for wrapped in [&before, &after] {
        for (kek, other, wrapped) in [(&first, &second, &wrapped[0]), (&second, &first, &wrapped[1])] {
            assert_eq!(unwrap(kek, wrapped).expect("it opens").expose_secret(), SEED);
            assert!(matches!(unwrap(other, wrapped), Err(KekError::Authentication)));
        }
    }
}

#[test]
fn a_key_that_works_as_another_is_refused() {
    let Some(stage) = Stage::alone("a_key_that_works_as_another_is_refused", PIN) else { return };
    let (first, _second) = (stage.key(1), stage.key(2));
    stage.script("mixed\nfail Encrypt CKR_DEVICE_REMOVED 1");
    assert_eq!(problem(wrap(&first)), Problem::WrongKey);
    assert_eq!(problem(wrap(&first)), Problem::WrongKey);
    stage.script("");
    works_again(&first);
}

#[test]
fn a_module_that_cannot_lock_is_called_by_one_thread_at_a_time() {
    let Some(stage) = Stage::alone("a_module_that_cannot_lock_is_called_by_one_thread_at_a_time", PIN) else { return };
    let spec = stage.make(1);
    let most_at_once = |rules: &str| {
        stage.script(rules);
        let kek = stage.tokens.kek(spec.clone());
        stage.fake.forget_calls().expect("calls can be forgotten");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10).for_each(|_| drop(works(&kek))));
            }
        });
        stage.calls().most_at_once()
    };
    assert_eq!(most_at_once("cant-lock\ndelay Encrypt,Decrypt 2ms"), 1);
    assert_eq!(stage.calls().answers("C_Initialize"), [CKR_CANT_LOCK, 0]);
}

#[test]
fn a_module_that_can_lock_is_called_by_as_many_threads_as_there_are_workers() {
    let Some(stage) = Stage::alone("a_module_that_can_lock_is_called_by_as_many_threads_as_there_are_workers", PIN) else { return };
    let kek = stage.key(1);
    let wrapped = works(&kek);
    std::thread::scope(|scope| {
        let hangs = stage.for_now("hang Decrypt");
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| unwrap(&kek, &wrapped))).collect();
        stage.fake.wait_inside("C_Decrypt", 8, SOON).expect("all of them are in the module at once");
        drop(hangs);
        for call in calls {
            assert_eq!(call.join().expect("no panic").expect("it opens").expose_secret(), SEED);
        }
    });
}

#[test]
fn no_pin_is_given_to_a_token_that_the_next_wrong_one_would_lock() {
    let Some(stage) = Stage::alone("no_pin_is_given_to_a_token_that_the_next_wrong_one_would_lock", PIN) else { return };
    let spec = stage.make(1);
    let kek = stage.tokens.kek(spec);
    for (rule, expected) in [("pin-final", Problem::PinTriesLow), ("pin-locked", Problem::PinLocked)] {
        stage.script(rule);
        // For a while the last answer stands for the next question.
        wait::until(rule, SOON, || match problem(kek.prove()) {
            found if found == expected => Ok(()),
            other => Err(other.to_string()),
        })
        .expect("the token says so");
    }
    assert_eq!(stage.count("C_Login"), 0);
    // That some wrong one was given, once, keeps nobody out.
    stage.script("pin-low");
    works_again(&kek);
    assert_eq!(stage.count("C_Login"), 1);
}

#[test]
fn a_pin_that_was_refused_is_not_given_again() {
    let Some(stage) = Stage::alone("a_pin_that_was_refused_is_not_given_again", "not that one") else { return };
    let spec = stage.make(1);
    stage.script("pin-silent");
    let kek = stage.tokens.kek(spec);
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        assert_eq!(problem(kek.prove()), Problem::PinRejected);
    }
    let logins = stage.calls().answers("C_Login");
    assert_eq!(logins, [CKR_PIN_INCORRECT]);
}

#[test]
fn an_iv_of_the_token_is_used_when_it_is_new() {
    let Some(stage) = Stage::alone("an_iv_of_the_token_is_used_when_it_is_new", PIN) else { return };
    let spec = stage.make(1);
    stage.script("iv random");
    let kek = stage.tokens.kek(KeySpec { iv: IvFrom::Token, ..spec });
    let mut nonces: Vec<_> = (0..100).map(|_| works(&kek).nonce).collect();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 100);
}

#[test]
fn an_iv_of_the_token_that_is_zero_repeats_or_counts_is_refused() {
    let Some(stage) = Stage::alone("an_iv_of_the_token_that_is_zero_repeats_or_counts_is_refused", PIN) else { return };
    let spec = stage.make(1);
    // Nothing: a token that takes the host's, and so leaves what the host put there.
    for rule in ["", "iv zero", "iv repeat", "iv count"] {
        stage.script(rule);
        let kek = stage.tokens.kek(KeySpec { iv: IvFrom::Token, ..spec.clone() });
        let refused = (0..3).find_map(|_| wrap(&kek).err()).unwrap_or_else(|| panic!("`{rule}` was not refused"));
        assert!(matches!(problem::<()>(Err(refused)), Problem::Iv(_)), "{rule}");
    }
}

#[test]
fn a_token_with_few_sessions_serves_all_who_wait() {
    let Some(stage) = Stage::alone("a_token_with_few_sessions_serves_all_who_wait", PIN) else { return };
    let spec = stage.make(1);
    stage.script("sessions 4\ndelay Encrypt,Decrypt 1ms");
    let kek = stage.tokens.kek(spec);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..20).for_each(|_| drop(works(&kek))));
        }
    });
    assert!(stage.sessions_open() <= 4);
    assert_eq!(stage.count("C_Login"), 1);
}

#[test]
fn sessions_that_others_gave_back_are_used_again_without_another_login() {
    let Some(stage) = Stage::alone("sessions_that_others_gave_back_are_used_again_without_another_login", PIN) else { return };
    let kek = stage.key(1);
    let wrapped = works(&kek);
    let all_at_once = || {
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(|| unwrap(&kek, &wrapped).expect("it opens")))));
        stage.calls().most_inside("C_Decrypt")
    };
    // Others have most of the token's sessions: three are left for all that is done here, the anchor among them.
    stage.script("sessions 3\ndelay Decrypt 20ms");
    let start = Instant::now();
    (0..20).for_each(|_| assert!(all_at_once() <= 2));
    let no_more = stage.calls().answers("C_OpenSession").into_iter().filter(|answer| *answer == CKR_SESSION_COUNT).count();
    // Each of the eight may find out for itself, once for each time that it is tried again.
    let most = 8 * (1 + start.elapsed().as_secs() / 5);
    assert!((1..=most).contains(&(no_more as u64)), "{no_more} of {most}");

    stage.script("delay Decrypt 20ms");
    wait::until("as many sessions as before", SOON, || {
        stage.fake.forget_calls().map_err(|e| e.to_string())?;
        let at_once = all_at_once();
        if at_once == 8 { Ok(()) } else { Err(format!("{at_once} at once")) }
    })
    .expect("without a login");
    assert_eq!(stage.count("C_Login"), 0);
}

#[test]
fn a_session_number_that_the_module_gives_again_is_never_used_by_two() {
    let Some(stage) = Stage::alone("a_session_number_that_the_module_gives_again_is_never_used_by_two", PIN) else { return };
    let kek = stage.key(1);
    let (first, second) = (works(&kek), works(&kek));
    std::thread::scope(|scope| {
        // In the middle of an operation, on the one session that there is beside the anchor.
        let hangs = stage.for_now("hang Decrypt");
        let one = scope.spawn(|| unwrap(&kek, &first));
        stage.fake.wait_inside("C_Decrypt", 1, SOON).expect("it hangs");
        // Another one begins, on what the module calls by the same number. Were it used, the first would go on by the second's nonce.
        stage.script("reuse 1\nhang Decrypt\ndelay Decrypt 500ms");
        let other = scope.spawn(|| unwrap(&kek, &second));
        wait::until("the other is in the module or gave up", SOON, || {
            let inside = stage.calls().inside("C_Decrypt");
            if inside == 2 || other.is_finished() { Ok(()) } else { Err(format!("{inside} inside")) }
        })
        .expect("it goes on");
        drop(hangs);
        for call in [one, other] {
            match call.join().expect("no panic") {
                Ok(opened) => assert_eq!(opened.expose_secret(), SEED),
                Err(KekError::Token(_)) => {}
                Err(error) => panic!("the bytes are good: {error}"),
            }
        }
    });
    assert!(stage.calls().answers("C_OpenSession").iter().all(|answer| *answer == 0));
    works_again(&kek);
    for wrapped in [&first, &second] {
        assert_eq!(unwrap(&kek, wrapped).expect("it opens").expose_secret(), SEED);
    }
}

#[test]
fn an_operation_that_failed_is_not_left_in_a_session() {
    let Some(stage) = Stage::alone("an_operation_that_failed_is_not_left_in_a_session", PIN) else { return };
    let kek = stage.key(1);
    // The fake leaves an operation active whose second half never ran, as real ones do.
    for call in ["Encrypt", "Decrypt"] {
        stage.script(&format!("fail {call} CKR_FUNCTION_FAILED 1"));
        works(&kek);
    }
    let good = works(&kek);
    stage.script("fail Decrypt CKR_ENCRYPTED_DATA_INVALID 1");
    assert!(matches!(unwrap(&kek, &good), Err(KekError::Authentication)));
    assert_eq!(unwrap(&kek, &good).expect("it opens").expose_secret(), SEED);
    let calls = stage.calls();
    assert!(calls.answers("C_EncryptInit").iter().all(|answer| *answer == 0));
    assert_eq!(calls.count("C_Initialize"), 0);
}

#[test]
fn a_token_without_aes_gcm_says_so_and_serves_by_aes_cbc() {
    let Some(stage) = Stage::alone("a_token_without_aes_gcm_says_so_and_serves_by_aes_cbc", PIN) else { return };
    let gcm = stage.key(1);
    stage.script("no-gcm");
    problem(wrap(&gcm));
    let refused = stage.tokens.create_key(&crate::support::gcm(&stage.token, 2)).expect_err("the token has no AES-GCM");
    assert!(matches!(refused.problem, Problem::Mechanism(_)), "{refused}");
    let (cbc, _) = made(&stage.tokens, &spec(&stage.token, 3, Algorithm::Aes256CbcHmacSha256));
    works(&cbc);
    stage.script("");
    works_again(&gcm);
}

#[test]
fn nothing_is_decrypted_whose_mac_is_not_right() {
    let Some(stage) = Stage::alone("nothing_is_decrypted_whose_mac_is_not_right", PIN) else { return };
    let (kek, _) = made(&stage.tokens, &spec(&stage.token, 1, Algorithm::Aes256CbcHmacSha256));
    let good = works(&kek);
    let decrypted = stage.count("C_Decrypt");
    for place in 0..good.sealed.len() {
        let mut changed = Wrapped { nonce: good.nonce.clone(), sealed: good.sealed.clone() };
        changed.sealed[place] ^= 1;
        assert!(matches!(unwrap(&kek, &changed), Err(KekError::Authentication)), "{place}");
    }
    assert_eq!(stage.count("C_Decrypt"), decrypted);
    stage.script("wrong Sign 1");
    let wrapped = wrap(&kek).expect("the token says that all went well");
    assert!(matches!(unwrap(&kek, &wrapped), Err(KekError::Authentication)));
    assert_eq!(unwrap(&kek, &good).expect("it opens").expose_secret(), SEED);
}

/// What may happen at any time, none of it for a reason in the bytes.
const MISHAPS: [&str; 10] = [
    // First, for a module that was initialised just now is not again so soon.
    "swap\nfail Encrypt CKR_CRYPTOKI_NOT_INITIALIZED 1",
    "gone",
    "slot 5\nfail Decrypt CKR_DEVICE_REMOVED 2",
    "gone-until-init",
    "fail Decrypt CKR_SESSION_HANDLE_INVALID 3",
    "busy",
    "fail DecryptInit CKR_KEY_HANDLE_INVALID 2\nslot 2",
    "fail FindObjectsInit CKR_DEVICE_ERROR 2\nfail Encrypt CKR_OBJECT_HANDLE_INVALID 2",
    "sessions 3\ndelay Decrypt 1ms\nfail OpenSession CKR_HOST_MEMORY 2",
    "fail Login CKR_USER_ALREADY_LOGGED_IN 1\nfail Encrypt CKR_USER_NOT_LOGGED_IN 2",
];

/// How many calls of several threads ended, and whether no more are to be made.
#[derive(Default)]
struct Ended {
    well: AtomicU32,
    somehow: AtomicU32,
    over: AtomicBool,
}

/// Uses one of two keys until it is over; only the token may be to blame for what does not work.
fn use_one(keys: [&TokenKek; 2], of_the_first: &Wrapped, ended: &Ended) {
    let [mine, other] = keys;
    while !ended.over.load(Ordering::SeqCst) {
        for result in [unwrap(mine, of_the_first).map(Some), wrap(mine).map(|_| None)] {
            match result {
                Ok(opened) => {
                    assert!(opened.is_none_or(|opened| opened.expose_secret() == SEED));
                    ended.well.fetch_add(1, Ordering::SeqCst);
                }
                Err(KekError::Token(_)) => {}
                Err(other) => panic!("{other}"),
            }
            ended.somehow.fetch_add(1, Ordering::SeqCst);
        }
        assert!(unwrap(other, of_the_first).is_err(), "the other key opens what is not its own");
    }
}

#[test]
fn whatever_happens_no_bytes_are_called_wrong_and_no_key_is_mistaken() {
    let Some(stage) = Stage::alone("whatever_happens_no_bytes_are_called_wrong_and_no_key_is_mistaken", PIN) else { return };
    let keks = [stage.key(1), stage.key(2)];
    let wrapped = keks.each_ref().map(|kek| works(kek));
    let ended = Ended::default();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (mine, other) = (thread % 2, 1 - thread % 2);
            let (keks, wrapped, ended) = (&keks, &wrapped, &ended);
            scope.spawn(move || use_one([&keks[mine], &keks[other]], &wrapped[mine], ended));
        }
        let more = |counter: &AtomicU32, least: u32, what: &str| {
            let before = counter.load(Ordering::SeqCst);
            wait::until(what, SOON, || match counter.load(Ordering::SeqCst) - before {
                more if more >= least => Ok(()),
                more => Err(format!("{more} of {least} calls")),
            })
        };
        let outcome = MISHAPS.into_iter().try_for_each(|mishap| {
            stage.script(mishap);
            more(&ended.somehow, 40, mishap)?;
            stage.script("");
            more(&ended.well, 40, &format!("the token serves after `{mishap}`"))
        });
        ended.over.store(true, Ordering::SeqCst);
        outcome.expect("the token is back each time");
    });
    assert!(ended.somehow.load(Ordering::SeqCst) > ended.well.load(Ordering::SeqCst), "nothing happened at all");
    let calls = stage.calls();
    assert!(calls.always_alone("C_Finalize") && calls.always_alone("C_Initialize"));
    assert!(stage.sessions_open() <= 9, "{} sessions", stage.sessions_open());
}
