//! Processor time of the plugin for a Decrypt, against versions in its keyring, distinct ciphertexts, and connections.
//!
//! Every figure is of a plugin of its own, started for it: where the allocator happens to put things would favour one of them for as long as it
//! lives. Client and plugin have a core each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keywright::bench::client::{Caller, Client, Operation};
use keywright::bench::content::Numbers;
use keywright::bench::load::{Amount, Control, Load, Measured, Target, Wrapped};
use keywright::bench::process::Clock;

use crate::cores::Cores;
use crate::curve::{Curve, Fit, Side};
use crate::server::{Kind, Program, Server};
use crate::{Result, order, versions};

const VERSIONS: [usize; 4] = [1, 10, 100, 1_000];
const DISTINCT: [usize; 4] = [1, 100, 1_000, 10_000];
/// So many are made for each number of them: a plugin has done the same before.
const MOST: usize = DISTINCT[DISTINCT.len() - 1];
const CONNECTIONS: [usize; 4] = [1, 4, 16, 64];
const ROUNDS: usize = 15;
/// Calls in flight, on one connection.
const IN_FLIGHT: usize = 100;
/// And on each of several.
const IN_FLIGHT_EACH: usize = 16;
/// Ciphertexts where their number is not what grows; with versions, so many of the oldest and of the newest.
const CIPHERTEXTS: usize = 500;
const SOME: Ciphertexts = Ciphertexts::New { made: CIPHERTEXTS, used: CIPHERTEXTS };
const WARM_UP: u64 = 3_000;
const CALLS: u64 = 20_000;
/// Longer than an API server waits, so that a slow call is a figure and no end.
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// What one figure is taken of.
struct Case {
    program: Program,
    connections: usize,
    /// On each of them.
    in_flight: usize,
    ciphertexts: Ciphertexts,
}

enum Ciphertexts {
    /// Made by the plugin that opens them, and so many of them used.
    New { made: usize, used: usize },
    /// Made before.
    Kept(Arc<[Wrapped]>),
}

/// The three curves. Moves the calling thread to a core of its own, for good.
pub(crate) fn curves(binary: &Path, folder: &Path) -> Result<[Curve; 3]> {
    let cores = Cores::take()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bench = Bench { binary, folder, cores, numbers: Numbers::default() };
    runtime.block_on(async {
        let versions = bench.curve("decrypt-versions", "key versions", &VERSIONS, bench.versions().await?).await?;
        let distinct = DISTINCT
            .map(|distinct| bench.case(&format!("distinct-{distinct}"), 1, IN_FLIGHT, Ciphertexts::New { made: MOST, used: distinct }));
        let distinct = distinct.into_iter().collect::<Result<_>>()?;
        let distinct = bench.curve("decrypt-ciphertexts", "distinct ciphertexts", &DISTINCT, distinct).await?;
        let connections =
            CONNECTIONS.map(|connections| bench.case(&format!("connections-{connections}"), connections, IN_FLIGHT_EACH, SOME));
        let connections = connections.into_iter().collect::<Result<_>>()?;
        let connections = bench.curve("decrypt-connections", "connections", &CONNECTIONS, connections).await?;
        Ok([versions, distinct, connections])
    })
}

struct Bench<'a> {
    binary: &'a Path,
    folder: &'a Path,
    cores: Cores,
    numbers: Numbers,
}

