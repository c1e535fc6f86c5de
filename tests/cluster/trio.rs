//! Three nodes of one cluster with a keyring that knows them: on each an API server and a plugin with its own copy of the keyring. One authority
//! vouches for the API servers, so that one kubeconfig serves all three. Commands run on the first node.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use keywright::client::admin;
use keywright::config::admin_path;
use keywright_testbed::apiserver::{ApiServer, TOKEN};
use keywright_testbed::etcd::Etcd;
use keywright_testbed::pki::Authority;
use keywright_testbed::plugin::Plugin;
use keywright_testbed::ran::Ran;
use keywright_testbed::{kubeconfig, scratch, wait};
use serde_json::Value;
use tempfile::TempDir;

use crate::home::private;
use crate::stack::{KEYWRIGHT, SOON, bytes, settings, stored, tools};

/// The nodes, as the keyring names them.
pub(crate) const NAMES: [&str; 3] = ["cp-1", "cp-2", "cp-3"];
/// How long a command may take: some polls of every API server.
pub(crate) const LONG: Duration = Duration::from_secs(200);
/// How often every API server is asked for its plugin's health while a command waits for it.
const POLL: Duration = Duration::from_millis(500);

/// How many Secrets were written only to see under which key.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// One node.
pub(crate) struct Node {
    // In the order in which they are to be dropped.
    pub(crate) server: ApiServer,
    pub(crate) plugin: Plugin,
    dir: TempDir,
}

/// All of it.
pub(crate) struct Trio {
    pub(crate) nodes: Vec<Node>,
    pub(crate) etcd: Etcd,
    _authority: Authority,
}

impl Trio {
    /// A fresh one, ready for writes at each API server, and each is published.
    pub(crate) fn start() -> Self {
        let etcd = Etcd::start(tools()).expect("etcd starts");
        let authority = Authority::new().expect("an authority");
        let dirs: Vec<TempDir> = NAMES.iter().map(|_| scratch::folder("node").expect("a private folder")).collect();
        let seal = dirs[0].path().join("seal.key");
        private(&seal, &bytes(64, 7));
        for (dir, name) in dirs.iter().zip(NAMES) {
            private(&config(dir.path()), configuration(dir.path(), name, &seal).as_bytes());
        }
        keywright(&["init", "--nodes", &NAMES.join(",")], &config(dirs[0].path())).succeeds();
        let keyring = std::fs::read(dirs[0].path().join("keyring")).expect("init made it");
        let started = dirs.into_iter().zip(1..).map(|(dir, number)| {
            private(&dir.path().join("keyring"), &keyring);
            let plugin = Plugin::configured(Path::new(KEYWRIGHT), &config(dir.path()), &dir.path().join("kms.sock"));
            let plugin = plugin.expect("the plugin starts");
            let settings = settings(plugin.socket()).node(number).certified(&authority).expect("a certificate");
            (dir, plugin, settings)
        });
        let started: Vec<_> = started.collect();
        let nodes = std::thread::scope(|scope| {
            let etcd = &etcd;
            let start = |(dir, plugin, settings)| {
                scope.spawn(move || {
                    let server = ApiServer::start(tools(), etcd, &settings).expect("the API server starts");
                    server.kms_ready(SOON).expect("the API server likes the plugin");
                    Node { server, plugin, dir }
                })
            };
            let starting: Vec<_> = started.into_iter().map(start).collect();
            starting.into_iter().map(|node| node.join().expect("it starts")).collect()
        });
        let trio = Self { nodes, etcd, _authority: authority };
        trio.published(NAMES.len());
        // The plugin has read its configuration; what follows is for commands.
        let first = config(trio.dir(0));
        let text = configuration(trio.dir(0), NAMES[0], &seal);
        let servers = trio.addresses();
        let admin = trio.kubeconfig("admin", TOKEN);
        let cluster =
            format!("[[etcd]]\nendpoints = [{:?}]\n[kubernetes]\nkubeconfig = {admin:?}\nservers = {servers:?}\n", trio.etcd.endpoint());
        private(&first, (text + &cluster).as_bytes());
        trio
    }

