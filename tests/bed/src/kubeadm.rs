//! Control-plane nodes as kubeadm leaves them, for guides that are written for such nodes: every file is at its place, etcd and kube-apiserver have
//! their ports, and commands run as they stand in the guide.
//!
//! Each node is a mount and UTS namespace with a `/etc`, `/run` and `/var/lib` of its own; all of a cluster share one network namespace, with the
//! node's addresses on its loopback. There is no container and no real kubelet or systemd: `supervisor.rs` runs kube-apiserver as its manifest
//! says whenever that changes, and the few units a guide speaks of. Needs root.

mod manifest;
mod shell;
mod supervisor;

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use manifest::Mount;
pub use shell::Shell;
use supervisor::Supervisor;
pub use supervisor::Unit;
use tempfile::TempDir;

use crate::apiserver::TOKEN;
use crate::pki::{Authority, Identity};
use crate::process::Process;
use crate::ran::Ran;
use crate::{Error, Result, etcd, kubeconfig, scratch, tools::Tools, wait};

/// The EncryptionConfiguration, where a node has one.
pub const ENCRYPTION: &str = "/etc/kubernetes/encryption/config.yaml";
/// What kubectl uses.
const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// A start of kube-apiserver takes 4 s on two idle cores.
const START: Duration = Duration::from_secs(120);
/// Every file that only root may read.
const PRIVATE: u32 = 0o600;

/// What a cluster is to be like.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Number of nodes, from 1.
    pub nodes: u8,
    /// The text of [`ENCRYPTION`] on each node; without one the API servers store in plaintext, and have no flags for it.
    pub encryption: Option<String>,
    /// Feature gates of the API servers, such as `KMSv1=true`.
    pub feature_gates: Option<&'static str>,
    /// Folders that their containers see, beside kubeadm's own and that of [`ENCRYPTION`].
    pub mounts: Vec<Mount>,
    /// Files below `/etc/keywright` on each node, mode 0600: name, content.
    pub keywright: Vec<(&'static str, Vec<u8>)>,
    /// Programs on the path, beside kubectl, etcdctl and what stands for systemctl: name, file.
    pub programs: Vec<(&'static str, PathBuf)>,
    /// What systemctl knows.
    pub units: Vec<Unit>,
}

/// Nodes with one etcd.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they are to be dropped.
    nodes: Vec<Node>,
    _etcd: Process,
    _folder: TempDir,
}

/// One of them.
#[derive(Debug)]
pub struct Node {
    /// Its host name: `cp-1`, ...
    pub name: String,
    supervisor: Supervisor,
    shell: Shell,
    place: Place,
    _holder: Process,
}

/// Runs kubectl on a node, beside whatever else runs there. Good for as long as the cluster.
#[derive(Debug, Clone)]
pub struct Client(Place);

/// Where a node's files are outside of it, and the process that holds its namespaces open.
#[derive(Debug, Clone)]
struct Place {
    folder: PathBuf,
    holder: u32,
}

impl Cluster {
    /// Starts etcd, and on each node the units and kube-apiserver; waits until every API server is ready.
    pub fn start(tools: &Tools, settings: &Settings) -> Result<Self> {
        let folder = scratch::folder("kubeadm")?;
        let files = Certificates::new(settings)?;
        let mut places: Vec<(Place, Process)> = Vec::new();
        for number in 1..=settings.nodes {
            let place = folder.path().join(hostname(number));
            files.place(&place, number, settings)?;
            programs(&place, tools, settings)?;
            places.push(Place::enter(place, number, settings.nodes, places.first().map(|(first, _)| first))?);
        }
        let (first, _) = places.first().ok_or_else(|| Error::new("a cluster of no nodes"))?;
        let etcd = start_etcd(tools, first, folder.path())?;
        let nodes = places.into_iter().zip(1..).map(|((place, holder), number)| Node::start(place, holder, number, tools, settings));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        for node in &nodes {
            node.ready()?;
        }
        Ok(Self { nodes, _etcd: etcd, _folder: folder })
    }

