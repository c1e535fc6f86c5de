//! A real etcd, with the raw bytes of what is stored in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::pki::{Authority, Identity};
use crate::process::{Process, output};
use crate::{Error, Result, ports, scratch, tools::Tools, wait};

const START: Duration = Duration::from_secs(30);

/// Puts in one transaction. etcd's own limit is lifted by [`LIMITS`].
const PUTS: usize = 1_000;
/// For bulk: many puts in one request, and long ones.
const LIMITS: [&str; 2] = ["--max-txn-ops=1000", "--max-request-bytes=16777216"];

/// A running etcd member on a loopback port, with its data in a folder of its own.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    endpoint: String,
    /// etcdctl's TLS options.
    tls: Vec<String>,
    etcdctl: PathBuf,
    data: TempDir,
}

/// One stored key as etcdctl shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// The whole key.
    pub key: Vec<u8>,
    /// What is stored.
    pub value: Vec<u8>,
    /// The revision that wrote it.
    pub mod_revision: u64,
}

/// TLS of the client port: who the server is, whom it and its clients trust.
#[derive(Debug)]
pub struct Tls<'a> {
    /// Vouches for both sides.
    pub authority: &'a Authority,
    /// The server's certificate.
    pub server: Identity,
    /// What etcdctl shows. With one, the server wants a certificate from every client.
    pub client: Option<Identity>,
}

impl Etcd {
    /// Starts it and waits until it answers.
    pub fn start(tools: &Tools) -> Result<Self> {
        Self::start_with(tools, &[])
    }

    /// The same with further arguments.
    pub fn start_with(tools: &Tools, words: &[&str]) -> Result<Self> {
        let etcd = Self::launch(tools, words, None)?;
        etcd.wait_ready()?;
        Ok(etcd)
    }

    /// Starts it with TLS, and waits until it listens: whether it can be spoken with depends on the certificates.
    pub fn start_tls(tools: &Tools, tls: &Tls<'_>) -> Result<Self> {
        let etcd = Self::launch(tools, &[], Some(tls))?;
        etcd.wait_listening()?;
        Ok(etcd)
    }

    fn launch(tools: &Tools, words: &[&str], tls: Option<&Tls<'_>>) -> Result<Self> {
        let (client, peer) = (ports::free()?, ports::free()?);
        let data = scratch::folder("etcd")?;
        let mut command = Command::new(tools.etcd());
        command.args(arguments(&data.path().display().to_string(), client, peer)).args(LIMITS).args(words);
        let (mut endpoint, mut own_tls) = (endpoint(client), Vec::new());
        if let Some(tls) = tls {
            endpoint = endpoint.replacen("http:", "https:", 1);
            // The last one given counts.
            command.args([format!("--listen-client-urls={endpoint}"), format!("--advertise-client-urls={endpoint}")]);
            let (ca, server) = (tls.authority.cert(), &tls.server);
            command.arg(file("--cert-file", &server.cert)).arg(file("--key-file", &server.key)).arg(file("--trusted-ca-file", &ca));
            own_tls.push(file("--cacert", &ca));
            if let Some(client) = &tls.client {
                command.arg("--client-cert-auth");
                own_tls.extend([file("--cert", &client.cert), file("--key", &client.key)]);
            }
        }
        let process = Process::spawn("etcd", &mut command)?;
        Ok(Self { process, endpoint, tls: own_tls, etcdctl: tools.etcdctl(), data })
    }

    /// Starts a cluster of three members and waits until each answers.
    pub fn start_three(tools: &Tools) -> Result<[Self; 3]> {
        let peers: Vec<String> = (0..3).map(|_| ports::free().map(endpoint)).collect::<Result<_>>()?;
        let all: Vec<_> = peers.iter().enumerate().map(|(number, peer)| format!("m{number}={peer}")).collect();
        let mut members = Vec::new();
        for (number, peer) in peers.iter().enumerate() {
            let words = [
                format!("--name=m{number}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster={}", all.join(",")),
            ];
            members.push(Self::launch(tools, &words.each_ref().map(String::as_str), None)?);
        }
        for member in &members {
            member.wait_ready()?;
        }
        members.try_into().map_err(|_| Error::new("not three members"))
    }

    fn wait_listening(&self) -> Result<()> {
        self.process.err().wait_for(0, START, "etcd to serve", |line| line.contains("ready to serve client requests")).map(drop)
    }

    fn wait_ready(&self) -> Result<()> {
        self.wait_listening()?;
        wait::until("etcd healthy", START, || self.etcdctl(&["endpoint", "health"]).map_err(|e| e.to_string())).map(drop)
    }

