//! Evidence from a real etcd: a scan counts what others count, a step that takes something away looks first, a whole rotation survives being
//! killed, and a snapshot opens without the cluster.
#![expect(clippy::print_stdout, reason = "the seed of the kills, and what they met, is the record of the run")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keywright_testbed::apiserver::TOKEN;
use keywright_testbed::process::Process;
use keywright_testbed::ran::Ran;
use serde_json::Value;

use crate::counts::{counted_by_kubernetes, counts};
use crate::stack::{KEYWRIGHT, LONG, Stack, bytes};

/// Secrets that are written first.
const SECRETS: u64 = 60;
/// How often a run is killed at most.
const KILLS: u32 = 6;

/// A stack with Secrets and a ConfigMap, and what commands need to find it.
struct Bench {
    stack: Stack,
    names: Vec<String>,
    user: Vec<String>,
}

impl Bench {
    fn start() -> Self {
        let stack = Stack::start();
        for number in 0..SECRETS {
            write(&stack, number);
        }
        let object = serde_json::json!({"metadata": {"name": "map"}, "data": {"key": "value"}});
        stack.api().create("/api/v1/namespaces/default/configmaps", &object).and_then(|answer| answer.ok()).expect("it is written");
        let (names, user) = (stack.place(), stack.user("kubeconfig", TOKEN));
        Self { stack, names, user }
    }

    /// A command on the keyring and its etcd.
    fn etcd(&self, words: &[&str]) -> Ran {
        self.run(words, &self.names)
    }

    /// The same, with the API server.
    fn cluster(&self, words: &[&str]) -> Ran {
        self.run(words, &[&self.names[..], &self.user].concat())
    }

    fn keyring(&self, words: &[&str]) -> Ran {
        self.stack.home.run(words)
    }

    fn run(&self, words: &[&str], names: &[String]) -> Ran {
        Ran::within(Command::new(KEYWRIGHT).args(words).args(names), LONG).expect("it ends by itself")
    }

    fn begin_and_promote(&self) -> (String, String) {
        let old = self.stack.key_id.clone();
        self.keyring(&["rotate", "begin"]).succeeds();
        self.keyring(&["rotate", "promote"]).succeeds();
        let list: Value = self.keyring(&["keyring", "list", "--output", "json"]).json();
        let new = list[1]["key_id"].as_str().expect("a key_id").to_owned();
        (old, new)
    }

    fn every_secret_reads(&self) {
        for number in 0..SECRETS {
            let read = self.stack.api().secret(&name(number)).expect("it is read");
            assert_eq!(read["value"], bytes(200, number), "{}", name(number));
        }
    }
}

fn name(number: u64) -> String {
    format!("kept-{number}")
}

