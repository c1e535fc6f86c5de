//! What ends the hold between disable and destroy, beside its time: every API server has restarted since the disable, no Decrypt has asked for
//! the version, and etcd is compacted past the scan that the disable relied on.
//!
//! What was at the disable stands in the history, written with it; what is now is asked by the caller. Neither is compared by a clock: a process
//! of an API server is known by the holder of its Lease, which is another one after every start, and what etcd forgot by revisions.

use std::time::Duration;

use crate::key_id::{KeyId, Version};
use crate::keyring::document::{Document, Why};

/// Most entries of one disable: a cluster has a few stores and a few API servers.
const MAX_ENTRIES: usize = 64;

/// A store and the revision that was scanned in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// etcd's id of the cluster.
    pub cluster_id: u64,
    /// `--etcd-prefix` of the API server, from `/` to `/`.
    pub prefix: String,
    /// The revision at which nothing named the version.
    pub revision: u64,
}

/// What was so when a version was disabled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AtDisable {
    /// The stores that were scanned.
    pub stores: Vec<Scanned>,
    /// The holders of the API servers' Leases: one for each process.
    pub servers: Vec<String>,
}

impl AtDisable {
    /// The entries that go into the history right before the one of the disable; `None` if one of them does not fit, or there are too many.
    pub fn entries(&self, version: Version) -> Option<Vec<Why>> {
        let number = version.number();
        let stores =
            self.stores.iter().map(|store| format!("hold {number} store {:016x} {} {}", store.cluster_id, store.prefix, store.revision));
        let servers = self.servers.iter().map(|holder| format!("hold {number} server {holder}"));
        let entries: Vec<Why> = stores.chain(servers).map(|text| text.parse().ok()).collect::<Option<_>>()?;
        // What would be read back as something else, for a space in a name, is as good as nothing.
        let read = entries.iter().try_fold(Self::default(), |read, entry| read.with(entry, number));
        (entries.len() <= MAX_ENTRIES && read.as_ref() == Some(self)).then_some(entries)
    }

    /// The generation of the last disable of `key_id`, and what was so then. Empty where nothing was recorded, or where one of the entries is
    /// not understood.
    pub fn read(document: &Document, key_id: KeyId) -> (u64, Self) {
        let number = key_id.version.number();
        let disable = |what: &str| {
            let mut words = what.split(' ');
            words.next() == Some("disable") && words.next() == Some(number.to_string().as_str())
        };
        let Some(at) = document.history.iter().rposition(|entry| disable(entry.what.as_str())) else { return Default::default() };
        let (before, from) = document.history.split_at(at);
        let generation = from.first().map_or(0, |entry| entry.generation);
        let begins = format!("hold {number} ");
        let own = before.iter().rev().take_while(|entry| entry.what.as_str().starts_with(&begins)).count();
        let entries = before.iter().skip(before.len() - own);
        let read = entries.map(|entry| &entry.what).try_fold(Self::default(), |read, entry| read.with(entry, number));
        (generation, read.unwrap_or_default())
    }

    fn with(mut self, entry: &Why, number: u32) -> Option<Self> {
        let words: Vec<&str> = entry.as_str().split(' ').collect();
        match *words.as_slice() {
            ["hold", of, "store", cluster_id, prefix, revision] if of == number.to_string() => {
                let store = Scanned {
                    cluster_id: u64::from_str_radix(cluster_id, 16).ok()?,
                    prefix: prefix.to_owned(),
                    revision: revision.parse().ok()?,
                };
                // Only as it is written: `+5` is a number too.
                let same = format!("{:016x}", store.cluster_id) == cluster_id && store.revision.to_string() == revision;
                same.then(|| self.stores.push(store))?;
            }
            ["hold", of, "server", holder] if of == number.to_string() => self.servers.push(holder.to_owned()),
            _ => return None,
        }
        Some(self)
    }
}

/// One API server that holds a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// For people.
    pub name: String,
    /// Of its Lease.
    pub holder: String,
}

