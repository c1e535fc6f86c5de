//! A keyring file that went wrong under a running plugin: the keys loaded before serve on, and everybody is told but the API server.

use std::path::Path;

use keywright_testbed::plugin::Plugin;
use keywright_testbed::{metrics, wait};

use crate::common::{Place, SOON, Wrapped, binary};

/// A served keyring that was rotated once, something wrapped before that, and the file as it was then.
struct Rotated {
    place: Place,
    plugin: Plugin,
    wrapped: Wrapped,
    older: Vec<u8>,
}

fn rotated() -> Rotated {
    let place = Place::configured("", &[]);
    let plugin = place.serve();
    let wrapped = place.client().encrypt(b"seed");
    let older = place.bytes();
    place.run(&["rotate", "begin"]).succeeds();
    place.run(&["rotate", "promote"]).succeeds();
    place.loaded();
    Rotated { place, plugin, wrapped, older }
}

impl Rotated {
    fn failed_metric(&self) -> f64 {
        let page = self.place.admin("/metrics");
        let found = metrics::find(&page, "keywright_keyring_reload_failed", &[]);
        assert_eq!(found.len(), 1, "{page}");
        found[0].value
    }

    /// Asserts that the plugin serves its old keys and says `cause` wherever it should.
    fn alarmed(&self, seen: usize, cause: &str) {
        self.plugin.wait_line_with(seen, SOON, &[" ERROR ", "the keyring file did not load", cause]).expect("the log says so");
        wait::until("an alarm", SOON, || if self.failed_metric() == 1.0 { Ok(()) } else { Err("0".into()) }).expect("the metric says so");
        let state = self.place.admin("/state");
        let alarm = state.lines().find_map(|line| line.strip_prefix("alarm ")).unwrap_or_else(|| panic!("no alarm in {state}"));
        assert!(alarm.contains(cause), "{alarm}");
        let json = self.place.json(&["status"]);
        assert!(json["alarm"].as_str().is_some_and(|alarm| alarm.contains(cause)), "{json}");
        assert_eq!(json["healthz"], "ok");
        let table = self.place.run(&["status"]).succeeds();
        assert!(table.contains("ALARM") && table.contains(cause), "{table}");
        self.serves();
    }

    /// Asserts that old and new versions answer.
    fn serves(&self) {
        let mut client = self.place.client();
        client.opens(&self.wrapped);
        let newer = client.encrypt(b"another seed");
        assert_ne!(newer.key_id, self.wrapped.key_id);
        assert_eq!(newer.key_id, client.status());
        client.opens(&newer);
    }

    /// Asserts that nothing is wrong any more.
    fn calm(&self) {
        wait::until("no alarm", SOON, || if self.failed_metric() == 0.0 { Ok(()) } else { Err("1".into()) }).expect("it ends");
        assert!(!self.place.admin("/state").contains("alarm"));
        assert!(self.place.json(&["status"])["alarm"].is_null());
        assert!(!self.place.run(&["status"]).succeeds().contains("ALARM"));
        self.serves();
    }
}

#[test]
fn a_damaged_file_leaves_the_old_keys_serving_raises_the_alarm_and_a_repaired_one_ends_it() {
    let rotated = rotated();
    rotated.calm();
    let good = rotated.place.bytes();
    let text = String::from_utf8(good.clone()).expect("text");
    let edited = text.replacen(" retired ", " primary ", 1);
    let stranger = Place::configured("", &[]).bytes();
    let cases: [(&str, &[u8], &str); 5] = [
        ("another keyring", &stranger, "the file holds keyring "),
        ("garbage", b"not a keyring at all\n", "not a keyring"),
        ("torn", &good[..good.len() / 2], "torn"),
        ("edited", edited.as_bytes(), "not authentic"),
        ("older", &rotated.older, "an older copy was put in its place"),
    ];
    for (name, bytes, cause) in cases {
        assert_ne!(bytes, good, "{name}");
        let seen = rotated.plugin.log().len();
        rotated.place.replace(bytes);
        rotated.alarmed(seen, cause);
        assert_eq!(rotated.place.bytes(), bytes, "{name}: the plugin left the file alone");
        rotated.place.replace(&good);
        rotated.calm();
    }
    let seen = rotated.plugin.log().len();
    std::fs::remove_file(rotated.place.keyring()).expect("remove");
    rotated.alarmed(seen, "No such file");
    assert!(!rotated.place.keyring().exists(), "no new keyring was made");
    rotated.place.replace(&good);
    rotated.calm();
}