    /// Whether it is its cluster's leader, by its own word.
    pub fn is_leader(&self) -> Result<bool> {
        let status = self.json(&["endpoint", "status"])?;
        let status = &status[0]["Status"];
        Ok(status["leader"] == status["header"]["member_id"])
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Ends it at once.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Makes all revisions before the newest one go away, and gives the newest one.
    pub fn compact(&self) -> Result<u64> {
        let newest = self.json(&["get", "x"])?["header"]["revision"].as_u64();
        let newest = newest.ok_or_else(|| Error::new("etcdctl gives no revision"))?;
        self.etcdctl(&["compaction", &newest.to_string()])?;
        Ok(newest)
    }

    /// Puts all of it, a thousand keys in one revision. Over plain HTTP, through etcd's JSON gateway.
    pub fn put_all(&self, pairs: &[(String, Vec<u8>)]) -> Result<()> {
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).timeout_global(Some(START)).build().into();
        let mut rest = pairs;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fit = rest.iter().take(PUTS).take_while(|(_, value)| {
                bytes += value.len();
                bytes <= 8 << 20
            });
            let (now, later) = rest.split_at(fit.count().max(1));
            let put =
                |(key, value): &(String, Vec<u8>)| json!({"requestPut": {"key": STANDARD.encode(key), "value": STANDARD.encode(value)}});
            let body = json!({"success": now.iter().map(put).collect::<Vec<_>>()});
            let sent = agent.post(format!("{}/v3/kv/txn", self.endpoint)).send(body.to_string());
            sent.map_err(|e| Error::while_doing("put into etcd", e))?;
            rest = later;
        }
        Ok(())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The stored bytes of one key, exactly as the API server wrote them.
    pub fn value(&self, key: &str) -> Result<Vec<u8>> {
        let mut found = self.read(&[key])?;
        if found.len() != 1 {
            return Err(Error::new(format!("etcd has {} values for {key}", found.len())));
        }
        Ok(found.remove(0).1)
    }

    /// All keys that begin with `prefix`, with their stored bytes.
    pub fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.read(&[prefix, "--prefix"])
    }

    /// All keys that begin with `prefix` as they were at `revision` (0: now), and the revision that etcd was at when it answered.
    pub fn entries(&self, prefix: &str, revision: u64) -> Result<(u64, Vec<Stored>)> {
        let answer = self.json(&["get", prefix, "--prefix", "--rev", &revision.to_string()])?;
        let pairs = answer["kvs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let entry = |pair: &Value| -> Result<Stored> {
            let mod_revision = pair["mod_revision"].as_u64().ok_or_else(|| Error::new("no mod_revision in the answer of etcdctl"))?;
            Ok(Stored { key: bytes(&pair["key"])?, value: bytes(&pair["value"])?, mod_revision })
        };
        let now = answer["header"]["revision"].as_u64().ok_or_else(|| Error::new("no revision in the answer of etcdctl"))?;
        Ok((now, pairs.iter().map(entry).collect::<Result<_>>()?))
    }

    /// Has etcdctl save a snapshot to `file`.
    pub fn save(&self, file: &Path) -> Result<()> {
        self.etcdctl(&["snapshot", "save", &file.display().to_string()]).map(drop)
    }

    /// The file that it keeps everything in; it writes there a tenth of a second after a change.
    pub fn database(&self) -> PathBuf {
        self.data.path().join("member/snap/db")
    }

    /// How many keys begin with `prefix`.
    pub fn count(&self, prefix: &str) -> Result<u64> {
        // --count-only goes with this output format and no other
        let answer = self.etcdctl(&["get", prefix, "--prefix", "--count-only", "-w", "fields"])?;
        let answer = String::from_utf8_lossy(&answer);
        let count = answer.lines().find_map(|line| line.strip_prefix("\"Count\" : "));
        count.and_then(|count| count.trim().parse().ok()).ok_or_else(|| Error::new(format!("no count in the answer of etcdctl: {answer}")))
    }

    /// Runs etcdctl against this etcd and gives what it prints.
    pub fn etcdctl(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let tls: Vec<_> = self.tls.iter().map(String::as_str).collect();
        output(&self.etcdctl, &[&["--endpoints", &self.endpoint], tls.as_slice(), arguments].concat())
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        Ok(serde_json::from_slice(&self.etcdctl(&[arguments, &["-w", "json"]].concat())?)?)
    }

    fn read(&self, what: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let answer = self.json(&[&["get"], what].concat())?;
        let pairs = answer["kvs"].as_array().map(Vec::as_slice).unwrap_or_default();
        pairs.iter().map(|pair| Ok((String::from_utf8_lossy(&bytes(&pair["key"])?).into_owned(), bytes(&pair["value"])?))).collect()
    }
}

/// The arguments of a throw-away etcd: loopback only, and no waiting for the disk, since nothing outlives the test.
pub(crate) fn arguments(data: &str, client: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (endpoint(client), endpoint(peer));
    [
        format!("--data-dir={data}"),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=info".to_owned(),
    ]
    .into()
}

fn file(option: &str, path: &Path) -> String {
    format!("{option}={}", path.display())
}

pub(crate) fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn bytes(base64: &Value) -> Result<Vec<u8>> {
    // An empty value is left out of the JSON altogether.
    STANDARD.decode(base64.as_str().unwrap_or_default()).map_err(|e| Error::while_doing("base64 from etcdctl", e))
}
