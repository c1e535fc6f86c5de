//! The result: as text for people and as JSON for machines, from the same values.

use std::fmt;
use std::time::Duration;

use keywright::bench::host::Host;
use keywright::bench::process;
use serde_json::{Value, json};

use crate::cores::Cores;
use crate::host::Build;
use crate::load::{Measured, Point};
use crate::report::{Gate, median};

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
        let middle = |figure: fn(&Measured) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
        Self {
            point: point.name(),
            name,
            requests: point.requests,
            requests_per_second: middle(|round| round.requests_per_second),
            p50_us: middle(|round| round.p50_us),
            p99_us: middle(|round| round.p99_us),
        }
    }
}

/// Everything that is told about a run.
pub(crate) struct Table<'a> {
    pub(crate) setting: &'a Setting,
    pub(crate) gates: &'a [Gate],
    pub(crate) sides: &'a [Side],
}

impl Table<'_> {
    /// What stands in the file beside the gates.
    pub(crate) fn json(&self) -> [(String, Value); 7] {
        let Setting { cores, builds, rounds, trials, clock_disagreement, dropped_log_lines, realtime_starts, .. } = self.setting;
        let builds: Value =
            builds.iter().map(|build| json!({ "name": build.name, "bytes": build.bytes, "version": build.version })).collect();
        let sides = self.sides.iter().map(|side| {
            json!({
                "point": side.point, "name": side.name, "requests_per_round": side.requests,
                "requests_per_second": side.requests_per_second, "p50_us": side.p50_us, "p99_us": side.p99_us,
            })
        });
        [
            ("pinned".into(), json!({ "client": cores.client, "server": cores.server })),
            ("builds".into(), builds),
            ("rounds".into(), json!({ "load": rounds, "starts": trials })),
            ("dropped_log_lines".into(), json!(dropped_log_lines)),
            ("realtime_starts".into(), json!(realtime_starts)),
            ("clock_disagreement_us".into(), json!(clock_disagreement.as_secs_f64() * 1e6)),
            ("closed_loop".into(), sides.collect()),
        ]
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.setting.fmt(out)?;
        let [candidate, reference] = &self.setting.builds;
        writeln!(
            out,
            "\n{:<34}{:>12}{:>12}  {:>7}  {:<15}gate",
            "median of the rounds", candidate.name, reference.name, "ratio", "min..max"
        )?;
        for gate in self.gates {
            let [candidate, reference] = &gate.sides;
            writeln!(
                out,
                "{:<34}{:>12.2}{:>12.2}  {:>7.3}  {:<15}{}",
                format!("{}, {}", gate.metric, candidate.unit),
                candidate.value,
                reference.value,
                gate.median(),
                format!("{:.3}..{:.3}", gate.low(), gate.high()),
                gate.verdict(),
            )?;
        }
        writeln!(out, "\nfor information, closed loop (latency includes the queue that the loop keeps full)")?;
        writeln!(out, "{:<10}{:<14}{:>12}{:>12}{:>12}", "point", "side", "requests/s", "p50 us", "p99 us")?;
        for side in self.sides {
            writeln!(
                out,
                "{:<10}{:<14}{:>12.0}{:>12.1}{:>12.1}",
                side.point, side.name, side.requests_per_second, side.p50_us, side.p99_us
            )?;
        }
        writeln!(out, "\nall gates hold: {}", if self.gates.iter().all(Gate::holds) { "yes" } else { "NO" })
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
            "           CPU from schedstat; utime + stime at most {apart:.1} ms away since a server was ready (tick {} ms)",
            process::tick().as_millis()
        )
    }
}
