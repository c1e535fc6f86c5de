//! The closed loop: a fixed number of requests always in flight, each answered request replaced by the next.
//!
//! Latency here is that of a closed loop: with 100 in flight it is mostly the queue that the loop itself keeps full.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::task::JoinSet;

use crate::client::{Client, Method};
use crate::server::{Program, Server};
use crate::wire::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse};
use crate::{Result, cpu, stats};

/// How long one batch may take before the run is given up.
const BATCH_WITHIN: Duration = Duration::from_secs(60);
/// Answers of each batch that are decrypted again.
const SAMPLES: u64 = 25;

/// A load: connections, requests in flight on each, requests counted and requests before those.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) requests: u64,
    pub(crate) warm_up: u64,
    /// The highest ratio of server CPU that is acceptable.
    pub(crate) gate: f64,
}

impl Point {
    pub(crate) fn name(&self) -> String {
        format!("{} x {}", self.connections, self.in_flight)
    }
}

/// What one side did at one point in one round.
pub(crate) struct Measured {
    pub(crate) cpu_us_per_request: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// With the connections of the point still open.
    pub(crate) resident_kib: u64,
    pub(crate) clock_disagreement: Duration,
}

/// Numbers for requests, never the same twice in a run. Content, uid and deadline of a request follow from its number.
#[derive(Clone, Default)]
pub(crate) struct Numbers(Arc<AtomicU64>);

impl Numbers {
    /// One number.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn reserve(&self, count: u64) -> u64 {
        self.0.fetch_add(count, Ordering::Relaxed)
    }
}

/// An answer kept to be decrypted.
struct Wrapped {
    plaintext: Bytes,
    answer: EncryptResponse,
}

/// Asks for the Status and errors unless it is one that an API server would take.
pub(crate) async fn good_status(client: &Client, number: u64) -> Result<StatusResponse> {
    let status: StatusResponse = client.call(Method::Status, &StatusRequest {}, number).await?;
    if status.healthz != "ok" || !matches!(status.version.as_str(), "v2" | "v2beta1") || status.key_id.is_empty() {
        return Err(format!("not a healthy Status: {status:?}").into());
    }
    Ok(status)
}

/// Loads one server and measures it. Every answer is checked; the first wrong one is the result.
pub(crate) async fn measure(program: &Program, server: &mut Server, point: &Point, numbers: &Numbers) -> Result<Measured> {
    let mut clients = Vec::new();
    for _ in 0..point.connections {
        clients.push(Client::connect(&program.socket()).await?);
    }
    let key_id: Arc<str> = good_status(&clients[0], numbers.next()).await?.key_id.into();
    batch(&clients, point.in_flight, point.warm_up, &key_id, numbers).await?;

    let window = cpu::Window::open(server.pid()).await?;
    let started = Instant::now();
    let Answers { mut latencies, samples } = batch(&clients, point.in_flight, point.requests, &key_id, numbers).await?;
    let elapsed = started.elapsed();
    let used = window.close().await?;
    let resident_kib = cpu::resident_kib(server.pid())?;

    for sample in samples {
        decrypts(&clients[0], sample, numbers).await?;
    }
    server.check_running()?;
    latencies.sort_unstable();
    let count = point.requests as f64;
    Ok(Measured {
        cpu_us_per_request: used.nanos as f64 / 1e3 / count,
        requests_per_second: count / elapsed.as_secs_f64(),
        p50_us: stats::percentile(&latencies, 50) as f64 / 1e3,
        p99_us: stats::percentile(&latencies, 99) as f64 / 1e3,
        resident_kib,
        clock_disagreement: used.disagreement,
    })
}

/// What some requests brought: latencies in nanoseconds, and a few of the answers.
#[derive(Default)]
struct Answers {
    latencies: Vec<u64>,
    samples: Vec<Wrapped>,
}