    /// All nodes, in their order.
    pub fn nodes(&mut self) -> &mut [Node] {
        &mut self.nodes
    }
}

impl Node {
    fn start(place: Place, holder: Process, number: u8, tools: &Tools, settings: &Settings) -> Result<Self> {
        let supervisor = Supervisor::start(&place, tools.kube_apiserver(), settings.units.clone())?;
        let shell = Shell::start(place.command("bash"), &place.folder)?;
        Ok(Self { name: hostname(number), supervisor, shell, place, _holder: holder })
    }

    /// Runs a block of shell in this node's one shell, and gives the lines that it printed on either stream. Fails when any command of it did.
    pub fn run(&mut self, block: &str, limit: Duration) -> Result<Vec<String>> {
        self.shell.run(block, limit).map_err(|e| Error::new(format!("on {}: {e}\n{}", self.name, self.supervisor.said())))
    }

    /// The administrator of this node's API server.
    pub fn client(&self) -> Client {
        Client(self.place.clone())
    }

    /// Waits until its API server serves, and whatever it has as plugins.
    pub fn ready(&self) -> Result<()> {
        let ready = || {
            for path in ["/readyz", "/api/v1/namespaces/default"] {
                let ran = self.client().kubectl(&["get", "--raw", path]).map_err(|e| e.to_string())?;
                if ran.code != 0 {
                    return Err(ran.err);
                }
            }
            Ok(())
        };
        wait::until("kube-apiserver ready", START, ready).map_err(|e| Error::new(format!("{e}\n{}", self.supervisor.said())))
    }

    /// Replaces the EncryptionConfiguration and starts the API server anew with it.
    pub fn reconfigure(&self, encryption: &str) -> Result<()> {
        write(&self.place.outside(ENCRYPTION), encryption, PRIVATE)?;
        self.supervisor.restart_api_server()?;
        self.ready()
    }

    /// A file of the node, below `/etc/kubernetes` or `/etc/keywright`.
    pub fn file(&self, path: &str) -> Result<String> {
        let path = self.place.outside(path);
        fs::read_to_string(&path).map_err(|e| Error::while_doing(format!("read {}", path.display()), e))
    }
}

impl Client {
    /// Runs kubectl to its end.
    pub fn kubectl(&self, words: &[&str]) -> Result<Ran> {
        Ran::of(self.0.command("kubectl").args(words))
    }

    /// Creates an object, or a list of them, from its JSON.
    pub fn create(&self, object: &str) -> Result<Ran> {
        let file = self.0.folder.join("home/object.json");
        fs::write(&file, object)?;
        self.kubectl(&["create", "--filename", &file.display().to_string()])
    }
}

impl Place {
    /// Makes the namespaces; that of the network is the first node's.
    fn enter(folder: PathBuf, number: u8, nodes: u8, first: Option<&Self>) -> Result<(Self, Process)> {
        let script = folder.join("enter.sh");
        fs::write(&script, include_str!("kubeadm/enter.sh"))?;
        let (mut command, addresses) = match first {
            None => {
                let mut command = Command::new("unshare");
                command.arg("--net");
                (command, (1..=nodes).map(address).collect())
            }
            Some(first) => {
                let mut command = Command::new("nsenter");
                command.arg("--target").arg(first.holder.to_string()).args(["--net", "--", "unshare"]);
                (command, Vec::new())
            }
        };
        command.args(["--mount", "--uts", "--", "bash"]).arg(script).arg(&folder).arg(hostname(number)).args(addresses);
        let holder = Process::spawn("a node's namespaces", &mut command)?;
        let ready = holder.out().wait_for(0, START, "a node's namespaces", |line| line == "ready");
        ready.map_err(|e| Error::new(format!("{e}\n{}", holder.err().tail(10))))?;
        Ok((Self { folder, holder: holder.pid() }, holder))
    }

