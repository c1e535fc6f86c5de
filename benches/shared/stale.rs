//! A control plane with Secrets in it that a rotation makes stale, and the command that writes them anew.
#![allow(clippy::print_stdout, reason = "a benchmark reports")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keywright::adoption::page;
use keywright::client::admin;
use keywright::config::admin_path;
use keywright::entropy::{Entropy, OsEntropy};
use keywright_testbed::api::Api;
use keywright_testbed::apiserver::{ApiServer, Settings, TOKEN};
use keywright_testbed::encryption::{Provider, configuration};
use keywright_testbed::etcd::Etcd;
use keywright_testbed::kubeconfig;
use keywright_testbed::plugin::Plugin;
use keywright_testbed::tools::Tools;
use serde_json::Value;

/// Of the one value of each Secret.
const SIZE: usize = 500;
/// Requests at a time while Secrets are made.
const WRITERS: usize = 8;
const START: Duration = Duration::from_secs(60);
/// An API server asks for the key's name every 20 s, and two answers are needed.
const ADOPTION: Duration = Duration::from_secs(150);
/// `timeout` of the KMS provider: an Encrypt that was begun is over by then.
const SETTLE: Duration = Duration::from_secs(3);

/// What runs, and how its parts are named.
pub(crate) struct Bench {
    // In the order in which they are to be dropped.
    pub(crate) server: ApiServer,
    pub(crate) plugin: Plugin,
    pub(crate) etcd: Etcd,
    pub(crate) keywright: PathBuf,
    pub(crate) kubectl: PathBuf,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) secrets: usize,
}

impl Bench {
    /// Starts all of it, with so many Secrets.
    pub(crate) fn start(tools: &Tools, keywright: PathBuf, secrets: usize) -> Self {
        let folder = keywright_testbed::scratch::folder("rewrite").expect("a folder");
        let plugin = Plugin::dev(&keywright, folder.path()).expect("the plugin starts");
        let etcd = Etcd::start(tools).expect("etcd starts");
        let settings = Settings::new(configuration(&[Provider::kms_v2("keywright", plugin.socket())]));
        let server = ApiServer::start(tools, &etcd, &settings).expect("the API server starts");
        server.kms_ready(START).expect("the API server likes the plugin");
        kubeconfig::write(&folder.path().join("kubeconfig"), &server, TOKEN).expect("it is written");
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let api = server.api();
                scope.spawn(move || (writer..secrets).step_by(WRITERS).for_each(|number| create(api, number)));
            }
        });
        Self { server, plugin, etcd, keywright, kubectl: tools.kubectl(), folder, secrets }
    }

    /// A new primary, adopted by the API server; gives its key_id. Every Secret is stale then, and that is seen.
    pub(crate) fn rotate(&self) -> String {
        for step in ["begin", "promote"] {
            output(Command::new(&self.keywright).args(["rotate", step]).args(self.keyring()));
        }
        let list: Value = parsed(Command::new(&self.keywright).args(["keyring", "list", "--output", "json"]).args(self.keyring()));
        let versions = list.as_array().expect("a list");
        let primary = versions.iter().find(|version| version["state"] == "primary").expect("one is");
        let primary = primary["key_id"].as_str().expect("text").to_owned();
        let end = Instant::now() + ADOPTION;
        while !self.adopted(&primary) {
            assert!(Instant::now() < end, "the API server did not adopt {primary}");
            // It polls the plugin when it is asked, and not more often than it wants.
            let _ = self.server.api().kms_ready();
            std::thread::sleep(Duration::from_millis(200));
        }
        let stale = self.under();
        assert!(!stale.contains_key(&primary) && stale.values().sum::<u64>() == self.secrets as u64, "not all are stale: {stale:?}");
        primary
    }

    /// Whether everyone who calls the plugin writes with `primary`: what a rewrite waits for, so that neither side has to.
    fn adopted(&self, primary: &str) -> bool {
        let text = admin::get(&admin_path(self.plugin.socket()), "/adoption").expect("the plugin answers");
        let now = Instant::now();
        let page = page::read(&text, now).expect("it is of this release");
        let mut writers = page.callers.iter().filter(|caller| !caller.ours).map(|caller| caller.calls).peekable();
        writers.peek().is_some() && writers.all(|calls| calls.adopted(now, SETTLE).is_some_and(|key_id| key_id.to_string() == primary))
    }

    /// What is measured.
    pub(crate) fn rewrite(&self) -> Command {
        let mut command = Command::new(&self.keywright);
        command.args(["rotate", "rewrite", "--output", "json", "--endpoints", self.etcd.endpoint(), "--kubeconfig"]);
        command.arg(self.folder.path().join("kubeconfig")).args(self.keyring());
        command
    }

    /// Whether no Secret is anywhere else; said where one is.
    pub(crate) fn is_all_under(&self, primary: &str) -> bool {
        let found = self.under();
        let good = found == BTreeMap::from([(primary.to_owned(), self.secrets as u64)]);
        if !good {
            println!("no result: Secrets were left under {found:?}, and all {} should be under {primary}", self.secrets);
        }
        good
    }

    /// How many Secrets there are under each key, by a scan.
    fn under(&self) -> BTreeMap<String, u64> {
        let said = parsed(Command::new(&self.keywright).args(["scan", "--output", "json", "--endpoints", self.etcd.endpoint()]));
        let counts = said["stores"][0]["report"]["counts"].as_array().expect("a list");
        let mut found = BTreeMap::new();
        for count in counts.iter().filter(|count| count["resource"] == "secrets") {
            let key_id = count["key_id"].as_str().expect("text").to_owned();
            *found.entry(key_id).or_default() += count["values"].as_u64().expect("a number");
        }
        found
    }

    fn keyring(&self) -> [&Path; 3] {
        [Path::new("--dev"), Path::new("--dir"), self.folder.path()]
    }
}

fn create(api: &Api, number: usize) {
    let mut value = [0; SIZE];
    OsEntropy.fill(&mut value).expect("the kernel has randomness");
    let created = api.create_secret(&format!("secret-{number:06}"), &[("value", &value)]);
    created.and_then(|answer| answer.ok()).expect("it is written");
}

/// How long the command takes, from its start to its end.
pub(crate) fn seconds(command: &mut Command) -> f64 {
    let start = Instant::now();
    output(command);
    start.elapsed().as_secs_f64()
}

fn parsed(command: &mut Command) -> Value {
    serde_json::from_slice(&output(command)).expect("it prints JSON")
}

fn output(command: &mut Command) -> Vec<u8> {
    let done = command.stdin(Stdio::null()).stderr(Stdio::piped()).output().expect("it starts");
    assert!(done.status.success(), "{command:?}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr));
    done.stdout
}
