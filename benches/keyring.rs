//! What a large keyring costs, as ratios within one run: `cargo bench --bench keyring` (also by `cargo xtask bench`).
//!
//! - load and prove 1,000 versions, beside one read of the file and 1,000 bare unwraps, each with a key of its own: at most 5 x;
//! - Decrypt and Status with 1,000 versions, beside one version: at most 1.05 x.
//!
//! Everything runs on one core, the thread that writes the log on another where there is one, and what is measured is processor time of the
//! one thread: nothing here waits, so on a machine of its own that is the time by the clock. Sides are interleaved in rounds; a ratio is taken
//! within a round, and the median of the rounds is what counts. Every answer is checked. Absolute times are reported and not gated.
//!
//! Where the allocator happens to put a keyring may favour one side for as long as it lives. So Decrypt and Status are measured with
//! keyrings in many places, and the median of the places is held against the gate.

#[path = "shared/report.rs"]
mod report;
#[path = "shared/versions.rs"]
mod versions;

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keywright::adoption::{Caller, Callers};
use keywright::entropy::{Entropy, OsEntropy};
use keywright::key_id::KeyId;
use keywright::keyring::seal::Opener;
use keywright::keyring::store;
use keywright::log::Log;
use keywright::protocol::v2;
use keywright::provider::local::LocalKek;
use keywright::provider::pkcs11::Tokens;
use keywright::provider::{Kek, Wrapped};
use keywright::secret::{SecretBytes, SecretKey};
use keywright::service::{Answer, Method, ROOM, Service, Snapshots};
use prost::Message;
use report::{Figure, Gate, Report};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const VERSIONS: usize = 1_000;
const LOADS: usize = 101;
/// Pairs of keyrings, each pair loaded anew while those before it are still there.
const PLACES: usize = 21;
/// Many short turns: a call takes less than a microsecond, and in a long one the two sides would meet different weather.
const ROUNDS: usize = 31;
const CALLS: usize = 500;

fn main() -> ExitCode {
    let mut report = Report::begin("keyring");
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
    let [one, many] = [("one", 1), ("many", VERSIONS)].map(|(name, versions)| {
        let path = dir.path().join(name);
        versions::create(&path);
        versions::grow(&path, versions);
        path
    });
    let (log, _guard) = on_a_core_of_its_own(|| Log::to(std::io::sink()).expect("starts"));
    report.gate(load(&many));
    let pairs: Vec<_> = (0..PLACES).map(|_| [&one, &many].map(|path| Side::new(path, &log))).collect();
    for method in [Method::Decrypt, Method::Status] {
        report.gate(calls(method, &pairs));
    }
    report.end()
}

/// Moves this thread to one core, and the threads that `make` starts to another if there is one.
fn on_a_core_of_its_own<T>(make: impl FnOnce() -> T) -> T {
    let allowed = sched_getaffinity(None).expect("the cores that may be used");
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    let own = cores.next().expect("this thread runs on a core");
    move_to(cores.next().unwrap_or(own));
    let made = make();
    move_to(own);
    made
}

fn move_to(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).expect("a core that may be used");
}

/// The yardstick is what no loader can leave out: the file is read once, and every version's key is set up from its 32 bytes and
/// unwraps once. One key for all would be set up once, and its unwraps would find everything in the caches.
fn load(path: &Path) -> Gate {
    let aad = [0; 66];
    let versions: Vec<_> = (0..VERSIONS).map(|_| Bare::new(&aad)).collect();
    let (mut ratios, mut times) = (Vec::new(), [Vec::new(), Vec::new()]);
    for round in 0..LOADS {
        // What was loaded is kept until the clock stands: a plugin keeps it too.
        let (mut file, mut keyring) = (None, None);
        let mut took = [Duration::ZERO; 2];
        for at in order(round) {
            took[at] = worked(|| match at {
                0 => {
                    file = Some(std::fs::read(path).expect("reads"));
                    for version in &versions {
                        let kek = LocalKek::new(&version.key);
                        black_box(kek.unwrap_key(&aad, &version.wrapped.nonce, &version.wrapped.sealed).expect("opens"));
                    }
                }
                _ => keyring = Some(store::load(path, &Opener::InsecureDevelopment, &Tokens::none(), &OsEntropy).expect("loads")),
            });
        }
        assert!(file.is_some_and(|bytes| !bytes.is_empty()) && keyring.is_some_and(|keyring| keyring.versions().len() == VERSIONS));
        let [bare, loaded] = took;
        ratios.push(loaded.as_secs_f64() / bare.as_secs_f64());
        times[0].push(loaded.as_secs_f64() * 1e3);
        times[1].push(bare.as_secs_f64() * 1e3);
    }
    let sides = [Figure::median("load and prove", &times[0], "ms"), Figure::median("bare unwraps and one read", &times[1], "ms")];
    Gate::at_most(format!("load and prove {VERSIONS} versions"), 5.0, None, sides, ratios)
}

