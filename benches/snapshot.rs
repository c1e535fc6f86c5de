//! What reading a snapshot of etcd costs, as ratios within one run: `cargo bench --bench snapshot` (also by `cargo xtask bench`).
//!
//! - every revision of 1,000,000 values, beside `cat` of the same file to nothing, the file being in memory: at most 6 x, 3 x wanted;
//! - peak memory of the process that does it: at most 32 MB and 48 bytes per key.
//!
//! Each side is a process of its own, timed from its start to its end; sides are interleaved in rounds, a ratio is taken within a round, and the
//! median of the rounds is held against its gate. Every count is compared with what the Go program that wrote the file counted. The digest of a
//! saved snapshot, read on a second thread meanwhile, is reported and not gated.
#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[path = "shared/report.rs"]
mod report;

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use keywright::entropy::OsEntropy;
use keywright::etcd::snapshot::{Digest, Snapshot, Standing};
use keywright_testbed::tools::Tools;
use report::{Figure, Gate, Report};
use serde_json::{Value, json};
use sha2::Digest as _;

const VALUES: usize = 1_000_000;
const ROUNDS: usize = 9;
const TIME: f64 = 6.0;
const WANTED: f64 = 3.0;
const MEMORY: u64 = 32 << 20;
const MEMORY_PER_KEY: u64 = 48;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (Some("scan"), Some(file)) => scan(Path::new(&file), false),
        (Some("scan-and-verify"), Some(file)) => scan(Path::new(&file), true),
        _ => return compare(),
    }
    ExitCode::SUCCESS
}

/// The side under test, in a process of its own: prints what it counted, and its peak memory.
fn scan(file: &Path, verify: bool) {
    let snapshot = Snapshot::open(file).expect("a database");
    let summary = std::thread::scope(|scope| {
        let digest = verify.then(|| scope.spawn(|| snapshot.verify(&mut |_, _| {}).expect("the file is whole")));
        let walk = snapshot.every_revision(b"/registry/", &OsEntropy, &mut |standing, entry| {
            // Classifying a value looks at its first bytes.
            black_box((standing == Standing::Current, entry.value.get(..64).map(|start| start.iter().fold(0, |sum, byte| sum ^ byte))));
            ControlFlow::Continue(())
        });
        let digest = digest.map(|thread| thread.join().expect("no panic"));
        assert!(digest.is_none_or(|digest| digest == Digest::Good), "the digest was not there");
        walk.expect("a whole file")
    });
    let counts = json!({
        "revision": summary.revision, "keys": summary.keys, "bytes": summary.bytes, "superseded": summary.superseded,
        "superseded_bytes": summary.superseded_bytes, "tombstones": summary.tombstones,
    });
    println!("{}", json!({ "counts": counts, "peak": peak() }));
}

/// Peak resident memory of this process, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel counts it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

fn compare() -> ExitCode {
    let mut report = Report::begin("snapshot");
    let tools = Tools::build_own(&mut |line| println!("{line}")).expect("Go builds the generator");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("db");
    let made = run(Command::new(tools.snapshotgen()).arg("-out").arg(&file).args(["-values", &VALUES.to_string()]));
    let made: Value = serde_json::from_slice(&made).expect("the generator prints JSON");
    let saved = save(&file, &folder.path().join("saved"));
    println!("{VALUES} values in {} MB: {made}", std::fs::metadata(&file).expect("it is there").len() >> 20);

    let (mut ratios, mut verified, mut times, mut peaks) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()], Vec::new());
    cat(&file); // it is in memory from now on
    cat(&saved);
    for round in 0..ROUNDS {
        // The order changes from round to round.
        let (cat, (time, peak)) = if round % 2 == 0 {
            (cat(&file), scanned("scan", &file, &made))
        } else {
            let scan = scanned("scan", &file, &made);
            (cat(&file), scan)
        };
        ratios.push(time.as_secs_f64() / cat.as_secs_f64());
        times[0].push(time.as_secs_f64() * 1e3);
        times[1].push(cat.as_secs_f64() * 1e3);
        peaks.push(peak);
        verified.push(scanned("scan-and-verify", &saved, &made).0.as_secs_f64() / cat.as_secs_f64());
    }
    let sides = [Figure::median("every revision", &times[0], "ms"), Figure::median("`cat` to nothing", &times[1], "ms")];
    report.gate(Gate::at_most(format!("snapshot of {VALUES} values, time"), TIME, WANTED, sides, ratios));
    println!("  with the digest on a second thread: {:.2} x", report::median(&verified));
    let keys = made["keys"].as_u64().expect("a count");
    let allowed = MEMORY + MEMORY_PER_KEY * keys;
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    let used: Vec<f64> = peaks.iter().map(|peak| kib(*peak)).collect();
    let ratios = used.iter().map(|used| used / kib(allowed)).collect();
    let sides = [Figure::median("peak", &used, "KiB"), Figure::median("allowed", &[kib(allowed)], "KiB")];
    let metric = format!("snapshot of {VALUES} values, memory beside 32 MiB and {MEMORY_PER_KEY} bytes a key");
    report.gate(Gate::at_most(metric, 1.0, None, sides, ratios));
    report.end()
}

/// A copy with the digest that `etcdctl snapshot save` puts at its end.
fn save(file: &Path, saved: &Path) -> PathBuf {
    let mut bytes = std::fs::read(file).expect("reads");
    bytes.extend(sha2::Sha256::digest(&bytes));
    std::fs::write(saved, bytes).expect("writes");
    saved.to_owned()
}

fn cat(file: &Path) -> Duration {
    let start = Instant::now();
    let done = Command::new("cat").arg(file).stdout(Stdio::null()).status().expect("cat is everywhere");
    assert!(done.success());
    start.elapsed()
}

/// Time and peak memory of one scan, whose counts are the generator's.
fn scanned(what: &str, file: &Path, made: &Value) -> (Duration, u64) {
    let start = Instant::now();
    let said = run(Command::new(std::env::current_exe().expect("our own path")).arg(what).arg(file));
    let time = start.elapsed();
    let said: Value = serde_json::from_slice(&said).expect("printed above");
    assert_eq!(&said["counts"], made, "a wrong count");
    (time, said["peak"].as_u64().expect("printed above"))
}

fn run(command: &mut Command) -> Vec<u8> {
    let done = command.stderr(Stdio::inherit()).output().expect("it starts");
    assert!(done.status.success(), "{command:?}: {}", done.status);
    done.stdout
}
