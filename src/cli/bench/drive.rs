//! One load after the other, each with the plugin's CPU time and memory.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::super::failure::{Exit, Failure};
use super::super::progress::Bar;
use super::super::status;
use super::Arguments;
use super::show::{self, Plugin, Point, Report};
use crate::bench::client::{CallError, Caller, Client, Operation};
use crate::bench::content::Numbers;
use crate::bench::host::{self, Host};
use crate::bench::load::{Amount, Control, Load, Measured, Target, Wrapped};
use crate::bench::process::{self, Clock};
use crate::client::{self, ClientError, admin};
use crate::config;
use crate::entropy::{Entropy, OsEntropy};
use crate::envelope::Envelope;

/// Calls in flight while ciphertexts are made.
const MAKERS: usize = 8;
/// Answers of each load of Encrypt that are decrypted again afterwards.
const SAMPLES: usize = 25;
const TICK: Duration = Duration::from_millis(250);

/// Connects, loads, and gives what was measured, be it good or not.
pub(super) async fn drive(arguments: &Arguments, socket: &Path) -> Result<Report, Failure> {
    let state = admin::fetch(&config::admin_path(socket), "/state").await.unwrap_or_default();
    let mut plugin = Plugin::of(&state);
    let rate = arguments.pace(socket, plugin.development)?;
    let host = host::load_average().and_then(|load| Ok((Host::describe()?, load)));
    let (host, load_before) = host.map_err(|e| unexpected("describe this machine", e))?;
    let (target, client) = connect(arguments, socket, &mut plugin).await?;
    let control = stopping()?;

    let loads = arguments.loads();
    let wanted = if loads.iter().any(|(operation, _)| *operation == Operation::Decrypt) { arguments.distinct } else { 1 };
    let made = make(&target, wanted, rate, &control, socket).await?;
    plugin.algorithm = made.first().and_then(|wrapped| Envelope::parse(wrapped.ciphertext()).ok()).map(|e| e.header.algorithm.name());

    let pid = client.pid().ok_or_else(|| "the process of the plugin is not in sight from here".to_owned());
    let clock = pid.and_then(|pid| Clock::watch(pid).map_err(|e| e.to_string()));
    let (mut points, planned) = (Vec::new(), loads.len());
    for (operation, in_flight) in loads {
        if control.stopped() {
            break;
        }
        let load = Load { operation, in_flight, amount: arguments.amount(), rate, keep: SAMPLES };
        let point = measure(&target, load, &made, &control, &clock).await;
        let lost = point.measured.lost;
        points.push(point);
        if lost {
            break;
        }
    }
    Ok(Report {
        socket: socket.to_owned(),
        plugin,
        host,
        load_average: [Some(load_before), host::load_average().ok()],
        rate,
        connections: arguments.connections,
        distinct: made.len(),
        interrupted: control.stopped(),
        planned,
        points,
    })
}

/// Opens all connections and asks the Status on each.
async fn connect(arguments: &Arguments, socket: &Path, plugin: &mut Plugin) -> Result<(Arc<Target>, Client), Failure> {
    let failed =
        |error: ClientError| Failure::new(Exit::Runtime, format!("ask the plugin at {}", socket.display()), &error, status::advice(&error));
    let closed = |call| ClientError::Closed { path: socket.to_owned(), call };
    let mut clients = Vec::new();
    for _ in 0..arguments.connections {
        let stream = client::open(socket).await.map_err(failed)?;
        let client = Client::over(stream, Caller::Ours, arguments.timeout).await;
        clients.push(client.map_err(|_| failed(closed("the connection")))?);
    }
    let mut start = [0; 8];
    OsEntropy.fill(&mut start).map_err(|e| failed(e.into()))?;
    let first = clients[0].clone();
    let (target, key_id) = Target::new(clients, Numbers::from(u64::from_be_bytes(start))).await.map_err(|error| match error {
        CallError::Wrong(why) => {
            let next = "A kube-apiserver would not accept this either. Read the log of the plugin.";
            Failure::new(Exit::CheckFailed, format!("accept the answers of {}", socket.display()), why, next)
        }
        CallError::Late(after) => failed(ClientError::Silent { call: "Status", after }),
        CallError::Refused { code, text } => {
            failed(ClientError::Answered { call: "Status", status: Box::new(tonic::Status::new(code, text)) })
        }
        CallError::Broken(_) | CallError::Reset(_) => failed(closed("Status")),
    })?;
    plugin.key_id = key_id;
    plugin.pid = first.pid();
    Ok((target, first))
}

/// What a signal stops; until now one has ended the process.
fn stopping() -> Result<Arc<Control>, Failure> {
    let control = Arc::new(Control::default());
    let caught = |kind| signal(kind).map_err(|e| unexpected("catch SIGINT and SIGTERM", e));
    let (mut int, mut term) = (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
    let stopped = control.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
        stopped.stop();
    });
    Ok(control)
}

/// What Decrypt will be asked for.
async fn make(
    target: &Arc<Target>,
    count: u32,
    rate: Option<f64>,
    control: &Arc<Control>,
    socket: &Path,
) -> Result<Arc<[Wrapped]>, Failure> {
    let amount = Amount::Count(count.into());
    let load = Load { operation: Operation::Encrypt, in_flight: MAKERS, amount, rate, keep: count as usize };
    let made = watched("ciphertexts", target, load, &Arc::from([]), control).await;
    if made.failures.count() == 0 {
        return Ok(made.kept.into());
    }
    Err(Failure::new(
        if made.lost { Exit::Runtime } else { Exit::CheckFailed },
        format!("make {count} ciphertexts at {}", socket.display()),
        show::failures(&made),
        "Read the log of the plugin; `docs/grpc-codes.md` has a line for every code.",
    ))
}

/// Runs one load and reads the plugin's clock before and after it.
async fn measure(target: &Arc<Target>, load: Load, made: &Arc<[Wrapped]>, control: &Arc<Control>, clock: &Result<Clock, String>) -> Point {
    let window = match clock {
        Ok(clock) => clock.open().await.map_err(|e| e.to_string()),
        Err(why) => Err(why.clone()),
    };
    let mut measured = watched(load.operation.name(), target, load, made, control).await;
    let cpu = match window {
        Ok(window) => window.close().await.map(|used| used.time).map_err(|e| e.to_string()),
        Err(why) => Err(why),
    };
    let resident_kib = match clock {
        Ok(clock) => process::resident_kib(clock.pid()).map_err(|e| e.to_string()),
        Err(why) => Err(why.clone()),
    };
    if !measured.lost {
        measured.failures.join(target.decrypt_all(&measured.kept).await);
    }
    Point { operation: load.operation, in_flight: load.in_flight, measured, cpu, resident_kib }
}

/// Runs one load with a bar.
async fn watched(what: &str, target: &Arc<Target>, load: Load, made: &Arc<[Wrapped]>, control: &Arc<Control>) -> Measured {
    let (start, before) = (Instant::now(), control.done());
    let unit = if matches!(load.amount, Amount::Count(_)) { "calls" } else { "s" };
    let bar = Bar::new(&format!("{what}, {} in flight", load.in_flight), unit);
    let mut running = pin!(target.run(load, made, control));
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            measured = &mut running => return measured,
            _ = ticks.tick() => match load.amount {
                Amount::Count(count) => bar.at(control.done() - before, count),
                Amount::For(duration) => bar.at(start.elapsed().as_secs(), duration.as_secs()),
            },
        }
    }
}

fn unexpected(attempted: &str, error: std::io::Error) -> Failure {
    Failure::new(Exit::Unexpected, attempted, error, "This is not foreseen; please report it.")
}
