//! The calls of the plugin's clients. Every answer is compared with what was wrapped.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keywright::bench::client::{Caller as As, Client, Operation};
use keywright::bench::content::uid;
use keywright::bench::load::good_status;
use keywright::protocol::v2::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::Result;

/// Pause between two calls of Status.
const PAUSE: Duration = Duration::from_millis(1);
/// For so long the load runs before Status is measured.
const BEFORE: Duration = Duration::from_millis(500);
/// How long the calls of one batch may take.
const WITHIN: Duration = Duration::from_secs(120);

/// What an Encrypt answered, and what it was given.
pub(crate) struct Sealed {
    plaintext: Vec<u8>,
    key_id: String,
    ciphertext: Vec<u8>,
}

/// One connection, with a runtime of its own.
pub(crate) struct Caller {
    runtime: Runtime,
    client: Client,
}

impl Caller {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(Client::connect(socket, As::ApiServer, WITHIN))?;
        Ok(Self { runtime, client })
    }

    /// Wraps so many data keys, each another.
    pub(crate) fn encrypt(&mut self, count: usize) -> Result<Arc<[Sealed]>> {
        let made: Result<Vec<Sealed>> = self.runtime.block_on(async {
            let mut made = Vec::with_capacity(count);
            for number in 0..count as u64 {
                let plaintext = [number.to_be_bytes(); 4].concat();
                let request = EncryptRequest { plaintext: plaintext.clone(), uid: uid(number) };
                let answer: EncryptResponse = self.client.call(Operation::Encrypt, &request, number).await?;
                made.push(Sealed { plaintext, key_id: answer.key_id.clone(), ciphertext: answer.ciphertext.clone() });
            }
            Ok(made)
        });
        Ok(made?.into())
    }

    /// Has `count` of them opened, `in_flight` at a time: how many were, rightly, and how long that took.
    pub(crate) fn decrypt(&mut self, made: &Arc<[Sealed]>, count: usize, in_flight: usize) -> Result<(usize, Duration)> {
        let start = Instant::now();
        let answered = self.load(made, in_flight, &Arc::new(Load { next: AtomicUsize::new(0), count, stop: None, in_vain: false }))?;
        if answered != count {
            return Err(format!("{answered} answers to {count} calls").into());
        }
        Ok((answered, start.elapsed()))
    }

    /// Keeps `in_flight` calls going until `stop`. Each must be answered rightly; `in_vain`: none is answered.
    pub(crate) fn saturate(&mut self, made: &Arc<[Sealed]>, in_flight: usize, in_vain: bool, stop: &Arc<AtomicBool>) -> Result<()> {
        let load = Load { next: AtomicUsize::new(0), count: usize::MAX, stop: Some(stop.clone()), in_vain };
        self.load(made, in_flight, &Arc::new(load)).map(drop)
    }

    fn load(&mut self, made: &Arc<[Sealed]>, in_flight: usize, load: &Arc<Load>) -> Result<usize> {
        let client = &self.client;
        self.runtime.block_on(async {
            let mut loops = JoinSet::new();
            for _ in 0..in_flight {
                loops.spawn(decrypt_all(client.clone(), made.clone(), load.clone()));
            }
            let all = async {
                let mut answered = 0;
                while let Some(part) = loops.join_next().await {
                    answered += part??;
                }
                Ok(answered)
            };
            tokio::time::timeout(WITHIN, all).await.map_err(|_| format!("the calls take longer than {WITHIN:?}"))?
        })
    }
}

/// What the loops of one batch have in common.
struct Load {
    next: AtomicUsize,
    count: usize,
    stop: Option<Arc<AtomicBool>>,
    in_vain: bool,
}

/// One call after the other; the number of those that were answered.
async fn decrypt_all(client: Client, made: Arc<[Sealed]>, load: Arc<Load>) -> Result<usize> {
    let mut answered = 0;
    loop {
        let number = load.next.fetch_add(1, Ordering::Relaxed);
        if number >= load.count || load.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Ok(answered);
        }
        let sealed = &made[number % made.len()];
        let number = number as u64;
        let request = DecryptRequest {
            ciphertext: sealed.ciphertext.clone(),
            uid: uid(number),
            key_id: sealed.key_id.clone(),
            annotations: Default::default(),
        };
        let outcome: Result<DecryptResponse> = client.call(Operation::Decrypt, &request, number).await.map_err(Into::into);
        match outcome {
            Ok(_) if load.in_vain => return Err("a call of a token that hangs was answered".into()),
            Ok(answer) if answer.plaintext == sealed.plaintext => answered += 1,
            Ok(_) => return Err("Decrypt answered with something else than Encrypt was given".into()),
            Err(_) if load.in_vain => {}
            Err(error) => return Err(error),
        }
    }
}

/// How long Status took, in milliseconds, call by call for `time`, on a connection and a thread of its own beside `load`, which ends when its
/// flag is set.
pub(crate) fn status_beside(socket: &Path, time: Duration, load: impl FnOnce(&Arc<AtomicBool>) -> Result<()>) -> Result<Vec<f64>> {
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let taken = statuses(socket, time, &stop);
            stop.store(true, Ordering::Relaxed);
            taken
        });
        let loaded = load(&stop);
        stop.store(true, Ordering::Relaxed);
        let taken = watching.join().map_err(|_| "the thread that asks for Status panicked")?;
        loaded?;
        taken
    })
}

fn statuses(socket: &Path, time: Duration, stop: &AtomicBool) -> Result<Vec<f64>> {
    let caller = Caller::connect(socket)?;
    std::thread::sleep(BEFORE);
    let end = Instant::now() + time;
    let mut taken = Vec::new();
    while Instant::now() < end {
        if stop.load(Ordering::Relaxed) {
            return Err("the load ended before its time".into());
        }
        let start = Instant::now();
        caller.runtime.block_on(good_status(&caller.client, taken.len() as u64))?;
        taken.push(start.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(PAUSE);
    }
    Ok(taken)
}
