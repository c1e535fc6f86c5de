//! A real kube-apiserver.

use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::api::Api;
use crate::log::Log;
use crate::pki::{Authority, Identity};
use crate::process::Process;
use crate::{Error, Result, etcd::Etcd, ports, scratch, tools::Tools, wait};

/// It takes 3 to 4 s on two idle cores, and 3 s more for each plugin that does not answer.
const START: Duration = Duration::from_secs(90);

/// The only user there is, a member of system:masters. Loopback only, gone with the test.
pub const TOKEN: &str = "testbed-administrator";

/// Another user, called `restricted`, without a group: may do what a test lets it do.
pub const RESTRICTED: &str = "testbed-restricted";

/// Published as the endpoint of the Service `kubernetes` where loopback is refused; nothing ever connects to it. TEST-NET-1, RFC 5737.
const ADVERTISE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

/// What is not the same for every API server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The EncryptionConfiguration; see [`crate::encryption::configuration`].
    pub encryption: String,
    /// Feature gates such as `KMSv1=true`.
    pub feature_gates: Vec<String>,
    /// Further arguments such as `--etcd-compaction-interval=5s`.
    pub arguments: Vec<String>,
    /// An identity of its own, when several API servers shall look like several machines.
    pub node: Option<Node>,
    /// Who vouches for it, when several API servers shall have one authority; without, its certificate is its own.
    pub certified: Option<Certified>,
}

/// A certificate from a shared authority.
#[derive(Debug, Clone)]
pub struct Certified {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// The server's certificate and key.
    pub server: Identity,
}

/// What makes an API server look like one on another machine.
///
/// The host name lives in a UTS namespace and decides the name of its Lease.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its host name.
    pub hostname: String,
    /// The loopback address on which it listens.
    pub bind: Ipv4Addr,
    /// The address that it publishes.
    pub advertise: Ipv4Addr,
    /// The port on which it listens: what all publish together has one. `None` is any.
    pub port: Option<u16>,
}

impl Settings {
    /// An API server with this EncryptionConfiguration and nothing special.
    pub fn new(encryption: String) -> Self {
        Self { encryption, feature_gates: Vec::new(), arguments: Vec::new(), node: None, certified: None }
    }

    /// Adds a feature gate such as `KMSv1=true`.
    pub fn feature_gate(mut self, gate: &str) -> Self {
        self.feature_gates.push(gate.to_owned());
        self
    }

    /// Has `authority` vouch for it, at the address on which it listens.
    pub fn certified(mut self, authority: &Authority) -> Result<Self> {
        let bind = self.node.as_ref().map_or(Ipv4Addr::LOCALHOST, |node| node.bind).to_string();
        self.certified = Some(Certified { authority: authority.cert(), server: authority.server_as(&bind, &[&bind])? });
        Ok(self)
    }

    /// Gives it the identity of machine number `number`, from 1.
    pub fn node(mut self, number: u8) -> Self {
        self.node = Some(Node {
            hostname: format!("node-{number}"),
            bind: Ipv4Addr::new(127, 0, 0, 10 + number),
            advertise: Ipv4Addr::new(192, 0, 2, 10 + number),
            port: None,
        });
        self
    }
}

/// A running kube-apiserver with a folder of its own for keys, certificates and configuration. Dropping it kills it.
#[derive(Debug)]
pub struct ApiServer {
    process: Process,
    program: PathBuf,
    arguments: Vec<String>,
    hostname: Option<String>,
    address: String,
    api: Api,
    dir: TempDir,
}

impl ApiServer {
    /// Starts it and waits until it serves. Whether it likes its plugin is another question: see [`ApiServer::kms_ready`].
    pub fn start(tools: &Tools, etcd: &Etcd, settings: &Settings) -> Result<Self> {
        Self::start_until(tools, etcd, settings, Readiness::Full)
    }

    /// As [`ApiServer::start`], with a plugin that is away or cannot open what is stored.
    pub fn start_without_plugin(tools: &Tools, etcd: &Etcd, settings: &Settings) -> Result<Self> {
        Self::start_until(tools, etcd, settings, Readiness::WithoutStored)
    }

