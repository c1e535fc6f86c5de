//! The result: as text for people and as JSON for machines, from the same values.

use std::fmt::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cores::Cores;
use crate::cpu;
use crate::host::{Build, Host};
use crate::load::{Measured, Point};
use crate::stats::{self, Ratios};

/// What the run was.
pub(crate) struct Setting {
    pub(crate) host: Host,
    pub(crate) cores: Cores,
    pub(crate) builds: [Build; 2],
    pub(crate) rounds: usize,
    pub(crate) trials: usize,
    /// Load average before and after.
    pub(crate) load: [f64; 2],
    /// The largest difference of the kernel's two CPU clocks at any reading.
    pub(crate) clock_disagreement: Duration,
    /// Of one line for every request; the candidate's own count.
    pub(crate) dropped_log_lines: u64,
    /// Whether the starts were out of the way of other work on the machine.
    pub(crate) realtime_starts: bool,
    /// Why the figures must not be quoted, if so.
    pub(crate) not_a_claim: Option<&'static str>,
}

/// A figure of both sides and the bounds of their ratio.
pub(crate) struct Gate {
    pub(crate) metric: String,
    pub(crate) unit: &'static str,
    pub(crate) candidate: Vec<f64>,
    pub(crate) reference: Vec<f64>,
    pub(crate) ratios: Ratios,
    pub(crate) at_least: f64,
    pub(crate) at_most: f64,
}

impl Gate {
    pub(crate) fn new(
        metric: impl Into<String>,
        unit: &'static str,
        [candidate, reference]: [Vec<f64>; 2],
        (at_least, at_most): (f64, f64),
    ) -> Self {
        let ratios = Ratios::of(&candidate, &reference);
        Self { metric: metric.into(), unit, candidate, reference, ratios, at_least, at_most }
    }

    pub(crate) fn holds(&self) -> bool {
        (self.at_least..=self.at_most).contains(&self.ratios.median())
    }

    fn json(&self) -> Value {
        json!({
            "metric": self.metric, "unit": self.unit,
            "candidate": stats::median(&self.candidate), "reference": stats::median(&self.reference),
            "ratio": { "median": self.ratios.median(), "min": self.ratios.min(), "max": self.ratios.max(), "rounds": self.ratios.rounds },
            "at_least": self.at_least, "at_most": self.at_most, "holds": self.holds(),
        })
    }
}

/// Throughput and latency at one point: for information, without a gate.
pub(crate) struct Side {
    pub(crate) point: String,
    pub(crate) name: &'static str,
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Side {
    pub(crate) fn new(point: &Point, name: &'static str, rounds: &[Measured]) -> Self {
        let median = |figure: fn(&Measured) -> f64| stats::median(&rounds.iter().map(figure).collect::<Vec<_>>());
        Self {
            point: point.name(),
            name,
            requests: point.requests,
            requests_per_second: median(|round| round.requests_per_second),
            p50_us: median(|round| round.p50_us),
            p99_us: median(|round| round.p99_us),
        }
    }
}

/// Everything that is told about a run.
pub(crate) struct Report {
    pub(crate) setting: Setting,
    pub(crate) gates: Vec<Gate>,
    pub(crate) sides: Vec<Side>,
}

impl Report {
    pub(crate) fn holds(&self) -> bool {
        self.gates.iter().all(Gate::holds)
    }

    pub(crate) fn json(&self) -> Value {
        let Setting { host, cores, builds, rounds, trials, load, clock_disagreement, dropped_log_lines, realtime_starts, not_a_claim } =
            &self.setting;
        json!({
            "host": { "cpu": host.cpu, "kernel": host.kernel, "cores": host.cores, "load_average": load },
            "pinned": { "client": cores.client, "server": cores.server },
            "builds": builds.iter().map(|build| json!({ "name": build.name, "bytes": build.bytes, "version": build.version })).collect::<Vec<_>>(),
            "rounds": rounds, "trials": trials, "not_a_claim": not_a_claim,
            "dropped_log_lines": dropped_log_lines, "realtime_starts": realtime_starts,
            "clock_disagreement_us": clock_disagreement.as_secs_f64() * 1e6,
            "gates": self.gates.iter().map(Gate::json).collect::<Vec<_>>(),
            "closed_loop": self.sides.iter().map(|side| json!({
                "point": side.point, "name": side.name, "requests_per_round": side.requests,
                "requests_per_second": side.requests_per_second, "p50_us": side.p50_us, "p99_us": side.p99_us,
            })).collect::<Vec<_>>(),
            "holds": self.holds(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.setting.fmt(out)?;
        let [candidate, reference] = &self.setting.builds;
        writeln!(
            out,
            "\n{:<34}{:>12}{:>12}  {:>7}  {:<15}gate",
            "median of the rounds", candidate.name, reference.name, "ratio", "min..max"
        )?;
        for gate in &self.gates {
            let mut bounds = String::new();
            if gate.at_least > 0.0 {
                write!(bounds, ">= {:.2}, ", gate.at_least)?;
            }
            writeln!(
                out,
                "{:<34}{:>12.2}{:>12.2}  {:>7.3}  {:<15}{bounds}<= {:.2} {}",
                format!("{}, {}", gate.metric, gate.unit),
                stats::median(&gate.candidate),
                stats::median(&gate.reference),
                gate.ratios.median(),
                format!("{:.3}..{:.3}", gate.ratios.min(), gate.ratios.max()),
                gate.at_most,
                if gate.holds() { "ok" } else { "MISSED" },
            )?;
        }
        writeln!(out, "\nfor information, closed loop (latency includes the queue that the loop keeps full)")?;
        writeln!(out, "{:<10}{:<14}{:>12}{:>12}{:>12}", "point", "side", "requests/s", "p50 us", "p99 us")?;
        for side in &self.sides {
            writeln!(
                out,
                "{:<10}{:<14}{:>12.0}{:>12.1}{:>12.1}",
                side.point, side.name, side.requests_per_second, side.p50_us, side.p99_us
            )?;
        }
        writeln!(out, "\nall gates hold: {}", if self.holds() { "yes" } else { "NO" })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = self.not_a_claim {
            writeln!(out, "NOT A CLAIM: {reason}")?;
        }
        let Host { cpu, kernel, cores } = &self.host;
        writeln!(
            out,
            "host       {cpu}, {cores} cores, Linux {kernel}; client on core {}, server on core {}",
            self.cores.client, self.cores.server
        )?;
        writeln!(out, "load       average {:.2} before, {:.2} after", self.load[0], self.load[1])?;
        for build in &self.builds {
            writeln!(out, "build      {}: {}, {:.1} MB", build.name, build.version, build.bytes as f64 / 1e6)?;
        }
        writeln!(
            out,
            "method     {} rotated rounds and {} starts, sides interleaved; ratios within a round, their median and spread",
            self.rounds, self.trials
        )?;
        writeln!(
            out,
            "           every answer checked; a sample of each round decrypted and compared; log lines dropped: {}",
            self.dropped_log_lines
        )?;
        writeln!(
            out,
            "           starts {}",
            if self.realtime_starts {
                "in the realtime class"
            } else {
                "beside other work (the realtime class needs root): read the load average"
            }
        )?;
        let apart = self.clock_disagreement.as_secs_f64() * 1e3;
        writeln!(
            out,
            "           CPU from schedstat; utime + stime at most {apart:.1} ms away over a server's whole life (tick {} ms)",
            cpu::tick().as_millis()
        )
    }
}
