use std::io;
use std::sync::Mutex;

use prost::Message;
use tokio::task::JoinSet;

use super::*;
use crate::adoption::{Callers, Calls};
use crate::entropy::OsEntropy;
use crate::log::LogGuard;
use crate::protocol::{v1beta1, v2};
use crate::provider::Kek;
use crate::provider::waits::played::{Key, PANICS, Plays, Token, envelope};
use crate::provider::waits::{Figures, Limits};
use crate::service::{Answer, ROOM, Snapshots, decoded};

const SOON: Duration = Duration::from_secs(20);
/// Longer than any test.
const LONG: Limits = Limits { call_timeout: Duration::from_secs(600), away_after: Duration::from_secs(600) };

/// Log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A service whose primary is in a token that the test plays.
struct Played {
    service: Service,
    token: Token,
    key: Arc<Key>,
    keyring: Arc<Keyring>,
    caller: Arc<Caller>,
    lines: Lines,
    guard: LogGuard,
}

impl Played {
    fn new(threads: usize, limits: Limits, plays: Plays) -> Self {
        let token = Token::new(threads, limits, plays);
        let key = token.key();
        let (snapshots, lines) = (Snapshots::default(), Lines::default());
        snapshots.publish(Keyring::played(vec![key.clone()]));
        let keyring = snapshots.current().expect("is published");
        let (log, guard) = Log::to(lines.clone()).expect("starts");
        let caller = Callers::new(Instant::now()).connect(0, 0, Instant::now());
        Self { service: Service::new(snapshots, Box::new(OsEntropy), log, true), token, key, keyring, caller, lines, guard }
    }

    fn seen_to_work(&self) {
        self.key.waits().expect("waits").last_good.note(Instant::now());
    }

    fn status(&self) -> Result<SecretBytes, Refusal> {
        match self.service.call(&self.caller, Method::Status, &[], || None) {
            Answer::Now(outcome) => outcome,
            Answer::Later(_) => panic!("Status waits for nothing"),
        }
    }

    fn later(&self, method: Method, message: &impl Message, limit: Option<Duration>) -> Later {
        match self.service.call(&self.caller, method, &message.encode_to_vec(), || limit) {
            Answer::Now(outcome) => panic!("answered at once: {:?}", outcome.err()),
            Answer::Later(later) => later,
        }
    }

    fn request(&self, plaintext: &[u8]) -> v2::DecryptRequest {
        let key_id = self.keyring.primary();
        let ciphertext = envelope(*key_id, plaintext);
        v2::DecryptRequest { ciphertext, uid: "u".into(), key_id: key_id.to_string(), annotations: Default::default() }
    }

    fn decrypt(&self, plaintext: &[u8]) -> Later {
        self.later(Method::Decrypt, &self.request(plaintext), None)
    }

    /// The next call that is inside the token.
    async fn entered(&mut self) -> Vec<u8> {
        tokio::time::timeout(SOON, self.token.entered.recv()).await.expect("a call comes").expect("the key is there")
    }

    fn figures(&self) -> Figures {
        self.token.workers.figures(Instant::now())
    }

    /// The codes of the request lines, once everything is written.
    fn codes(self) -> Vec<String> {
        drop(self.guard);
        let text = String::from_utf8(self.lines.0.lock().expect("not poisoned").clone()).expect("text");
        text.lines().filter_map(|line| Some(line.split_once(" code=")?.1.split(' ').next()?.to_owned())).collect()
    }
}

async fn soon(later: Later) -> Result<SecretBytes, Refusal> {
    tokio::time::timeout(SOON, later).await.expect("is answered")
}

fn plaintext(outcome: Result<SecretBytes, Refusal>) -> Vec<u8> {
    let mut answer: v2::DecryptResponse = decoded(&outcome.expect("opens").expose_secret()[ROOM..]).expect("decodes");
    std::mem::take(&mut answer.plaintext)
}

