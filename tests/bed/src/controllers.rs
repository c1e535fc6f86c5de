//! A real kube-controller-manager, with the one controller that tests need and the garbage collector, which that one leans on.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::apiserver::{ApiServer, TOKEN};
use crate::log::Log;
use crate::process::Process;
use crate::{Error, Result, kubeconfig, scratch, tools::Tools};

/// It waits for its caches; some seconds on two idle cores.
const START: Duration = Duration::from_secs(90);

/// Runs the storage version migrator. Dropping it kills it.
#[derive(Debug)]
pub struct ControllerManager {
    process: Process,
    _dir: TempDir,
}

impl ControllerManager {
    /// Starts it for `server`, as its administrator, and waits until its migrator works.
    pub fn start(tools: &Tools, server: &ApiServer) -> Result<Self> {
        let dir = scratch::folder("controllers")?;
        let file = dir.path().join("kubeconfig");
        kubeconfig::write(&file, server, TOKEN)?;
        let mut command = Command::new(tools.kube_controller_manager());
        command.arg(format!("--kubeconfig={}", file.display())).args([
            "--controllers=storage-version-migrator-controller,garbage-collector-controller",
            "--leader-elect=false",
            "--secure-port=0",
            "--vmodule=storageversionmigrator=4",
        ]);
        let process = Process::spawn("kube-controller-manager", &mut command)?;
        let log = process.err();
        let started = |line: &str| line.contains("\"Starting\"") && line.contains("storage-version-migrator");
        log.wait_for(0, START, "the storage version migrator", started).map_err(|e| Error::new(format!("{e}\n{}", log.tail(30))))?;
        Ok(Self { process, _dir: dir })
    }

    /// Its log, with a line for each object that a migration has written and one for its end.
    pub fn log(&self) -> &Log {
        self.process.err()
    }
}
