//! The closed loop: a fixed number of calls always in flight, each answered call replaced by the next.
//!
//! Latency here is that of a closed loop: with 100 in flight it is mostly the queue that the loop itself keeps full. Under a rate it is
//! still counted from the sending of a call, so a server that stands still shows in the rate that was reached as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client::{CallError, Client, Operation};
use super::content::{self, Numbers};
use crate::protocol::v2::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse};

/// Longest latency that is told from a longer one, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;
/// What a rate may catch up after a moment in which nothing could be sent.
const CATCH_UP: Duration = Duration::from_millis(10);

/// What to ask, and how much of it.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Which call.
    pub operation: Operation,
    /// How many at once, over all connections; at least 1.
    pub in_flight: usize,
    /// Until when.
    pub amount: Amount,
    /// Most calls per second.
    pub rate: Option<f64>,
    /// How many answers of Encrypt to keep, so that they can be decrypted.
    pub keep: usize,
}

/// When a load ends.
#[derive(Debug, Clone, Copy)]
pub enum Amount {
    /// After so many calls.
    Count(u64),
    /// After so long; the calls in flight are still answered.
    For(Duration),
}

/// A plaintext, and what it was wrapped into.
#[derive(Clone)]
pub struct Wrapped {
    plaintext: Vec<u8>,
    answer: EncryptResponse,
}

impl Wrapped {
    /// The envelope, as a plugin of ours makes it.
    pub fn ciphertext(&self) -> &[u8] {
        &self.answer.ciphertext
    }
}

/// Stops a load, and shows how far it is.
#[derive(Debug)]
pub struct Control {
    stop: watch::Sender<bool>,
    done: AtomicU64,
}

impl Default for Control {
    fn default() -> Self {
        Self { stop: watch::Sender::new(false), done: AtomicU64::new(0) }
    }
}

impl Control {
    /// No further call is sent; those in flight are still answered.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether somebody stopped it.
    pub fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Calls that have ended since it was made.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// What a load brought.
pub struct Measured {
    /// From the first call sent to the last answer.
    pub elapsed: Duration,
    /// Of the right answers, in nanoseconds.
    pub latencies: Histogram<u64>,
    /// What was not answered rightly.
    pub failures: Failures,
    /// Answers of Encrypt that were kept.
    pub kept: Vec<Wrapped>,
    /// Whether a connection broke, so that the load ended early.
    pub lost: bool,
}

/// Calls without a right answer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Failures {
    /// By the name of the gRPC code.
    pub refused: BTreeMap<String, u64>,
    /// Answered, and not rightly.
    pub wrong: u64,
    /// What happened first.
    pub first: Option<String>,
}

impl Failures {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.refused.values().fold(self.wrong, |sum, count| sum.saturating_add(*count))
    }

    /// Notes all of `later`, which came after these.
    pub fn join(&mut self, later: Self) {
        for (code, count) in later.refused {
            *self.refused.entry(code).or_default() += count;
        }
        self.wrong += later.wrong;
        self.first = self.first.take().or(later.first);
    }

    /// Notes one.
    pub fn add(&mut self, error: &CallError) {
        match error.code() {
            Some(code) => *self.refused.entry(format!("{code:?}")).or_default() += 1,
            None => self.wrong += 1,
        }
        self.first.get_or_insert_with(|| error.to_string());
    }
}

/// Connections to one server, and what is known of it.
pub struct Target {
    clients: Vec<Client>,
    numbers: Numbers,
    /// Every key_id that Status has named. One more whenever the keyring is rotated meanwhile.
    named: Mutex<BTreeSet<String>>,
}

/// Asks for the Status and errors unless it is one that an API server would take.
pub async fn good_status(client: &Client, number: u64) -> Result<StatusResponse, CallError> {
    let status: StatusResponse = client.call(Operation::Status, &StatusRequest {}, number).await?;
    let StatusResponse { version, healthz, key_id } = &status;
    if healthz != "ok" || !matches!(version.as_str(), "v2" | "v2beta1") || key_id.is_empty() {
        return Err(CallError::Wrong(format!("not a healthy Status: version {version:?}, healthz {healthz:?}, key_id {key_id:?}")));
    }
    Ok(status)
}

impl Target {
    /// Asks for the Status on each of `clients`; there is at least one. Gives the key_id that the last one named as well.
    pub async fn new(clients: Vec<Client>, numbers: Numbers) -> Result<(Arc<Self>, String), CallError> {
        let mut named = BTreeSet::new();
        let mut last = String::new();
        for client in &clients {
            last = good_status(client, numbers.next()).await?.key_id;
            named.insert(last.clone());
        }
        Ok((Arc::new(Self { clients, numbers, named: Mutex::new(named) }), last))
    }