    fn start_until(tools: &Tools, etcd: &Etcd, settings: &Settings, readiness: Readiness) -> Result<Self> {
        let dir = scratch::folder("apiserver")?;
        let bind = settings.node.as_ref().map_or(Ipv4Addr::LOCALHOST, |node| node.bind);
        let port = settings.node.as_ref().and_then(|node| node.port).map_or_else(ports::free, Ok)?;
        let arguments = prepare(dir.path(), etcd.endpoint(), bind, port, settings)?;
        let hostname = settings.node.as_ref().map(|node| node.hostname.clone());
        let program = tools.kube_apiserver();
        let process = launch(&program, &arguments, hostname.as_deref())?;
        let address = format!("{bind}:{port}");
        let (process, api) = serving(process, &address, dir.path(), readiness)?;
        Ok(Self { process, program, arguments, hostname, address, api, dir })
    }

    /// A client of it. Clients made before a restart keep working: address and certificate stay.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// `ADDRESS:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The file with the authority of its certificate.
    pub fn certificates(&self) -> PathBuf {
        certificates(self.dir.path())
    }

    /// The process id; another one after a restart.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends the process a signal, such as the one that has it stand still.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Its log.
    pub fn log(&self) -> &Log {
        self.process.err()
    }

    /// Kills it and starts it again: no decrypted DEK is left, and its seed will be a new one.
    pub fn restart(&mut self) -> Result<()> {
        self.restart_until(Readiness::Full)
    }

    /// As [`ApiServer::restart`], with a plugin that is away: the server answers, but not about anything that is encrypted.
    pub fn restart_without_plugin(&mut self) -> Result<()> {
        self.restart_until(Readiness::WithoutStored)
    }

    fn restart_until(&mut self, readiness: Readiness) -> Result<()> {
        self.process.kill()?;
        let process = launch(&self.program, &self.arguments, self.hostname.as_deref())?;
        let (process, api) = serving(process, &self.address, self.dir.path(), readiness)?;
        (self.process, self.api) = (process, api);
        Ok(())
    }

    /// Waits until the API server is content with its plugin.
    pub fn kms_ready(&self, limit: Duration) -> Result<()> {
        wait::until("/readyz/kms-providers ok", limit, || self.api.kms_ready())
    }

    /// Waits until the API server complains about its plugin, and gives its words.
    pub fn kms_failing(&self, limit: Duration) -> Result<String> {
        wait::until("/readyz/kms-providers failing", limit, || match self.api.kms_ready() {
            Ok(()) => Err("ok".to_owned()),
            Err(text) => Ok(text),
        })
    }
}

/// Writes what the server needs into `dir` and gives its arguments.
pub(crate) fn prepare(dir: &Path, etcd: &str, bind: Ipv4Addr, port: u16, settings: &Settings) -> Result<Vec<String>> {
    let file = |name: &str| dir.join(name).display().to_string();
    std::fs::write(encryption_file(dir), &settings.encryption)?;
    std::fs::write(
        file("token.csv"),
        format!("{TOKEN},administrator,administrator,\"system:masters\"\n{RESTRICTED},restricted,restricted\n"),
    )?;
    std::fs::write(file("service-account.pem"), service_account_key()?)?;
    let advertise = settings.node.as_ref().map_or(ADVERTISE, |node| node.advertise);
    let mut arguments: Vec<String> = [
        ("etcd-servers", etcd.to_owned()),
        ("cert-dir", file("certificates")), // without a certificate it makes its own there
        ("bind-address", bind.to_string()),
        ("advertise-address", advertise.to_string()),
        ("secure-port", port.to_string()),
        ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
        ("service-account-key-file", file("service-account.pem")),
        ("service-account-signing-key-file", file("service-account.pem")),
        ("token-auth-file", file("token.csv")),
        ("authorization-mode", "RBAC".to_owned()),
        ("service-cluster-ip-range", "10.0.0.0/24".to_owned()),
        ("encryption-provider-config", encryption_file(dir).display().to_string()),
        ("encryption-provider-config-automatic-reload", "true".to_owned()),
    ]
    .map(|(flag, value)| format!("--{flag}={value}"))
    .into();
    if let Some(certified) = &settings.certified {
        // Where its own would be: clients of it alone need not know the difference.
        let certificates = certificates(dir);
        std::fs::create_dir_all(dir.join("certificates"))?;
        std::fs::copy(&certified.authority, &certificates)?;
        arguments.push(format!("--tls-cert-file={}", certified.server.cert.display()));
        arguments.push(format!("--tls-private-key-file={}", certified.server.key.display()));
    }
    if !settings.feature_gates.is_empty() {
        arguments.push(format!("--feature-gates={}", settings.feature_gates.join(",")));
    }
    arguments.extend_from_slice(&settings.arguments);
    Ok(arguments)
}