#[test]
fn a_restart_with_an_older_copy_is_refused_until_the_restore_is_accepted() {
    let mut rotated = rotated();
    rotated.plugin.stop(SOON).expect("stops");
    let good = rotated.place.bytes();
    rotated.place.replace(&rotated.older);
    let serve = || crate::common::run(&["serve", "--config", &rotated.place.names()[1]]);
    serve().fails(3, &["generation 1; generation 3 was seen here", "keywright keyring accept-restore"]);
    // Neither does a command build on it.
    rotated.place.run(&["rotate", "begin"]).fails(3, &["an older copy was put in its place", "accept-restore"]);
    rotated.place.run(&["keyring", "verify"]).fails(4, &["an older copy was put in its place", "accept-restore"]);
    assert_eq!(rotated.place.bytes(), rotated.older);

    let accepted = rotated.place.json(&["keyring", "accept-restore"]);
    assert_eq!(accepted["accepted_generation"], 1);
    let plugin = Plugin::configured(binary(), Path::new(&rotated.place.names()[1]), &rotated.place.socket()).expect("starts");
    assert_eq!(plugin.ready().expect("ready"), rotated.wrapped.key_id);
    rotated.place.client().opens(&rotated.wrapped);
    // The newer file is a later state of the same past, and simply loads.
    rotated.place.replace(&good);
    rotated.place.loaded();
    rotated.serves();
}

#[test]
fn a_restart_with_another_keyring_in_the_place_of_ours_is_refused_until_it_is_accepted() {
    let mut rotated = rotated();
    rotated.plugin.stop(SOON).expect("stops");
    let ours = rotated.place.json(&["keyring", "show"])["keyring"].as_str().expect("text").to_owned();
    let stranger = Place::configured("", &[]);
    let theirs = stranger.json(&["keyring", "show"])["keyring"].as_str().expect("text").to_owned();
    let good = rotated.place.bytes();
    rotated.place.replace(&stranger.bytes());
    let cause = format!("the file holds keyring {theirs}; keyring {ours} was seen here");
    let next = "keywright keyring accept-restore";
    let serve = || crate::common::run(&["serve", "--config", &rotated.place.names()[1]]);
    serve().fails(3, &[&cause, next]);
    // Neither does a command build on it.
    rotated.place.run(&["rotate", "begin"]).fails(3, &[&cause, next]);
    rotated.place.run(&["keyring", "verify"]).fails(4, &[&cause, next]);
    assert_eq!(rotated.place.bytes(), stranger.bytes());

    rotated.place.run(&["keyring", "accept-restore"]).succeeds();
    let mut plugin = rotated.place.serve();
    assert_eq!(plugin.ready().expect("ready"), stranger.key_ids()[0]);
    plugin.stop(SOON).expect("stops");
    // A new one in its place is another one too, and whoever makes it is told so.
    std::fs::remove_file(rotated.place.keyring()).expect("remove");
    let made = crate::common::run(&["init", "--config", &rotated.place.names()[1]]).succeeds();
    assert!(made.contains("has seen another keyring") && made.contains(next), "{made}");
    // From now on so is ours.
    rotated.place.replace(&good);
    serve().fails(3, &[&format!("the file holds keyring {ours}; keyring {theirs} was seen here")]);
}