    /// Sends `load` and checks every answer. A Decrypt is of one of `wrapped` in turn; there is at least one then.
    ///
    /// No failure ends it but that of a connection.
    pub async fn run(self: &Arc<Self>, load: Load, wrapped: &Arc<[Wrapped]>, control: &Arc<Control>) -> Measured {
        let started = Instant::now();
        let run = Arc::new(Run {
            target: self.clone(),
            wrapped: wrapped.clone(),
            load,
            end: match load.amount {
                Amount::For(duration) => started.checked_add(duration),
                Amount::Count(_) => None,
            },
            pace: load.rate.map(|rate| Pace::new(rate, started)),
            taken: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            control: control.clone(),
            found: Mutex::new(Found::default()),
        });
        let mut loops = JoinSet::new();
        for client in self.clients.iter().cycle().take(load.in_flight) {
            loops.spawn(run.clone().closed_loop(client.clone()));
        }
        loops.join_all().await;
        let elapsed = started.elapsed();
        let found = std::mem::take(&mut *lock(&run.found));
        Measured { elapsed, latencies: found.latencies, failures: found.failures, kept: found.kept, lost: run.lost.load(Ordering::Relaxed) }
    }

    /// Decrypts `wrapped`, one after the other. Gives those failures; they are not part of any figure.
    pub async fn decrypt_all(&self, wrapped: &[Wrapped]) -> Failures {
        let mut failures = Failures::default();
        for (wrapped, client) in wrapped.iter().zip(self.clients.iter().cycle()) {
            if let Err(error) = self.decrypt(client, wrapped, self.numbers.next()).await {
                failures.add(&error);
            }
        }
        failures
    }

    async fn status(&self, client: &Client, number: u64) -> Result<u64, CallError> {
        let sent = Instant::now();
        let status = good_status(client, number).await?;
        let took = nanos(sent);
        let mut named = lock(&self.named);
        if !named.contains(&status.key_id) {
            named.insert(status.key_id);
        }
        Ok(took)
    }

    /// One Encrypt, its answer checked, and its latency in nanoseconds.
    async fn encrypt(&self, client: &Client, number: u64) -> Result<(Wrapped, u64), CallError> {
        let request = EncryptRequest { plaintext: content::seed(number), uid: content::uid(number) };
        let plaintext = request.plaintext.clone();
        let sent = Instant::now();
        let answer: EncryptResponse = client.call(Operation::Encrypt, &request, number).await?;
        let took = nanos(sent);
        if answer.ciphertext.is_empty() {
            return Err(CallError::Wrong("Encrypt answered with an empty ciphertext".into()));
        }
        if !lock(&self.named).contains(&answer.key_id) {
            // A rotation meanwhile is no fault; a key_id that Status does not name now is one.
            let status = good_status(client, number).await?.key_id;
            if status != answer.key_id {
                let why = format!("Encrypt answered with key_id {:?} while Status says {status:?}", answer.key_id);
                return Err(CallError::Wrong(why));
            }
            lock(&self.named).insert(status);
        }
        Ok((Wrapped { plaintext, answer }, took))
    }

    /// One Decrypt; errors unless it gives back what was wrapped.
    async fn decrypt(&self, client: &Client, wrapped: &Wrapped, number: u64) -> Result<u64, CallError> {
        let EncryptResponse { ciphertext, key_id, annotations } = wrapped.answer.clone();
        let request = DecryptRequest { ciphertext, uid: content::uid(number), key_id, annotations };
        let sent = Instant::now();
        let answer: DecryptResponse = client.call(Operation::Decrypt, &request, number).await?;
        let took = nanos(sent);
        if answer.plaintext != wrapped.plaintext {
            return Err(CallError::Wrong("Decrypt answered with something else than Encrypt was given".into()));
        }
        Ok(took)
    }
}

/// One load while it runs, shared by its loops.
struct Run {
    target: Arc<Target>,
    wrapped: Arc<[Wrapped]>,
    load: Load,
    end: Option<Instant>,
    pace: Option<Pace>,
    taken: AtomicU64,
    lost: AtomicBool,
    control: Arc<Control>,
    found: Mutex<Found>,
}

struct Found {
    latencies: Histogram<u64>,
    failures: Failures,
    kept: Vec<Wrapped>,
    /// Answers that could have been kept.
    offered: u64,
}

impl Default for Found {
    fn default() -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds and digits that the library documents");
        Self { latencies, failures: Failures::default(), kept: Vec::new(), offered: 0 }
    }
}

impl Found {
    /// Keeps `most` of all that are offered, each with the same chance.
    fn offer(&mut self, wrapped: Wrapped, most: usize) {
        self.offered += 1;
        if self.kept.len() < most {
            return self.kept.push(wrapped);
        }
        let at = usize::try_from(content::mix(self.offered) % self.offered);
        if let Some(place) = at.ok().and_then(|at| self.kept.get_mut(at)) {
            *place = wrapped;
        }
    }
}

