//! `docs/migration.md`, followed on nodes as kubeadm sets them up: from each kind of provider to Keywright, every object as before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use keywright_testbed::api::base64;
use keywright_testbed::kubeadm::{Cluster, Mount, Settings, Unit};
use keywright_testbed::page::blocks;
use keywright_testbed::ran::Ran;

use crate::guide::{EVERY, Guide, read, write};
use crate::stack::{KEYWRIGHT, SOON, bytes, tools};

const PAGE: Guide = Guide { name: "docs/migration.md", text: include_str!("../../docs/migration.md") };
/// Secrets of each time before the migration, as the page shows them.
const EACH: u64 = 20;

/// The line of Keywright, as on the page.
const KEYWRIGHT_V2: &str = "kms: {apiVersion: v2, name: keywright, endpoint: unix:///run/keywright/kms.sock}";

const BEFORE: &str = "Before you begin";
const PLAINTEXT: [&str; 2] = [BEFORE, "From plaintext"];
const BACK: [&str; 2] = [BEFORE, "The way back"];
const LOCAL: [&str; 2] = [BEFORE, "From aescbc, aesgcm or secretbox"];
const KMS_V1: [&str; 2] = [BEFORE, "From KMS v1"];
const OTHER: [&str; 2] = [BEFORE, "From another KMS v2 plugin"];

/// Keywright set up and running, with these lines under `[kms]`.
fn settings(nodes: u8, encryption: Option<String>, kms: &str) -> Settings {
    let made = crate::home::Configured::new("");
    let keyring = std::fs::read(made.config.with_file_name("keyring")).expect("init made one");
    let config = format!(
        "keyring = \"/etc/keywright/keyring\"\nstate_dir = \"/var/lib/keywright\"\n[seal]\nkey_file = \"/etc/keywright/seal.key\"\n[socket]\npath = \"/run/keywright/kms.sock\"\n[kms]\n{kms}"
    );
    let keywright = ["keywright", "serve", "--config", "/etc/keywright/config.toml"].map(str::to_owned).to_vec();
    Settings {
        nodes,
        encryption,
        feature_gates: None,
        mounts: vec![],
        keywright: vec![("config.toml", config.into_bytes()), ("seal.key", bytes(64, 1)), ("keyring", keyring)],
        programs: vec![("keywright", PathBuf::from(KEYWRIGHT))],
        units: vec![Unit { name: "keywright", command: keywright, ready: " INFO ready " }],
    }
}

/// An EncryptionConfiguration in the form of the page, its providers one line each.
fn configuration(providers: &[&str]) -> String {
    let lines: String = providers.iter().map(|provider| format!("      - {provider}\n")).collect();
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n  - resources: [secrets, configmaps]\n    providers:\n{lines}"
    )
}

#[test]
fn from_plaintext_on_two_nodes() {
    let mut cluster = Cluster::start(tools(), &settings(2, None, "")).expect("a cluster");
    let client = cluster.nodes()[0].client();
    write(&client, "kept", EACH);
    PAGE.follow(&PLAINTEXT, &mut cluster, &read(&client));
}

#[test]
fn back_to_plaintext_on_two_nodes() {
    let mut settings = settings(2, Some(configuration(&[KEYWRIGHT_V2])), "");
    settings.mounts.push(Mount { name: "keywright", folder: "/run/keywright" });
    let mut cluster = Cluster::start(tools(), &settings).expect("a cluster");
    let client = cluster.nodes()[0].client();
    write(&client, "kept", EACH);
    PAGE.follow(&BACK, &mut cluster, &read(&client));
}

#[test]
fn a_file_that_is_only_edited_is_taken_without_a_restart() {
    let mut settings = settings(1, Some(configuration(&["identity: {}", KEYWRIGHT_V2])), "");
    settings.mounts.push(Mount { name: "keywright", folder: "/run/keywright" });
    let mut cluster = Cluster::start(tools(), &settings).expect("a cluster");
    let client = cluster.nodes()[0].client();
    let count = "keywright scan --config \"$CONFIG\" --resources secrets | awk '$1 == \"secrets\" { print $2, $3 }'";
    write(&client, "before", 1);
    PAGE.follow(&[BEFORE], &mut cluster, &read(&client));
    let node = &mut cluster.nodes()[0];
    assert_eq!(node.run(count, SOON).expect("it runs"), ["1 plaintext"]);
    let edit = format!("providers <<'END'\n      - {KEYWRIGHT_V2}\n      - identity: {{}}\nEND\ntaken");
    // The API server looks once a minute.
    assert_eq!(node.run(&edit, 2 * SOON).expect("it is taken"), ["taken; plugins: ok"]);
    write(&client, "after", 1);
    assert_eq!(node.run(count, SOON).expect("it runs"), ["1 plaintext", "1 kms-v2"]);
}

