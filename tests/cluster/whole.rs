//! All of it at once: a cluster in plaintext and on `aescbc` goes to KMS, is rotated twice while its runs are killed, and nothing is lost.
#![expect(clippy::print_stdout, reason = "the seed, the kills and the time of each phase are the record of the run")]

#[path = "whole/corpus.rs"]
mod corpus;
#[path = "whole/kills.rs"]
mod kills;
#[path = "whole/leftover.rs"]
mod leftover;
#[path = "whole/network.rs"]
mod network;
#[path = "whole/site.rs"]
mod site;

use std::time::{Duration, Instant};

use corpus::{Object, Prints};
use keywright_testbed::process::Process;
use keywright_testbed::ran::Ran;
use kills::{Kills, Moments};
use leftover::Leftover;
use serde_json::Value;
use site::{Provider, Site};

use crate::stack::{PROVIDER, SOON};

/// Objects that are written first: half of them in plaintext, half under `aescbc`.
const OBJECTS: u64 = 2_000;
/// How often a run is killed in all, at least.
const KILLS: u32 = 20;

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(480);

/// A part of a rotation: what `--until` says, how often it is killed, and when.
struct Part {
    until: &'static str,
    kills: u32,
    moments: Moments,
}

const fn part(until: &'static str, kills: u32, lines: usize, milliseconds: u64) -> Part {
    Part { until, kills, moments: Moments { lines, time: Duration::from_millis(milliseconds) } }
}

const PARTS: [Part; 6] = [
    part("begin", 2, 0, 15),
    part("promote", 2, 0, 15),
    part(REWRITE, 6, 2, 300),
    part("verify", 2, 1, 250),
    part("disable", 1, 0, 250),
    part("destroy", 2, 0, 250),
];
/// Where there is most to do: kills that came too late elsewhere are made up for there.
const REWRITE: &str = "rewrite";

/// The time of each phase.
struct Clock(Instant, Instant);

impl Clock {
    fn passed(&mut self, phase: &str) {
        println!("{phase}: {:.1} s (at {:.1} s)", self.1.elapsed().as_secs_f64(), self.0.elapsed().as_secs_f64());
        self.1 = Instant::now();
    }
}

struct Whole {
    site: Site,
    kills: Kills,
    prints: Prints,
    clock: Clock,
}

#[test]
fn a_cluster_goes_to_kms_and_is_rotated_twice_by_runs_that_are_killed_and_every_object_reads_as_it_did() {
    let test = "whole::a_cluster_goes_to_kms_and_is_rotated_twice_by_runs_that_are_killed_and_every_object_reads_as_it_did";
    network::inside(test, LIMIT, all_of_it);
}

fn all_of_it() {
    let now = Instant::now();
    let mut whole = Whole { site: Site::start(), kills: Kills::new(), prints: Prints::new(), clock: Clock(now, now) };
    whole.migrate();
    whole.rotate(1);
    whole.rotate(2);
    assert!(whole.kills.done >= KILLS, "only {} kills", whole.kills.done);
    whole.has_the_history_of_two_undisturbed_rotations();
    whole.site.restart();
    whole.read_everything();
    whole.clock.passed("API server restarted, every object read");
    whole.every_object_of_a_snapshot_opens();
    whole.clock.passed("snapshot opened");
    whole.site.nothing_secret_was_printed();
    println!("{} kills, {} objects, {:.1} s in all", whole.kills.done, whole.prints.len(), whole.clock.0.elapsed().as_secs_f64());
}

impl Whole {
    fn read_everything(&self) {
        self.site.servers.iter().for_each(|server| corpus::serves(server.api()));
        corpus::check(&self.site.servers, &self.prints);
    }

    /// Asserts that Kubernetes' own packages count the same as a scan, and that every object that must be encrypted is so under `key_id`.
    fn everything_is_under(&self, key_id: &str) {
        self.site.run(&["scan", "--expect-primary", "--require-no-plaintext"]).succeeds();
        let counts = self.site.counts();
        let mut under = 0;
        for ((resource, kind, provider, key), count) in counts.iter().filter(|((resource, ..), _)| corpus::is_encrypted(resource)) {
            assert_eq!((kind.as_str(), provider.as_str(), key.as_str()), ("kms-v2", PROVIDER, key_id), "{resource}");
            under += count;
        }
        assert!(under >= self.prints.len() as u64, "{under} values and {} objects", self.prints.len());
    }