fn write(stack: &Stack, number: u64) {
    let written = stack.api().create_secret(&name(number), &[("value", &bytes(200, number))]);
    written.and_then(|answer| answer.ok()).expect("it is written");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn a_scan_counts_what_kubernetes_own_packages_count_live_and_in_a_snapshot_and_every_object_of_that_opens() {
    let bench = Bench::start();
    let scanned = bench.etcd(&["scan", "--expect-primary", "--output", "json"]);
    assert_eq!(scanned.code, 0, "{scanned:?}");
    let live = counts(&scanned.json()["stores"][0]["report"]);
    assert_eq!(live, counted_by_kubernetes(&bench.stack.etcd));
    let secrets = ("secrets".to_owned(), "kms-v2".to_owned(), "keywright".to_owned(), bench.stack.key_id.clone());
    assert_eq!(live[&secrets], SECRETS);

    let snapshot = bench.stack.folder().join("backup.db");
    bench.stack.etcd.save(&snapshot).expect("a snapshot");
    let scanned = bench.keyring(&["scan", "--snapshot", text(&snapshot), "--output", "json"]);
    assert_eq!(counts(&scanned.json()["stores"][0]["report"]), live);

    // Without a cluster: the plugin is gone.
    let list =
        bench.run(&["recover", "list", "--snapshot", text(&snapshot), "--prefix", "/registry/secrets/", "--output", "json"], &[]).json();
    let keys: Vec<&str> = list.as_array().expect("a list").iter().map(|line| line["key"].as_str().expect("text")).collect();
    assert_eq!(keys.len() as u64, SECRETS);
    for key in &keys {
        let opened = bench.keyring(&["recover", "decrypt", "--snapshot", text(&snapshot), "--key", key, "--output", "json"]).json();
        let number: u64 = key.rsplit('-').next().expect("a number").parse().expect("a number");
        assert_eq!(opened["data"]["value"], keywright_testbed::api::base64(&bytes(200, number)), "{key}");
    }
    let drilled = bench.keyring(&["recover", "drill", "--snapshot", text(&snapshot), "--sample", "30", "--seed", "1", "--output", "json"]);
    assert_eq!(drilled.code, 0, "{drilled:?}");
    let drilled = drilled.json();
    let key =
        drilled["keys"].as_array().expect("a list").iter().find(|key| key["key_id"] == bench.stack.key_id.as_str()).expect("the primary");
    assert_eq!((key["sampled"].as_u64(), key["opened"].as_u64()), (Some(30), Some(30)));
    bench.stack.nothing_secret_was_printed();
}

#[test]
fn what_is_still_stored_under_a_version_is_named_and_keeps_it() {
    let bench = Bench::start();
    let (old, new) = bench.begin_and_promote();
    bench
        .etcd(&["rotate", "verify", &old])
        .fails(6, &["62 stored values still name it", "60 secrets", "/registry/secrets/default/kept-0", "2 configmaps"]);
    let scanned = bench.etcd(&["scan", "--expect-primary", "--resources", "secrets"]);
    scanned.fails(4, &["60 values are not so", "/registry/secrets/default/kept-0"]);

    let rewritten = bench.stack.polled(|| bench.cluster(&["rotate", "rewrite", "--output", "json"]));
    assert_eq!(rewritten.code, 0, "{rewritten:?}");
    let done: u64 =
        rewritten.json()["resources"].as_array().expect("a list").iter().map(|r| r["rewritten"].as_u64().expect("a number")).sum();
    assert_eq!(done, 62);
    bench.etcd(&["scan", "--expect-primary"]).succeeds();
    bench.every_secret_reads();
    bench.cluster(&["rotate", "verify", &old]).succeeds();
    bench.cluster(&["rotate", "disable", &old]).succeeds();
    assert_ne!(old, new);
    bench.stack.nothing_secret_was_printed();
}

#[test]
fn a_whole_rotation_killed_at_random_moments_ends_as_if_it_had_never_been() {
    let mut bench = Bench::start();
    let old = bench.stack.key_id.clone();
    let backup = bench.stack.folder().join("before.db");
    bench.stack.etcd.save(&backup).expect("a snapshot");
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos();
    println!("seed of the kills: {seed}");
    let run = ["rotate", "run", "--from", &old, "--no-backup", "a test", "--yes", "--output", "json"];
    let names = [&bench.names[..], &bench.user].concat();
    let mut random = u64::from(seed) | 1;
    let ended = bench.stack.polled(|| {
        for kill in 0..KILLS {
            // A generator of no quality is enough to spread them over the run.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let after = Duration::from_millis((random >> 33) % 6_000);
            let mut process = Process::spawn("keywright", Command::new(KEYWRIGHT).args(run).args(&names)).expect("starts");
            if let Ok(status) = process.wait(after) {
                println!("kill {kill}: it had ended by itself: {status}");
                break;
            }
            process.kill().expect("killed");
        }
        let start = Instant::now();
        let ended = Ran::within(Command::new(KEYWRIGHT).args(run).args(&names), LONG).expect("it ends by itself");
        println!("the last run took {:?}", start.elapsed());
        ended
    });
    assert_eq!(ended.code, 0, "{ended:?}");
    // What ends the hold is left; `hold.rs` has each of it.
    assert_eq!(ended.json()["state"], "disabled", "{ended:?}");
    bench.stack.server.restart().expect("the API server starts");
    bench.stack.etcd.compact().expect("it compacts");
    let ended = bench.stack.polled(|| Ran::within(Command::new(KEYWRIGHT).args(run).args(&names), LONG).expect("it ends by itself"));
    assert_eq!(ended.code, 0, "{ended:?}");
    let answer = ended.json();
    assert_eq!((answer["state"].as_str(), answer["next"].as_str()), (Some("destroyed"), Some("every older version is destroyed")));

    let list: Value = bench.keyring(&["keyring", "list", "--output", "json"]).json();
    let states: Vec<&str> = list.as_array().expect("a list").iter().map(|version| version["state"].as_str().expect("text")).collect();
    assert_eq!(states, ["destroyed", "primary"], "no kill began a second rotation");
    bench.etcd(&["scan", "--expect-primary"]).succeeds();
    bench.stack.server.restart().expect("the API server starts");
    bench.every_secret_reads();

    // What a backup needs is not taken away, if it is named; this one was not.
    let left = bench.keyring(&["recover", "drill", "--snapshot", text(&backup), "--sample", "5"]);
    left.fails(4, &["did not open"]);
    bench.stack.nothing_secret_was_printed();
}
