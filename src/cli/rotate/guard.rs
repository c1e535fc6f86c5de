//! What a step must show before it is taken: the word of every node, and evidence that nothing needs the version.

use std::time::SystemTime;

use super::super::block_on;
use super::super::failure::{Exit, Failure};
use super::super::place::Named;
use super::{Request, cluster, hold};
use crate::acknowledgement;
use crate::evidence::{AcceptedRisk, Evidence, Objection};
use crate::key_id::KeyId;
use crate::keyring::create;
use crate::keyring::document::{Document, StateLabel, Time, Why};
use crate::keyring::rotation::Step;
use crate::keyring::store::Opened;
use crate::scan::evidence::Scanned;

/// What a step rests on.
#[derive(Default)]
pub(super) struct Grounds {
    /// The reason to record, if the step needs one.
    pub(super) why: Option<Why>,
    /// What destroy will want to know of the time of a disable: entries of the history before that of the step.
    pub(super) hold: Vec<Why>,
    /// What a person should know, though the step is taken.
    pub(super) warning: Option<String>,
}

/// What the step rests on; or why it is not taken.
pub(super) fn check(named: &Named, opened: &Opened, request: &Request<'_>, about: KeyId) -> Result<Grounds, Failure> {
    let step = request.step;
    let attempted = || format!("{} {about}", step.name());
    let risk = match request.risk.reason.map(AcceptedRisk::new) {
        Some(None) => {
            return Err(Failure::new(Exit::Usage, attempted(), "the reason says nothing", "Say why: --accept-risk \"REASON\"."));
        }
        Some(risk) => risk,
        None => None,
    };
    if step.needs_every_node() && risk.is_none() {
        every_node(named, opened, request, &attempted)?;
    }
    if step.needs_evidence() {
        let shown = match &risk {
            Some(risk) => risk.nothing_needs(&about, step).map(|why| Grounds { why: Some(why), ..Grounds::default() }),
            None => looked(named, opened, request, about)?,
        };
        return shown.map_err(|objection| {
            let exit = if matches!(objection, Objection::Needed { .. }) { Exit::Refused } else { Exit::Incomplete };
            Failure::new(exit, attempted(), &objection, at_stake(step))
        });
    }
    let risk = risk.filter(|_| step == Step::Promote && opened.document.nodes.len() > 1);
    Ok(Grounds { why: risk.and_then(|risk| risk.nothing_needs(&about, step).ok()), ..Grounds::default() })
}

/// What etcd, the API servers and the backups show. Adoption is looked at first: evidence from before it could be written over.
///
/// What needs the version comes before how its hold stands: an object is named, whatever else is missing.
fn looked(named: &Named, opened: &Opened, request: &Request<'_>, about: KeyId) -> Result<Result<Grounds, Objection>, Failure> {
    let cluster = match &request.risk.cluster {
        Ok(cluster) => cluster,
        Err(missing) => return Ok(Err(Objection::Lacking { step: request.step, key_id: about, missing: missing.clone() })),
    };
    let keyring = cluster::prove(opened)?;
    let document = &opened.document;
    let (adoption, scans) = block_on(async {
        let adoption = cluster.adoption(document).look().await;
        Ok((adoption, cluster.scan(&keyring).await?))
    })?;
    let backups = request.risk.backups.iter().map(|path| cluster.backup(path, &keyring)).collect::<Result<Vec<_>, _>>()?;
    let reports: Vec<_> = scans.into_iter().map(|scan| scan.report).collect();
    let scanned = Scanned { document, reports: &reports, stores: cluster.stores(), adoption, backups: &backups };
    let why = match scanned.nothing_needs(&about, request.step) {
        Ok(why) => Some(why),
        Err(objection) => return Ok(Err(objection)),
    };
    match request.step {
        Step::Disable => {
            let (hold, warning) = block_on(async { Ok(hold::record(cluster, document, about, &reports).await) })?;
            Ok(Ok(Grounds { why, hold, warning }))
        }
        Step::Destroy if is_over(document, about) => {
            let hold = block_on(async { Ok(hold::look(named, Ok(cluster), document, about).await) })?;
            hold::objection(&hold, about).map_or_else(|| Ok(Ok(Grounds { why, ..Grounds::default() })), Err)
        }
        // The step itself refuses what is in another state, and a destroy before its time.
        _ => Ok(Ok(Grounds { why, ..Grounds::default() })),
    }
}

/// Whether the version is disabled, and the time of its hold is over.
fn is_over(document: &Document, about: KeyId) -> bool {
    let version = document.versions.iter().find(|v| v.key_id == about && v.state == StateLabel::Disabled);
    version.is_some_and(|version| version.hold_left(document.hold, Time::of(SystemTime::now())).is_zero())
}

/// What may be lost, and how to go on all the same.
fn at_stake(step: Step) -> &'static str {
    match step {
        Step::Destroy => {
            "Whatever is still stored under it can never be read again. Look into etcd first; --accept-risk \"REASON\" goes on without."
        }
        _ => {
            "Whatever is still stored under it could not be read until it is enabled again. Look into etcd first; --accept-risk \"REASON\" goes on without."
        }
    }
}

fn every_node(named: &Named, opened: &Opened, request: &Request<'_>, attempted: &dyn Fn() -> String) -> Result<(), Failure> {
    let document = &opened.document;
    if document.nodes.len() < 2 {
        return Ok(());
    }
    let broken = |e| Failure::new(Exit::Configuration, attempted(), e, "Restore the keyring file from its backup.");
    let coordination = create::unwrap_coordination(document, &opened.keys).map_err(broken)?;
    let mut nodes = Vec::new();
    for path in request.risk.acks {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Failure::new(
                Exit::Usage,
                format!("read the acknowledgement {}", path.display()),
                e,
                "Name a file that `keywright keyring ack` printed.",
            )
        })?;
        let node = acknowledgement::check(&text, document, &coordination).map_err(|e| {
            let next = "Bring the keyring to that node (export, import), and run `keywright keyring ack` there again.";
            Failure::new(Exit::Incomplete, format!("accept the acknowledgement {}", path.display()), e, next)
        })?;
        nodes.push(node);
    }
    // Our own plugin is asked directly, where it runs.
    if let Ok(text) = crate::client::admin::get(&crate::config::admin_path(&named.socket), "/acknowledgement")
        && let Ok(node) = acknowledgement::check(&text, document, &coordination)
    {
        nodes.push(node);
    }
    let missing: Vec<_> = acknowledgement::missing(document, &nodes).into_iter().map(ToString::to_string).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Incomplete,
        attempted(),
        format!("these nodes have not acknowledged generation {}: {}", document.generation, missing.join(", ")),
        "On each: keywright keyring ack > FILE; then give every one with --ack FILE. --accept-risk \"REASON\" goes on without: what is written then cannot be read there.",
    ))
}
