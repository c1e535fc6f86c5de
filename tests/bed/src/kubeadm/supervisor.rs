//! What a kubelet and systemd do for a node, as far as a guide needs them: kube-apiserver runs as its manifest says, and units run when they are
//! told to.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Place, manifest};
use crate::process::Process;
use crate::{Error, Result, wait};

/// Below `/etc/kubernetes`.
pub(super) const MANIFEST: &str = "manifests/kube-apiserver.yaml";
/// Time between two looks at the manifest and the requests: a kubelet watches its folder, and takes seconds.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a unit may take to be ready.
const START: Duration = Duration::from_secs(30);

/// A service: it starts with its node, and systemctl can restart and stop it.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its name, without a suffix.
    pub name: &'static str,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// It is ready when it has printed a line with this.
    pub ready: &'static str,
}

/// A thread that owns the node's processes. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The node is not needed any more.
    over: bool,
    /// Start kube-apiserver anew, with the manifest that it has.
    restart: bool,
    /// For the message of a test that failed.
    said: String,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Supervisor {
    /// Starts the units, and kube-apiserver by its manifest.
    pub(super) fn start(place: &Place, api_server: PathBuf, units: Vec<Unit>) -> Result<Self> {
        let mut running = Running {
            place: place.clone(),
            program: api_server,
            units,
            started: BTreeMap::new(),
            manifest: None,
            api_server: None,
            trouble: String::new(),
        };
        for unit in running.units.clone() {
            running.launch(&unit)?;
        }
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || running.supervise(&theirs));
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has kube-apiserver start anew with the manifest that it has; returns when the old one is gone.
    pub(super) fn restart_api_server(&self) -> Result<()> {
        self.shared.state().restart = true;
        wait::until("the old kube-apiserver to be gone", START, || {
            if self.shared.state().restart { Err("it is there".into()) } else { Ok(()) }
        })
    }

    /// What went wrong last, and the last words of kube-apiserver.
    pub(super) fn said(&self) -> String {
        self.shared.state().said.clone()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.state().over = true;
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed; there is nothing to add to it.
            let _ = thread.join();
        }
    }
}

struct Running {
    place: Place,
    program: PathBuf,
    units: Vec<Unit>,
    started: BTreeMap<&'static str, Process>,
    /// The one that kube-apiserver runs with.
    manifest: Option<String>,
    api_server: Option<Process>,
    /// What went wrong since that manifest came.
    trouble: String,
}

impl Running {
    fn supervise(mut self, shared: &Shared) {
        loop {
            let restart = {
                let state = shared.state();
                if state.over {
                    return;
                }
                state.restart
            };
            if restart {
                self.manifest = None;
                self.api_server = None;
            }
            if let Err(e) = self.follow_manifest().and_then(|()| self.answer_requests()) {
                self.trouble = format!("{e}\n");
            }
            let log = self.api_server.as_ref().map(|process| process.err().tail(20)).unwrap_or_default();
            let mut state = shared.state();
            state.restart &= !restart;
            state.said = format!("{}the last lines of kube-apiserver:\n{log}", self.trouble);
            drop(state);
            std::thread::sleep(PAUSE);
        }
    }

    fn follow_manifest(&mut self) -> Result<()> {
        let text = fs::read_to_string(self.place.folder.join("kubernetes").join(MANIFEST)).ok();
        if text == self.manifest {
            return Ok(());
        }
        self.api_server = None; // drops, and so ends, the old one
        self.manifest = text;
        self.trouble.clear();
        let Some(text) = &self.manifest else { return Ok(()) };
        let encryption = manifest::encryption_config(text);
        let encryption = encryption.map(|path| fs::read_to_string(self.place.outside(&path))).transpose();
        let unseen =
            manifest::unseen(text, &encryption.map_err(|e| Error::while_doing("read the EncryptionConfiguration", e))?.unwrap_or_default());
        if !unseen.is_empty() {
            return Err(Error::new(format!("kube-apiserver does not start: its container does not see {}", unseen.join(", "))));
        }
        let mut command = self.place.command(&self.program);
        self.api_server = Some(Process::spawn("kube-apiserver", command.args(manifest::arguments(text)))?);
        Ok(())
    }

    /// Each is a file that the stand-in for systemctl has written, and gets its answer: nothing, or what went wrong.
    fn answer_requests(&mut self) -> Result<()> {
        for entry in fs::read_dir(self.place.folder.join("requests"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "request") {
                let answer = self.take(&fs::read_to_string(&path)?).map_or_else(|e| format!("{e}\n"), |()| String::new());
                fs::remove_file(&path)?;
                let new = path.with_extension("answer");
                fs::write(&new, answer)?;
                fs::rename(new, path.with_extension("done"))?;
            }
        }
        Ok(())
    }

    fn take(&mut self, request: &str) -> Result<()> {
        let words: Vec<_> = request.split_whitespace().collect();
        let (name, verb) = words.split_last().ok_or_else(|| Error::new("systemctl: nothing was asked for"))?;
        let unit = self.units.iter().find(|unit| unit.name == *name).cloned();
        let unit = unit.ok_or_else(|| Error::new(format!("systemctl: no unit {name}")))?;
        match verb {
            ["restart"] => {
                self.started.remove(unit.name);
                self.launch(&unit)
            }
            ["disable", "--now"] => {
                self.started.remove(unit.name).map(drop).ok_or_else(|| Error::new(format!("systemctl: {name} does not run")))
            }
            _ => Err(Error::new(format!("systemctl: {verb:?} is not known here"))),
        }
    }

    fn launch(&mut self, unit: &Unit) -> Result<()> {
        let (program, words) = unit.command.split_first().ok_or_else(|| Error::new("a unit without a command"))?;
        let process = Process::spawn(unit.name, self.place.command(program).args(words))?;
        wait::until(&format!("{} to be ready", unit.name), START, || {
            let lines = [process.out().lines(), process.err().lines()].concat();
            if lines.iter().any(|line| line.contains(unit.ready)) { Ok(()) } else { Err(lines.join("\n")) }
        })?;
        self.started.insert(unit.name, process);
        Ok(())
    }
}
