//! What no command can reach: the exports that hold the material of a destroyed version. `rotate destroy` names them.

use serde_json::{Value, json};

use crate::common::{Place, text};

const RISK: [&str; 2] = ["--accept-risk", "a test"];

/// A keyring, and somebody to export it to.
struct Exporter {
    place: Place,
    recipient: String,
    made: usize,
}

impl Exporter {
    fn new() -> Self {
        let recipient = age::x25519::Identity::generate().to_public().to_string();
        Self { place: Place::configured("", &["--hold", "0s"]), recipient, made: 0 }
    }

    /// Makes an export; its digest.
    fn export(&mut self) -> String {
        self.made += 1;
        let file = self.place.dir().join(format!("export-{}.age", self.made));
        let done = self.place.json(&["keyring", "export", "--to", &self.recipient, "--output-file", text(&file)]);
        done["digest"].as_str().expect("text").to_owned()
    }

    fn with_risk(&self, words: &[&str]) -> Value {
        self.place.json(&[words, &RISK].concat())
    }

    fn rotate(&self) {
        self.place.run(&["rotate", "begin"]).succeeds();
        self.place.run(&["rotate", "promote"]).succeeds();
    }

    /// Takes a retired version as far as it can be destroyed.
    fn disable(&self, key_id: &str) {
        self.with_risk(&["rotate", "verify", key_id]);
        self.with_risk(&["rotate", "disable", key_id]);
    }
}

/// Generation and digest of each export in an answer of `rotate destroy`.
fn held_by(answer: &Value) -> Vec<(u64, Option<String>)> {
    let exports = answer["exports"].as_array().expect("a list");
    let each = exports.iter().map(|export| {
        assert!(export["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{export}");
        (export["generation"].as_u64().expect("a number"), export["digest"].as_str().map(str::to_owned))
    });
    each.collect()
}

#[test]
fn destroy_lists_the_exports_that_still_hold_the_material_and_no_other_ones() {
    let mut bench = Exporter::new();
    bench.export();
    bench.rotate();
    bench.export();
    let [first, second] = <[String; 2]>::try_from(bench.place.key_ids()).expect("two versions");
    bench.disable(&first);
    let last = bench.export();
    let destroy = ["rotate", "destroy", &first, "--yes-destroy", &first];
    let expected = vec![(2, None), (5, None), (8, Some(last.clone()))];
    assert_eq!(held_by(&bench.with_risk(&[&destroy[..], &["--dry-run"]].concat())), expected);
    assert_eq!(held_by(&bench.with_risk(&destroy)), expected);

    // Exports that were made since do not hold it, nor does the list forget the ones that do.
    let after = bench.export();
    assert_eq!(held_by(&bench.with_risk(&destroy)), expected);
    let table = bench.place.run(&[&destroy[..], &RISK].concat()).succeeds();
    assert!(table.contains(&format!("still held by  export {last} of ")), "{table}");
    assert!(table.contains("an earlier export of ") && table.contains("(generation 5)"), "{table}");

    // The second version is in no export from before it was made.
    bench.rotate();
    bench.disable(&second);
    let destroyed = bench.with_risk(&["rotate", "destroy", &second, "--yes-destroy", &second]);
    assert_eq!(held_by(&destroyed), [(5, None), (8, None), (10, Some(after))]);
}

#[test]
fn a_version_that_was_never_exported_is_held_by_no_export() {
    let bench = Exporter::new();
    bench.rotate();
    let first = bench.place.key_ids().remove(0);
    bench.disable(&first);
    let destroyed = bench.with_risk(&["rotate", "destroy", &first, "--yes-destroy", &first]);
    assert_eq!(destroyed["exports"], json!([]));
}
