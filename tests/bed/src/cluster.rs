//! The same servers for trials by hand: started, left running, and ended by exactly the pids that were noted.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::api::Api;
use crate::apiserver::{self, Readiness, Settings, TOKEN};
use crate::encryption::{Provider, configuration};
use crate::process::gone_within;
use crate::tools::{Tools, cache_folder};
use crate::{Error, Result, etcd, kubeconfig, ports, scratch, wait};

const START: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(15);

/// Where the trial cluster has its files: `cluster` in the cache folder.
pub fn folder() -> Result<PathBuf> {
    Ok(cache_folder()?.join("cluster"))
}

/// Starts etcd, `plugin serve --dev` and kube-apiserver, and leaves them running. `progress` gets one line per stage, with its time.
///
/// Returns the lines to paste: kubectl on this cluster, and etcdctl for the raw bytes. Fails when a trial cluster is up already.
pub fn up(plugin: &Path, tools: &Tools, progress: &mut dyn FnMut(&str)) -> Result<Vec<String>> {
    let folder = folder()?;
    let mut trial = Trial::open(&folder)?;
    if trial.processes().any(|entry| alive(entry).is_ok_and(|pid| pid.is_some())) {
        return Err(Error::new(format!("a trial cluster is running already ({}): end it with `down` first", folder.display())));
    }
    trial.clear()?;
    match trial.start(plugin, tools, progress) {
        Ok(lines) => Ok(lines),
        Err(e) => {
            let stopped = down(&mut |_| {});
            Err(match stopped {
                Ok(()) => e,
                Err(left) => Error::new(format!("{e}\nand what had been started could not be ended: {left}")),
            })
        }
    }
}

/// Ends what [`up`] has started: each noted pid, after a look that it still is the same process, in reverse order.
pub fn down(progress: &mut dyn FnMut(&str)) -> Result<()> {
    let trial = Trial::open(&folder()?)?;
    let entries: Vec<&Value> = trial.processes().collect();
    if entries.is_empty() {
        progress("no trial cluster is noted");
    }
    for entry in entries.into_iter().rev() {
        let name = entry["name"].as_str().unwrap_or("a process");
        let Some(pid) = alive(entry)? else {
            progress(&format!("{name}: not running"));
            continue;
        };
        kill_process(pid, Signal::TERM).map_err(|e| Error::while_doing(format!("end {name}"), e))?;
        if !gone_within(pid, STOP)? {
            kill_process(pid, Signal::KILL).map_err(|e| Error::while_doing(format!("kill {name}"), e))?;
            gone_within(pid, STOP)?;
        }
        progress(&format!("{name}: ended (pid {})", pid.as_raw_nonzero()));
    }
    trial.clear()
}

/// The state file and the folder that it stands in.
struct Trial {
    folder: PathBuf,
    state: Value,
}