    /// Writes everything without KMS, and moves it there.
    fn migrate(&mut self) {
        let Self { site, prints, clock, .. } = self;
        site.serve_one(&[Provider::Identity]);
        corpus::prepare(site.api());
        corpus::serves(site.api());
        prints.extend(corpus::write(site.api(), 0..OBJECTS / 2));
        site.serve_one(&[Provider::AesCbc, Provider::Identity]);
        corpus::serves(site.api());
        prints.extend(corpus::write(site.api(), OBJECTS / 2..OBJECTS));
        clock.passed("objects in plaintext and under aescbc");

        site.serve_all(&[Provider::Kms, Provider::AesCbc, Provider::Identity]);
        let counts = site.counts();
        let counted =
            |kind: &str| counts.iter().filter(|((r, k, ..), _)| corpus::is_encrypted(r) && k == kind).map(|(_, n)| n).sum::<u64>();
        assert_eq!(counted("aescbc"), OBJECTS / 2);
        assert!(counted("plaintext") >= OBJECTS / 2, "{counts:#?}");
        site.run(&["scan", "--require-no-plaintext"]).fails(4, &["in plaintext", "/registry/"]);
        let rewritten = site.busy(prints, || site.run(&["rotate", "rewrite", "--output", "json"]));
        assert_eq!(rewritten.code, 0, "{rewritten:?}");
        clock.passed("rewritten under KMS");

        // With nothing but KMS: what was left behind could not be read.
        site.serve_all(&[Provider::Kms]);
        let primary = self.site.primary();
        self.everything_is_under(&primary);
        self.read_everything();
        self.clock.passed("API server with nothing but KMS, every object read");
    }

    /// One whole rotation; everything on its way is killed now and then.
    fn rotate(&mut self, number: u32) {
        let old = self.site.primary();
        let leftover = Leftover::of(&self.site);
        for part in PARTS {
            if (part.until, number) == (REWRITE, 1) {
                self.waits_for_the_one_that_is_late(&old);
            }
            self.site.deliver(None);
            match (part.until, number) {
                ("verify", 2) => leftover.blocks(&self.site, &["rotate", "verify", &old]),
                ("disable", 2) => {
                    leftover.blocks(&self.site, &["rotate", "disable", &old]);
                    self.site.busy(&mut self.prints, || self.site.run(&["rotate", "rewrite"])).succeeds();
                }
                ("destroy", _) => {
                    if number == 2 {
                        // Nobody can rewrite what nobody can open: here it is put right as it was put wrong.
                        let new = Leftover::of(&self.site);
                        leftover.blocks(&self.site, &["rotate", "destroy", &old, "--yes-destroy", &old]);
                        new.put(&self.site);
                    }
                    self.hold(&old);
                }
                _ => {}
            }
            self.disturbed(&old, number, &part);
        }
        let states: Vec<_> = self.site.versions().into_iter().map(|(_, state)| state).collect();
        let mut expected = vec!["destroyed"; number as usize];
        expected.push("primary");
        assert_eq!(states, expected, "no kill began another rotation");
        let primary = self.site.primary();
        self.everything_is_under(&primary);
        self.read_everything();
        self.clock.passed(&format!("rotation {number}, every object read"));
    }

    /// One node gets the promoted keyring late: until then its API server writes with the old key, and nothing is rewritten.
    fn waits_for_the_one_that_is_late(&mut self, old: &str) {
        let Self { site, kills, prints, clock } = self;
        let late = site.servers.len() - 1;
        site.deliver(Some(late));
        let (in_time, late) = site.servers.split_at(late);
        let acks = site.acks();
        let only_late = |line: &str| {
            line.starts_with("waiting: ")
                && line.contains(late[0].address())
                && in_time.iter().all(|server| !line.contains(server.address()))
        };
        site.busy(prints, || {
            let mut run = Process::spawn("keywright", &mut site.command(&words(old, REWRITE, &acks))).expect("it starts");
            run.err().wait_for(0, SOON, "all but one to have adopted the key", only_late).unwrap_or_else(|e| panic!("{e}"));
            kills.kill(&mut run, "rotation 1, one API server is late");
            site.run(&["rotate", "rewrite", "--adoption-wait", "1s"]).fails(7, &[late[0].address()]);
        });
        let (object, print) = site.write_through(&late[0]);
        prints.insert(object, print);
        let key_ids = site.key_ids();
        assert_eq!(key_ids[&object.etcd_key()], old, "it was to be late");
        let first = (0..OBJECTS).map(|number| Object(number).etcd_key());
        let moved: Vec<_> = first.filter(|key| key_ids[key] != old).collect();
        assert_eq!(moved, [""; 0], "rewritten while one API server would have written it back");
        clock.passed("one API server is late");
    }

