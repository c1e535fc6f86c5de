//! One etcd, and nodes with an API server and a plugin each; commands run on the first node.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keywright_testbed::api::{Api, base64};
use keywright_testbed::apiserver::{self as machine, ApiServer, Settings, TOKEN};
use keywright_testbed::etcd::Etcd;
use keywright_testbed::plugin::{Plugin, field};
use keywright_testbed::ran::Ran;
use keywright_testbed::stored::EncryptedObject;
use keywright_testbed::{leak, ports, scratch, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::corpus::{self, GROUP, Object, Print, Prints};
use super::network::ADDRESSES;
use crate::counts::{counted_by_kubernetes, counts};
use crate::stack::{KEYWRIGHT, MARKER, PROVIDER, SOON, bytes, nothing_secret_printed_by, stored, tools};

/// How long a command may take: some polls of every API server.
const LONG: Duration = Duration::from_secs(200);
/// Far more often than by default (5 min): a scan may lose its revision, and the hold can be waited for.
const COMPACTION: &str = "--etcd-compaction-interval=5s";
/// What is written while work is done has numbers from here on.
const BESIDE: u64 = 1_000_000;
/// Time between two such writes.
const PAUSE: Duration = Duration::from_millis(250);

/// A provider of the EncryptionConfiguration.
#[derive(Clone, Copy)]
pub(super) enum Provider {
    Kms,
    AesCbc,
    Identity,
}

struct Node {
    name: String,
    plugin: Plugin,
    dir: TempDir,
}

impl Node {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

pub(super) struct Site {
    // In the order in which they are to be dropped.
    pub(super) servers: Vec<ApiServer>,
    nodes: Vec<Node>,
    pub(super) etcd: Etcd,
    /// On which every API server listens.
    port: u16,
    dir: TempDir,
    /// What commands printed.
    printed: Mutex<String>,
    beside: AtomicU64,
}

impl Site {
    /// etcd, one keyring, and a plugin with a copy of it on each node. No API server yet.
    pub(super) fn start() -> Self {
        let etcd = Etcd::start(tools()).expect("etcd starts");
        let dir = scratch::folder("whole").expect("a private folder");
        let seal = dir.path().join("seal.key");
        write_private(&seal, &bytes(64, 1));
        let kubeconfig = dir.path().join("kubeconfig");
        let encryption = dir.path().join("encryption.json");
        let names = ADDRESSES.map(|address| format!("node-{}", address.octets()[3]));
        let dirs = names.clone().map(|name| {
            let folder = scratch::folder(&name).expect("a private folder");
            let path = |name: &str| folder.path().join(name);
            let text = format!(
                "keyring = {:?}\nstate_dir = {:?}\nnode = {name:?}\n[socket]\npath = {:?}\n[seal]\nkey_file = {seal:?}\n\
                 [[etcd]]\nendpoints = [{:?}]\n[kubernetes]\nkubeconfig = {kubeconfig:?}\nencryption_config = {encryption:?}\n",
                path("keyring"),
                folder.path(),
                path("kms.sock"),
                etcd.endpoint(),
            );
            std::fs::write(path("config.toml"), text).expect("the configuration can be written");
            folder
        });
        let config = dirs[0].path().join("config.toml").display().to_string();
        let init = ["init", "--config", &config, "--hold", "0s", "--nodes", &names.join(",")];
        keywright_testbed::process::output(KEYWRIGHT, &init).expect("init makes a keyring");
        let keyring = std::fs::read(dirs[0].path().join("keyring")).expect("the keyring");
        let nodes = names.into_iter().zip(dirs).map(|(name, dir)| {
            write_private(&dir.path().join("keyring"), &keyring);
            let (config, socket) = (dir.path().join("config.toml"), dir.path().join("kms.sock"));
            Node { name, plugin: Plugin::configured(Path::new(KEYWRIGHT), &config, &socket).expect("the plugin starts"), dir }
        });
        let port = ports::free().expect("a port");
        Self { servers: Vec::new(), nodes: nodes.collect(), etcd, port, dir, printed: Mutex::default(), beside: AtomicU64::new(BESIDE) }
    }

    /// The EncryptionConfiguration of one node.
    fn configuration(&self, node: &Node, providers: &[Provider]) -> String {
        let providers: Vec<Value> = providers
            .iter()
            .map(|provider| match provider {
                Provider::Kms => {
                    let endpoint = format!("unix://{}", node.plugin.socket().display());
                    json!({"kms": {"apiVersion": "v2", "name": PROVIDER, "endpoint": endpoint, "timeout": "3s"}})
                }
                Provider::AesCbc => json!({"aescbc": {"keys": [{"name": "key1", "secret": base64(&[7; 32])}]}}),
                Provider::Identity => json!({"identity": {}}),
            })
            .collect();
        let resources = ["secrets".to_owned(), "configmaps".to_owned(), format!("widgets.{GROUP}")];
        json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
            "resources": [{"resources": resources, "providers": providers}],
        })
        .to_string()
    }

    /// Writes another object through one API server.
    pub(super) fn write_through(&self, server: &ApiServer) -> (Object, Print) {
        let object = Object(self.beside.fetch_add(1, Ordering::SeqCst));
        (object, object.create(server.api()).unwrap_or_else(|e| panic!("{object:?} through {}: {e}", server.address())))
    }

    /// In place of the API servers that there are, starts one on the first node.
    pub(super) fn serve_one(&mut self, providers: &[Provider]) {
        self.serve(1, providers);
    }

    /// The same on every node.
    pub(super) fn serve_all(&mut self, providers: &[Provider]) {
        self.serve(self.nodes.len(), providers);
    }

    fn serve(&mut self, count: usize, providers: &[Provider]) {
        self.servers.clear();
        let texts: Vec<_> = self.nodes[..count].iter().map(|node| self.configuration(node, providers)).collect();
        write_private(&self.path("encryption.json"), texts[0].as_bytes());
        let start = |number: usize| {
            let mut settings = Settings::new(texts[number].clone());
            let address = ADDRESSES[number];
            let hostname = self.nodes[number].name.clone();
            settings.arguments.push(COMPACTION.to_owned());
            settings.node = Some(machine::Node { hostname, bind: address, advertise: address, port: Some(self.port) });
            ApiServer::start(tools(), &self.etcd, &settings).expect("the API server starts")
        };
        let servers = std::thread::scope(|scope| {
            let start = &start;
            let starting: Vec<_> = (0..count).map(|number| scope.spawn(move || start(number))).collect();
            starting.into_iter().map(|thread| thread.join().expect("it starts")).collect()
        });
        self.servers = servers;
        self.write_kubeconfig();
        self.ready(providers.iter().any(|provider| matches!(provider, Provider::Kms)));
    }

    /// For the first API server; each has an authority of its own, and whoever uses the file trusts them all.
    fn write_kubeconfig(&self) {
        let authorities: String =
            self.servers.iter().map(|server| std::fs::read_to_string(server.certificates()).expect("its certificates")).collect();
        let cluster = json!({"server": format!("https://{}", self.servers[0].address()), "certificate-authority-data": base64(authorities.as_bytes())});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "whole",
            "clusters": [{"name": "whole", "cluster": cluster}],
            "users": [{"name": "whole", "user": {"token": TOKEN}}],
            "contexts": [{"name": "whole", "context": {"cluster": "whole", "user": "whole"}}],
        });
        write_private(&self.path("kubeconfig"), config.to_string().as_bytes());
    }

    /// Starts every API server anew: nothing decrypted is left in any memory.
    pub(super) fn restart(&mut self) {
        std::thread::scope(|scope| {
            for server in &mut self.servers {
                scope.spawn(|| server.restart().expect("the API server starts"));
            }
        });
        self.ready(true);
    }

    fn ready(&self, kms: bool) {
        for server in self.servers.iter().filter(|_| kms) {
            server.kms_ready(SOON).expect("the API server likes the plugin");
        }
        // Each publishes itself within seconds of its start, and who is gone stays as long.
        wait::until("every API server to be published", SOON, || {
            let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
            let slice = self.api().get(path).and_then(|answer| answer.ok()).map_err(|e| e.to_string())?;
            let found = slice["endpoints"].as_array().map_or(0, Vec::len);
            if found == self.servers.len() { Ok(()) } else { Err(format!("{found} are")) }
        })
        .unwrap_or_else(|e| panic!("{e}"));
    }

    /// Brings the keyring of the first node to all others but `late`, waits until each serves it, and has each acknowledge it.
    pub(super) fn deliver(&self, late: Option<usize>) {
        let status = self.run(&["rotate", "status", "--output", "json"]).json();
        let generation = status["generation"].to_string();
        let keyring = std::fs::read(self.nodes[0].path("keyring")).expect("the keyring");
        for (number, node) in self.nodes.iter().enumerate().filter(|(number, _)| Some(*number) != late) {
            if std::fs::read(node.path("keyring")).expect("its keyring") != keyring {
                write_private(&node.path("keyring"), &keyring);
            }
            if generation != "1" {
                let serves = |line: &str| line.contains("keyring reloaded") && field(line, "generation").as_deref() == Some(&generation);
                node.plugin.log().wait_for(0, SOON, "the keyring to be reloaded", serves).unwrap_or_else(|e| panic!("{}: {e}", node.name));
            }
            if number > 0 {
                let config = node.path("config.toml").display().to_string();
                let ack = Ran::of(Command::new(KEYWRIGHT).args(["keyring", "ack", "--config", &config])).expect("it ends by itself");
                std::fs::write(self.ack(node), ack.succeeds()).expect("it can be written");
            }
        }
    }

    fn ack(&self, node: &Node) -> PathBuf {
        self.path(&format!("{}.ack", node.name))
    }

    /// The words that hand the last word of the other nodes to a command.
    pub(super) fn acks(&self) -> Vec<String> {
        self.nodes[1..].iter().flat_map(|node| ["--ack".to_owned(), self.ack(node).display().to_string()]).collect()
    }

    /// The first API server's client.
    pub(super) fn api(&self) -> &Api {
        self.servers[0].api()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command on the first node.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(KEYWRIGHT);
        command.args(words).arg("--config").arg(self.nodes[0].path("config.toml"));
        command
    }

    /// Runs it to its end. What it prints is kept for [`Site::nothing_secret_was_printed`].
    pub(super) fn run(&self, words: &[&str]) -> Ran {
        let ran = Ran::within(&mut self.command(words), LONG).expect("it ends by itself");
        self.printed.lock().expect("no holder of this lock panics").push_str(&format!("{}\n{}\n", ran.out, ran.err));
        ran
    }

    /// The same with the last word of the other nodes.
    pub(super) fn step(&self, words: &[&str]) -> Ran {
        let acks = self.acks();
        self.run(&words.iter().copied().chain(acks.iter().map(String::as_str)).collect::<Vec<_>>())
    }

    /// Takes the step, as often as it takes until the evidence that it wants is complete. An API server that has just started shows at its next poll what it writes with.
    pub(super) fn waits_for(&self, words: &[&str]) {
        wait::until(&words.join(" "), LONG, || {
            let ran = self.step(words);
            assert!([0, 7].contains(&ran.code), "{ran:?}");
            if ran.code == 0 { Ok(()) } else { Err(ran.err) }
        })
        .unwrap_or_else(|e| panic!("{e}"));
    }

    /// Each version's key_id and state, oldest first.
    pub(super) fn versions(&self) -> Vec<(String, String)> {
        let list = self.run(&["keyring", "list", "--output", "json"]).json();
        let text = |version: &Value, name: &str| version[name].as_str().expect("text").to_owned();
        list.as_array().expect("a list").iter().map(|version| (text(version, "key_id"), text(version, "state"))).collect()
    }

    pub(super) fn primary(&self) -> String {
        let mut versions = self.versions().into_iter().filter(|(_, state)| state == "primary");
        versions.next().expect("a keyring that loads has one").0
    }

    /// Asserts what must hold after every kill: the keyring loads, every plugin answers, an object reads as before through every API server.
    pub(super) fn is_sound(&self, object: (&Object, &Print)) {
        let primaries = self.versions().iter().filter(|(_, state)| state == "primary").count();
        assert_eq!(primaries, 1);
        for node in &self.nodes {
            let config = node.path("config.toml").display().to_string();
            Ran::of(Command::new(KEYWRIGHT).args(["status", "--config", &config])).expect("it ends by itself").succeeds();
        }
        for server in &self.servers {
            object.0.check(server.api(), object.1);
        }
    }

    /// Has every API server poll its plugin, and writes through each in turn, while `work` is done. What was written is in `prints` then.
    pub(super) fn busy<T: Send>(&self, prints: &mut Prints, work: impl FnOnce() -> T + Send) -> T {
        let over = AtomicBool::new(false);
        let (done, written) = std::thread::scope(|scope| {
            let end = EndOnDrop(&over);
            for server in &self.servers {
                scope.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        let _ = server.api().kms_ready();
                        std::thread::sleep(Duration::from_millis(500));
                    }
                });
            }
            let writer = scope.spawn(|| {
                let mut written = Prints::new();
                for server in self.servers.iter().cycle() {
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                    written.extend([self.write_through(server)]);
                    std::thread::sleep(PAUSE);
                }
                written
            });
            let done = work();
            drop(end);
            (done, writer.join().expect("every write succeeded"))
        });
        prints.extend(written);
        done
    }

    /// Waits until etcd has given up every revision that there was when this was called.
    pub(super) fn wait_compacted(&self) {
        let (now, _) = self.etcd.entries("/registry/none", 0).expect("etcd answers");
        wait::until("etcd to be compacted", SOON, || match self.etcd.entries("/registry/none", now) {
            Ok(_) => Err(format!("it still has revision {now}")),
            Err(error) if error.to_string().contains("has been compacted") => Ok(()),
            Err(error) => Err(error.to_string()),
        })
        .unwrap_or_else(|e| panic!("{e}"));
    }

    /// Asserts that no plugin was asked to open what is under `key_id` and did not.
    pub(super) fn nobody_was_refused(&self, key_id: &str) {
        for node in &self.nodes {
            let asked = |line: &String| line.contains("op=Decrypt") && field(line, "key_id").as_deref() == Some(key_id);
            let refused: Vec<_> = node.plugin.log().lines().into_iter().filter(asked).filter(|line| !line.contains("code=OK")).collect();
            assert_eq!(refused, [""; 0], "{}", node.name);
        }
    }

    /// Under which key each object is stored, by its key in etcd.
    pub(super) fn key_ids(&self) -> BTreeMap<String, String> {
        let values = corpus::folders().into_iter().flat_map(|folder| self.etcd.values(&folder).expect("etcd answers"));
        let key_id = |(key, value): (String, Vec<u8>)| {
            let object = EncryptedObject::from_value(&value).unwrap_or_else(|e| panic!("{key}: {e}"));
            (key, object.key_id)
        };
        values.map(key_id).collect()
    }

    /// Asserts that a scan counts what Kubernetes' own packages count, and gives the counts.
    pub(super) fn counts(&self) -> crate::counts::Counts {
        wait::until("the counts to agree", Duration::from_secs(10), || {
            // What the API server does by itself may fall between the two.
            let theirs = counted_by_kubernetes(&self.etcd);
            let ours = counts(&self.run(&["scan", "--output", "json"]).json()["stores"][0]["report"]);
            if ours == theirs { Ok(ours) } else { Err(format!("a scan has {ours:#?}\nand Kubernetes' packages have {theirs:#?}")) }
        })
        .unwrap_or_else(|e| panic!("{e}"))
    }

    /// Asserts that no plugin and no command printed a part of an object or a seed.
    pub(super) fn nothing_secret_was_printed(&self) {
        let stored = stored(&self.etcd);
        for node in &self.nodes {
            nothing_secret_printed_by(&node.plugin, "", &stored);
        }
        let printed = self.printed.lock().expect("no holder of this lock panics");
        assert_eq!(leak::found_in(printed.as_bytes(), MARKER), [""; 0], "the plaintext is in what a command printed");
    }
}

/// Ends the work beside when the test fails in the middle, so that the failure is reported and does not hang.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn write_private(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).expect("it can be written");
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o600)).expect("its mode can be set");
    std::fs::rename(&new, path).expect("it can be renamed");
}
