//! An API server that starts with nothing in its memory, beside the Go reference plugin, as ratios within one run: `cargo xtask bench`, or
//! `KEYWRIGHT_BIN=... cargo bench --bench cold_start`.
//!
//! A real etcd holds 10,000 Secrets, made by a real API server and then sealed under 1, 100 and 10,000 seeds, in the very bytes that an API server stores; each seed was
//! wrapped by the plugin that is asked for it later. Restarts leave them so: each one makes a new seed. A real API server is started, and asked for all
//! Secrets once it says that it is ready. What is measured: the time from its start to the last byte of the list; the Decrypts that it sent, by its own count;
//! and the plugin's processor time.
//!
//! - with 10,000 seeds, processor time of the plugin: at most 0.60 of the reference's, 0.40 wanted;
//! - with 10,000 seeds, the time to the list: at most 1.15 of the reference's. Most of it is the API server's own;
//! - Decrypts for each of 10,000 seeds: at most 1.05, 1 wanted. The API server does not join reads of the same seed at the same time, so with one seed there may be several.
//!
//! Both plugins live through all rounds, since the reference has its key in memory only. Nothing is pinned. Sides take turns in each round, and the median of the
//! rounds is held against its gate. Every Secret of every list must be there once, with what was written into it; every Decrypt must have
//! succeeded; and the lines of Keywright's log must count what the API server counts; or there is no result. `KEYWRIGHT_SECRETS` sets another number of Secrets, and of the most seeds.
//!
//! Exit codes: 0 all gates hold, 1 a gate is missed, 2 no result.
#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[path = "cold_start/corpus.rs"]
mod corpus;
#[path = "shared/curve.rs"]
mod curve;
#[path = "shared/report.rs"]
mod report;
#[path = "cold_start/side.rs"]
mod side;

use std::process::ExitCode;

use corpus::Corpus;
use curve::{Curve, Fit};
use keywright_testbed::etcd::Etcd;
use keywright_testbed::pki::Authority;
use keywright_testbed::tools::Tools;
use report::{Figure, Gate, Report};
use side::{Side, Started};

/// An error says what happened, and there are no figures.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const SECRETS: usize = 10_000;
/// Distinct seeds, up to one for each Secret.
const SEEDS: [usize; 2] = [1, 100];
const ROUNDS: usize = 9;
/// Gate and stretch.
const PLUGIN: (f64, f64) = (0.60, 0.40);
const DECRYPTS: (f64, f64) = (1.05, 1.0);
const TIME: f64 = 1.15;

fn main() -> ExitCode {
    report::ended(run().map(Report::end))
}

/// What each start was: by number of seeds, side and round.
type Starts = Vec<[Vec<Started>; 2]>;

fn run() -> Result<Report> {
    let binary = report::binary()?;
    let mut report = Report::begin("cold_start");
    let secrets = std::env::var("KEYWRIGHT_SECRETS").map_or(Ok(SECRETS), |number| number.parse())?;
    report.not_a_claim = (secrets != SECRETS).then(|| format!("{secrets} Secrets"));
    let counts: Vec<usize> = SEEDS.into_iter().filter(|&seeds| seeds < secrets).chain([secrets]).collect();
    let tools = Tools::build(&mut |line| println!("{line}"))?;
    let folder = keywright_testbed::scratch::folder("cold")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sides = [Side::keywright(&binary, folder.path())?, Side::reference(&tools, folder.path())?];
    let (etcd, authority) = (Etcd::start(&tools)?, Authority::new()?);
    let corpus = Corpus::make(&tools, &etcd, &authority, secrets)?;
    println!("{secrets} Secrets made");

    let mut sealed = Vec::new();
    for (at, &count) in counts.iter().enumerate() {
        // Seeds of one number are none of another's.
        let first = counts[..at].iter().sum();
        let seal = |side: &Side| corpus.sealed(side.name, &side.seeds(&runtime, first, count)?);
        sealed.push([seal(&sides[0])?, seal(&sides[1])?]);
    }
    let mut starts: Starts = counts.iter().map(|_| Default::default()).collect();
    for round in 0..ROUNDS {
        for (at, seeds) in counts.iter().enumerate() {
            // The order changes from round to round.
            for side in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                let started = sides[side].start(&runtime, (&tools, &etcd, &authority), &corpus, &sealed[at][side])?;
                println!(
                    "round {round}, {seeds} seeds, {}: {:.2} s, {} Decrypts, {:.1} ms of the plugin",
                    sides[side].name, started.seconds, started.decrypts, started.plugin_ms
                );
                starts[at][side].push(started);
            }
        }
    }
    judge(&mut report, &counts, &starts, sides.each_ref().map(|side| side.name));
    Ok(report)
}

fn judge(report: &mut Report, counts: &[usize], starts: &Starts, names: [&'static str; 2]) {
    let most = counts.last().copied().unwrap_or_default();
    let last = starts.last().expect("there is at least one number of seeds");
    let rounds = |starts: &[Started], figure: fn(&Started) -> f64| starts.iter().map(figure).collect::<Vec<f64>>();
    let both = |figure| last.each_ref().map(|starts| rounds(starts, figure));
    let gate = |metric: &str, (gate, wanted): (f64, Option<f64>), unit, [ours, theirs]: [Vec<f64>; 2]| {
        let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        let sides = [Figure::median(names[0], &ours, unit), Figure::median(names[1], &theirs, unit)];
        Gate::at_most(format!("cold start with {most} seeds, {metric}"), gate, wanted, sides, ratios)
    };
    report.gate(gate("processor time of the plugin", (PLUGIN.0, Some(PLUGIN.1)), "ms", both(|start| start.plugin_ms)));
    report.gate(gate("to a full list", (TIME, None), "s", both(|start| start.seconds)));
    let decrypts = rounds(&last[0], |start| start.decrypts as f64);
    let ratios = decrypts.iter().map(|decrypts| decrypts / most as f64).collect();
    let sides = [Figure::median("Decrypts", &decrypts, ""), Figure::median("seeds", &[most as f64], "")];
    report.gate(Gate::at_most(format!("cold start with {most} seeds, Decrypts"), DECRYPTS.0, DECRYPTS.1, sides, ratios));

    let mut curve = |name, what: &str, y, (unit, fit), figure: fn(&Started) -> f64| {
        let sides = names.iter().enumerate().map(|(side, &name)| curve::Side {
            name: name.into(),
            points: counts.iter().zip(starts).map(|(&count, starts)| (count as f64, rounds(&starts[side], figure))).collect(),
        });
        let (title, sides) = (format!("Cold start, {what}"), sides.collect());
        report.curve(&Curve { name, title, x: "seeds", y, unit, fit, sides });
    };
    curve("cold-start-time", "time to a full list", "from the API server's start to the last byte", ("ms", Fit::Line), |start| {
        start.seconds * 1e3
    });
    curve("cold-start-decrypts", "Decrypts", "Decrypts that the API server sent", ("calls", Fit::Each), |start| start.decrypts as f64);
    curve(
        "cold-start-plugin",
        "processor time of the plugin",
        "from the API server's start to the last byte",
        ("ms", Fit::Line),
        |start| start.plugin_ms,
    );
}
