//! Time of a scan against the objects that it reads, and of a rewrite against the objects that are stale. Each is a command from its start to its end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keywright_testbed::etcd::Etcd;
use keywright_testbed::tools::Tools;
use serde_json::Value;

use crate::curve::{Curve, Fit, Side};
use crate::stale::{Bench, seconds};
use crate::values::{Counts, counted, fill};
use crate::{Result, order};

const LIVE: [usize; 4] = [100, 1_000, 10_000, 100_000];
const SNAPSHOT: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const STALE: [usize; 3] = [200, 1_000, 5_000];
const SCANS: usize = 7;
const REWRITES: usize = 3;
const SECRETS: &str = "/registry/secrets/";

/// Milliseconds of a scan of a live etcd; one etcd for each number of objects.
pub(crate) fn live_scan(tools: &Tools, binary: &Path) -> Result<Curve> {
    let stores: Vec<(Etcd, Counts)> = LIVE
        .iter()
        .map(|&objects| {
            let etcd = Etcd::start(tools)?;
            let written = fill(&etcd, objects);
            Ok((etcd, written))
        })
        .collect::<Result<_>>()?;
    let side = scans(&LIVE, |at| {
        let (etcd, written) = &stores[at];
        let (took, said) = timed(Command::new(binary).args(["scan", "--output", "json", "--endpoints", etcd.endpoint()]))?;
        let found = counted(&said);
        if found != *written {
            return Err(format!("the scan counted {found:?}, and written were {written:?}").into());
        }
        Ok(took)
    })?;
    Ok(scan_curve("scan-live", "Live scan against objects", side))
}

/// Milliseconds of a scan of a snapshot; one file for each number of values that were ever written.
pub(crate) fn snapshot_scan(tools: &Tools, binary: &Path, folder: &Path) -> Result<Curve> {
    let files: Vec<(PathBuf, Value)> = SNAPSHOT
        .iter()
        .map(|values| {
            let file = folder.join(format!("{values}.db"));
            let (_, made) = timed(Command::new(tools.snapshotgen()).arg("-out").arg(&file).args(["-values", &values.to_string()]))?;
            Ok((file, serde_json::from_slice(&made)?))
        })
        .collect::<Result<_>>()?;
    let side = scans(&SNAPSHOT, |at| {
        let (file, made) = &files[at];
        let (took, said) = timed(Command::new(binary).args(["scan", "--output", "json", "--snapshot"]).arg(file))?;
        let said: Value = serde_json::from_slice(&said)?;
        let report = &said["stores"][0]["report"];
        let [current, old] = ["values", "old_values"].map(|name| report[name].as_u64());
        if current.is_none() || (current, old) != (made["keys"].as_u64(), made["superseded"].as_u64()) {
            return Err(format!("the scan counted {current:?} values and {old:?} old ones, and written was {made}").into());
        }
        Ok(took)
    })?;
    Ok(scan_curve("scan-snapshot", "Snapshot scan against values", side))
}

/// Rounds of `scan` of every number of objects in turn; the first finds everything cold and is not counted.
fn scans(xs: &[usize], scan: impl Fn(usize) -> Result<Duration>) -> Result<Side> {
    let mut side = Side::new("keywright scan", xs);
    for round in 0..=SCANS {
        for at in order(round, xs.len()) {
            let took = scan(at)?;
            if round > 0 {
                side.points[at].1.push(took.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(side)
}

fn scan_curve(name: &'static str, title: &str, side: Side) -> Curve {
    let (x, y) = if name == "scan-live" { ("objects", "time of a scan") } else { ("values", "time of a scan, file in memory") };
    Curve { name, title: title.into(), x, y, unit: "ms", fit: Fit::Line, sides: vec![side] }
}

/// Milliseconds of a rewrite of some of 5,000 Secrets: those that stand in etcd again as they stood before the rotation.
pub(crate) fn rewrite(tools: &Tools, binary: &Path) -> Result<Curve> {
    let all = STALE[STALE.len() - 1];
    let bench = Bench::start(tools, binary.to_owned(), all);
    let before = bench.etcd.values(SECRETS)?;
    if before.len() != all {
        return Err(format!("etcd has {} Secrets, not {all}", before.len()).into());
    }
    let primary = bench.rotate();
    let mut side = Side::new("keywright rotate rewrite", &STALE);
    for round in 0..=REWRITES {
        // The first time, all of them are stale.
        for at in if round == 0 { vec![STALE.len() - 1] } else { order(round, STALE.len()) } {
            bench.etcd.put_all(&before[..STALE[at]])?;
            let took = seconds(&mut bench.rewrite());
            if !bench.is_all_under(&primary) {
                return Err("a rewrite left stale Secrets".into());
            }
            if round > 0 {
                side.points[at].1.push(took * 1e3);
            }
        }
    }
    let (title, y) = ("Rewrite against stale objects".into(), "time of a rewrite");
    Ok(Curve { name: "rewrite", title, x: "stale objects", y, unit: "ms", fit: Fit::Line, sides: vec![side] })
}

/// How long a command takes, and what it prints.
fn timed(command: &mut Command) -> Result<(Duration, Vec<u8>)> {
    let begun = Instant::now();
    let done = command.stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
    let took = begun.elapsed();
    if !done.status.success() {
        return Err(format!("{command:?}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr)).into());
    }
    Ok((took, done.stdout))
}
