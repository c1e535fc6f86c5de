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

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use keywright::entropy::{Entropy, OsEntropy};
use keywright_testbed::etcd::Etcd;
use keywright_testbed::tools::Tools;
use report::{Figure, Gate, Report};
use serde_json::Value;

const VALUES: usize = 50_000;
const ROUNDS: usize = 11;
const TIME: f64 = 1.2;
const TIME_WANTED: f64 = 1.0;
const MEMORY: f64 = 0.1;
const MEMORY_WANTED: f64 = 0.02;
const PREFIX: &str = "/registry";
const KEY_IDS: [&str; 2] =
    ["kw1.0123456789abcdef.1.00112233445566778899aabbccddeeff", "kw1.0123456789abcdef.2.ffeeddccbbaa99887766554433221100"];
/// Of an envelope of ours around a seed.
const WRAPPED: usize = 104;
/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(2);

/// Values by resource, kind and key_id.
type Counts = BTreeMap<(String, String, String), u64>;

fn main() -> ExitCode {
    let binary = match report::binary() {
        Ok(binary) => binary,
        Err(error) => {
            println!("no result: {error}");
            return ExitCode::from(2);
        }
    };
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

/// Writes that many values, and says what they are: of ten, four Secrets under one key, four under another, and two Pods in plaintext.
fn fill(etcd: &Etcd, values: usize) -> Counts {
    let mut written = Counts::new();
    let all: Vec<usize> = (0..values).collect();
    for some in all.chunks(5_000) {
        let pairs: Vec<(String, Vec<u8>)> = some
            .iter()
            .map(|&at| {
                let (resource, kind, key_id) = match at % 10 {
                    0..4 => ("secrets", "kms-v2", KEY_IDS[0]),
                    4..8 => ("secrets", "kms-v2", KEY_IDS[1]),
                    _ => ("pods", "plaintext", ""),
                };
                *written.entry((resource.to_owned(), kind.to_owned(), key_id.to_owned())).or_default() += 1;
                let value = if key_id.is_empty() { plaintext(at) } else { kms_value(at, key_id) };
                (format!("{PREFIX}/{resource}/namespace-{}/object-{at:07}", at % 100), value)
            })
            .collect();
        etcd.put_all(&pairs).expect("etcd takes them");
    }
    written
}

/// What an API server stores under KMS v2 for an object of about a kibibyte: ciphertext is random bytes to everybody else.
fn kms_value(at: usize, key_id: &str) -> Vec<u8> {
    let mut value = b"k8s:enc:kms:v2:keywright:".to_vec();
    for (number, field) in [(1, random(720 + at % 64)), (2, key_id.as_bytes().to_vec()), (3, random(WRAPPED))] {
        field_of(&mut value, number, &field);
    }
    value.extend([5 << 3, 1]); // the source is a seed
    value
}

/// An object as it stands in etcd unencrypted, in the API server's protobuf form (message Unknown: what it is, and its bytes).
fn plaintext(at: usize) -> Vec<u8> {
    let mut value = b"k8s\0".to_vec();
    field_of(&mut value, 1, b"\x0a\x02v1\x12\x03Pod");
    field_of(&mut value, 2, &random(960 + at % 64));
    value
}

/// A field of bytes in protobuf.
fn field_of(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    prost::encoding::encode_varint(bytes.len() as u64, message);
    message.extend(bytes);
}

fn random(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    OsEntropy.fill(&mut bytes).expect("the kernel has randomness");
    bytes
}

/// What a scan says that it counted; the whole report, so that a value too many is seen as well.
fn counted(said: &[u8]) -> Counts {
    let said: Value = serde_json::from_slice(said).expect("the scan prints JSON");
    let field = |count: &Value, name: &str| count[name].as_str().expect("text").to_owned();
    let counts = said["stores"][0]["report"]["counts"].as_array().expect("a list");
    let mut found = Counts::new();
    for count in counts {
        let what = (field(count, "resource"), field(count, "kind"), field(count, "key_id"));
        *found.entry(what).or_default() += count["values"].as_u64().expect("a number");
    }
    found
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
