//! One side at one point of load: Encrypt with a fixed number of calls always in flight, and what that cost the server.

use std::sync::Arc;
use std::time::Duration;

use keywright::bench::client::{Caller, Client, Operation};
use keywright::bench::content::Numbers;
use keywright::bench::load::{Amount, Control, Load, Measured as Loaded, Target};
use keywright::bench::process::{self, Clock};

use crate::Result;
use crate::server::{Program, Server};

/// How long one batch may take before the run is given up.
const BATCH_WITHIN: Duration = Duration::from_secs(60);
/// How long one call may take; longer than an API server waits, so that a slow one is a figure and no end.
pub(crate) const CALL_WITHIN: Duration = Duration::from_secs(10);
/// Answers of each batch that are decrypted again.
const SAMPLES: usize = 25;

/// A load: connections, requests in flight on each, requests counted and requests before those.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) requests: u64,
    pub(crate) warm_up: u64,
    /// The highest ratio of server CPU that is acceptable.
    pub(crate) gate: f64,
    /// The ratio that is wanted.
    pub(crate) stretch: f64,
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

/// Loads one server and measures it by its `clock`. Every answer is checked; the first wrong one is the result.
pub(crate) async fn measure(program: &Program, server: &mut Server, clock: &Clock, point: &Point, numbers: &Numbers) -> Result<Measured> {
    let mut clients = Vec::new();
    for _ in 0..point.connections {
        // As an API server: what the plugin notes of one is part of what a call costs.
        clients.push(Client::connect(&program.socket(), Caller::ApiServer, CALL_WITHIN).await?);
    }
    let (target, _) = Target::new(clients, numbers.clone()).await?;
    batch(&target, point, point.warm_up).await?;

    let window = clock.open().await?;
    let loaded = batch(&target, point, point.requests).await?;
    let used = window.close().await?;
    let resident_kib = process::resident_kib(server.pid())?;

    if let Some(wrong) = target.decrypt_all(&loaded.kept).await.first {
        return Err(wrong.into());
    }
    server.check_running()?;
    let count = point.requests as f64;
    let micros = |quantile| loaded.latencies.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Measured {
        cpu_us_per_request: used.time.as_secs_f64() * 1e6 / count,
        requests_per_second: count / loaded.elapsed.as_secs_f64(),
        p50_us: micros(0.5),
        p99_us: micros(0.99),
        resident_kib,
        clock_disagreement: used.disagreement,
    })
}

/// Sends `count` Encrypt calls, as many at a time as the point says.
async fn batch(target: &Arc<Target>, point: &Point, count: u64) -> Result<Loaded> {
    let in_flight = point.connections * point.in_flight;
    let load = Load { operation: Operation::Encrypt, in_flight, amount: Amount::Count(count), rate: None, keep: SAMPLES };
    let (nothing, control) = (Arc::from([]), Arc::new(Control::default()));
    let loaded = tokio::time::timeout(BATCH_WITHIN, target.run(load, &nothing, &control)).await;
    let loaded = loaded.map_err(|_| format!("{count} requests take longer than {BATCH_WITHIN:?}"))?;
    if let Some(first) = &loaded.failures.first {
        return Err(format!("{} of {count} requests failed; the first: {first}", loaded.failures.count()).into());
    }
    if loaded.latencies.len() != count {
        return Err(format!("{} answers to {count} requests", loaded.latencies.len()).into());
    }
    Ok(loaded)
}