fn encryption_file(dir: &Path) -> PathBuf {
    dir.join("encryption.json")
}

/// The certificates that clients of the server with this folder trust: its own, with the authority that signed it.
pub(crate) fn certificates(dir: &Path) -> PathBuf {
    dir.join("certificates").join("apiserver.crt")
}

fn launch(program: &Path, arguments: &[String], hostname: Option<&str>) -> Result<Process> {
    let mut command = match hostname {
        None => Command::new(program),
        Some(hostname) => {
            // The name is set through the namespace that the writer is in; both commands exec, so the pid stays the server's.
            let mut command = Command::new("unshare");
            command.args(["--uts", "--", "sh", "-c", r#"echo "$1" > /proc/sys/kernel/hostname && shift && exec "$@""#, "sh", hostname]);
            command.arg(program);
            command
        }
    };
    Process::spawn("kube-apiserver", command.args(arguments))
}

/// Waits until the server is ready, and gives a client of it.
fn serving(mut process: Process, address: &str, dir: &Path, readiness: Readiness) -> Result<(Process, Api)> {
    let log = process.err().clone();
    let api = wait::until("kube-apiserver ready", START, || {
        if let Ok(Some(status)) = process.ended() {
            return Ok(Err(Error::new(format!("kube-apiserver ended with {status}:\n{}", log.tail(30)))));
        }
        // Made anew each time: the server may be in the middle of writing its certificates, and half of them trust nobody.
        let api = Api::new(address, &certificates(dir), TOKEN).map_err(|e| e.to_string())?;
        ready(&api, readiness)?;
        Ok(Ok(api))
    })
    .map_err(|e| Error::new(format!("{e}\n{}", log.tail(30))))??;
    Ok((process, api))
}

/// How far a server comes in its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// All its checks but that of the plugin pass: a plugin that opens what is stored is there, or nothing is stored yet.
    Full,
    /// Without a plugin that opens what is stored, informers and watch caches cannot fill: they list all Secrets.
    WithoutStored,
}

/// Whether the server takes requests for namespace default, which it makes by itself soon after its start.
pub(crate) fn ready(api: &Api, readiness: Readiness) -> std::result::Result<(), String> {
    let checks = match readiness {
        Readiness::Full => "/readyz?exclude=kms-providers",
        Readiness::WithoutStored => "/readyz?exclude=kms-providers&exclude=informer-sync&exclude=poststarthook/storage-readiness",
    };
    for path in [checks, "/api/v1/namespaces/default"] {
        let answer = api.get(path).map_err(|e| e.to_string())?;
        if answer.status != 200 {
            return Err(format!("{path}: HTTP {}: {}", answer.status, answer.text));
        }
    }
    Ok(())
}

/// A fresh key that signs service account tokens, as the server wants one: P-256 in the form of RFC 5915, in PEM.
fn service_account_key() -> Result<String> {
    let mut scalar = [0u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut scalar)?;
    scalar[0] &= 0x7f; // below the order of the group, which begins with 32 ones
    let der = [
        &[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20][..], // SEQUENCE, version 1, OCTET STRING of 32
        &scalar,
        &[0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], // [0] OID prime256v1
    ]
    .concat();
    Ok(format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n", STANDARD.encode(der)))
}