/// What the metrics of one API server say about the time since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// How often it has used the version.
    pub uses: u64,
    /// How many Decrypts were refused to it because their version is disabled or destroyed; none if its metrics do not say.
    pub refused: Option<u64>,
}

/// Decrypts that this node's plugin has refused because the version is disabled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many, since the disable.
    pub count: u64,
    /// How long ago the last one was.
    pub last: Duration,
    /// For how long the plugin has counted.
    pub counting: Duration,
}

/// A store, and what it has forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// etcd's id of the cluster.
    pub cluster_id: u64,
    /// As in [`Scanned`].
    pub prefix: String,
    /// The oldest revision that can still be read.
    pub oldest: u64,
}

impl Compacted {
    /// Whether it is the store that was scanned.
    fn is(&self, scanned: &Scanned) -> bool {
        self.cluster_id == scanned.cluster_id && self.prefix == scanned.prefix
    }
}

/// What is so now; an error says why something is not known.
#[derive(Debug, Clone)]
pub struct Now {
    /// Every API server with a Lease.
    pub servers: Result<Vec<Server>, String>,
    /// What the metrics of each say, by address.
    pub activity: Vec<(String, Result<Activity, String>)>,
    /// By this node's plugin.
    pub refused: Result<Refused, String>,
    /// Every store of the cluster.
    pub stores: Result<Vec<Compacted>, String>,
}

/// How one condition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is met, and this shows it.
    Met(String),
    /// Not yet, or it is not known; each with what to do.
    Missing(Vec<String>),
    /// What would show it was not recorded at the disable: waiting does not help.
    Unrecorded(String),
    /// Something needs the version.
    Violated(String),
}

/// One of the things that end a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// A word for it.
    pub name: &'static str,
    /// How it stands.
    pub standing: Standing,
}

/// Every condition, in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold(pub Vec<Condition>);

impl Hold {
    /// Judges what is now by what was `then`; `left` is what is left of the time.
    pub fn judge(left: Duration, then: &AtDisable, now: &Now) -> Self {
        let condition = |name, standing| Condition { name, standing };
        Self(vec![
            condition("time", time(left)),
            condition("restarted", restarted(then, now)),
            condition("unasked", unasked(now)),
            condition("compacted", compacted(then, now)),
        ])
    }

    /// What asked for the version, if something did.
    pub fn violated(&self) -> Option<&str> {
        self.0.iter().find_map(|condition| match &condition.standing {
            Standing::Violated(what) => Some(what.as_str()),
            _ => None,
        })
    }

    /// All that is missing, each with what to do.
    pub fn missing(&self) -> Vec<&str> {
        let mut all = Vec::new();
        for condition in &self.0 {
            match &condition.standing {
                Standing::Missing(missing) => all.extend(missing.iter().map(String::as_str)),
                Standing::Unrecorded(what) => all.push(what),
                Standing::Met(_) | Standing::Violated(_) => {}
            }
        }
        all
    }

    /// Whether what is missing may come by itself, or by what is done meanwhile.
    pub fn may_end(&self) -> bool {
        !self.0.iter().any(|condition| matches!(condition.standing, Standing::Unrecorded(_)))
    }
}

fn or_met(missing: Vec<String>, met: String) -> Standing {
    if missing.is_empty() { Standing::Met(met) } else { Standing::Missing(missing) }
}

/// A record can be made anew by taking the disable back and taking it again.
const NO_RECORD: &str =
    "it was taken without evidence, or by another release; enable the version, verify and disable it again to have a record";

fn time(left: Duration) -> Standing {
    if left.is_zero() {
        return Standing::Met("the stated time is over".into());
    }
    Standing::Missing(vec![format!("{} of the stated time are left", humantime::format_duration(left))])
}

