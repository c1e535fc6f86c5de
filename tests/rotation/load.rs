//! Hot reload under load: one hundred rotations while three callers ask for everything all the time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use keywright::durable::WriteError;
use keywright::entropy::OsEntropy;
use keywright::key_id::KeyId;
use keywright::keyring::document::{Document, Time};
use keywright::keyring::rotation::{self, Outcome, StepError};
use keywright::keyring::seal::{FileKeys, Opener};
use keywright::keyring::store::{ChangeError, Changing};
use keywright::provider::pkcs11::Tokens;
use keywright_testbed::wait;
use tonic::Code;

use crate::common::{Client, Place, SOON, Wrapped};

const ROTATIONS: u32 = 100;
const CALLERS: u8 = 3;
/// Between two rounds of one caller: load without end would only fill the log.
const PACE: Duration = Duration::from_millis(3);
/// Versions this far behind the primary are disabled.
const KEPT: u32 = 10;

/// What the callers and the rotation share.
#[derive(Default)]
struct Shared {
    issued: Mutex<Vec<Wrapped>>,
    /// Versions up to this one may be refused by now.
    disabled: AtomicU32,
    over: AtomicBool,
}

fn number(key_id: &str) -> u32 {
    key_id.parse::<KeyId>().expect("a key_id").version.number()
}

/// Status, Encrypt, Status, Decrypt of something old, until it is over. No call may fail. Gives how many rounds there were.
async fn calls(socket: PathBuf, shared: Arc<Shared>, caller: u8) -> usize {
    let mut client = Client::connect(&socket).await;
    let mut pace = tokio::time::interval(PACE);
    let mut rounds = 0usize;
    while !shared.over.load(Ordering::SeqCst) {
        let before = client.status().await.expect("Status");
        let seed = [caller; 32];
        let wrapped = client.encrypt(&seed).await.expect("Encrypt");
        let after = client.status().await.expect("Status");
        let [before, used, after] = [&before, &wrapped.key_id, &after].map(|key_id| number(key_id));
        assert!(before <= used && used <= after, "Encrypt named {used}, between Status {before} and {after}");
        let old = {
            let mut issued = shared.issued.lock().expect("no holder panics");
            issued.push(wrapped);
            let at = rounds.wrapping_mul(7919) % issued.len();
            issued[at].clone()
        };
        match client.decrypt(&old).await {
            Ok(opened) => assert_eq!(opened, old.seed),
            Err(refused) => {
                assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "key version is disabled"));
                let limit = shared.disabled.load(Ordering::SeqCst);
                assert!(number(&old.key_id) <= limit, "{} was refused, although only versions up to {limit} may be", old.key_id);
            }
        }
        rounds += 1;
        pace.tick().await;
    }
    rounds
}

/// One change of the keyring file, as a command makes it.
fn change(path: &Path, what: &str, step: impl FnOnce(&mut Document, &FileKeys, Time) -> Result<Outcome, StepError>) -> KeyId {
    let now = Time::of(SystemTime::now());
    // A test beside this one may start a process just now: between fork and exec that holds a copy of the lock.
    let mut changing = wait::until("the lock", SOON, || match Changing::begin(path, &Opener::InsecureDevelopment, &Tokens::none()) {
        Ok(changing) => Ok(changing),
        Err(ChangeError::Write(WriteError::Busy(path))) => Err(format!("{} is locked", path.display())),
        Err(error) => panic!("{error}"),
    })
    .expect("nobody keeps it");
    let Ok(Outcome::Changed(key_id)) = step(&mut changing.opened.document, &changing.opened.keys, now) else {
        panic!("{what} is a change")
    };
    let why = what.parse().expect("words");
    changing.commit(path, &[Opener::InsecureDevelopment], now, why, &OsEntropy).expect("it is written");
    key_id
}

/// Takes one rotation to its end, and gives how long Status took to show it.
async fn rotate(path: &Path, client: &mut Client, shared: &Shared) -> (String, Duration) {
    let staged = change(path, "begin", |document, keys, now| rotation::begin(document, keys, now, &OsEntropy));
    let promoted = change(path, "promote", |document, _, now| rotation::promote(document, Some(staged), now)).to_string();
    let written = Instant::now();
    while client.status().await.expect("Status") != promoted {
        assert!(written.elapsed() < SOON, "Status does not show {promoted}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = written.elapsed();
    if let Some(old) = number(&promoted).checked_sub(KEPT).filter(|old| *old > 0) {
        shared.disabled.store(old, Ordering::SeqCst);
        change(path, "verify and disable", |document, _, now| {
            let target = document.versions[old as usize - 1].key_id;
            rotation::verify(document, target, "nobody needs it".parse().expect("words"))?;
            rotation::disable(document, target, now)
        });
    }
    (promoted, took)
}

#[test]
fn through_a_hundred_rotations_no_call_fails_and_every_ciphertext_opens_while_its_version_may() {
    let place = Place::dev();
    let plugin = place.serve();
    let shared = Arc::new(Shared::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let callers: Vec<_> = (0..CALLERS).map(|caller| runtime.spawn(calls(place.socket(), shared.clone(), caller))).collect();

    let mut primaries = BTreeSet::from([plugin.ready().expect("ready")]);
    let mut slowest = Duration::ZERO;
    let mut client = runtime.block_on(Client::connect(&place.socket()));
    for _ in 0..ROTATIONS {
        let (promoted, took) = runtime.block_on(rotate(place.keyring(), &mut client, &shared));
        primaries.insert(promoted);
        slowest = slowest.max(took);
    }
    shared.over.store(true, Ordering::SeqCst);
    let rounds: Vec<usize> = callers.into_iter().map(|caller| runtime.block_on(caller).expect("no call failed")).collect();
    assert!(rounds.iter().all(|rounds| *rounds > ROTATIONS as usize), "too little load to say anything: {rounds:?}");
    assert_eq!(primaries.len(), ROTATIONS as usize + 1);
    assert!(slowest < Duration::from_secs(1), "a change took {slowest:?} to reach Status");

    place.loaded();
    let issued = shared.issued.lock().expect("nobody holds it");
    let used: BTreeSet<String> = issued.iter().map(|wrapped| wrapped.key_id.clone()).collect();
    assert!(used.is_subset(&primaries), "a key_id that never was the primary");
    assert!(used.len() > ROTATIONS as usize / 2, "only {} versions were used", used.len());
    let (mut opened, mut refused) = (0, 0);
    for wrapped in issued.iter() {
        match runtime.block_on(client.decrypt(wrapped)) {
            Ok(seed) => {
                assert_eq!(seed, wrapped.seed);
                assert!(number(&wrapped.key_id) > ROTATIONS + 1 - KEPT, "{} is disabled, and opens", wrapped.key_id);
                opened += 1;
            }
            Err(status) => {
                assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "key version is disabled"));
                assert!(number(&wrapped.key_id) <= ROTATIONS + 1 - KEPT, "{} is refused", wrapped.key_id);
                refused += 1;
            }
        }
    }
    assert!(opened > 0 && refused > 0, "{opened} opened, {refused} refused");
    println!("{} calls of Encrypt, {} versions used, slowest change seen after {slowest:?}", issued.len(), used.len());
}
