//! Which test targets the workspace has, by cargo's own account: none may be forgotten.

use std::path::Path;

use serde_json::Value;

use super::report::Report;
use crate::run::{TaskError, cargo, output};

/// A target that holds tests.
#[derive(Debug, Clone)]
pub(super) struct Target {
    package: String,
    /// As the command line spells it.
    pub(super) name: String,
    /// Relative to its package.
    source: String,
    /// A file of `tests/`, which exists for its tests alone.
    integration: bool,
    pub(super) required_features: Vec<String>,
}

impl Target {
    /// Whether it is a test file that plain `cargo test` skips.
    pub(super) fn is_gated(&self) -> bool {
        self.integration && !self.required_features.is_empty()
    }
}

/// The test targets of every package of the workspace.
pub(super) fn of_workspace() -> Result<Vec<Target>, TaskError> {
    let text = output(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    parse(&text).map_err(|error| TaskError::Output { command: "cargo metadata".to_owned(), reason: error.to_string() })
}

fn parse(metadata: &str) -> Result<Vec<Target>, serde_json::Error> {
    let metadata: Value = serde_json::from_str(metadata)?;
    let mut targets = Vec::new();
    for package in list(&metadata["packages"]) {
        let folder = Path::new(text(&package["manifest_path"])).parent().unwrap_or(Path::new(""));
        for target in list(&package["targets"]).iter().filter(|target| target["test"] == true) {
            let source = Path::new(text(&target["src_path"]));
            targets.push(Target {
                package: text(&package["name"]).to_owned(),
                name: text(&target["name"]).to_owned(),
                source: source.strip_prefix(folder).unwrap_or(source).display().to_string(),
                integration: list(&target["kind"]).iter().any(|kind| kind == "test"),
                required_features: list(&target["required-features"]).iter().map(|feature| text(feature).to_owned()).collect(),
            });
        }
    }
    Ok(targets)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// One sentence for each target that no stage ran, or that is a test file and ran no test.
pub(super) fn not_run(targets: &[Target], ran: &Report) -> Vec<String> {
    let problem = |target: &Target| {
        let Target { package, source, .. } = target;
        match ran.of(source, &target.name.replace('-', "_")) {
            None => Some(format!("no stage ran {source} of {package}")),
            Some(tally) if target.integration && tally.passed + tally.failed == 0 => Some(format!("{source} of {package} ran no test")),
            Some(_) => None,
        }
    };
    targets.iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"packages": [{"name": "keywright", "manifest_path": "/x/Cargo.toml", "targets": [
        {"name": "keywright", "kind": ["lib"], "src_path": "/x/src/lib.rs", "test": true},
        {"name": "in-cluster", "kind": ["test"], "src_path": "/x/tests/in-cluster.rs", "test": true, "required-features": ["cluster-tests"]},
        {"name": "keywright-operator", "kind": ["bin"], "src_path": "/x/src/operator.rs", "test": true, "required-features": ["operator"]},
        {"name": "empty", "kind": ["test"], "src_path": "/x/tests/empty.rs", "test": true},
        {"name": "build-script-build", "kind": ["custom-build"], "src_path": "/x/build.rs", "test": false}
    ]}]}"#;

    #[test]
    fn a_forgotten_target_and_an_empty_one_are_named() {
        let targets = parse(METADATA).expect("the text above is JSON");
        assert_eq!(targets[1].required_features, ["cluster-tests"]);
        let gated: Vec<_> = targets.iter().filter(|target| target.is_gated()).map(|target| target.name.as_str()).collect();
        assert_eq!(gated, ["in-cluster"], "a program is no test file");
        let mut ran = Report::default();
        ran.see("     Running unittests src/lib.rs (target/debug/deps/keywright-00)");
        ran.see("     Running unittests src/operator.rs (target/debug/deps/keywright_operator-00)");
        ran.see("     Running tests/empty.rs (target/debug/deps/empty-00)");
        let expected = ["no stage ran tests/in-cluster.rs of keywright", "tests/empty.rs of keywright ran no test"];
        assert_eq!(not_run(&targets, &ran), expected);
        ran.see("     Running tests/in-cluster.rs (target/debug/deps/in_cluster-00)");
        ran.see("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        assert_eq!(not_run(&targets, &ran), expected[1..]);
    }
}
