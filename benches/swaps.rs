//! What a rotation costs those who call meanwhile: `cargo xtask bench`, or `KEYWRIGHT_BIN=... cargo bench --bench swaps`.
//!
//! A plugin (the release binary, `serve --dev`) answers Encrypt and Decrypt, eight in flight on one connection, in turns of a second: one without and
//! one with rotations, each begun when the last one was seen. Latency is measured at the caller; the 99th percentile of a turn with rotations
//! is held against that of the turn before: at most 1.5 x, as the median over all pairs. There must be 100 swaps, seen in answers, and every answer is
//! checked: one that is wrong, or an error, and there is no result.
#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[path = "shared/report.rs"]
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use hyper_util::rt::TokioIo;
use keywright::entropy::OsEntropy;
use keywright::keyring::document::Time;
use keywright::keyring::rotation;
use keywright::keyring::seal::Opener;
use keywright::keyring::store::Changing;
use keywright::protocol::v2::key_management_service_client::KeyManagementServiceClient;
use keywright::protocol::v2::{DecryptRequest, EncryptRequest};
use keywright::provider::pkcs11::Tokens;
use keywright_testbed::plugin::Plugin;
use report::{Figure, Gate, Report};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

const IN_FLIGHT: usize = 8;
const TURN: Duration = Duration::from_secs(1);
const SWAPS: u64 = 100;
/// A swap is seen within a quarter of a second, so a turn has three or four.
const MOST_PAIRS: usize = 60;
const GATE: f64 = 1.5;

type Client = KeyManagementServiceClient<Channel>;

/// What the callers have in common.
struct Shared {
    stop: AtomicBool,
    /// The key_id that an Encrypt was answered with last.
    primary: Mutex<String>,
    swaps: AtomicU64,
}

fn main() -> ExitCode {
    report::ended(report::binary().map(measure))
}

fn measure(binary: PathBuf) -> ExitCode {
    let mut report = Report::begin("swaps");
    let dir = keywright_testbed::scratch::folder("swaps").expect("a folder");
    let plugin = Plugin::dev(&binary, dir.path()).expect("the plugin starts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let shared = Arc::new(Shared { stop: AtomicBool::new(false), primary: Mutex::default(), swaps: AtomicU64::new(0) });
    let mut ratios = Vec::new();
    let mut percentiles = [Vec::new(), Vec::new()];
    // The first turn finds everything cold.
    turn(&runtime, plugin.socket(), &shared, None);
    shared.swaps.store(0, Ordering::SeqCst);
    for _ in 0..MOST_PAIRS {
        let quiet = turn(&runtime, plugin.socket(), &shared, None);
        let swapping = turn(&runtime, plugin.socket(), &shared, Some(&dir.path().join("keyring")));
        ratios.push(swapping / quiet);
        percentiles[0].push(quiet * 1e6);
        percentiles[1].push(swapping * 1e6);
        if shared.swaps.load(Ordering::SeqCst) >= SWAPS {
            break;
        }
    }
    let swaps = shared.swaps.load(Ordering::SeqCst);
    if swaps < SWAPS {
        println!("no result: {swaps} swaps were seen, not {SWAPS}");
        return ExitCode::from(2);
    }
    let [quiet, swapping] = &percentiles;
    let sides = [Figure::median(format!("during {swaps} swaps"), swapping, "us"), Figure::median("without", quiet, "us")];
    report.gate(Gate::at_most(format!("p99 while the keyring is swapped, {IN_FLIGHT} in flight"), GATE, None, sides, ratios));
    report.end()
}

/// One turn; its 99th percentile in seconds. With a `keyring`, that is rotated all the time.
fn turn(runtime: &tokio::runtime::Runtime, socket: &Path, shared: &Arc<Shared>, keyring: Option<&Path>) -> f64 {
    shared.stop.store(false, Ordering::SeqCst);
    let rotating = keyring.map(|keyring| {
        let (keyring, shared) = (keyring.to_owned(), shared.clone());
        std::thread::spawn(move || rotate(&keyring, &shared))
    });
    let mut latencies = runtime.block_on(async {
        let client = connect(socket).await;
        let end = Instant::now() + TURN;
        let callers: Vec<_> = (0..IN_FLIGHT).map(|number| tokio::spawn(call(client.clone(), shared.clone(), number, end))).collect();
        let mut all = Vec::new();
        for caller in callers {
            all.extend(caller.await.expect("every answer is right"));
        }
        all
    });
    shared.stop.store(true, Ordering::SeqCst);
    if let Some(rotating) = rotating {
        rotating.join().expect("every rotation is written");
    }
    latencies.sort();
    let at = latencies.len() * 99 / 100;
    latencies[at].as_secs_f64()
}

async fn connect(socket: &Path) -> Client {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    KeyManagementServiceClient::new(Endpoint::from_static("http://localhost").connect_with_connector(connector).await.expect("connects"))
}

/// Encrypts and decrypts until `end`; how long each call took.
async fn call(mut client: Client, shared: Arc<Shared>, number: usize, end: Instant) -> Vec<Duration> {
    let seed = vec![number as u8; 32];
    let mut took = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        let answer =
            client.encrypt(EncryptRequest { plaintext: seed.clone(), uid: "bench".into() }).await.expect("Encrypt answers").into_inner();
        took.push(start.elapsed());
        {
            let mut primary = shared.primary.lock().expect("nobody panicked");
            if *primary != answer.key_id {
                primary.clone_from(&answer.key_id);
                shared.swaps.fetch_add(1, Ordering::SeqCst);
            }
        }
        let request =
            DecryptRequest { ciphertext: answer.ciphertext, uid: "bench".into(), key_id: answer.key_id, annotations: answer.annotations };
        let start = Instant::now();
        let opened = client.decrypt(request).await.expect("Decrypt answers").into_inner();
        took.push(start.elapsed());
        assert!(opened.plaintext == seed, "a wrong answer");
    }
    took
}

/// Rotates, waits until the new key is seen, and again.
fn rotate(keyring: &Path, shared: &Shared) {
    while !shared.stop.load(Ordering::SeqCst) {
        let now = Time::of(SystemTime::now());
        let openers = [Opener::InsecureDevelopment];
        let mut changing = Changing::begin(keyring, &openers[0], &Tokens::none()).expect("locks");
        let (document, keys) = (&mut changing.opened.document, &changing.opened.keys);
        rotation::begin(document, keys, now, &OsEntropy).expect("begins");
        rotation::promote(document, None, now).expect("promotes");
        let before = shared.swaps.load(Ordering::SeqCst);
        changing.commit(keyring, &openers, now, "rotate".parse().expect("a word"), &OsEntropy).expect("commits");
        while shared.swaps.load(Ordering::SeqCst) == before && !shared.stop.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
