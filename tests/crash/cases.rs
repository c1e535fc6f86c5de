//! The commands that change a keyring, and a keyring for each to change.

use std::sync::OnceLock;

use super::ground::{Files, Ground, RECIPIENT};

const RISK: [&str; 2] = ["--accept-risk", "a keyring of a test"];

/// One command on one keyring.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// `DIR` is the folder it is run in.
    pub(crate) words: Vec<String>,
    pub(crate) before: Files,
    /// The file that it replaces, from the folder.
    pub(crate) target: &'static str,
    /// The configuration that opens the keyring afterwards.
    pub(crate) config_after: &'static str,
    /// What it says when it is run again after it was done: exit code and a text.
    pub(crate) again: (i32, &'static str),
}

impl Case {
    /// The folder that the target is in, and its name there.
    pub(crate) fn place(&self) -> (&'static str, &'static str) {
        self.target.rsplit_once('/').unwrap_or(("", self.target))
    }

    /// The name of a file beside the target: `.NAME` and `suffix`, from the folder.
    pub(crate) fn beside(&self, suffix: &str) -> String {
        let (folder, name) = self.place();
        if folder.is_empty() { format!(".{name}{suffix}") } else { format!("{folder}/.{name}{suffix}") }
    }
}

/// A keyring at each station of a rotation, all of one past.
pub(crate) struct Stations {
    pub(crate) first: Files,
    pub(crate) staged: Files,
    pub(crate) promoted: Files,
    pub(crate) verified: Files,
    pub(crate) disabled: Files,
    /// The full key_id of version 1.
    pub(crate) old: String,
    /// An export of the last of them, and its digest.
    pub(crate) export: (Vec<u8>, String),
}

/// Made once, by the commands themselves.
pub(crate) fn stations() -> &'static Stations {
    static STATIONS: OnceLock<Stations> = OnceLock::new();
    STATIONS.get_or_init(|| {
        let ground = Ground::new(&Files::default());
        let take = |words: &[&str]| {
            ground.run(&[words, &["--config", "DIR/config.toml"]].concat()).succeeds();
            ground.files()
        };
        let first = take(&["init", "--hold", "0s"]);
        let listed = ground.json(&["keyring", "list", "--config", "DIR/config.toml"]);
        let old = listed[0]["key_id"].as_str().expect("key_id").to_owned();
        let with_risk = |step: &str| take(&[&["rotate", step, &old], &RISK[..]].concat());
        let (staged, promoted) = (take(&["rotate", "begin"]), take(&["rotate", "promote"]));
        let (verified, disabled) = (with_risk("verify"), with_risk("disable"));
        let exported =
            ground.json(&["keyring", "export", "--to", RECIPIENT, "--output-file", "DIR/out.age", "--config", "DIR/config.toml"]);
        let digest = exported["digest"].as_str().expect("digest").to_owned();
        let export = (std::fs::read(ground.path("out.age")).expect("read"), digest);
        Stations { first, staged, promoted, verified, disabled, old, export }
    })
}

/// Every command that changes a keyring or what was seen of it.
pub(crate) fn all() -> Vec<Case> {
    let Stations { first, staged, promoted, verified, disabled, old, export: (export, digest) } = stations();
    let with_export = |files: &Files| Files { export: Some(export.clone()), ..files.clone() };
    let import = ["keyring", "import", "DIR/in.age", "--identity", "DIR/identity"];
    let case = |name, words: &[&str], before: &Files| Case {
        name,
        words: [words, &["--config", "DIR/config.toml"]].concat().into_iter().map(str::to_owned).collect(),
        before: before.clone(),
        target: "keyring",
        config_after: "config.toml",
        again: (0, "nothing was changed"),
    };
    vec![
        // An existing keyring is refused, its own one of a moment ago too.
        Case { again: (6, "exists already and is left as it is"), ..case("init", &["init", "--hold", "0s"], &Files::default()) },
        case("rotate begin", &["rotate", "begin"], first),
        case("rotate promote", &["rotate", "promote", &staged_key_id(staged)], staged),
        case("rotate verify", &with_risk("verify", old, &[]), promoted),
        case("rotate disable", &with_risk("disable", old, &[]), verified),
        case("rotate enable", &["rotate", "enable", old], disabled),
        case("rotate destroy", &with_risk("destroy", old, &["--yes-destroy", old]), disabled),
        // The old secret opens nothing any more, and the message says so.
        Case {
            config_after: "config-new.toml",
            again: (3, "this is not the secret that the keyring's key-file slot was made with"),
            ..case("keyring reseal", &["keyring", "reseal", "--to-key-file", "DIR/new.key"], disabled)
        },
        // To standard output, in one write; what a file needs besides is in export.rs.
        Case {
            again: (0, "exported again"),
            ..case("keyring export", &["keyring", "export", "--to", RECIPIENT, "--output", "json"], promoted)
        },
        case("first keyring import", &[&import[..], &["--digest", digest]].concat(), &with_export(&Files::default())),
        case("keyring import", &import, &with_export(first)),
        Case {
            target: "state/seen",
            again: (0, "accepted"),
            ..case("keyring accept-restore", &["keyring", "accept-restore"], &restored())
        },
    ]
}

fn with_risk<'a>(step: &'a str, key_id: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["rotate", step, key_id], more, &RISK[..]].concat()
}

/// An older keyring that was put back where a newer one was seen.
fn restored() -> Files {
    static SEEN: OnceLock<Vec<u8>> = OnceLock::new();
    let seen = SEEN.get_or_init(|| {
        let ground = Ground::new(&stations().disabled);
        let _plugin = ground.serve("config.toml");
        ground.files().seen.expect("the plugin remembers what it has seen")
    });
    Files { seen: Some(seen.clone()), ..stations().staged.clone() }
}

fn staged_key_id(files: &Files) -> String {
    let listed = Ground::new(files).json(&["keyring", "list", "--config", "DIR/config.toml"]);
    listed[1]["key_id"].as_str().expect("key_id").to_owned()
}