#[tokio::test]
async fn status_is_answered_while_every_thread_hangs_and_fails_for_a_key_that_is_not_seen_to_work() {
    let mut played = Played::new(2, LONG, Plays::Hangs);
    assert_eq!(played.status().err(), Some(Refusal::TokenAway), "never seen to work");
    let calls: Vec<Later> = (0..5).map(|n| played.decrypt(&[n])).collect();
    for _ in 0..2 {
        played.entered().await;
    }
    assert_eq!(played.figures(), Figures { threads: 2, busy: 2, stuck: 0, queued: 3 });
    played.seen_to_work();
    assert!(played.status().is_ok());
    assert!(calls.len() == 5 && played.token.entered.try_recv().is_err(), "a third is inside");
    played.token.play(Plays::Works);
}

#[tokio::test]
async fn what_a_key_in_a_token_wraps_is_opened_by_it_in_both_apis_and_noted_once_it_is_known() {
    let played = Played::new(2, LONG, Plays::Works);
    let request = v2::EncryptRequest { plaintext: vec![7; 32], uid: "u".into() };
    let later = played.later(Method::Encrypt, &request, None);
    assert_eq!(played.caller.calls(), Calls::default(), "nothing is known yet");
    let answer: v2::EncryptResponse = decoded(&soon(later).await.expect("wraps").expose_secret()[ROOM..]).expect("decodes");
    assert_eq!(played.caller.calls().encrypted.map(|(key_id, _)| key_id), Some(*played.keyring.primary()));
    assert_eq!(answer.key_id, played.keyring.primary_name());
    assert!(played.status().is_ok(), "it was seen to work");
    let request =
        v2::DecryptRequest { ciphertext: answer.ciphertext, uid: "u".into(), key_id: answer.key_id, annotations: Default::default() };
    assert_eq!(plaintext(soon(played.later(Method::Decrypt, &request, None)).await), [7; 32]);

    let request = v1beta1::EncryptRequest { version: "v1beta1".into(), plain: vec![8; 32] };
    let answer = soon(played.later(Method::V1Encrypt, &request, None)).await.expect("wraps");
    let answer: v1beta1::EncryptResponse = decoded(&answer.expose_secret()[ROOM..]).expect("decodes");
    let request = v1beta1::DecryptRequest { version: "v1beta1".into(), cipher: answer.cipher };
    let answer = soon(played.later(Method::V1Decrypt, &request, None)).await.expect("opens");
    let answer: v1beta1::DecryptResponse = decoded(&answer.expose_secret()[ROOM..]).expect("decodes");
    assert_eq!(answer.plain, [8; 32]);
    let calls = played.token.workers.calls();
    assert_eq!(calls[0], (Outcome::Ok, 4));
    assert_eq!(played.codes(), ["OK"; 5]);
}

#[tokio::test]
async fn fifty_callers_of_the_same_are_one_call_and_each_has_its_own_answer_and_line() {
    let mut played = Played::new(8, LONG, Plays::Hangs);
    let calls: Vec<Later> = (0..50).map(|_| played.decrypt(b"seed")).collect();
    played.entered().await;
    assert_eq!(played.figures(), Figures { threads: 8, busy: 1, stuck: 0, queued: 0 });
    played.token.play(Plays::Works);
    for call in calls {
        assert_eq!(plaintext(soon(call).await), b"seed");
    }
    assert!(played.token.entered.try_recv().is_err(), "one call");
    assert_eq!(played.service.joins.len(), 0, "nothing is kept of what is over");
    assert_eq!(plaintext(soon(played.decrypt(b"seed")).await), b"seed");
    played.entered().await;
    assert_eq!(played.codes(), ["OK"; 51]);
}

#[tokio::test]
async fn a_failure_is_that_of_all_who_asked_the_same() {
    let mut played = Played::new(8, LONG, Plays::Hangs);
    let calls: Vec<Later> = (0..5).map(|_| played.decrypt(b"seed")).collect();
    played.entered().await;
    played.token.play(Plays::Away);
    for call in calls {
        assert_eq!(soon(call).await.err(), Some(Refusal::TokenAway));
    }
    assert!(played.token.entered.try_recv().is_err(), "one call");
    assert_eq!(played.token.workers.calls()[2], (Outcome::Failed, 1));
    assert_eq!(played.codes(), ["Unavailable"; 5]);
}

