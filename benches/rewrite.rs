//! How soon stale Secrets are stored anew, as ratios within one run: `cargo xtask bench`, or `KEYWRIGHT_BIN=... cargo bench --bench rewrite`.
//!
//! A real etcd, API server and plugin hold 2,000 Secrets (`KEYWRIGHT_SECRETS` sets another number). A rotation makes all of them stale, and once the API server
//! has adopted the new key, one side has them written again; then another rotation, and the other side. `keywright rotate rewrite`, its scan, its questions about
//! adoption and its plan included, is held against what Kubernetes' documentation says to do, `kubectl get secrets -A -o json | kubectl replace -f -`:
//! kubectl must take at least four times as long, as the median of the rounds.
//!
//! Then it is held against Kubernetes' own StorageVersionMigration, once, which a real kube-controller-manager carries out. That is reported and not gated: much of its
//! time is waiting. It begins when its cache has seen something of the resource that is later than the migration, which where nothing else
//! changes, as here, is the next bookmark (about a minute), and it looks at intervals that double. So what it takes from its first Secret to its last stands beside it.
//!
//! Processor time of both sides, the servers' included, is reported and not gated: kubectl sends one request after the other and keeps one core busy, a rewrite
//! keeps all of them busy. So where other work takes the cores away, the ratio of the times sinks towards that of the processor times.
//!
//! After each side a scan must find every Secret under the new key, and none elsewhere, or there is no result.
#![expect(clippy::print_stdout, reason = "a benchmark reports")]

#[path = "shared/report.rs"]
mod report;
#[path = "shared/stale.rs"]
mod stale;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use keywright_testbed::controllers::ControllerManager;
use keywright_testbed::tools::Tools;
use report::{Figure, Gate, Report};
use serde_json::json;
use stale::{Bench, seconds};

const SECRETS: usize = 2_000;
const ROUNDS: usize = 3;
const GATE: f64 = 4.0;
const WANTED: f64 = 6.0;

const MIGRATIONS: &str = "/apis/storagemigration.k8s.io/v1/storageversionmigrations";
/// More than three minutes of waiting, and the patches, one after the other.
const MIGRATION: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    report::ended(report::binary().map(measure))
}

fn measure(keywright: PathBuf) -> ExitCode {
    let mut report = Report::begin("rewrite");
    let tools = Tools::build(&mut |line| println!("{line}")).expect("Go builds the control plane");
    let secrets = std::env::var("KEYWRIGHT_SECRETS").map_or(SECRETS, |number| number.parse().expect("KEYWRIGHT_SECRETS is a number"));
    report.not_a_claim = (secrets != SECRETS).then(|| format!("{secrets} Secrets"));
    let bench = Bench::start(&tools, keywright, secrets);
    let (mut ratios, mut work, mut figures) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for round in 0..ROUNDS {
        let (mut took, mut used) = ([0.0; 2], [0.0; 2]);
        // The order changes from round to round.
        for side in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let primary = bench.rotate();
            let before = bench.processor_time();
            took[side] = seconds(&mut if side == 0 { bench.rewrite() } else { bench.replace() });
            used[side] = bench.processor_time() - before;
            if !bench.is_all_under(&primary) {
                return ExitCode::from(2);
            }
            figures[side].push(took[side]);
        }
        println!(
            "round {round}: keywright {:.2} s ({:.2} s of processor time), kubectl {:.2} s ({:.2} s), load average {}",
            took[0],
            used[0],
            took[1],
            used[1],
            report.load()[1]
        );
        ratios.push(took[1] / took[0]);
        work.push(used[1] / used[0]);
    }
    println!("processor time of kubectl's side: {:.2} x", report::median(&work));
    let controllers = ControllerManager::start(&tools, &bench.server).expect("kube-controller-manager starts");
    let primary = bench.rotate();
    let [whole, writing] = bench.migrate(&controllers);
    if !bench.is_all_under(&primary) {
        return ExitCode::from(2);
    }
    let ours = report::median(&figures[0]);
    println!(
        "StorageVersionMigration: {secrets} Secrets in {whole:.2} s, {:.2} x the time of keywright; {writing:.2} s of it from its first Secret to its last, {:.2} x",
        whole / ours,
        writing / ours
    );
    let per_second = |name, at: usize| {
        let rates: Vec<f64> = figures[at].iter().map(|took| secrets as f64 / took).collect();
        Figure::median(name, &rates, "Secrets/s")
    };
    report.gate(Gate {
        metric: format!("rewrite of {secrets} stale Secrets, how many times as fast"),
        sides: [per_second("keywright rotate rewrite", 0), per_second("kubectl get, replace", 1)],
        ratios,
        at_least: Some(GATE),
        at_most: None,
        stretch: Some(WANTED),
    });
    report.end()
}

impl Bench {
    fn replace(&self) -> Command {
        let mut command = Command::new("bash");
        let script = r#"set -o pipefail; "$0" get secrets -A -o json | "$0" replace -f -"#;
        command.args(["-c", script]).arg(&self.kubectl);
        // The cache of what the API server offers is kubectl's own, and stays with this run.
        command.env("KUBECONFIG", self.folder.path().join("kubeconfig")).env("KUBECACHEDIR", self.folder.path().join("cache"));
        command
    }

    /// How long Kubernetes' own migration takes, in seconds: from when it is asked for to its end, and from the first Secret that it has written.
    fn migrate(&self, controllers: &ControllerManager) -> [f64; 2] {
        let migration = json!({"metadata": {"name": "secrets"}, "spec": {"resource": {"group": "", "resource": "secrets"}}});
        let says = |what: &str| controllers.log().wait_for(0, MIGRATION, what, |line| line.contains(what)).expect("it comes");
        let begun = Instant::now();
        self.server.api().create(MIGRATIONS, &migration).and_then(|answer| answer.ok()).expect("it is made");
        says("Successfully migrated the resource");
        let first = Instant::now();
        says("Finished syncing svm resource");
        [begun.elapsed().as_secs_f64(), first.elapsed().as_secs_f64()]
    }

    /// Seconds of processor time of the servers so far, and of all commands that have ended.
    fn processor_time(&self) -> f64 {
        let servers = [self.server.pid(), self.plugin.pid(), self.etcd.pid()];
        let servers = servers.iter().map(|pid| ticks(&pid.to_string())[0]).sum::<u64>();
        (servers + ticks("self")[1]) as f64 / rustix::param::clock_ticks_per_second() as f64
    }
}

/// Clock ticks that a process has run, and that its children had which it waited for.
fn ticks(process: &str) -> [u64; 2] {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    // The name of the program, in brackets, may hold spaces.
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<u64> = rest.split_whitespace().skip(11).take(4).map(|field| field.parse().expect("a number")).collect();
    let [user, system, children_user, children_system] = fields[..] else { unreachable!("there are more than fifty") };
    [user + system, children_user + children_system]
}
