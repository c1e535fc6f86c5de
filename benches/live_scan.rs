//! What counting a live etcd costs beside only fetching it, as ratios within one run: `cargo xtask bench`, or `KEYWRIGHT_BIN=... cargo bench --bench live_scan`.
//!
//! A real etcd holds 50,000 values of about a kibibyte, as API servers store them under two keys and in plaintext. `keywright scan` of all of it is held against
//! `etcdctl get --prefix --write-out=protobuf` of the same range to nothing: at most 1.2 x its time, and a tenth of its memory.
//!
//! Each side is a process of its own, timed from its start to its end; sides are interleaved in rounds, a ratio is taken within a round, and the
//! median of the rounds is held against its gate. Every scan must count exactly what was written, or there is no result. Peak memory is the kernel's own mark,
//! looked at every two milliseconds: what a process takes just before its end may be missed. `KEYWRIGHT_VALUES` sets another number of values.
#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[path = "shared/report.rs"]
mod report;
#[path = "shared/values.rs"]
mod values;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use keywright_testbed::etcd::Etcd;
use keywright_testbed::tools::Tools;
use report::{Figure, Gate, Report};
use values::{PREFIX, counted, fill};

const VALUES: usize = 50_000;
const ROUNDS: usize = 11;
const TIME: f64 = 1.2;
const TIME_WANTED: f64 = 1.0;
const MEMORY: f64 = 0.1;
const MEMORY_WANTED: f64 = 0.02;
/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    report::ended(report::binary().map(measure))
}

fn measure(binary: PathBuf) -> ExitCode {
    let mut report = Report::begin("live_scan");
    let tools = Tools::build(&mut |line| println!("{line}")).expect("Go builds etcd and etcdctl");
    let etcd = Etcd::start(&tools).expect("etcd starts");
    let values = std::env::var("KEYWRIGHT_VALUES").map_or(VALUES, |number| number.parse().expect("KEYWRIGHT_VALUES is a number"));
    report.not_a_claim = (values != VALUES).then(|| format!("{values} values"));
    let written = fill(&etcd, values);
    let mut scan = Command::new(&binary);
    scan.args(["scan", "--endpoints", etcd.endpoint(), "--output", "json"]);
    let mut get = Command::new(tools.etcdctl());
    get.args(["--endpoints", etcd.endpoint(), "get", PREFIX, "--prefix", "--write-out=protobuf", "--command-timeout=1m"]);

    let (mut times, mut memory) = (Vec::new(), Vec::new());
    let mut figures = [Vec::new(), Vec::new()];
    // The first round finds everything cold.
    for round in 0..=ROUNDS {
        let mut sides = [None, None];
        // The order changes from round to round.
        for side in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let ran = run(if side == 0 { &mut scan } else { &mut get }, side == 0);
            if side == 0 && counted(&ran.out) != written {
                println!("no result: the scan counted {:?}, and written were {written:?}", counted(&ran.out));
                return ExitCode::from(2);
            }
            sides[side] = Some(ran);
        }
        let [Some(scan), Some(get)] = sides else { unreachable!("each side ran") };
        if round > 0 {
            times.push(scan.time.as_secs_f64() / get.time.as_secs_f64());
            memory.push(scan.peak as f64 / get.peak as f64);
            figures[0].push((scan.time, scan.peak));
            figures[1].push((get.time, get.peak));
        }
    }
    let side = |name, at: usize| {
        let times: Vec<f64> = figures[at].iter().map(|(time, _): &(Duration, u64)| time.as_secs_f64() * 1e3).collect();
        let peaks: Vec<f64> = figures[at].iter().map(|(_, peak)| *peak as f64 / 1024.0).collect();
        (Figure::median(name, &times, "ms"), Figure::median(name, &peaks, "KiB"))
    };
    let (scan, get) = (side("keywright scan", 0), side("etcdctl get", 1));
    report.gate(Gate::at_most(format!("live scan of {values} values, time"), TIME, TIME_WANTED, [scan.0, get.0], times));
    report.gate(Gate::at_most(format!("live scan of {values} values, memory"), MEMORY, MEMORY_WANTED, [scan.1, get.1], memory));
    report.end()
}

/// One process from its start to its end.
struct Ran {
    time: Duration,
    peak: u64,
    out: Vec<u8>,
}

fn run(command: &mut Command, wanted: bool) -> Ran {
    command.stdin(Stdio::null()).stdout(if wanted { Stdio::piped() } else { Stdio::null() });
    let start = Instant::now();
    let child = command.spawn().expect("it starts");
    let pid = child.id();
    let watching = std::thread::spawn(move || {
        let mut peak = 0;
        while let Some(now) = peak_of(pid) {
            peak = now.max(peak);
            std::thread::sleep(LOOK);
        }
        peak
    });
    let done = child.wait_with_output().expect("it ends");
    let time = start.elapsed();
    assert!(done.status.success(), "{command:?}: {}", done.status);
    Ran { time, peak: watching.join().expect("no panic"), out: done.stdout }
}

/// Peak resident memory of a process so far, in bytes; `None` once it has ended.
fn peak_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10)
}