    /// A file below `/etc/kubernetes` or `/etc/keywright`, as it is reached from outside.
    fn outside(&self, path: &str) -> PathBuf {
        self.folder.join(path.trim_start_matches("/etc/"))
    }

    /// `program` in the node, with the node's path; its process id is the child's.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        let programs = self.folder.join("bin").display().to_string();
        let path = std::env::var("PATH").map_or(programs.clone(), |path| format!("{programs}:{path}"));
        command
            .arg("--target")
            .arg(self.holder.to_string())
            .args(["--mount", "--net", "--uts", "--"])
            .arg(program)
            .env("PATH", path)
            .env("HOME", self.folder.join("home"))
            .env("KUBECONFIG", ADMIN)
            .env("BED_REQUESTS", self.folder.join("requests"));
        for name in ["XDG_STATE_HOME", "XDG_CACHE_HOME", "CREDENTIALS_DIRECTORY", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }
}

fn hostname(number: u8) -> String {
    format!("cp-{number}")
}

/// TEST-NET-1, RFC 5737: the address on which the node's API server listens, and which it publishes.
fn address(number: u8) -> String {
    format!("192.0.2.{}", 10 + u16::from(number))
}

/// What is the same on every node.
struct Certificates {
    etcd: Authority,
    cluster: Authority,
    etcd_server: Identity,
    etcd_client: Identity,
    server: Identity,
    accounts: Identity,
}

impl Certificates {
    fn new(settings: &Settings) -> Result<Self> {
        let (etcd, cluster) = (Authority::new()?, Authority::new()?);
        let addresses: Vec<String> = (1..=settings.nodes).map(address).collect();
        let names = [&["kubernetes", "kubernetes.default.svc"][..], &addresses.iter().map(String::as_str).collect::<Vec<_>>()].concat();
        Ok(Self {
            etcd_server: etcd.server(&["localhost", "127.0.0.1"])?,
            etcd_client: etcd.client("kube-apiserver-etcd-client")?,
            server: cluster.server(&names)?,
            accounts: cluster.client("service-accounts")?,
            etcd,
            cluster,
        })
    }

    /// Lays out everything that the node `number` has in its folders.
    fn place(&self, place: &Path, number: u8, settings: &Settings) -> Result<()> {
        for folder in ["layers", "home", "requests", "bin", "keywright", "kubernetes/pki/etcd", "kubernetes/manifests"] {
            fs::create_dir_all(place.join(folder))?;
        }
        let kubernetes = place.join("kubernetes");
        let copies = [
            (&self.etcd.cert(), "pki/etcd/ca.crt"),
            (&self.etcd_server.cert, "pki/etcd/server.crt"),
            (&self.etcd_server.key, "pki/etcd/server.key"),
            (&self.etcd_client.cert, "pki/apiserver-etcd-client.crt"),
            (&self.etcd_client.key, "pki/apiserver-etcd-client.key"),
            (&self.cluster.cert(), "pki/ca.crt"),
            (&self.server.cert, "pki/apiserver.crt"),
            (&self.server.key, "pki/apiserver.key"),
            (&self.accounts.cert, "pki/sa.pub"), // a certificate is taken for its public key
            (&self.accounts.key, "pki/sa.key"),
        ];
        for (from, to) in copies {
            write(&kubernetes.join(to), &fs::read_to_string(from)?, PRIVATE)?;
        }
        write(&kubernetes.join("pki/tokens.csv"), &format!("{TOKEN},administrator,administrator,\"system:masters\"\n"), PRIVATE)?;
        let access = kubeconfig::text(&format!("{}:6443", address(number)), Path::new("/etc/kubernetes/pki/ca.crt"), TOKEN);
        write(&kubernetes.join("admin.conf"), &access, PRIVATE)?;
        for (name, content) in &settings.keywright {
            let path = place.join("keywright").join(name);
            fs::write(&path, content)?;
            fs::set_permissions(&path, PermissionsExt::from_mode(PRIVATE))?;
        }
        let mut mounts = vec![Mount { name: "k8s-certs", folder: "/etc/kubernetes/pki" }];
        let mut words = arguments(number);
        if let Some(encryption) = &settings.encryption {
            fs::create_dir(kubernetes.join("encryption"))?;
            write(&kubernetes.join("encryption/config.yaml"), encryption, PRIVATE)?;
            mounts.push(Mount { name: "encryption", folder: "/etc/kubernetes/encryption" });
            words.push(format!("--encryption-provider-config={ENCRYPTION}"));
            words.push("--encryption-provider-config-automatic-reload=true".to_owned());
        }
        words.extend(settings.feature_gates.map(|gates| format!("--feature-gates={gates}")));
        words.sort(); // as kubeadm does
        mounts.extend(settings.mounts.iter().cloned());
        write(&kubernetes.join(supervisor::MANIFEST), &manifest::text(&address(number), &words, &mounts), PRIVATE)
    }
}