/// Requests that are still to be sent, shared by all loops of a batch.
struct Batch {
    first: u64,
    count: u64,
    taken: AtomicU64,
    key_id: Arc<str>,
}

/// Sends `count` Encrypt calls, `in_flight` at a time on each connection.
async fn batch(clients: &[Client], in_flight: usize, count: u64, key_id: &Arc<str>, numbers: &Numbers) -> Result<Answers> {
    let batch = Arc::new(Batch { first: numbers.reserve(count), count, taken: AtomicU64::new(0), key_id: Arc::clone(key_id) });
    let mut loops = JoinSet::new();
    for client in clients {
        for _ in 0..in_flight {
            loops.spawn(closed_loop(client.clone(), Arc::clone(&batch)));
        }
    }
    let all = async {
        let mut whole = Answers::default();
        while let Some(finished) = loops.join_next().await {
            let part = finished??;
            whole.latencies.extend(part.latencies);
            whole.samples.extend(part.samples);
        }
        Result::Ok(whole)
    };
    let answers =
        tokio::time::timeout(BATCH_WITHIN, all).await.map_err(|_| format!("{count} requests take longer than {BATCH_WITHIN:?}"))??;
    if answers.latencies.len() as u64 != count {
        return Err(format!("{} answers to {count} requests", answers.latencies.len()).into());
    }
    Ok(answers)
}

/// Sends requests one after the other until the batch has none left.
async fn closed_loop(client: Client, batch: Arc<Batch>) -> Result<Answers> {
    let mut answers = Answers::default();
    loop {
        let index = batch.taken.fetch_add(1, Ordering::Relaxed);
        if index >= batch.count {
            return Ok(answers);
        }
        let (wrapped, latency) = encrypt(&client, batch.first + index, &batch.key_id).await?;
        answers.latencies.push(latency);
        if index.is_multiple_of(batch.count.div_ceil(SAMPLES)) {
            answers.samples.push(wrapped);
        }
    }
}

/// One Encrypt call, its answer checked, and its latency in nanoseconds.
async fn encrypt(client: &Client, number: u64, key_id: &str) -> Result<(Wrapped, u64)> {
    let request = EncryptRequest { plaintext: plaintext(number), uid: uid(number) };
    let started = Instant::now();
    let answer: EncryptResponse = client.call(Method::Encrypt, &request, number).await?;
    let latency = u64::try_from(started.elapsed().as_nanos())?;
    if answer.ciphertext.is_empty() {
        return Err("Encrypt answered with an empty ciphertext".into());
    }
    if answer.key_id != key_id {
        return Err(format!("Encrypt answered with key_id {} while Status says {key_id}", answer.key_id).into());
    }
    Ok((Wrapped { plaintext: request.plaintext, answer }, latency))
}

/// Errors unless the server gives back what this answer was made of.
async fn decrypts(client: &Client, sample: Wrapped, numbers: &Numbers) -> Result<()> {
    let number = numbers.next();
    let EncryptResponse { ciphertext, key_id, annotations } = sample.answer;
    let request = DecryptRequest { ciphertext, uid: uid(number), key_id, annotations };
    let answer: DecryptResponse = client.call(Method::Decrypt, &request, number).await?;
    if answer.plaintext != sample.plaintext {
        return Err("Decrypt answered with something else than Encrypt was given".into());
    }
    Ok(())
}

/// 32 bytes that look random and differ from those of every other number.
fn plaintext(number: u64) -> Bytes {
    let mut bytes = BytesMut::with_capacity(32);
    for word in 0..4 {
        bytes.put_u64(mix(number * 4 + word));
    }
    bytes.freeze()
}

/// A uid of the shape that the API server makes for each request.
fn uid(number: u64) -> String {
    let (high, low) = (mix(!number), mix(!number ^ 1 << 63));
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0xfff,
        low & 0xffff_ffff_ffff
    )
}

/// SplitMix64: a bijection, so that different numbers stay different.
fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}