    /// What an operator does and looks at before what was disabled is destroyed.
    fn hold(&mut self, old: &str) {
        self.site.restart();
        self.site.busy(&mut self.prints, || {
            self.site.wait_compacted();
            self.site.waits_for(&["rotate", "destroy", old, "--yes-destroy", old, "--dry-run"]);
        });
        self.site.nobody_was_refused(old);
        self.clock.passed("hold");
    }

    /// A part of a rotation, killed as often as is meant for it, and then left to end.
    fn disturbed(&mut self, old: &str, number: u32, part: &Part) {
        let Self { site, kills, prints, clock } = self;
        let missing = if part.until == REWRITE && number == 2 { KILLS.saturating_sub(kills.done) } else { 0 };
        let before: Vec<_> = prints.iter().map(|(object, print)| (*object, *print)).collect();
        let acks = site.acks();
        let words = words(old, part.until, &acks);
        site.busy(prints, || {
            for kill in 1..=part.kills.max(missing) {
                let what = format!("rotation {number}, {} {kill}", part.until);
                if !kills.shoot(&mut site.command(&words), part.moments, &what) {
                    break;
                }
                let (object, print) = &before[kills.below(before.len())];
                site.is_sound((object, print));
            }
        });
        if part.until == REWRITE {
            // Half of it may be under the one key and half under the other.
            site.counts();
        }
        let ended = site.busy(prints, || site.run(&words));
        assert_eq!(ended.code, 0, "{ended:?}");
        clock.passed(&format!("rotation {number}, {}", part.until));
        if part.until == "destroy" {
            let answer = ended.json();
            assert_eq!((answer["state"].as_str(), answer["next"].as_str()), (Some("destroyed"), Some("every older version is destroyed")));
        }
    }
}

impl Whole {
    /// Asserts that the keyring has each step once, as if no run had ever been killed.
    fn has_the_history_of_two_undisturbed_rotations(&self) {
        let shown = self.site.run(&["keyring", "show", "--output", "json"]).json();
        let first_words = |entry: &Value| {
            let what = entry["what"].as_str().expect("text").to_owned();
            what.split_whitespace().take(2).map(|word| word.split('.').nth(2).unwrap_or(word)).collect::<Vec<_>>().join(" ")
        };
        let history = shown["history"].as_array().expect("a list").iter().map(first_words);
        // What a step notes for the hold is no step.
        let history: Vec<String> = history.filter(|what| !what.starts_with("hold ")).collect();
        let rotation = |old: u32| ["begin", "promote", "verify", "disable", "destroy"].map(|step| (step, old));
        let step = |(step, old): (&str, u32)| format!("{step} {}", if ["begin", "promote"].contains(&step) { old + 1 } else { old });
        let expected: Vec<String> = ["init".to_owned()].into_iter().chain((1..=2).flat_map(rotation).map(step)).collect();
        assert_eq!(history, expected);
    }

    /// Saves a snapshot, and opens every object in it without the cluster.
    fn every_object_of_a_snapshot_opens(&self) {
        let snapshot = self.site.path("backup.db");
        self.site.etcd.compact().expect("etcd compacts");
        self.site.etcd.etcdctl(&["defrag"]).expect("what was compacted leaves the file");
        self.site.etcd.save(&snapshot).expect("a snapshot");
        let snapshot = snapshot.to_str().expect("text");
        let objects: Vec<_> = self.prints.iter().collect();
        corpus::each(&objects, |(object, print)| {
            let key = object.etcd_key();
            let words = ["recover", "decrypt", "--snapshot", snapshot, "--key", &key, "--output", "json"];
            let opened = Ran::of(&mut self.site.command(&words)).expect("it ends by itself");
            assert_eq!(opened.code, 0, "{key}: {}", opened.err);
            assert_eq!(corpus::print(opened.json()), *print, "{key} is not opened as the API server shows it");
        });
    }
}

/// The command that goes as far as `until` on the way from `old`.
fn words<'a>(old: &'a str, until: &'a str, acks: &'a [String]) -> Vec<&'a str> {
    let run = ["rotate", "run", "--from", old, "--no-backup", "a test", "--yes", "--wait-hold", "--output", "json", "--until", until];
    // Slow enough that it can be killed on its way.
    run.into_iter().chain(["--rate", "500"]).chain(acks.iter().map(String::as_str)).collect()
}