fn arguments(number: u8) -> Vec<String> {
    let pki = |name: &str| format!("/etc/kubernetes/pki/{name}");
    [
        ("advertise-address", address(number)),
        ("authorization-mode", "RBAC".to_owned()),
        ("bind-address", address(number)),
        ("etcd-cafile", pki("etcd/ca.crt")),
        ("etcd-certfile", pki("apiserver-etcd-client.crt")),
        ("etcd-keyfile", pki("apiserver-etcd-client.key")),
        ("etcd-servers", "https://127.0.0.1:2379".to_owned()),
        ("secure-port", "6443".to_owned()),
        ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
        ("service-account-key-file", pki("sa.pub")),
        ("service-account-signing-key-file", pki("sa.key")),
        ("service-cluster-ip-range", "10.0.0.0/24".to_owned()),
        ("tls-cert-file", pki("apiserver.crt")),
        ("tls-private-key-file", pki("apiserver.key")),
        ("token-auth-file", pki("tokens.csv")),
    ]
    .map(|(flag, value)| format!("--{flag}={value}"))
    .into()
}

fn programs(place: &Path, tools: &Tools, settings: &Settings) -> Result<()> {
    let bin = place.join("bin");
    symlink(tools.kubectl(), bin.join("kubectl"))?;
    symlink(tools.etcdctl(), bin.join("etcdctl"))?;
    for (name, file) in &settings.programs {
        symlink(file, bin.join(name))?;
    }
    write(&bin.join("systemctl"), include_str!("kubeadm/systemctl.sh"), 0o700)
}

fn start_etcd(tools: &Tools, node: &Place, folder: &Path) -> Result<Process> {
    let data = folder.join("etcd").display().to_string();
    let pki = |name: &str| format!("/etc/kubernetes/pki/etcd/{name}");
    let mut command = node.command(tools.etcd());
    command.args(etcd::arguments(&data, 2379, 2380)).args([
        // The last one given counts.
        "--listen-client-urls=https://127.0.0.1:2379".to_owned(),
        "--advertise-client-urls=https://127.0.0.1:2379".to_owned(),
        "--client-cert-auth".to_owned(),
        format!("--trusted-ca-file={}", pki("ca.crt")),
        format!("--cert-file={}", pki("server.crt")),
        format!("--key-file={}", pki("server.key")),
    ]);
    let etcd = Process::spawn("etcd", &mut command)?;
    etcd.err().wait_for(0, START, "etcd to serve", |line| line.contains("ready to serve client requests"))?;
    Ok(etcd)
}

/// The whole file by a rename: whoever watches it sees the old one or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let attempted = |e| Error::while_doing(format!("write {}", path.display()), e);
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| Error::new("a path without a name"))?;
    let new = path.with_file_name(format!(".{name}.new")); // a kubelet passes over names with a dot
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(mode).open(&new).map_err(attempted)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(attempted)?;
    fs::rename(&new, path).map_err(attempted)
}