fn restarted(then: &AtDisable, now: &Now) -> Standing {
    let missing = |text: String| Standing::Missing(vec![text]);
    if then.servers.is_empty() {
        return Standing::Unrecorded(format!("which API servers ran at the disable is not on record: {NO_RECORD}"));
    }
    let servers = match &now.servers {
        Ok(servers) if servers.is_empty() => return missing("no API server has a Lease in kube-system, so none is known".into()),
        Ok(servers) => servers,
        Err(why) => return missing(format!("which API servers there are is not known: {why}")),
    };
    let mut left: Vec<String> = Vec::new();
    for server in servers.iter().filter(|server| then.servers.contains(&server.holder)) {
        left.push(format!("restart kube-apiserver on {}: it has run since before the disable", server.name));
    }
    if left.is_empty() {
        // A plugin that had the disable later than its API server started leaves its mark here.
        for (address, activity) in &now.activity {
            if let Ok(Activity { uses: 1.., .. }) = activity {
                left.push(format!("restart kube-apiserver at {address}: it has used the version since its start"));
            }
        }
    }
    or_met(left, format!("{} API servers, each with another Lease holder than at the disable", servers.len()))
}

fn unasked(now: &Now) -> Standing {
    let ago = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    let mut missing = Vec::new();
    let mut counting = Duration::ZERO;
    match &now.refused {
        Ok(refused) if refused.count > 0 => {
            let times = if refused.count == 1 { "1 Decrypt".to_owned() } else { format!("{} Decrypts", refused.count) };
            return Standing::Violated(format!("{times} asked for it since the disable, the last one {} ago", ago(refused.last)));
        }
        Ok(refused) => counting = refused.counting,
        Err(why) => missing.push(format!("what was asked of the plugin of this node is not known: {why}")),
    }
    let several = now.activity.len() > 1 || now.servers.as_ref().is_ok_and(|servers| servers.len() > 1);
    if several {
        // Of the other nodes' plugins only their API servers tell.
        for (address, activity) in &now.activity {
            match activity {
                Ok(Activity { refused: Some(0), .. }) => {}
                Ok(Activity { refused: Some(refused), .. }) => {
                    let what = format!(
                        "the API server at {address} was refused {refused} Decrypts of a disabled or destroyed version since its start"
                    );
                    return Standing::Violated(what);
                }
                Ok(Activity { refused: None, .. }) => {
                    missing.push(format!("whether the API server at {address} asked for it is not known: its metrics do not say"));
                }
                Err(why) => missing.push(format!("whether the API server at {address} asked for it is not known: {why}")),
            }
        }
        let asked = now.activity.len();
        let there = now.servers.as_ref().map_or(0, Vec::len);
        if asked < there {
            missing.push(format!("whether each API server asked for it is not known: {asked} of {there} were asked for their metrics"));
        }
    }
    let others = if several { ", and by the metrics of every API server since its start" } else { "" };
    or_met(missing, format!("no Decrypt asked for it in {}, as long as the plugin of this node has counted{others}", ago(counting)))
}