impl Bench<'_> {
    fn case(&self, name: &str, connections: usize, in_flight: usize, ciphertexts: Ciphertexts) -> Result<Case> {
        let home = self.folder.join(name);
        std::fs::create_dir(&home)?;
        let program = Program { name: "keywright", kind: Kind::Keywright, binary: self.binary.to_owned(), home };
        Ok(Case { program, connections, in_flight, ciphertexts })
    }

    /// Keyrings of many versions, with ciphertexts of the oldest and of the newest: a search from either end would show.
    async fn versions(&self) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for count in VERSIONS {
            let mut case = self.case(&format!("versions-{count}"), 1, IN_FLIGHT, SOME)?;
            let oldest = self.made(&case).await?;
            versions::grow(&keyring(&case.program), count);
            let newest = self.made(&case).await?;
            // In turn.
            let both = oldest.into_iter().zip(newest).flat_map(|(oldest, newest)| [oldest, newest]);
            case.ciphertexts = Ciphertexts::Kept(both.collect());
            cases.push(case);
        }
        Ok(cases)
    }

    /// Ciphertexts from a plugin that is started for them.
    async fn made(&self, case: &Case) -> Result<Vec<Wrapped>> {
        let server = case.program.start(self.cores)?;
        let made = encrypt(&self.connect(case).await?, CIPHERTEXTS).await?;
        server.stop().await?;
        Ok(made)
    }

    async fn curve(&self, name: &'static str, x: &'static str, xs: &[usize], cases: Vec<Case>) -> Result<Curve> {
        let mut side = Side::new("keywright", xs);
        // The first round finds everything cold.
        for round in 0..=ROUNDS {
            for at in order(round, xs.len()) {
                let figure = self.measure(&cases[at]).await.map_err(|error| format!("{} {x}: {error}", xs[at]))?;
                if round > 0 {
                    side.points[at].1.push(figure);
                }
            }
        }
        let title = format!("Decrypt against {x}");
        Ok(Curve { name, title, x, y: "processor time of the plugin for a Decrypt", unit: "us", fit: Fit::Power, sides: vec![side] })
    }

    /// Microseconds of a plugin's processor time for each Decrypt.
    async fn measure(&self, case: &Case) -> Result<f64> {
        let mut server = case.program.start(self.cores)?;
        let clock = Clock::watch(server.pid())?;
        let target = self.connect(case).await?;
        let wrapped = match &case.ciphertexts {
            Ciphertexts::New { made, used } => encrypt(&target, *made).await?.into_iter().take(*used).collect(),
            Ciphertexts::Kept(kept) => kept.clone(),
        };
        let in_flight = case.connections * case.in_flight;
        let decrypt = |count| Load { operation: Operation::Decrypt, in_flight, amount: Amount::Count(count), rate: None, keep: 0 };
        run(&target, decrypt(WARM_UP), &wrapped).await?;
        let window = clock.open().await?;
        run(&target, decrypt(CALLS), &wrapped).await?;
        let used = window.close().await?.time;
        server.check_running()?;
        end(target, server).await?;
        check_log(&case.program)?;
        Ok(used.as_secs_f64() * 1e6 / CALLS as f64)
    }

    async fn connect(&self, case: &Case) -> Result<Arc<Target>> {
        let mut clients = Vec::new();
        for _ in 0..case.connections {
            // As an API server: what the plugin notes of one is part of what a call costs.
            clients.push(Client::connect(&case.program.socket(), Caller::ApiServer, CALL_WITHIN).await?);
        }
        Ok(Target::new(clients, self.numbers.clone()).await?.0)
    }
}

/// Errors when the plugin had to drop one line of its log in a hundred: one that logs less works less.
fn check_log(program: &Program) -> Result<()> {
    let log = std::fs::read_to_string(program.home.join("stderr"))?;
    let dropped = log.lines().filter_map(|line| line.split_once(" WARN log lines dropped count="));
    let dropped = dropped.map(|(_, count)| count.parse::<u64>()).sum::<std::result::Result<u64, _>>()?;
    if dropped * 100 > WARM_UP + CALLS {
        return Err(format!("the plugin dropped {dropped} lines of its log").into());
    }
    Ok(())
}

/// The clients first: a server that ends waits for its connections.
async fn end(target: Arc<Target>, server: Server) -> Result<()> {
    drop(target);
    server.stop().await
}

/// As many ciphertexts, each of a plaintext of its own.
async fn encrypt(target: &Arc<Target>, count: usize) -> Result<Vec<Wrapped>> {
    let amount = Amount::Count(count as u64);
    let load = Load { operation: Operation::Encrypt, in_flight: IN_FLIGHT, amount, rate: None, keep: count };
    let kept = run(target, load, &Arc::from([])).await?.kept;
    if kept.len() == count { Ok(kept) } else { Err(format!("{} ciphertexts were kept, not {count}", kept.len()).into()) }
}

/// Errors unless every call was answered rightly.
async fn run(target: &Arc<Target>, load: Load, wrapped: &Arc<[Wrapped]>) -> Result<Measured> {
    let Amount::Count(count) = load.amount else { unreachable!("every load here is counted") };
    let measured = target.run(load, wrapped, &Arc::new(Control::default())).await;
    if let Some(first) = &measured.failures.first {
        return Err(format!("{} of {count} calls failed; the first: {first}", measured.failures.count()).into());
    }
    if measured.latencies.len() != count {
        return Err(format!("{} answers to {count} calls", measured.latencies.len()).into());
    }
    Ok(measured)
}

/// Where `serve --dev` has it.
fn keyring(program: &Program) -> PathBuf {
    program.home.join("dev/keyring")
}