#[tokio::test]
async fn other_bytes_another_purpose_or_another_snapshot_are_another_call() {
    let mut played = Played::new(8, LONG, Plays::Hangs);
    let mut calls = vec![played.decrypt(b"seed"), played.decrypt(b"sead")];
    let request = v1beta1::DecryptRequest { version: "v1beta1".into(), cipher: played.request(b"seed").ciphertext };
    calls.push(played.later(Method::V1Decrypt, &request, None));
    played.service.snapshots.publish(Keyring::played(vec![played.key.clone()]));
    calls.push(played.decrypt(b"seed"));
    for _ in 0..4 {
        played.entered().await;
    }
    played.token.play(Plays::Works);
    for call in calls {
        assert!(soon(call).await.is_ok());
    }
}

#[tokio::test]
async fn who_asks_again_does_not_hang_on_the_call_that_hung_before() {
    let mut played = Played::new(8, LONG, Plays::Hangs);
    let now = Instant::now();
    let ask = |played: &Played| Ask {
        keyring: played.keyring.clone(),
        purpose: Purpose::KmsV2,
        ciphertext: envelope(*played.keyring.primary(), b"seed"),
    };
    let join = |played: &Played, now| played.service.joins.join(ask(played), played.key.waits().expect("waits"), now);
    let first = join(&played, now);
    assert!(Arc::ptr_eq(&first, &join(&played, now + LONG.call_timeout - Duration::from_millis(1))));
    let second = join(&played, now + LONG.call_timeout);
    assert!(!Arc::ptr_eq(&first, &second));
    for _ in 0..2 {
        played.entered().await;
    }
    drop(first);
    assert!(Arc::ptr_eq(&second, &join(&played, now + LONG.call_timeout)), "the end of the first takes nothing from the second");
    drop(second);
    assert_eq!(played.service.joins.len(), 0);
    played.token.play(Plays::Works);
}

#[tokio::test]
async fn an_envelope_that_names_another_key_or_was_changed_never_opens_and_the_first_costs_no_call() {
    let mut played = Played::new(1, LONG, Plays::Works);
    let mut request = played.request(b"seed");
    request.ciphertext[31] ^= 1;
    match played.service.call(&played.caller, Method::Decrypt, &request.encode_to_vec(), || None) {
        Answer::Now(outcome) => assert_eq!(outcome.err(), Some(Refusal::DoesNotOpen)),
        Answer::Later(_) => panic!("no token is needed to know it"),
    }
    assert!(played.token.entered.try_recv().is_err());
    let mut request = played.request(b"seed");
    *request.ciphertext.last_mut().expect("bytes") ^= 1;
    assert_eq!(soon(played.later(Method::Decrypt, &request, None)).await.err(), Some(Refusal::DoesNotOpen));
    assert_eq!(played.token.workers.calls()[1], (Outcome::Refused, 1));
    assert_eq!(played.codes(), ["DataLoss"; 2]);
}

#[tokio::test]
async fn a_call_waits_out_its_time_and_not_less_wherever_it_stands() {
    let limits = Limits { call_timeout: Duration::from_millis(60), ..LONG };
    let mut played = Played::new(1, limits, Plays::Hangs);
    let start = Instant::now();
    // One is inside, 64 stand behind it; none is refused for their number.
    let mut calls: JoinSet<_> = (0..65)
        .map(|n| played.decrypt(&[n]))
        .map(|later| async move {
            let outcome = soon(later).await;
            (outcome.err(), start.elapsed())
        })
        .collect();
    played.entered().await;
    while let Some(call) = calls.join_next().await {
        let (refusal, after) = call.expect("ends");
        assert_eq!(refusal, Some(Refusal::TokenAway));
        assert!(after >= limits.call_timeout, "given up after {after:?}");
    }
    assert_eq!(played.figures(), Figures { threads: 1, busy: 1, stuck: 0, queued: 0 }, "nobody stands in the queue any more");
    assert_eq!(played.token.workers.calls()[4], (Outcome::Late, 65));
    played.token.play(Plays::Works);
    assert_eq!(plaintext(soon(played.decrypt(b"seed")).await), b"seed", "it went on when the token did");
    assert_eq!(played.codes()[..65], ["Unavailable"; 65]);
}