#[test]
fn from_three_local_providers_and_plaintext() {
    let key = |name: &str, byte| format!("{{keys: [{{name: '{name}', secret: {}}}]}}", base64(&[byte; 32]));
    let all = [
        format!("secretbox: {}", key("key1", 1)),
        format!("aesgcm: {}", key("key1", 2)),
        format!("aescbc: {}", key("with:colon", 3)),
        "identity: {}".into(),
    ];
    // The one at this place is the last that came to the front.
    let at = |first: usize| configuration(&all.iter().skip(first).map(String::as_str).collect::<Vec<_>>());
    let mut cluster = Cluster::start(tools(), &settings(1, Some(at(3)), "")).expect("a cluster");
    let client = cluster.nodes()[0].client();
    write(&client, "plain", EACH);
    for (first, name) in [(2, "aescbc"), (1, "aesgcm"), (0, "secretbox")] {
        cluster.nodes()[0].reconfigure(&at(first)).expect("the API server takes it");
        write(&client, name, EACH);
    }
    PAGE.follow(&LOCAL, &mut cluster, &read(&client));
}

#[test]
fn from_kms_v1() {
    let v1 = configuration(&["kms: {apiVersion: v1, name: keywright-v1, endpoint: unix:///run/keywright/kms.sock}"]);
    let settings = settings(1, Some(v1), "v1 = true\nlegacy_clients = true\n");
    let mounts = vec![Mount { name: "keywright", folder: "/run/keywright" }];
    let mut cluster = Cluster::start(tools(), &Settings { feature_gates: Some("KMSv1=true"), mounts, ..settings }).expect("a cluster");
    let client = cluster.nodes()[0].client();
    write(&client, "kept", EACH);
    PAGE.follow(&KMS_V1, &mut cluster, &read(&client));
    let node = &cluster.nodes()[0];
    assert!(!node.file("/etc/keywright/config.toml").expect("it is there").contains("true"), "v1 is still served");
}

#[test]
fn from_another_plugin() {
    let other = configuration(&["kms: {apiVersion: v2, name: other, endpoint: unix:///run/other/kms.sock}"]);
    let mut settings = settings(1, Some(other), "");
    settings.mounts.push(Mount { name: "other", folder: "/run/other" });
    let command = vec![tools().refplugin().display().to_string(), "--socket".into(), "/run/other/kms.sock".into()];
    settings.units.push(Unit { name: "other", command, ready: "ready" });
    let mut cluster = Cluster::start(tools(), &settings).expect("a cluster");
    let client = cluster.nodes()[0].client();
    write(&client, "kept", EACH);
    PAGE.follow(&OTHER, &mut cluster, &read(&client));
}

#[test]
fn every_block_of_the_page_is_run_by_one_of_these_tests() {
    let run: BTreeSet<&str> = [&PLAINTEXT[..], &BACK, &LOCAL, &KMS_V1, &OTHER].concat().into_iter().collect();
    let page = blocks(PAGE.text);
    let there: BTreeSet<&str> = page.iter().map(|block| block.section.as_str()).collect();
    assert_eq!(there, run);
    for block in &page {
        assert!(["", EVERY].contains(&block.note.as_str()), "line {}: {:?}", block.line, block.note);
    }
}

/// Options stand in running text too, which nothing executes.
#[test]
fn every_option_that_the_page_names_exists() {
    let said = |program: &Path, words: &[&str]| {
        let ran = Ran::of(Command::new(program).args(words)).expect("it ends by itself");
        ran.out + &ran.err
    };
    let commands = ["scan", "status", "rotate rewrite", "recover drill", "recover list", "init"];
    let help = |command: &'static str| [&command.split(' ').collect::<Vec<_>>()[..], &["--help"]].concat();
    let of_commands: Vec<_> = commands.iter().map(|command| (command, said(Path::new(KEYWRIGHT), &help(command)))).collect();
    let kubectl = tools().kubectl();
    let kubectl = [&["options"][..], &["get", "--help"], &["replace", "--help"]].map(|words| said(&kubectl, words));
    let others = [said(&tools().kube_apiserver(), &["--help"]), said(Path::new("systemctl"), &["--help"])]
        .into_iter()
        .chain(kubectl)
        .collect::<Vec<_>>();
    let mut seen = 0;
    for (line, number) in PAGE.text.lines().zip(1..) {
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(|word| word.starts_with("--") && word.len() > 3);
        let ours: Vec<_> = of_commands.iter().filter(|(name, _)| line.contains(**name)).map(|(_, help)| help).collect();
        for word in words {
            let known = |help: &&String| help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|known| known == word);
            assert!(ours.iter().copied().chain(&others).any(|help| known(&help)), "line {number}: nothing here has the option {word}");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen} options: is this the page?");
}