    /// `ADDRESS:PORT` of each API server, as it can be reached from here.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.server.address().to_owned()).collect()
    }

    /// A kubeconfig that names the first API server and trusts them all, for the user of `token`.
    pub(crate) fn kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let path = self.dir(0).join(format!("{name}.conf"));
        kubeconfig::write(&path, &self.nodes[0].server, token).expect("it is written");
        path
    }

    /// Runs a command on the keyring of the first node.
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        keywright(words, &config(self.dir(0)))
    }

    /// The same while every API server is made to poll its plugin.
    pub(crate) fn run_polled(&self, words: &[&str]) -> Ran {
        polled(&self.nodes.iter().map(|node| &node.server).collect::<Vec<_>>(), || self.run(words))
    }

    /// The key_ids of the keyring on the first node, by version.
    pub(crate) fn key_ids(&self) -> Vec<String> {
        let list: Value = self.run(&["keyring", "list", "--output", "json"]).json();
        let versions = list.as_array().expect("a list").iter();
        versions.map(|version| version["key_id"].as_str().expect("text").to_owned()).collect()
    }

    /// Carries the keyring of the first node to the `others`, and waits until they and the first serve it.
    pub(crate) fn carry(&self, others: &[usize]) {
        let keyring = std::fs::read(self.dir(0).join("keyring")).expect("it is read");
        for at in others {
            let new = self.dir(*at).join("keyring.new");
            private(&new, &keyring);
            std::fs::rename(&new, self.dir(*at).join("keyring")).expect("it is put in place");
        }
        let generation = self.run(&["keyring", "show", "--output", "json"]).json()["generation"].clone();
        let line = format!("generation {generation}");
        for at in others.iter().chain(&[0]) {
            let socket = admin_path(self.nodes[*at].plugin.socket());
            wait::until(&format!("{line} on {}", NAMES[*at]), SOON, || {
                let state = admin::get(&socket, "/state").map_err(|e| e.to_string())?;
                if state.lines().any(|l| l == line) { Ok(()) } else { Err(state) }
            })
            .expect("it is loaded");
        }
    }

    /// Has every node say that it has the keyring; `words` with what they said.
    pub(crate) fn acknowledged(&self, words: &[&str]) -> Ran {
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        for (node, name) in self.nodes.iter().zip(NAMES) {
            let path = self.dir(0).join(format!("{name}.ack"));
            private(&path, keywright(&["keyring", "ack"], &config(node.dir.path())).succeeds().as_bytes());
            words.extend(["--ack".to_owned(), path.display().to_string()]);
        }
        self.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Writes the Secret `name` through one API server, and gives the key_id under which it is stored then.
    pub(crate) fn write(&self, at: usize, name: &str, salt: u64) -> String {
        let written = self.nodes[at].server.api().create_secret(name, &[("value", &bytes(200, salt))]);
        written.and_then(|answer| answer.ok()).expect("it is written");
        let key = format!("/registry/secrets/default/{name}");
        let found = stored(&self.etcd).into_iter().find(|(stored, _)| *stored == key);
        found.expect("it is stored").1.key_id
    }

    /// Has one API server poll its plugin until what it writes is under `key_id`.
    pub(crate) fn adopts(&self, at: usize, key_id: &str) {
        let api = self.nodes[at].server.api();
        wait::until(&format!("{} writes with {key_id}", NAMES[at]), SOON, || {
            api.kms_ready()?;
            if !api.metrics().map_err(|e| e.to_string())?.contains(&keywright::key_id::sha256_form(key_id)) {
                return Err("no Status has named it".to_owned());
            }
            let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
            let under = self.write(at, &format!("adopts-{number}"), number);
            if under == key_id { Ok(()) } else { Err(under) }
        })
        .expect("it adopts");
    }

    /// Waits until that many API servers are published.
    pub(crate) fn published(&self, count: usize) {
        let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
        wait::until(&format!("{count} endpoints"), SOON, || {
            let slice = self.nodes[0].server.api().get(path).and_then(|answer| answer.ok()).map_err(|e| e.to_string())?;
            let endpoints = slice["endpoints"].as_array().map_or(0, Vec::len);
            if endpoints == count { Ok(()) } else { Err(endpoints.to_string()) }
        })
        .expect("they are published");
    }

    fn dir(&self, at: usize) -> &Path {
        self.nodes[at].dir.path()
    }
}

/// Does `work` while each of `servers` is made to poll its plugin; should it panic, that ends too.
pub(crate) fn polled<T>(servers: &[&ApiServer], work: impl FnOnce() -> T) -> T {
    let (over, pace) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while pace.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
                // One that stands still is no reason not to ask the others again.
                servers.iter().for_each(|server| drop(server.api().kms_ready()));
            }
        });
        let done = work();
        drop(over);
        done
    })
}

fn config(dir: &Path) -> PathBuf {
    dir.join("config.toml")
}

fn configuration(dir: &Path, name: &str, seal: &Path) -> String {
    let (keyring, socket) = (dir.join("keyring"), dir.join("kms.sock"));
    format!("keyring = {keyring:?}\nstate_dir = {dir:?}\nnode = {name:?}\n[socket]\npath = {socket:?}\n[seal]\nkey_file = {seal:?}\n")
}

fn keywright(words: &[&str], config: &Path) -> Ran {
    Ran::within(Command::new(KEYWRIGHT).args(words).arg("--config").arg(config), LONG).expect("it ends by itself")
}
