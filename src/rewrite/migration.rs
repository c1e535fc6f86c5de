//! The other way: the API server's own migration, a StorageVersionMigration for each resource, which kube-controller-manager carries out.
//!
//! Nothing that it says of itself is believed in the end: what counts is the next scan. A migration covers what was stored when it was
//! taken up, so one that was begun for another primary is of no use and is made anew; its primary stands in an annotation.

mod document;

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use thiserror::Error;

use super::answer::printable;
use crate::kube::access::Answer;
use crate::kube::discovery::Resource;
use crate::kube::{Access, Discovery, KubeError};
use document::{LABEL, Migration, PRIMARY, State, Status};

/// The API group of migrations.
pub const GROUP: &str = "storagemigration.k8s.io";

/// Their plural.
pub const PLURAL: &str = "storageversionmigrations";

/// Versions that name a resource by group and plural alone, the better one first. `v1alpha1` differs.
const KNOWN: [&str; 2] = ["v1", "v1beta1"];

/// A controller that runs takes a migration up within seconds; it waits up to a minute for a resource that is new to it.
const TAKE_UP: Duration = Duration::from_secs(120);

/// How often a migration is looked at.
const POLL: Duration = Duration::from_millis(500);

/// How often a migration is made anew that is in the way or vanishes.
const ATTEMPTS: usize = 3;

/// Why there was no migration, or its end was not seen.
#[derive(Debug, Error)]
pub enum MigrationError {
    /// The API server has no such API.
    #[error("the API server ({version}) does not serve {PLURAL} in {GROUP}/v1 or v1beta1")]
    NotServed {
        /// Its version.
        version: String,
    },
    /// Somebody else has one of our name.
    #[error("there is a StorageVersionMigration {name} that was not made by this command")]
    NotOurs {
        /// Its name.
        name: String,
    },
    /// The API server refused.
    #[error("{what}: HTTP {status}: {message}")]
    Refused {
        /// Method and path.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// No controller cares.
    #[error("nothing took up the StorageVersionMigration {name} within {}", humantime::format_duration(*.after))]
    NotTakenUp {
        /// Its name.
        name: String,
        /// How long was waited.
        after: Duration,
    },
    /// It takes longer than was allowed.
    #[error("the StorageVersionMigration {name} has not ended within {}", humantime::format_duration(*.after))]
    Late {
        /// Its name.
        name: String,
        /// How long was waited.
        after: Duration,
    },
    /// Others removed it.
    #[error("the StorageVersionMigration {name} was deleted by somebody else before its end")]
    Vanished {
        /// Its name.
        name: String,
    },
    /// The API server was not reached.
    #[error(transparent)]
    Kube(#[from] KubeError),
}

/// How a migration began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It was made.
    Made,
    /// One of ours for this primary was there, and had not ended.
    TakenUp,
}

/// How a migration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// By its own word, every object was written.
    Succeeded,
    /// The message of its condition, without what may quote a value.
    Failed(String),
}

/// The API for migrations, found.
pub struct Migrations<'a> {
    access: &'a Access,
    version: &'a str,
    primary: &'a str,
}

/// The name of the migration of `resource`: always the same, so that two runs never make two.
pub fn name(resource: &Resource) -> String {
    format!("keywright-{resource}")
}

impl<'a> Migrations<'a> {
    /// `primary` is the key_id that everything shall be stored under.
    pub fn find(access: &'a Access, discovery: &'a Discovery, primary: &'a str) -> Result<Self, MigrationError> {
        let served = discovery.resources().iter().find(|resource| resource.group == GROUP && resource.plural == PLURAL);
        let versions = served.map(|resource| resource.versions.as_slice()).unwrap_or_default();
        let version = KNOWN.into_iter().find(|known| versions.iter().any(|version| version.name == *known));
        let version = version.ok_or_else(|| MigrationError::NotServed { version: access.version().to_owned() })?;
        Ok(Self { access, version, primary })
    }

