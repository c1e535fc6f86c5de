//! What the parts cost of which everything else is made: `cargo xtask bench micro`.
//!
//! Wrap, unwrap, the parsers of an envelope, a key_id and an EncryptedObject, the load of a keyring of 1, 100 and 1,000 versions, and the scan of a
//! small snapshot: each with the time of one, measured by criterion, and its instructions, counted by callgrind as those of many without those of
//! few. Nothing is gated here: a ratio to something else is what the other benchmarks are for, and these say where to look when one of them
//! grows. Each part is asked once before it is measured, and its answer compared.
#![expect(clippy::print_stdout, reason = "what a benchmark prints is its result")]

#[path = "micro/parts.rs"]
mod parts;
#[path = "shared/report.rs"]
mod report;
#[path = "shared/versions.rs"]
mod versions;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use criterion::Criterion;
use keywright_testbed::callgrind::Profile;
use parts::Part;
use report::Report;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How often a part runs under callgrind, if it takes less than a tenth of a millisecond and if it takes longer.
const QUICK: [u64; 2] = [100, 1_100];
const SLOW: [u64; 2] = [1, 11];
const IS_SLOW: f64 = 1e5;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let outcome = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["count", folder, id, times] => count(Path::new(folder), id, times),
        _ => measure(),
    };
    report::ended(outcome)
}

fn measure() -> Result<ExitCode> {
    let mut report = Report::begin("micro");
    let folder = keywright_testbed::scratch::folder("micro")?;
    parts::prepare(folder.path())?;
    let out = folder.path().join("criterion");
    let mut criterion = Criterion::default().without_plots().output_directory(&out);
    criterion = criterion.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(50);
    let mut figures = Vec::new();
    for part in parts::all(folder.path()) {
        let Part { id, title, run } = part;
        criterion.bench_function(id, |bencher| bencher.iter(&run));
        let time = estimate(&out.join(id))?;
        let instructions = instructions(folder.path(), id, if time[1] < IS_SLOW { QUICK } else { SLOW })?;
        println!("{title}: {:.1} ns, {instructions:.0} instructions", time[1]);
        figures.push(json!({ "part": title, "low_ns": time[0], "median_ns": time[1], "high_ns": time[2], "instructions": instructions }));
    }
    report.more.insert("parts".into(), figures.into());
    Ok(report.end())
}

/// The median in nanoseconds, between the ends of its confidence interval, as criterion has written it.
fn estimate(folder: &Path) -> Result<[f64; 3]> {
    let json: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("new/estimates.json"))?)?;
    let median = &json["median"];
    let figures = [&median["confidence_interval"]["lower_bound"], &median["point_estimate"], &median["confidence_interval"]["upper_bound"]];
    let [Some(low), Some(middle), Some(high)] = figures.map(Value::as_f64) else { return Err("criterion has estimated no median".into()) };
    Ok([low, middle, high])
}

/// Instructions of one, from the parts of two runs of this program.
fn instructions(folder: &Path, id: &str, times: [u64; 2]) -> Result<f64> {
    let counts = folder.join("counts");
    let mut profiles = Vec::new();
    for times in times {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", counts.display()));
        command.arg(std::env::current_exe()?).arg("count").arg(folder).args([id, &times.to_string()]);
        let status = command.stdin(Stdio::null()).status().map_err(|error| format!("start valgrind (is it installed?): {error}"))?;
        if !status.success() {
            return Err(format!("{id} under valgrind: {status}").into());
        }
        profiles.push(Profile::read(&counts)?);
    }
    Ok(profiles[1].per_call(&profiles[0], times[1] - times[0]).total)
}

/// What runs under callgrind.
fn count(folder: &Path, id: &str, times: &str) -> Result<ExitCode> {
    let part = parts::all(folder).into_iter().find(|part| part.id == id).ok_or("there is no such part")?;
    (0..times.parse::<u64>()?).for_each(|_| (part.run)());
    Ok(ExitCode::SUCCESS)
}
