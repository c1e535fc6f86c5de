//! A real etcd, with the raw bytes of what is stored in it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, output};
use crate::{Error, Result, ports, scratch, tools::Tools, wait};

const START: Duration = Duration::from_secs(30);

/// A running single-member etcd on a loopback port, with its data in a folder of its own.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    endpoint: String,
    etcdctl: PathBuf,
    _data: TempDir,
}

impl Etcd {
    /// Starts it and waits until it answers.
    pub fn start(tools: &Tools) -> Result<Self> {
        let data = scratch::folder("etcd")?;
        let (client, peer) = (ports::free()?, ports::free()?);
        let mut command = Command::new(tools.etcd());
        command.args(arguments(&data.path().display().to_string(), client, peer));
        let process = Process::spawn("etcd", &mut command)?;
        let etcd = Self { process, endpoint: endpoint(client), etcdctl: tools.etcdctl(), _data: data };
        etcd.process.err().wait_for(0, START, "etcd to serve", |line| line.contains("ready to serve client requests"))?;
        wait::until("etcd healthy", START, || etcd.etcdctl(&["endpoint", "health"]).map_err(|e| e.to_string()))?;
        Ok(etcd)
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
        output(&self.etcdctl, &[&["--endpoints", &self.endpoint], arguments].concat())
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

pub(crate) fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn bytes(base64: &Value) -> Result<Vec<u8>> {
    // An empty value is left out of the JSON altogether.
    STANDARD.decode(base64.as_str().unwrap_or_default()).map_err(|e| Error::while_doing("base64 from etcdctl", e))
}
