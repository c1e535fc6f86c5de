//! What a benchmark found: printed for people, and left in `target/bench/NAME.json` for `cargo xtask bench`, from the same values.
//!
//! A file is only written at the end of a benchmark whose every answer was right. It is compiled into each of them.
#![allow(dead_code, reason = "each benchmark takes what it needs")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a benchmark prints is its result")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fmt, fs, io};

use keywright::bench::host::{self, Host};
use serde_json::{Map, Value, json};

/// What one side needed: the median of its rounds.
pub(crate) struct Figure {
    pub(crate) side: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

impl Figure {
    /// Of all rounds.
    pub(crate) fn median(side: impl Into<String>, rounds: &[f64], unit: &'static str) -> Self {
        Self { side: side.into(), value: median(rounds), unit }
    }

    fn json(&self) -> Value {
        json!({ "side": self.side, "value": self.value, "unit": self.unit })
    }
}

/// The ratio of two sides, what it must be, and what it should be.
pub(crate) struct Gate {
    pub(crate) metric: String,
    /// What is measured, and beside what.
    pub(crate) sides: [Figure; 2],
    /// One for each round, of two figures from the same round.
    pub(crate) ratios: Vec<f64>,
    pub(crate) at_least: Option<f64>,
    pub(crate) at_most: Option<f64>,
    pub(crate) stretch: Option<f64>,
}

impl Gate {
    /// One that a ratio must not exceed.
    pub(crate) fn at_most(
        metric: impl Into<String>,
        gate: f64,
        stretch: impl Into<Option<f64>>,
        sides: [Figure; 2],
        ratios: Vec<f64>,
    ) -> Self {
        Self { metric: metric.into(), sides, ratios, at_least: None, at_most: Some(gate), stretch: stretch.into() }
    }

    pub(crate) fn median(&self) -> f64 {
        median(&self.ratios)
    }

    pub(crate) fn low(&self) -> f64 {
        self.ratios.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn high(&self) -> f64 {
        self.ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    pub(crate) fn holds(&self) -> bool {
        // A ratio that is no number holds nothing.
        let median = self.median();
        median.is_finite() && self.at_least.is_none_or(|least| median >= least) && self.at_most.is_none_or(|most| median <= most)
    }

    /// `at most 0.6, 0.4 wanted: ok`
    pub(crate) fn verdict(&self) -> String {
        let bounds = [("at least", self.at_least), ("at most", self.at_most)];
        let bounds = bounds.iter().filter_map(|(name, bound)| bound.map(|bound| format!("{name} {bound}")));
        let wanted = self.stretch.map(|stretch| format!("{stretch} wanted"));
        let all: Vec<_> = bounds.chain(wanted).collect();
        format!("{}: {}", all.join(", "), if self.holds() { "ok" } else { "MISSED" })
    }

    fn json(&self) -> Value {
        json!({
            "metric": self.metric, "sides": self.sides.each_ref().map(Figure::json),
            "ratio": { "median": self.median(), "low": self.low(), "high": self.high(), "rounds": self.ratios },
            "at_least": self.at_least, "at_most": self.at_most, "stretch": self.stretch, "holds": self.holds(),
        })
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [candidate, reference] = self.sides.each_ref().map(|figure| format!("{} {:.2} {}", figure.side, figure.value, figure.unit));
        writeln!(out, "{}: {candidate}, {reference}", self.metric)?;
        let (low, high, rounds) = (self.low(), self.high(), self.ratios.len());
        write!(out, "  {:.3} x ({low:.3}..{high:.3}, {rounds} in all), {}", self.median(), self.verdict())
    }
}

/// All that one benchmark found.
pub(crate) struct Report {
    bench: &'static str,
    pub(crate) host: Host,
    load_before: f64,
    pub(crate) gates: Vec<Gate>,
    /// Why the figures must not be quoted, if so.
    pub(crate) not_a_claim: Option<String>,
    /// What is only told.
    pub(crate) more: Map<String, Value>,
}

impl Report {
    /// Before anything is measured, and before this process is pinned.
    pub(crate) fn begin(bench: &'static str) -> Self {
        Self {
            bench,
            host: Host::describe().expect("Linux describes itself"),
            load_before: host::load_average().expect("Linux has a load average"),
            gates: Vec::new(),
            not_a_claim: None,
            more: Map::new(),
        }
    }

    /// Load average now and before.
    pub(crate) fn load(&self) -> [f64; 2] {
        [self.load_before, host::load_average().expect("Linux has a load average")]
    }

    /// Prints and keeps a result.
    pub(crate) fn gate(&mut self, gate: Gate) {
        println!("{gate}");
        self.gates.push(gate);
    }

    pub(crate) fn holds(&self) -> bool {
        self.gates.iter().all(Gate::holds)
    }

    /// Leaves the file; whether all gates hold is the exit code.
    pub(crate) fn end(self) -> ExitCode {
        if let Err(error) = self.write() {
            eprintln!("no result: it cannot be written: {error}");
            return ExitCode::from(2);
        }
        if self.holds() { ExitCode::SUCCESS } else { ExitCode::from(1) }
    }

    fn write(&self) -> io::Result<()> {
        let Host { cpu, kernel, cores } = &self.host;
        // Side by side with a yardstick that was built without optimization, everything is fast.
        let debug = cfg!(debug_assertions).then(|| "a debug build of the benchmark".to_owned());
        let mut json = self.more.clone();
        json.extend([
            ("bench".into(), self.bench.into()),
            ("host".into(), json!({ "cpu": cpu, "kernel": kernel, "cores": cores })),
            ("load_average".into(), json!(self.load())),
            ("not_a_claim".into(), json!(self.not_a_claim.clone().or(debug))),
            ("gates".into(), self.gates.iter().map(Gate::json).collect()),
            ("holds".into(), self.holds().into()),
        ]);
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or(io::ErrorKind::NotFound)?;
        let folder = target.join("bench");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{}.json", self.bench)), format!("{:#}\n", Value::Object(json)))
    }
}

/// The exit code of a benchmark, which says why it has no result if it has none.
pub(crate) fn ended(outcome: Result<ExitCode, impl fmt::Display>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        println!("no result: {error}");
        ExitCode::from(2)
    })
}

/// The release build that is measured; or what to say where nobody named one.
pub(crate) fn binary() -> Result<PathBuf, &'static str> {
    std::env::var_os("KEYWRIGHT_BIN").map(PathBuf::from).ok_or("KEYWRIGHT_BIN is not set: it names the release build to measure")
}

/// The middle figure; of an even number of figures the mean of the two in the middle.
pub(crate) fn median(figures: &[f64]) -> f64 {
    assert!(!figures.is_empty(), "a median needs a figure");
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}