/// A key, and 32 bytes that it wrapped.
struct Bare {
    key: SecretKey,
    wrapped: Wrapped,
}

impl Bare {
    fn new(aad: &[u8]) -> Self {
        let key = SecretKey::try_fill(|key| OsEntropy.fill(key)).expect("random bytes");
        let wrapped = LocalKek::new(&key).wrap_key(aad, &[1; 32], &OsEntropy).expect("wraps");
        Self { key, wrapped }
    }
}

/// The order of two sides changes from round to round.
fn order(round: usize) -> [usize; 2] {
    if round.is_multiple_of(2) { [0, 1] } else { [1, 0] }
}

/// Each pair: one version, then many.
fn calls(method: Method, pairs: &[[Side; 2]]) -> Gate {
    let mut times = [Vec::new(), Vec::new()];
    let ratios = pairs.iter().map(|sides| {
        let ratios = (0..ROUNDS).map(|round| {
            let mut took = [Duration::ZERO; 2];
            for at in order(round) {
                took[at] = worked(|| sides[at].run(method));
            }
            for (times, took) in times.iter_mut().zip(took) {
                times.push(took.as_secs_f64() * 1e6 / CALLS as f64);
            }
            took[1].as_secs_f64() / took[0].as_secs_f64()
        });
        report::median(&ratios.collect::<Vec<_>>())
    });
    let ratios = ratios.collect();
    let sides = [Figure::median(format!("{VERSIONS} versions"), &times[1], "us"), Figure::median("one version", &times[0], "us")];
    Gate::at_most(format!("{method:?}, CPU time, {VERSIONS} versions in the keyring"), 1.05, 1.02, sides, ratios)
}

/// The answer of a keyring whose keys are in memory.
fn now(answer: Answer) -> SecretBytes {
    match answer {
        Answer::Now(outcome) => outcome.expect("answers"),
        Answer::Later(_) => panic!("a key in memory waits for nothing"),
    }
}

struct Side {
    service: Service,
    caller: Arc<Caller>,
    key_id: KeyId,
    decrypt: Vec<u8>,
}

impl Side {
    fn new(path: &Path, log: &Log) -> Self {
        let keyring = store::load(path, &Opener::InsecureDevelopment, &Tokens::none(), &OsEntropy).expect("loads");
        let key_id = *keyring.primary();
        let snapshots = Snapshots::default();
        snapshots.publish(keyring);
        let caller = Callers::new(Instant::now()).connect(0, 0, Instant::now());
        let service = Service::new(snapshots, Box::new(OsEntropy), log.clone(), false);
        let request = v2::EncryptRequest { plaintext: vec![9; 32], uid: "bench".into() };
        let answer = now(service.call(&caller, Method::Encrypt, &request.encode_to_vec(), || None));
        let answer = v2::EncryptResponse::decode(&answer.expose_secret()[ROOM..]).expect("decodes");
        let decrypt = v2::DecryptRequest {
            ciphertext: answer.ciphertext,
            uid: "bench".into(),
            key_id: answer.key_id,
            annotations: Default::default(),
        };
        Self { service, caller, key_id, decrypt: decrypt.encode_to_vec() }
    }

    fn run(&self, method: Method) {
        let expected = self.key_id.to_string();
        for _ in 0..CALLS {
            let message: &[u8] = if method == Method::Decrypt { &self.decrypt } else { &[] };
            let answer = now(self.service.call(&self.caller, method, message, || None));
            let answer = &answer.expose_secret()[ROOM..];
            let right = match method {
                Method::Decrypt => v2::DecryptResponse::decode(answer).is_ok_and(|a| a.plaintext == [9; 32]),
                _ => v2::StatusResponse::decode(answer).is_ok_and(|a| a.key_id == expected),
            };
            assert!(right, "a wrong answer");
        }
    }
}

/// Processor time of this thread.
fn worked(act: impl FnOnce()) -> Duration {
    let clock = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let start = clock();
    act();
    clock().checked_sub(start).and_then(|took| took.try_into().ok()).expect("a thread's clock goes forward")
}