    /// Makes the migration of `resource`, or takes up the one that is there. With `dry_run` it is only asked whether it could be made.
    pub async fn begin(&self, resource: &Resource, dry_run: bool) -> Result<Begun, MigrationError> {
        let name = name(resource);
        let query = if dry_run { "?dryRun=All" } else { "" };
        let (make, one) = (format!("{}{query}", self.path()), format!("{}/{name}", self.path()));
        let body = json!({
            "apiVersion": format!("{GROUP}/{}", self.version),
            "kind": "StorageVersionMigration",
            "metadata": {"name": name, "labels": {LABEL.0: LABEL.1}, "annotations": {PRIMARY: self.primary}},
            "spec": {"resource": {"group": resource.group, "resource": resource.plural}},
        });
        let mut in_the_way = None;
        for _ in 0..ATTEMPTS {
            let made = self.access.exchange(Method::POST, &make, Some(&body)).await?;
            match made.status {
                201 => return Ok(Begun::Made),
                409 => {}
                _ => return Err(refused(format!("POST {make}"), &made)),
            }
            in_the_way = Some(refused(format!("POST {make}"), &made));
            let Some(found) = self.read(&one).await? else { continue };
            if !found.is_ours() {
                return Err(MigrationError::NotOurs { name });
            }
            if found.serves(self.primary, resource) {
                return Ok(Begun::TakenUp);
            }
            if dry_run {
                return Ok(Begun::Made); // as it would be, in place of an old one
            }
            self.delete(&one, found.uid()).await?;
        }
        Err(in_the_way.unwrap_or(MigrationError::Vanished { name }))
    }

    /// Waits for the end of the migration of `resource`, for at most `limit`, and removes it. `running` gets each new message of it.
    ///
    /// One that nothing takes up is removed too; one that is late is left, and the next run takes it up.
    pub async fn finish(&self, resource: &Resource, limit: Duration, running: &mut dyn FnMut(&str)) -> Result<Ended, MigrationError> {
        let name = name(resource);
        let one = format!("{}/{name}", self.path());
        let (begun, take_up) = (Instant::now(), TAKE_UP.min(limit));
        let mut said = String::new();
        loop {
            let state = match self.read(&one).await {
                Ok(Some(found)) if !found.is_ours() => return Err(MigrationError::NotOurs { name }),
                Ok(Some(found)) => (found.state(), found.uid().to_owned()),
                Ok(None) => return Err(MigrationError::Vanished { name }),
                // An API server that restarts: the limit below holds all the same.
                Err(e) if passes(&e) && begun.elapsed() < limit => {
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                Err(e) => return Err(e),
            };
            let (state, uid) = state;
            match state {
                State::Succeeded | State::Failed(_) => {
                    self.delete(&one, &uid).await?;
                    return Ok(if let State::Failed(message) = state { Ended::Failed(message) } else { Ended::Succeeded });
                }
                State::New if begun.elapsed() >= take_up => {
                    self.delete(&one, &uid).await?;
                    return Err(MigrationError::NotTakenUp { name, after: take_up });
                }
                State::Running(_) if begun.elapsed() >= limit => return Err(MigrationError::Late { name, after: limit }),
                State::Running(message) if message != said => {
                    running(&message);
                    said = message;
                }
                State::Running(_) | State::New => {}
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn path(&self) -> String {
        format!("/apis/{GROUP}/{}/{PLURAL}", self.version)
    }

    async fn read(&self, path: &str) -> Result<Option<Migration>, MigrationError> {
        let answer = self.access.exchange(Method::GET, path, None).await?;
        match answer.status {
            200 => Ok(Some(Migration::read(answer.body.expose_secret()).ok_or_else(|| KubeError::Unreadable {
                what: format!("GET {path}"),
                server: self.access.server().to_owned(),
                expected: "a StorageVersionMigration",
            })?)),
            404 => Ok(None),
            _ => Err(refused(format!("GET {path}"), &answer)),
        }
    }

    /// Just the one that was looked at: another of the same name may be somebody's by now. That it is gone already is fine.
    async fn delete(&self, path: &str, uid: &str) -> Result<(), MigrationError> {
        let only = json!({"apiVersion": "meta.k8s.io/v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
        let answer = self.access.exchange(Method::DELETE, path, Some(&only)).await?;
        match answer.status {
            200 | 202 | 404 | 409 => Ok(()),
            _ => Err(refused(format!("DELETE {path}"), &answer)),
        }
    }
}

/// Whether it is worth asking again.
fn passes(error: &MigrationError) -> bool {
    match error {
        MigrationError::Kube(e) => matches!(e, KubeError::Unreachable { .. } | KubeError::Silent { .. }),
        MigrationError::Refused { status, .. } => *status == 429 || *status >= 500,
        _ => false,
    }
}

fn refused(what: String, answer: &Answer) -> MigrationError {
    let message = printable(&Status::read(answer.body.expose_secret()).message);
    MigrationError::Refused { what, status: answer.status, message }
}
