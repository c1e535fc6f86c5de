//! Between disable and destroy, on real servers: each thing that ends the hold is wanted, for itself, and said.

use std::path::Path;
use std::process::Command;

use keywright_testbed::apiserver::TOKEN;
use keywright_testbed::process::Process;
use keywright_testbed::ran::Ran;
use keywright_testbed::wait;
use serde_json::Value;

use crate::kms;
use crate::stack::{KEYWRIGHT, LONG, SOON, Stack, bytes, sources, stored};

const SECRETS: u64 = 5;

/// A stack with some Secrets, and what commands need to find it.
struct Bench {
    stack: Stack,
    names: Vec<String>,
}

impl Bench {
    fn start() -> Self {
        let stack = Stack::start();
        for number in 0..SECRETS {
            let written = stack.api().create_secret(&name(number), &[("value", &bytes(200, number))]);
            written.and_then(|answer| answer.ok()).expect("it is written");
        }
        let names = [stack.place(), stack.user("kubeconfig", TOKEN)].concat();
        Self { stack, names }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(KEYWRIGHT);
        command.args(words).args(&self.names);
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        Ran::within(&mut self.command(words), LONG).expect("it ends by itself")
    }

    /// A command that wants the keyring alone.
    fn keyring(&self, words: &[&str]) -> Ran {
        Ran::of(&mut self.stack.home.command(words)).expect("it ends by itself")
    }

    /// A whole rotation away from `old`, as far as `words` let it.
    fn rotation<'a>(old: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        [&["rotate", "run", "--from", old, "--no-backup", "a test", "--yes", "--output", "json"], words].concat()
    }

    fn destroy(&self, old: &str, words: &[&str]) -> Ran {
        self.run(&[&["rotate", "destroy", old, "--yes-destroy", old], words].concat())
    }

    /// What `rotate status` says of each condition.
    fn conditions(&self) -> Vec<(String, String)> {
        let status = self.run(&["rotate", "status", "--output", "json"]).json();
        let of = |value: &Value, field: &str| value[field].as_str().expect("text").to_owned();
        let conditions = status["holds"][0]["conditions"].as_array().expect("a list");
        conditions.iter().map(|condition| (of(condition, "condition"), of(condition, "is"))).collect()
    }

    /// Restarts the API server, and waits until it has shown with which key it writes.
    fn restart(&mut self, old: &str) {
        self.stack.server.restart().expect("the API server starts");
        let shown = || {
            let ran = self.destroy(old, &["--dry-run"]);
            if ran.err.contains("is not adopted") { Err(ran.err) } else { Ok(()) }
        };
        self.stack.polled(|| wait::until("adoption", LONG, shown)).expect("it adopts the primary");
    }

    fn every_secret_reads(&self) {
        for number in 0..SECRETS {
            let read = self.stack.api().secret(&name(number)).expect("it is read");
            assert_eq!(read["value"], bytes(200, number), "{}", name(number));
        }
    }
}

fn name(number: u64) -> String {
    format!("held-{number}")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn standing(restarted: &str, unasked: &str, compacted: &str) -> Vec<(String, String)> {
    let all = [("time", "met"), ("restarted", restarted), ("unasked", unasked), ("compacted", compacted)];
    all.map(|(name, is)| (name.to_owned(), is.to_owned())).to_vec()
}

#[test]
fn destroy_wants_a_restart_of_the_api_server_a_compaction_and_that_nobody_asked() {
    let mut bench = Bench::start();
    let old = bench.stack.key_id.clone();
    let (key_id, source) = sources(&stored(&bench.stack.etcd)).into_iter().next().expect("something was encrypted");
    assert_eq!(key_id, old);
    let disabled = bench.stack.polled(|| bench.run(&Bench::rotation(&old, &["--until", "disable"])));
    assert_eq!(disabled.code, 0, "{disabled:?}");
    assert_eq!(disabled.json()["state"], "disabled");

    // Nothing of it yet: the API server has the old seed in memory, and etcd the old values in its history.
    bench.destroy(&old, &[]).fails(7, &["restart kube-apiserver on ", "it has run since before the disable", "etcdctl compaction "]);
    assert_eq!(bench.conditions(), standing("missing", "met", "missing"));
    let stopped = bench.run(&Bench::rotation(&old, &[]));
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(stopped.json()["next"].as_str().is_some_and(|next| next.contains("the hold is not over: restart kube-apiserver on ")));

    // A file that does not vouch for its bytes is no evidence; a saved one is, and here it names the version.
    let (copied, saved) = (bench.stack.folder().join("copied.db"), bench.stack.folder().join("saved.db"));
    std::fs::copy(bench.stack.etcd.database(), &copied).expect("it is copied");
    bench.destroy(&old, &["--backup", text(&copied)]).fails(7, &["copied.db as evidence", "it carries no digest"]);
    bench.stack.etcd.save(&saved).expect("a snapshot");
    bench.destroy(&old, &["--backup", text(&saved)]).fails(6, &["in old revisions of a backup"]);

    bench.restart(&old);
    bench.every_secret_reads();
    assert_eq!(bench.conditions(), standing("met", "met", "missing"));
    let refused = bench.destroy(&old, &[]);
    assert!(!refused.err.contains("restart kube-apiserver"), "{refused:?}");
    refused.fails(7, &["and was scanned at ", "etcdctl compaction "]);

    bench.stack.etcd.compact().expect("it compacts");
    assert_eq!(bench.conditions(), standing("met", "met", "met"));
    bench.destroy(&old, &["--dry-run"]).succeeds();

    let answer = kms::decrypt(bench.stack.plugin.socket(), &old, &source).expect_err("it is disabled");
    assert_eq!(answer.code(), tonic::Code::FailedPrecondition);
    bench.destroy(&old, &[]).fails(6, &["something needs the version: 1 Decrypt asked for it since the disable, the last one "]);
    assert_eq!(bench.conditions(), standing("met", "violated", "met"));
    bench.run(&Bench::rotation(&old, &["--wait-hold"])).fails(6, &["something needs the version"]);

    // Brought back, and taken away anew: what was asked before then does not count, and what was restarted does not either.
    bench.run(&["rotate", "enable", &old]).succeeds();
    // The plugin looks at its file four times a second.
    let opens = || kms::decrypt(bench.stack.plugin.socket(), &old, &source).map_err(|status| status.to_string());
    assert_eq!(wait::until("the version to open again", SOON, opens).expect("it is enabled").len(), 32);
    let mut waiting = Process::spawn("keywright", &mut bench.command(&Bench::rotation(&old, &["--wait-hold"]))).expect("starts");
    bench
        .stack
        .polled(|| waiting.err().wait_for(0, LONG, "the hold", |line| line.starts_with("hold: restart kube-apiserver on ")))
        .expect("it waits for the hold");
    assert_eq!(waiting.ended().expect("it is asked"), None, "it waits");
    bench.stack.server.restart().expect("the API server starts");
    bench.stack.etcd.compact().expect("it compacts");
    let ended = bench.stack.polled(|| waiting.wait(LONG)).expect("it ends by itself");
    assert!(ended.success(), "{ended}: {}", waiting.err().tail(30));

    let list = bench.keyring(&["keyring", "list", "--output", "json"]).json();
    let states: Vec<&str> = list.as_array().expect("a list").iter().map(|version| version["state"].as_str().expect("text")).collect();
    assert_eq!(states, ["destroyed", "primary"]);
    bench.stack.server.restart().expect("the API server starts");
    bench.every_secret_reads();
    bench.stack.nothing_secret_was_printed();
}