impl Trial {
    fn open(folder: &Path) -> Result<Self> {
        let state = match fs::read(folder.join("state.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::while_doing("read the trial cluster's state", e))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => json!({"processes": []}),
            Err(e) => return Err(Error::while_doing("read the trial cluster's state", e)),
        };
        Ok(Self { folder: folder.to_owned(), state })
    }

    fn processes(&self) -> impl Iterator<Item = &Value> {
        self.state["processes"].as_array().into_iter().flatten()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Removes the folder with all data of an earlier trial.
    fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::while_doing(format!("remove {}", self.folder.display()), e)),
            _ => Ok(()),
        }
    }

    fn start(&mut self, plugin: &Path, tools: &Tools, progress: &mut dyn FnMut(&str)) -> Result<Vec<String>> {
        self.state = json!({"processes": []});
        for name in ["apiserver", "plugin"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(self.path(name))?;
        }
        let (client, peer, secure) = (ports::free()?, ports::free()?, ports::free()?);

        let begun = Instant::now();
        let data = self.path("etcd").display().to_string();
        self.launch("etcd", &tools.etcd(), &etcd::arguments(&data, client, peer))?;
        self.await_line("etcd", "ready to serve client requests")?;
        progress(&format!("etcd: {:.1} s", begun.elapsed().as_secs_f64()));

        let begun = Instant::now();
        let dir = self.path("plugin");
        self.launch("keywright", plugin, &["serve", "--dev", "--dir", &dir.display().to_string()].map(str::to_owned))?;
        self.await_line("keywright", " INFO ready ")?;
        progress(&format!("keywright: {:.1} s", begun.elapsed().as_secs_f64()));

        let begun = Instant::now();
        let settings = Settings::new(configuration(&[Provider::kms_v2("keywright", &dir.join("kms.sock")), Provider::Identity]));
        let own = self.path("apiserver");
        let arguments = apiserver::prepare(&own, &etcd::endpoint(client), Ipv4Addr::LOCALHOST, secure, &settings)?;
        self.launch("kube-apiserver", &tools.kube_apiserver(), &arguments)?;
        let address = format!("127.0.0.1:{secure}");
        wait::until("kube-apiserver ready", START, || {
            self.check_running("kube-apiserver")?;
            let api = Api::new(&address, &apiserver::certificates(&own), TOKEN).map_err(|e| e.to_string())?;
            apiserver::ready(&api, Readiness::Full)?;
            api.kms_ready()
        })?;
        progress(&format!("kube-apiserver: {:.1} s", begun.elapsed().as_secs_f64()));

        let path = self.path("kubeconfig");
        kubeconfig::write_text(&path, &kubeconfig::text(&address, &apiserver::certificates(&own), TOKEN))?;
        Ok(vec![
            format!(
                "{} --kubeconfig {} create secret generic first --from-literal=password=correct-horse",
                tools.kubectl().display(),
                path.display()
            ),
            format!(
                "{} --endpoints {} get /registry/secrets/default/first --print-value-only",
                tools.etcdctl().display(),
                etcd::endpoint(client)
            ),
        ])
    }

    /// Starts a program in a process group of its own, with its output in a file, and notes it at once.
    fn launch(&mut self, name: &str, program: &Path, arguments: &[String]) -> Result<()> {
        let log = File::create(self.log(name))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0) // an interrupt at the terminal is not for it
            .spawn()
            .map_err(|e| Error::while_doing(format!("start {}", program.display()), e))?;
        let entry = json!({
            "name": name,
            "pid": child.id(),
            "start_time": scratch::start_time(child.id())?,
            "exe": fs::canonicalize(program)?,
        });
        self.state["processes"].as_array_mut().expect("made as a list above").push(entry);
        kubeconfig::write_text(&self.path("state.json"), &self.state.to_string())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.log"))
    }

    fn await_line(&self, name: &str, text: &str) -> Result<()> {
        wait::until(&format!("{text:?} from {name}"), START, || {
            let log = fs::read_to_string(self.log(name)).map_err(|e| e.to_string())?;
            if log.contains(text) { Ok(()) } else { self.check_running(name).and(Err(log)) }
        })
    }

    /// An error with the log's end when a process that was started is not there any more.
    fn check_running(&self, name: &str) -> std::result::Result<(), String> {
        let entry = self.processes().find(|entry| entry["name"] == name).ok_or_else(|| format!("{name} was not started"))?;
        match alive(entry) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(format!("{name} has ended:\n{}", fs::read_to_string(self.log(name)).unwrap_or_default())),
            Err(e) => Err(e.to_string()),
        }
    }
}

/// The pid of a noted process if it still runs: same start time and same program. Anything else there is not ours.
fn alive(entry: &Value) -> Result<Option<Pid>> {
    let broken = || Error::new(format!("the trial cluster's state has no such process: {entry}"));
    let number = entry["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).ok_or_else(broken)?;
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw).ok_or_else(broken)?;
    // A program that was built anew since is shown as "PATH (deleted)".
    let exe = fs::read_link(format!("/proc/{number}/exe")).ok();
    let same_program = exe.is_some_and(|exe| entry["exe"].as_str() == Some(exe.to_string_lossy().trim_end_matches(" (deleted)")));
    let same_start = scratch::start_time(number).is_ok_and(|start| entry["start_time"].as_u64() == Some(start));
    Ok((same_program && same_start).then_some(pid))
}