#[tokio::test]
async fn the_65th_call_at_once_is_answered_when_the_token_answers() {
    let mut played = Played::new(1, LONG, Plays::Hangs);
    let calls: Vec<Later> = (0..65).map(|n| played.decrypt(&[n])).collect();
    played.entered().await;
    assert_eq!(played.figures().queued, 64);
    played.token.play(Plays::Works);
    for (call, n) in calls.into_iter().zip(0..) {
        assert_eq!(plaintext(soon(call).await), [n]);
    }
}

#[tokio::test]
async fn a_caller_that_waits_less_long_is_told_at_its_own_time() {
    let played = Played::new(1, LONG, Plays::Hangs);
    let (start, limit) = (Instant::now(), Duration::from_millis(20));
    let later = played.later(Method::Decrypt, &played.request(b"seed"), Some(limit));
    assert_eq!(soon(later).await.err(), Some(Refusal::TokenAway));
    assert!(start.elapsed() >= limit);
    let limits = Limits { call_timeout: limit, ..LONG };
    let other = Played::new(1, limits, Plays::Hangs);
    let later = other.later(Method::Decrypt, &other.request(b"seed"), Some(LONG.call_timeout));
    assert_eq!(soon(later).await.err(), Some(Refusal::TokenAway), "one that waits longer, at ours");
    for played in [played, other] {
        played.token.play(Plays::Works);
    }
}

#[tokio::test]
async fn ten_thousand_different_decrypts_256_at_once_are_all_answered() {
    let played = Played::new(8, Limits::default(), Plays::Works);
    let mut calls = JoinSet::new();
    let mut answered = 0;
    for n in 0..10_000_u32 {
        if calls.len() == 256 {
            answered += usize::from(calls.join_next().await.expect("some").expect("ends"));
        }
        let later = played.decrypt(&n.to_be_bytes());
        calls.spawn(async move { plaintext(later.await) == n.to_be_bytes() });
    }
    while let Some(right) = calls.join_next().await {
        answered += usize::from(right.expect("ends"));
    }
    assert_eq!(answered, 10_000);
    assert_eq!((played.figures().queued, played.service.joins.len()), (0, 0));
    assert_eq!(played.token.workers.calls()[0], (Outcome::Ok, 10_000));
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_call_out_of_the_queue_but_not_from_others() {
    let mut played = Played::new(1, LONG, Plays::Hangs);
    let inside = played.decrypt(b"first");
    played.entered().await;
    let gone = played.decrypt(b"second");
    let [one, two] = [played.decrypt(b"third"), played.decrypt(b"third")];
    assert_eq!(played.figures().queued, 2);
    drop((gone, one));
    assert_eq!(played.figures().queued, 1, "the third has another who waits");
    drop(inside);
    let encrypt = played.later(Method::Encrypt, &v2::EncryptRequest { plaintext: vec![7; 32], uid: "u".into() }, None);
    drop(encrypt);
    assert_eq!(played.caller.calls(), Calls::default());
    played.token.play(Plays::Works);
    assert_eq!(plaintext(soon(two).await), b"third");
    assert!(played.entered().await.starts_with(b"third"));
    assert!(played.token.entered.try_recv().is_err(), "the others never reached the token");
    assert_eq!(played.codes(), ["Canceled", "Canceled", "Canceled", "Canceled", "OK"]);
}

#[tokio::test]
async fn a_call_that_panics_is_ours_and_the_next_one_is_answered() {
    let played = Played::new(1, LONG, Plays::Works);
    assert_eq!(soon(played.decrypt(PANICS)).await.err(), Some(Refusal::Ours));
    let request = v2::EncryptRequest { plaintext: PANICS.to_vec(), uid: "u".into() };
    assert_eq!(soon(played.later(Method::Encrypt, &request, None)).await.err(), Some(Refusal::Ours));
    assert_eq!(played.caller.calls(), Calls::default());
    assert_eq!(plaintext(soon(played.decrypt(b"seed")).await), b"seed");
    assert_eq!(played.codes(), ["Internal", "Internal", "OK"]);
}
