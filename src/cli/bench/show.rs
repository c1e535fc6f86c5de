//! What was measured, for people, for scripts and as a picture, and what is to be said against it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::failure::{Exit, Failure};
use super::super::output::{self, Answer};
use crate::bench::chart::{self, Panel, short};
use crate::bench::client::Operation;
use crate::bench::host::Host;
use crate::bench::load::Measured;

/// Quantiles that are shown, with their names in JSON.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];

/// What is known of the plugin.
#[derive(Default)]
pub(super) struct Plugin {
    /// Version and kind of its build; none if its second socket does not say.
    pub(super) build: Option<String>,
    /// Whether it says that it serves a development keyring.
    pub(super) development: bool,
    pub(super) pid: Option<u32>,
    pub(super) key_id: String,
    /// How its ciphertexts are wrapped; none if they are not ours.
    pub(super) algorithm: Option<&'static str>,
}

impl Plugin {
    /// From the page `/state` of its second socket.
    pub(super) fn of(state: &str) -> Self {
        let value = |name: &str| state.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Self { build: value("build").map(str::to_owned), development: value("development") == Some("yes"), ..Self::default() }
    }
}

/// One operation with so many calls in flight.
pub(super) struct Point {
    pub(super) operation: Operation,
    pub(super) in_flight: usize,
    pub(super) measured: Measured,
    /// CPU time of the plugin, whoever it worked for, or why it is not known.
    pub(super) cpu: Result<Duration, String>,
    pub(super) resident_kib: Result<u64, String>,
}

/// The whole run.
pub(super) struct Report {
    pub(super) socket: PathBuf,
    pub(super) plugin: Plugin,
    pub(super) host: Host,
    /// Before and after.
    pub(super) load_average: [Option<f64>; 2],
    pub(super) rate: Option<f64>,
    pub(super) connections: u16,
    pub(super) distinct: usize,
    pub(super) interrupted: bool,
    pub(super) planned: usize,
    pub(super) points: Vec<Point>,
}

/// `3 of 100 calls (Unavailable 2, wrong answers 1; the first: ...)`
pub(super) fn failures(measured: &Measured) -> String {
    let failures = &measured.failures;
    let first = failures.first.as_deref().unwrap_or_default();
    format!("{} of {} calls failed ({}; the first: {first})", failures.count(), calls(measured), kinds(measured))
}

fn kinds(measured: &Measured) -> String {
    let refused = measured.failures.refused.iter().map(|(code, count)| format!("{code} {count}"));
    let wrong = (measured.failures.wrong > 0).then(|| format!("wrong answers {}", measured.failures.wrong));
    refused.chain(wrong).collect::<Vec<_>>().join(", ")
}

/// All calls that have ended.
fn calls(measured: &Measured) -> u64 {
    measured.latencies.len().saturating_add(measured.failures.count())
}

impl Point {
    fn name(&self) -> String {
        format!("{}, {} in flight", self.operation.name(), self.in_flight)
    }

    fn good(&self) -> bool {
        self.measured.failures.count() == 0 && !self.measured.latencies.is_empty()
    }

    /// Right answers only.
    fn per_second(&self) -> f64 {
        self.measured.latencies.len() as f64 / self.measured.elapsed.as_secs_f64()
    }

    fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.measured.latencies.value_at_quantile(quantile))
    }

    fn max(&self) -> Duration {
        Duration::from_nanos(self.measured.latencies.max())
    }

    /// CPU time of the plugin for each call that has ended.
    fn cpu_micros(&self) -> Option<f64> {
        let cpu = self.cpu.as_ref().ok()?.as_secs_f64();
        let calls = calls(&self.measured);
        (calls > 0).then(|| cpu * 1e6 / calls as f64)
    }

    fn row(&self) -> Vec<String> {
        let quantiles = QUANTILES.map(|(_, quantile)| short(self.quantile(quantile)));
        let mut row = vec![self.operation.name().to_owned(), self.in_flight.to_string(), calls(&self.measured).to_string()];
        row.push(format!("{:.0}", self.per_second()));
        row.extend(quantiles);
        row.push(short(self.max()));
        row.push(self.cpu_micros().map_or("-".into(), |micros| format!("{micros:.1}")));
        row.push(self.resident_kib.as_ref().map_or("-".into(), |kib| format!("{:.1}", *kib as f64 / 1024.0)));
        row.push(if self.good() { "0".into() } else { kinds(&self.measured) });
        row
    }

    fn json(&self) -> Value {
        let micros = |duration: Duration| duration.as_nanos() as f64 / 1e3;
        let mut latency = serde_json::Map::new();
        for (name, quantile) in QUANTILES {
            latency.insert(name.to_owned(), micros(self.quantile(quantile)).into());
        }
        latency.insert("max".into(), micros(self.max()).into());
        latency.insert("mean".into(), (self.measured.latencies.mean() / 1e3).into());
        let histogram = chart::steps(&self.measured.latencies, 2.0);
        json!({
            "operation": self.operation.name(),
            "in_flight": self.in_flight,
            "good": self.good(),
            "calls": calls(&self.measured),
            "seconds": self.measured.elapsed.as_secs_f64(),
            "requests_per_second": self.per_second(),
            "latency_us": latency,
            "histogram": histogram.iter().map(|(end, count)| json!({ "to_us": *end as f64 / 1e3, "count": count })).collect::<Vec<_>>(),
            "errors": self.measured.failures.refused,
            "wrong_answers": self.measured.failures.wrong,
            "first_failure": self.measured.failures.first,
            "server_cpu_us_per_request": self.cpu_micros(),
            "server_cpu_not_available": self.cpu.as_ref().err(),
            "server_resident_kib": self.resident_kib.as_ref().ok(),
        })
    }
}

