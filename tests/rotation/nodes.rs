//! Three nodes: three plugins with three keyring files. Nobody wraps with a version before every node has said that it can unwrap it.

use std::path::PathBuf;

use keywright_testbed::plugin::Plugin;

use crate::common::{Place, write};

const NAMES: [&str; 3] = ["cp-1", "cp-2", "cp-3"];

struct Trio {
    nodes: Vec<(Place, Plugin)>,
}

impl Trio {
    fn start() -> Self {
        let first = Place::configured("node = \"cp-1\"", &["--nodes", "cp-3,cp-1,cp-2"]);
        let bytes = first.bytes();
        let others = NAMES[1..].iter().map(|name| {
            let place = Place::configured_without_keyring(&format!("node = {name:?}"));
            write(place.keyring(), &bytes);
            place
        });
        let nodes = std::iter::once(first).chain(others.collect::<Vec<_>>());
        Self {
            nodes: nodes
                .map(|place| {
                    let plugin = place.serve();
                    (place, plugin)
                })
                .collect(),
        }
    }

    fn place(&self, at: usize) -> &Place {
        &self.nodes[at].0
    }

    /// Carries the keyring of the first node to the others and waits until they serve it.
    fn carry(&self) {
        for (place, _) in &self.nodes[1..] {
            place.replace(&self.place(0).bytes());
        }
        self.loaded();
    }

    fn loaded(&self) {
        self.nodes.iter().for_each(|(place, _)| place.loaded());
    }

    /// The acknowledgement of one node, in a file.
    fn ack(&self, at: usize, name: &str) -> PathBuf {
        let path = self.place(0).dir().join(name);
        write(&path, self.place(at).run(&["keyring", "ack"]).succeeds());
        path
    }
}

/// `words` with each of `acks`.
fn with<'a>(words: &[&'a str], acks: &'a [PathBuf]) -> Vec<&'a str> {
    words.iter().copied().chain(acks.iter().flat_map(|ack| ["--ack", crate::common::text(ack)])).collect()
}

#[test]
fn promote_names_the_nodes_that_have_not_acknowledged_until_all_have() {
    let trio = Trio::start();
    let first = trio.place(0);
    first.run(&["rotate", "begin"]).succeeds();
    first.loaded();
    let before = first.bytes();
    // The plugin of this node is asked directly.
    first.run(&["rotate", "promote"]).fails(7, &["have not acknowledged generation 2: cp-2, cp-3", "keywright keyring ack", "--ack FILE"]);
    // An acknowledgement from before the begin speaks of another state.
    let stale = [trio.ack(1, "stale.ack")];
    let words = with(&["rotate", "promote"], &stale);
    first.run(&words).fails(7, &["cp-2 acknowledged generation 1; the keyring is at 2: bring the keyring there first"]);

    trio.carry();
    let acks = [trio.ack(1, "cp-2.ack"), trio.ack(2, "cp-3.ack")];
    first.run(&with(&["rotate", "promote"], &acks[..1])).fails(7, &["have not acknowledged generation 2: cp-3"]);
    first.run(&with(&["rotate", "promote"], &[acks[1].clone(), acks[1].clone()])).fails(7, &["acknowledged generation 2: cp-2\n"]);
    assert_eq!(first.bytes(), before);
    first.run(&with(&["rotate", "promote"], &acks)).succeeds();
    trio.nodes[0].0.loaded();

    // Each node unwraps what the first one wraps now, before the file was carried again.
    let wrapped = first.client().encrypt(b"seed");
    assert_eq!(wrapped.key_id, first.key_ids()[1]);
    for (place, _) in &trio.nodes {
        place.client().opens(&wrapped);
    }
    trio.carry();
    for (place, _) in &trio.nodes {
        assert_eq!(place.client().status(), wrapped.key_id);
    }

    // The same for what takes a version away; a promise for the last state is worth nothing for this one.
    let old = first.key_ids().remove(0);
    let risk = ["--accept-risk", "a test"];
    let words = ["rotate", "disable", &old];
    first.run(&with(&words, &acks)).fails(7, &["cp-2 acknowledged generation 2; the keyring is at 3"]);
    first.run(&[&["rotate", "verify", &old][..], &risk].concat()).succeeds();
    first.loaded();
    first.run(&words).fails(7, &["have not acknowledged generation 4: cp-2, cp-3"]);
}

#[test]
fn a_foreign_an_edited_and_a_strange_acknowledgement_are_each_refused() {
    let trio = Trio::start();
    let first = trio.place(0);
    first.run(&["rotate", "begin"]).succeeds();
    trio.carry();
    let good = trio.ack(1, "cp-2.ack");
    let text = std::fs::read_to_string(&good).expect("read");
    let refused = |name: &str, text: &str, cause: &str| {
        let path = [first.dir().join(name)];
        write(&path[0], text);
        first.run(&with(&["rotate", "promote"], &path)).fails(7, &[name, cause]);
    };
    refused("edited.ack", &text.replace("node cp-2", "node cp-3"), "it is not authentic");
    refused("aged.ack", &text.replace("generation 2", "generation 3"), "it is not authentic");
    refused("empty.ack", "", "it is no acknowledgement");
    refused("cut.ack", &text[..text.len() - 1], "it is no acknowledgement");
    first.run(&["rotate", "promote", "--ack", "/nowhere/cp-2.ack"]).fails(2, &["read the acknowledgement /nowhere/cp-2.ack"]);

    let stranger = Place::configured("node = \"cp-2\"", &["--nodes", "cp-1,cp-2,cp-3"]);
    let _plugin = stranger.serve();
    let foreign = stranger.run(&["keyring", "ack"]).succeeds();
    let id = stranger.json(&["keyring", "show"])["keyring"].as_str().expect("text").to_owned();
    refused("foreign.ack", &foreign, &format!("it is of keyring {id}"));

    // A plugin with this keyring whose name the keyring does not know.
    let unknown = Place::configured_without_keyring("node = \"cp-9\"");
    write(unknown.keyring(), first.bytes());
    let _other = unknown.serve();
    let strange = unknown.run(&["keyring", "ack"]).succeeds();
    refused("strange.ack", &strange, "it is of cp-9, which is not a node of this keyring");

    let nameless = Place::configured_without_keyring("");
    write(nameless.keyring(), first.bytes());
    let _plugin_without_name = nameless.serve();
    nameless.run(&["keyring", "ack"]).fails(5, &["this plugin has no `node` in its configuration"]);
}

#[test]
fn a_person_may_go_on_without_a_node_and_the_history_says_so() {
    let trio = Trio::start();
    let first = trio.place(0);
    first.run(&["rotate", "begin"]).succeeds();
    first.run(&["rotate", "promote", "--accept-risk", "cp-3 burnt down"]).succeeds();
    let shown = first.run(&["keyring", "show"]).succeeds();
    assert!(shown.contains("promote 2 risk accepted: cp-3 burnt down"), "{shown}");
}