fn compacted(then: &AtDisable, now: &Now) -> Standing {
    if then.stores.is_empty() {
        return Standing::Unrecorded(format!("up to which revision etcd was scanned at the disable is not on record: {NO_RECORD}"));
    }
    let stores = match &now.stores {
        Ok(stores) => stores,
        Err(why) => return Standing::Missing(vec![format!("up to where etcd is compacted is not known: {why}")]),
    };
    let other = |store: &&Compacted| !then.stores.iter().any(|scanned| store.is(scanned));
    if let Some(store) = stores.iter().find(other) {
        let name = format!("{:016x}{}", store.cluster_id, store.prefix);
        return Standing::Unrecorded(format!("etcd {name} was not scanned at the disable: {NO_RECORD}"));
    }
    let mut missing = Vec::new();
    for scanned in &then.stores {
        let name = format!("{:016x}{}", scanned.cluster_id, scanned.prefix);
        match stores.iter().find(|store| store.is(scanned)) {
            None => missing.push(format!("etcd {name} was scanned at the disable and is not among the stores now: name it too")),
            Some(store) if store.oldest < scanned.revision => missing.push(format!(
                "etcd {name} is compacted to revision {} and was scanned at {}: etcdctl compaction {}, or wait for the API server's own, every 5 minutes",
                store.oldest, scanned.revision, scanned.revision
            )),
            Some(_) => {}
        }
    }
    or_met(missing, format!("{} stores, each past the revision that was scanned", then.stores.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::create::tests::document_with;
    use crate::keyring::document::StateLabel;
    use crate::keyring::rotation;

    fn then() -> AtDisable {
        AtDisable {
            stores: vec![Scanned { cluster_id: 7, prefix: "/registry/".into(), revision: 100 }],
            servers: vec!["apiserver-a_1".into(), "apiserver-b_1".into()],
        }
    }

    /// Two API servers, restarted, and nothing that stands against a destroy.
    fn now() -> Now {
        let server = |name: &str| Server { name: name.into(), holder: format!("apiserver-{name}_2") };
        let quiet = |address: &str| (address.to_owned(), Ok(Activity { uses: 0, refused: Some(0) }));
        Now {
            servers: Ok(vec![server("a"), server("b")]),
            activity: vec![quiet("10.0.0.1:6443"), quiet("10.0.0.2:6443")],
            refused: Ok(Refused { counting: Duration::from_secs(60), ..Refused::default() }),
            stores: Ok(vec![Compacted { cluster_id: 7, prefix: "/registry/".into(), oldest: 100 }]),
        }
    }

    #[test]
    fn a_hold_ends_when_all_of_it_is_so() {
        let hold = Hold::judge(Duration::ZERO, &then(), &now());
        assert_eq!((hold.violated(), hold.missing()), (None, vec![]), "{hold:?}");
        assert_eq!(hold.0.iter().map(|condition| condition.name).collect::<Vec<_>>(), ["time", "restarted", "unasked", "compacted"]);
    }

    #[test]
    fn what_is_not_so_is_named_with_what_to_do_each_for_itself() {
        type Change = fn(&mut AtDisable, &mut Now);
        let table: [(&str, Change); 14] = [
            ("restart kube-apiserver on b: it has run since before the disable", |_, now| {
                now.servers.as_mut().expect("known")[1].holder = "apiserver-b_1".into();
            }),
            ("restart kube-apiserver at 10.0.0.2:6443: it has used the version", |_, now| {
                now.activity[1].1 = Ok(Activity { uses: 3, refused: Some(0) });
            }),
            ("which API servers there are is not known: away", |_, now| now.servers = Err("away".into())),
            ("no API server has a Lease", |_, now| now.servers = Ok(vec![])),
            ("which API servers ran at the disable is not on record", |then, _| then.servers.clear()),
            ("what was asked of the plugin of this node is not known: away", |_, now| now.refused = Err("away".into())),
            ("the API server at 10.0.0.1:6443 asked for it is not known: away", |_, now| now.activity[0].1 = Err("away".into())),
            ("its metrics do not say", |_, now| now.activity[0].1 = Ok(Activity { uses: 0, refused: None })),
            ("1 of 2 were asked", |_, now| drop(now.activity.pop())),
            ("compacted to revision 99 and was scanned at 100: etcdctl compaction 100", |_, now| {
                now.stores.as_mut().expect("known")[0].oldest = 99;
            }),
            ("was scanned at the disable and is not among the stores now", |then, _| {
                then.stores.push(Scanned { cluster_id: 8, prefix: "/registry/".into(), revision: 1 });
            }),
            ("etcd 0000000000000007/other/ was not scanned", |_, now| {
                now.stores.as_mut().expect("known").push(Compacted { cluster_id: 7, prefix: "/other/".into(), oldest: 500 });
            }),
            ("up to where etcd is compacted is not known: away", |_, now| now.stores = Err("away".into())),
            ("up to which revision etcd was scanned at the disable is not on record", |then, _| then.stores.clear()),
        ];
        for (expected, change) in table {
            let (mut then, mut now) = (then(), now());
            change(&mut then, &mut now);
            let hold = Hold::judge(Duration::ZERO, &then, &now);
            assert_eq!(hold.violated(), None, "{expected}");
            assert_eq!(hold.may_end(), !expected.ends_with("not on record") && !expected.ends_with("was not scanned"), "{expected}");
            assert!(matches!(hold.missing()[..], [one] if one.contains(expected)), "{expected}: {:?}", hold.missing());
        }
        let early = Hold::judge(Duration::from_secs(5), &then(), &now());
        assert_eq!(early.missing(), ["5s of the stated time are left"]);
    }

    #[test]
    fn who_asked_for_the_version_is_said_before_all_that_is_missing() {
        let mut asked = now();
        asked.refused = Ok(Refused { count: 3, last: Duration::from_secs(61), counting: Duration::from_secs(90) });
        asked.stores = Err("away".into());
        let hold = Hold::judge(Duration::ZERO, &then(), &asked);
        assert_eq!(hold.violated(), Some("3 Decrypts asked for it since the disable, the last one 1m 1s ago"));
        let mut elsewhere = now();
        elsewhere.activity[1].1 = Ok(Activity { uses: 0, refused: Some(2) });
        let hold = Hold::judge(Duration::ZERO, &then(), &elsewhere);
        assert!(hold.violated().is_some_and(|what| what.contains("10.0.0.2:6443 was refused 2 Decrypts")), "{hold:?}");
    }

    #[test]
    fn what_was_recorded_with_the_last_disable_is_read_back_and_nothing_else_is() {
        let (mut document, _) = document_with(StateLabel::Disabled);
        let key_id = document.versions[0].key_id;
        let at = "2027-02-01T00:00:00Z".parse().expect("valid");
        assert_eq!(AtDisable::read(&document, key_id), (0, AtDisable::default()), "never disabled");
        let add = |document: &mut Document, what: &str| {
            rotation::record(document, at, what.parse().expect("valid")).expect("counts");
            document.generation
        };
        let entries = then().entries(key_id.version).expect("fits");
        for entry in &entries {
            add(&mut document, entry.as_str());
        }
        let generation = add(&mut document, "disable 1 scan of it");
        add(&mut document, "disable 12 of another version");
        assert_eq!(AtDisable::read(&document, key_id), (generation, then()));
        // Disabled again, by a person who took the risk: what was true then says nothing about now.
        add(&mut document, "enable 1");
        let again = add(&mut document, "disable 1 risk accepted: a test");
        assert_eq!(AtDisable::read(&document, key_id), (again, AtDisable::default()));
        for bad in ["hold 1 store 7 /registry/ 5", "hold 1 store 0000000000000007 /registry/ +5", "hold 1 server", "hold 1 node a"] {
            add(&mut document, entries[0].as_str());
            add(&mut document, bad);
            add(&mut document, "disable 1 scan");
            assert_eq!(AtDisable::read(&document, key_id).1, AtDisable::default(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_read_back_is_not_recorded() {
        let with = |prefix: &str, holder: &str| AtDisable {
            stores: vec![Scanned { cluster_id: 7, prefix: prefix.into(), revision: 1 }],
            servers: vec![holder.into()],
        };
        assert!(with("/registry/", "a_1").entries(Version::FIRST).is_some());
        for (prefix, holder) in [("/a b/", "a_1"), ("/registry/", "a 1"), ("/registry/", ""), (&*format!("/{}/", "x".repeat(200)), "a_1")] {
            assert_eq!(with(prefix, holder).entries(Version::FIRST), None, "{prefix} {holder}");
        }
        let many = AtDisable { stores: vec![], servers: (0..=MAX_ENTRIES).map(|n| n.to_string()).collect() };
        assert_eq!(many.entries(Version::FIRST), None);
    }
}