impl Report {
    /// Why the figures must not be taken for good; `None` if they may.
    pub(super) fn objection(&self) -> Option<Failure> {
        let bad: Vec<_> = self.points.iter().filter(|point| point.measured.failures.count() > 0).collect();
        if let Some(lost) = self.points.iter().find(|point| point.measured.lost) {
            let next = "See whether the plugin still runs, and its log. What was measured until then is printed above.";
            let attempted = format!("measure the plugin at {}", self.socket.display());
            let why = format!("the connection broke at {}: {}", lost.name(), failures(&lost.measured));
            return Some(Failure::new(Exit::Runtime, attempted, why, next));
        }
        if let Some(first) = bad.first() {
            let attempted = format!("vouch for {}", bad.iter().map(|point| point.name()).collect::<Vec<_>>().join("; "));
            let next = "Read the log of the plugin; `docs/grpc-codes.md` has a line for every code.";
            return Some(Failure::new(Exit::CheckFailed, attempted, failures(&first.measured), next));
        }
        let calls = self.points.iter().map(|point| calls(&point.measured)).sum::<u64>();
        if self.interrupted {
            let done = self.points.len();
            let why = format!("a signal stopped it in measurement {done} of {}, after {calls} calls, all answered rightly", self.planned);
            return Some(Failure::new(Exit::Incomplete, "measure to the end", why, "What was measured until then is printed above."));
        }
        let empty = self.points.iter().find(|point| point.measured.latencies.is_empty())?;
        let next = "Give it more time with --duration, or say how many calls with --count.";
        Some(Failure::new(Exit::CheckFailed, format!("vouch for {}", empty.name()), "no call ended in that time", next))
    }

    pub(super) fn answer(&self) -> Answer {
        Answer { text: self.text(), json: self.json() }
    }

    /// A picture with a histogram for each point.
    pub(super) fn svg(&self) -> String {
        let panels = self.points.iter().filter(|point| !point.measured.latencies.is_empty());
        let panels: Vec<_> = panels
            .map(|point| Panel {
                title: format!("{}: {} calls, {:.0}/s", point.name(), calls(&point.measured), point.per_second()),
                latencies: &point.measured.latencies,
            })
            .collect();
        chart::svg(&format!("keywright bench: latency by calls, {}", self.host.cpu), &panels)
    }

    fn speed(&self) -> String {
        match self.rate {
            None => "full".into(),
            Some(rate) => format!("at most {rate} calls a second"),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for point in self.points.iter().filter(|point| !point.measured.latencies.is_empty()) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{}\n{}", point.name(), chart::text(&point.measured.latencies));
        }
        let load = |at: Option<f64>| at.map_or("unknown".into(), |load| format!("{load:.2}"));
        let Host { cpu, kernel, cores } = &self.host;
        let build = self.plugin.build.as_deref().unwrap_or("unknown");
        let pid = self.plugin.pid.map_or("not in sight".into(), |pid| pid.to_string());
        text += &output::pairs([
            ("socket", self.socket.display().to_string()),
            ("plugin", format!("build {build}, process {pid}{}", if self.plugin.development { ", development keyring" } else { "" })),
            ("key_id", self.plugin.key_id.escape_debug().to_string()),
            ("algorithm", self.plugin.algorithm.unwrap_or("not one of ours").to_owned()),
            (
                "host",
                format!(
                    "{cpu}, {cores} cores, Linux {kernel}, load average {} to {}",
                    load(self.load_average[0]),
                    load(self.load_average[1])
                ),
            ),
            ("speed", format!("{}, {} connections, {} ciphertexts", self.speed(), self.connections, self.distinct)),
        ]);
        text.push('\n');
        let header =
            ["operation", "in flight", "calls", "calls/s", "p50", "p90", "p99", "p99.9", "max", "CPU us/call", "RSS MiB", "errors"];
        text += &output::columns(&header, self.points.iter().map(Point::row));
        if let Some(why) = self.points.iter().find_map(|point| point.cpu.as_ref().err()) {
            let _ = writeln!(text, "CPU time is not available: {why}");
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "socket": self.socket,
            "plugin": {
                "build": self.plugin.build, "pid": self.plugin.pid, "development": self.plugin.development,
                "key_id": self.plugin.key_id, "algorithm": self.plugin.algorithm,
            },
            "client": {
                "version": env!("CARGO_PKG_VERSION"), "build": if cfg!(debug_assertions) { "debug" } else { "release" },
            },
            "host": {
                "cpu": self.host.cpu, "kernel": self.host.kernel, "cores": self.host.cores, "load_average": self.load_average,
            },
            "rate_limit": self.rate,
            "connections": self.connections,
            "distinct": self.distinct,
            "interrupted": self.interrupted,
            "good": self.objection().is_none(),
            "points": self.points.iter().map(Point::json).collect::<Vec<_>>(),
        })
    }
}