impl Run {
    /// The next call to send; none when there is no more to do.
    fn take(&self) -> Option<u64> {
        let over = self.control.stopped() || self.lost.load(Ordering::Relaxed) || self.end.is_some_and(|end| Instant::now() >= end);
        if over {
            return None;
        }
        let index = self.taken.fetch_add(1, Ordering::Relaxed);
        match self.load.amount {
            Amount::Count(count) if index >= count => None,
            _ => Some(index),
        }
    }

    /// Which of the ciphertexts call `index` is for.
    fn turn(&self, index: u64) -> usize {
        let of = self.wrapped.len().max(1) as u64;
        usize::try_from(index % of).unwrap_or_default()
    }

    /// Waits for the moment of the next call. False if none is to be sent any more.
    async fn in_time(&self, stop: &mut watch::Receiver<bool>) -> bool {
        let Some(pace) = &self.pace else { return true };
        let slot = pace.slot(Instant::now());
        let wake = self.end.map_or(slot, |end| end.min(slot));
        tokio::select! {
            () = tokio::time::sleep_until(wake.into()) => wake == slot,
            _ = stop.wait_for(|stop| *stop) => false,
        }
    }

    /// Sends calls one after the other until the load has none left.
    async fn closed_loop(self: Arc<Self>, client: Client) {
        let mut stop = self.control.stop.subscribe();
        while let Some(index) = self.take() {
            if !self.in_time(&mut stop).await {
                return;
            }
            let number = self.target.numbers.next();
            let outcome = match self.load.operation {
                Operation::Status => self.target.status(&client, number).await,
                Operation::Encrypt => self.target.encrypt(&client, number).await.map(|(wrapped, took)| {
                    lock(&self.found).offer(wrapped, self.load.keep);
                    took
                }),
                Operation::Decrypt => match self.wrapped.get(self.turn(index)) {
                    Some(wrapped) => self.target.decrypt(&client, wrapped, number).await,
                    None => return,
                },
            };
            match outcome {
                Ok(took) => lock(&self.found).latencies.saturating_record(took.max(1)),
                Err(error) => {
                    if matches!(error, CallError::Broken(_)) {
                        self.lost.store(true, Ordering::Relaxed);
                    }
                    lock(&self.found).failures.add(&error);
                }
            }
            self.control.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Moments at which calls are sent.
struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    fn new(rate: f64, start: Instant) -> Self {
        let interval = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX);
        Self { interval, next: Mutex::new(start) }
    }

    /// The moment of the next call. What was missed is not made up for, but for a little.
    fn slot(&self, now: Instant) -> Instant {
        let mut next = lock(&self.next);
        let slot = (*next).max(now.checked_sub(CATCH_UP).unwrap_or(now));
        *next = slot.checked_add(self.interval).unwrap_or(slot);
        slot
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_and_a_pause_is_made_up_for_by_ten_milliseconds_at_most() {
        let start = Instant::now();
        let pace = Pace::new(1_000.0, start);
        let after = |millis| start + Duration::from_millis(millis);
        let slots: Vec<_> = (0..5).map(|_| pace.slot(start)).collect();
        assert_eq!(slots, [0, 1, 2, 3, 4].map(after));
        let slots: Vec<_> = (0..12).map(|_| pace.slot(after(1_000))).collect();
        assert_eq!((slots[0], slots[10], slots[11]), (after(990), after(1_000), after(1_001)));
    }

    #[test]
    fn what_is_kept_is_from_the_beginning_and_from_later_and_never_too_much() {
        let mut found = Found::default();
        for at in 0..200 {
            found.offer(Wrapped { plaintext: vec![at], answer: EncryptResponse::default() }, 20);
        }
        let kept: BTreeSet<_> = found.kept.iter().map(|wrapped| wrapped.plaintext[0]).collect();
        assert_eq!((kept.len(), found.kept.len()), (20, 20));
        assert!(kept.iter().any(|at| *at >= 100), "{kept:?}");
        let mut none = Found::default();
        none.offer(Wrapped { plaintext: vec![], answer: EncryptResponse::default() }, 0);
        assert!(none.kept.is_empty());
    }

    #[test]
    fn failures_are_counted_by_code_and_the_first_is_told() {
        let mut failures = Failures::default();
        failures.add(&CallError::Late(Duration::from_secs(3)));
        failures.add(&CallError::Wrong("something else".into()));
        failures.add(&CallError::Refused { code: tonic::Code::Unavailable, text: "later".into() });
        failures.add(&CallError::Late(Duration::from_secs(3)));
        let expected = BTreeMap::from([("DeadlineExceeded".to_owned(), 2), ("Unavailable".to_owned(), 1)]);
        assert_eq!((&failures.refused, failures.wrong, failures.count()), (&expected, 1, 4));
        assert_eq!(failures.first.as_deref(), Some("no answer within 3s"));
    }
}
