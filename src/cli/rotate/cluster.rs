//! What the steps of a rotation ask of the cluster: what its etcd holds, and which key its API servers write with.

use std::path::Path;

use clap::Args;

use super::super::advice;
use super::super::cluster::{self, EtcdArguments, Found, KubernetesArguments};
use super::super::failure::{Exit, Failure};
use super::super::place::Named;
use super::super::progress::Bar;
use super::super::scan::{failure, now, read_snapshot};
use super::adoption::Sources;
use crate::config::cluster::DEFAULT_PREFIX;
use crate::encryption_configuration::Pattern;
use crate::etcd::Entry;
use crate::etcd::key::Prefix;
use crate::keyring::Keyring;
use crate::keyring::document::Document;
use crate::kube::{self, Access};
use crate::rewrite::plan::Stale;
use crate::scan::report::{Report, Witness};
use crate::scan::run::{self, Job};
use crate::scan::stale::Wanted;
use crate::scan::tally::{FIRST, Settings};
use crate::scan::writers::Writers;

/// Where the cluster is.
#[derive(Args)]
#[group(id = "cluster")]
pub(super) struct Arguments {
    #[command(flatten)]
    etcd: EtcdArguments,
    #[command(flatten)]
    kubernetes: KubernetesArguments,
}

impl Arguments {
    /// Finds it, without asking anybody there yet.
    pub(super) fn find<'a>(&self, named: &'a Named) -> Result<Cluster<'a>, Failure> {
        let found = self.etcd.find(&named.cluster)?;
        Ok(Cluster { named, found, kubernetes: self.kubernetes.options(&named.cluster) })
    }
}

/// A cluster that was found.
pub(super) struct Cluster<'a> {
    named: &'a Named,
    pub(super) found: Found,
    pub(super) kubernetes: kube::Options,
}

/// One store, counted; and what in it is to be written anew.
pub(super) struct Scan {
    pub(super) report: Report,
    pub(super) stale: Vec<Stale>,
}

impl Cluster<'_> {
    /// How many etcds it stores in.
    pub(super) fn stores(&self) -> usize {
        self.found.stores.len()
    }

    /// Its API server.
    pub(super) async fn access(&self) -> Result<Access, Failure> {
        Access::open(&self.kubernetes)
            .await
            .map_err(|e| Failure::new(Exit::Runtime, "ask the API server", &e, "See --kubeconfig and --context."))
    }

    /// What can be asked about adoption. Nobody is asked yet.
    pub(super) const fn adoption<'d>(&'d self, document: &'d Document) -> Sources<'d> {
        Sources { named: self.named, document, timeout: self.found.kms_timeout, kubernetes: &self.kubernetes }
    }

    /// Scans every store with `keyring` as the witness.
    pub(super) async fn scan(&self, keyring: &Keyring) -> Result<Vec<Scan>, Failure> {
        let mut scans = Vec::new();
        for store in &self.found.stores {
            let prefix = Prefix::new(&store.prefix);
            let wanted = Wanted {
                prefix: prefix.clone(),
                patterns: self.patterns(),
                writers: self.found.configuration.as_ref().map(Writers::of).unwrap_or_default(),
                keyring: keyring.id(),
                primary: *keyring.primary(),
            };
            let primary = Some(keyring.primary_name().to_owned());
            let settings = Settings { prefix, names: self.found.names(), primary, first: FIRST };
            let job = Job { settings, witness: Some(Witness::of(keyring)) };
            let mut etcd = cluster::connect(store.clone()).await?;
            let bar = Bar::new("scan", "values");
            let collect = |stale: &mut Vec<Stale>, entry: &Entry<'_>| stale.extend(wanted.stale(entry));
            let (report, stale) = run::live(&mut etcd, &job, &now, Vec::new, collect, |progress| bar.at(progress.read, progress.total))
                .await
                .map_err(|e| failure(&e))?;
            scans.push(Scan { report, stale });
        }
        Ok(scans)
    }

    /// What a backup still names, its old revisions too: whoever restores it may go back to them. A file that does not vouch for all of its
    /// bytes is none: what it does not show may be there all the same.
    pub(super) fn backup(&self, path: &Path, keyring: &Keyring) -> Result<Report, Failure> {
        let prefix = self.found.stores.first().map_or(DEFAULT_PREFIX, |store| store.prefix.as_str());
        let primary = Some(keyring.primary_name().to_owned());
        let settings = Settings { prefix: Prefix::new(prefix), names: self.found.names(), primary, first: FIRST };
        let (report, integrity) = read_snapshot(path, &Job { settings, witness: Some(Witness::of(keyring)) })?;
        match integrity.objection() {
            None => Ok(report),
            Some(why) => {
                let next = "Name a file that `etcdctl snapshot save` wrote, whole; `keywright scan --snapshot` reads this one too.";
                Err(Failure::new(Exit::Incomplete, format!("take {} as evidence", path.display()), why, next))
            }
        }
    }

    /// What must be encrypted; only what is encrypted already, where that is not known.
    fn patterns(&self) -> Vec<Pattern> {
        self.found.patterns().unwrap_or_default()
    }
}

/// The keyring as a witness; its canaries are opened.
pub(super) fn prove(opened: &crate::keyring::store::Opened) -> Result<Keyring, Failure> {
    opened.prove().map_err(|e| Failure::new(Exit::Configuration, "open the keyring", &e, advice::load(&e)))
}
