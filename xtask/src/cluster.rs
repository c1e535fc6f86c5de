//! A real control plane to try things by hand.

use clap::Subcommand;
use keywright_testbed::cluster;
use keywright_testbed::tools::Tools;

use crate::run::{TaskError, cargo, succeed, target_folder};

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Starts etcd, the plugin and kube-apiserver, leaves them running, and says how to reach them
    Up,
    /// Ends what `up` started
    Down,
}

/// `cargo xtask cluster up` and `down`.
pub(crate) fn run(action: Action) -> Result<bool, TaskError> {
    let say = &mut |line: &str| println!("{line}");
    let failed = |error: keywright_testbed::Error| TaskError::Cluster(error.to_string());
    match action {
        Action::Up => {
            let tools = Tools::build(say)?;
            succeed(cargo().args(["build", "-p", "keywright"]))?;
            let lines = cluster::up(&target_folder().join("debug/keywright"), &tools, say).map_err(failed)?;
            println!();
            lines.iter().for_each(|line| println!("{line}"));
        }
        Action::Down => cluster::down(say).map_err(failed)?,
    }
    Ok(true)
}
