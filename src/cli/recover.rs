//! `keywright recover`: opens what a backup of etcd holds, without an API server, a plugin or a cluster.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::failure::{Exit, Failure};
use super::keyring::{self, Opening};
use super::output::{self, Answer};
use super::place::Place;
use super::progress::Bar;
use super::scan::now;
use super::{advice, cluster, target};
use crate::entropy::{Entropy, OsEntropy};
use crate::etcd::key::{self, Located, Prefix};
use crate::etcd::snapshot::{Digest, Snapshot};
use crate::hardening;
use crate::provider::pkcs11::Tokens;
use crate::recover::drill::{self, MAX_SAMPLE, Plan};
use crate::recover::label;
use crate::recover::show::{self, Form};
use crate::recover::{OpenError, Opened, Opener};
use crate::secret::SecretBytes;

/// Longest stored value that is opened, in bytes: more than etcd takes.
const MAX_VALUE: usize = 16 << 20;

/// Open stored objects from a snapshot of etcd, with no cluster at all
#[derive(Args)]
#[command(
    after_help = "The keys come from the keyring (--config FILE or --dev) or from an export of it (--export FILE; with --config FILE too, for the tokens
of that configuration), and for aescbc, aesgcm and secretbox from the EncryptionConfiguration. Only `recover decrypt` shows the value of a Secret, and it says so.

Examples:
  keywright recover list --snapshot backup.db --prefix /registry/secrets/
  keywright recover decrypt --snapshot backup.db --key /registry/secrets/default/db --config FILE > db.yaml
  keywright recover drill --snapshot backup.db --export keyring.age --identity recovery.txt --report drill.json"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print one stored object in clear: the one command that shows the value of a Secret
    Decrypt(Decrypt),
    /// Open a sample of every key, to see that a backup could be restored, and write a dated report
    Drill(Drill),
    /// List the keys of a snapshot with what encrypts them
    List(List),
}

/// What opens the objects.
#[derive(Args)]
struct Keys {
    /// An export of the keyring, in place of the keyring; a configuration beside it says where the tokens are that it names
    #[arg(long, value_name = "FILE", conflicts_with = "dev")]
    export: Option<PathBuf>,
    #[command(flatten)]
    opening: Opening,
    /// EncryptionConfiguration that the API server had when it wrote the objects
    #[arg(long, value_name = "FILE")]
    encryption_config: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Example:
  keywright recover decrypt --snapshot backup.db --key /registry/secrets/default/db --dev > db.yaml")]
struct Decrypt {
    #[command(flatten)]
    place: super::place::Arguments,
    /// Open the keyring by a passphrase from the terminal
    #[arg(long)]
    ask_passphrase: bool,
    #[command(flatten)]
    keys: Keys,
    /// The snapshot: of `etcdctl snapshot save`, or a copied `db`
    #[arg(long, value_name = "FILE")]
    snapshot: PathBuf,
    /// The whole etcd key of the object
    #[arg(long, value_name = "KEY")]
    key: String,
    /// How to print the object
    #[arg(long, value_enum, default_value_t = As::Yaml)]
    output: As,
    /// Print to a terminal too, where it may stay in the scroll-back
    #[arg(long)]
    show_on_terminal: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum As {
    Yaml,
    Json,
    /// As it was stored, before it was encrypted
    Raw,
}

#[derive(Args)]
#[command(after_help = "Ends with 4 if anything of the sample does not open.

Example:
  keywright recover drill --snapshot backup.db --dev --sample 20")]
struct Drill {
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    keys: Keys,
    /// The snapshot: of `etcdctl snapshot save`, or a copied `db`
    #[arg(long, value_name = "FILE")]
    snapshot: PathBuf,
    /// How many objects of each key to open
    #[arg(long, value_name = "NUMBER", default_value = "20", value_parser = clap::value_parser!(u64).range(1..=MAX_SAMPLE as u64))]
    sample: u64,
    /// Decides which ones; a drill with the same number takes the same [default: at random]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Write the report, as JSON, to a new file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Example:
  keywright recover list --snapshot backup.db --prefix /registry/secrets/default/")]
struct List {
    #[command(flatten)]
    output: output::Arguments,
    /// The snapshot: of `etcdctl snapshot save`, or a copied `db`
    #[arg(long, value_name = "FILE")]
    snapshot: PathBuf,
    /// Only keys that begin with this
    #[arg(long, value_name = "KEY", default_value = "/registry/")]
    prefix: String,
    /// EncryptionConfiguration, where names of keys or providers have colons
    #[arg(long, value_name = "FILE")]
    encryption_config: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    hardening::apply().map_err(|e| Failure::new(Exit::Unexpected, "forbid core dumps", e, "This is not foreseen; please report it."))?;
    match arguments.what {
        What::Decrypt(decrypt) => self::decrypt(&decrypt),
        What::Drill(drill) => self::drill(&drill),
        What::List(list) => {
            let outcome = self::list(&list);
            list.output.show(outcome)
        }
    }
}

fn decrypt(arguments: &Decrypt) -> Result<(), Failure> {
    let attempted = || format!("decrypt {}", arguments.key.escape_debug());
    if std::io::stdout().is_terminal() && !arguments.show_on_terminal {
        let next = "Send it to a file or a program (> FILE), or say --show-on-terminal.";
        return Err(Failure::new(Exit::Usage, attempted(), "it would be printed in clear on the terminal", next));
    }
    let opener = opener(&arguments.place, arguments.ask_passphrase, &arguments.keys)?;
    let snapshot = open(&arguments.snapshot)?;
    let Some((value, revision)) = find(&snapshot, &arguments.snapshot, arguments.key.as_bytes())? else {
        let next = "`keywright recover list` shows the keys that there are.";
        return Err(Failure::new(Exit::CheckFailed, attempted(), "the snapshot has no such key", next));
    };
    let Opened { plaintext, how } = opener.open(arguments.key.as_bytes(), value.expose_secret()).map_err(|e| match &e {
        OpenError::Token { error, .. } => Failure::new(advice::token_exit(error), attempted(), &e, advice::token(error)),
        _ => Failure::new(Exit::CheckFailed, attempted(), e, "See above what is needed; nothing was printed."),
    })?;
    let form = match arguments.output {
        As::Yaml => Form::Yaml,
        As::Json => Form::Json,
        As::Raw => Form::Raw,
    };
    let shown = show::show(&plaintext, form, Some(revision))
        .map_err(|e| Failure::new(Exit::CheckFailed, attempted(), e, "Say --output raw for the bytes as they were stored."))?;
    super::note(&format!(
        "recover: {} at revision {revision} was opened ({how}) and goes to standard output in clear\n",
        arguments.key.escape_debug()
    ));
    let mut out = std::io::stdout().lock();
    out.write_all(shown.expose_secret())
        .and_then(|()| out.flush())
        .map_err(|e| Failure::new(Exit::Runtime, attempted(), e, "What was written may be a part; write it again."))
}

fn drill(arguments: &Drill) -> Result<(), Failure> {
    let outcome = held(arguments);
    let failed = outcome.as_ref().ok().and_then(|(_, failed)| failed.clone());
    arguments.target.show(outcome.map(|(answer, _)| answer))?;
    failed.map_or(Ok(()), |why| {
        let next = "What does not open here would be lost with the cluster. The report names each; see what it says is needed.";
        Err(Failure::new(Exit::CheckFailed, "open everything in the sample", why, next))
    })
}

fn held(arguments: &Drill) -> Result<(Answer, Option<String>), Failure> {
    let opener = opener(&arguments.target.place, arguments.target.ask_passphrase, &arguments.keys)?;
    let snapshot = open(&arguments.snapshot)?;
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => {
            let mut bytes = [0; 8];
            OsEntropy
                .fill(&mut bytes)
                .map_err(|e| Failure::new(Exit::Unexpected, "choose a sample", e, "Give a number: --seed NUMBER."))?;
            u64::from_be_bytes(bytes)
        }
    };
    let sample = usize::try_from(arguments.sample).unwrap_or(MAX_SAMPLE);
    let mut drill = drill::Drill::new(&opener, Plan { sample, seed, date: now() });
    walk(&snapshot, &arguments.snapshot, b"", &mut |key, value, _| {
        drill.add(key, value);
        ControlFlow::Continue(())
    })?;
    let report = drill.finish();
    let json = serde_json::to_value(&report)
        .map_err(|e| Failure::new(Exit::Unexpected, "write the report", e, "This is not foreseen; please report it."))?;
    if let Some(path) = &arguments.report {
        let failed =
            |e| Failure::new(Exit::Runtime, format!("write the report {}", path.display()), e, "Name a new file with --report FILE.");
        let mut file = std::fs::File::options().write(true).create_new(true).open(path).map_err(failed)?;
        file.write_all(format!("{json:#}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    }
    let failed: u64 = report.keys.iter().map(|key| key.sampled - key.opened).sum();
    let complaint = (!report.is_restorable())
        .then(|| format!("{failed} values of the sample did not open, {} say not who wrote them", report.unreadable));
    Ok((Answer { text: report.table(), json }, complaint))
}

fn list(arguments: &List) -> Result<Answer, Failure> {
    let configuration = arguments.encryption_config.as_deref().map(cluster::read_configuration).transpose()?;
    let snapshot = open(&arguments.snapshot)?;
    let prefix = Prefix::default();
    let mut rows = Vec::new();
    walk(&snapshot, &arguments.snapshot, arguments.prefix.as_bytes(), &mut |key, value, revision| {
        let (by, key_id) = match label::label(value, configuration.as_ref()) {
            Ok(label) => (format!("{} {}", label.kind, label.name), label.key_id.unwrap_or_default()),
            Err(error) => (error.to_string(), String::new()),
        };
        let resource = match key::locate(key, &prefix) {
            Located::BuiltIn(object) | Located::Custom(object) => object.resource.to_string(),
            Located::NotServed(_) | Located::Outside => String::new(),
        };
        rows.push((key.escape_ascii().to_string(), resource, by.trim_end().to_owned(), key_id, revision));
        ControlFlow::Continue(())
    })?;
    rows.sort();
    let text = output::columns(
        &["KEY", "ENCRYPTED BY", "KEY_ID", "REVISION"],
        rows.iter().map(|(key, _, by, key_id, revision)| vec![key.clone(), by.clone(), key_id.clone(), revision.to_string()]),
    );
    let json = rows
        .iter()
        .map(|(key, resource, by, key_id, revision)| {
            json!({ "key": key, "resource": resource, "encrypted_by": by, "key_id": key_id, "mod_revision": revision })
        })
        .collect();
    Ok(Answer { text, json })
}

/// Whatever can open an object: the keyring or an export, and the EncryptionConfiguration.
fn opener(place: &super::place::Arguments, ask: bool, keys: &Keys) -> Result<Opener, Failure> {
    let configuration = keys.encryption_config.as_deref().map(cluster::read_configuration).transpose()?;
    let mut keyrings = Vec::new();
    match (&keys.export, place.resolve()?) {
        (Some(export), place) => {
            // Beside an export the configuration is asked for its tokens alone: its keyring may be what was lost.
            let tokens = if matches!(place, Place::Unnamed) { Tokens::none() } else { place.named()?.source.tokens };
            let opened = keyring::open_export(export, &keys.opening, &tokens)?;
            keyrings.push(opened.prove().map_err(|e| Failure::new(Exit::CheckFailed, "open the export", &e, advice::load(&e)))?);
        }
        (None, Place::Unnamed) => {}
        (None, place) => {
            let named = place.named()?;
            let path = &named.source.path;
            let failed = |e: &crate::keyring::store::LoadError| {
                Failure::new(advice::load_exit(e), format!("open the keyring {}", path.display()), e, advice::load(e))
            };
            let opened = crate::keyring::store::read(path, &named.opener(ask)?, &named.source.tokens).map_err(|e| failed(&e))?;
            keyrings.push(opened.prove().map_err(|e| failed(&e))?);
        }
    }
    if keyrings.is_empty() && configuration.is_none() {
        let next =
            "Name the keyring (--config FILE, --dev), an export (--export FILE) or the EncryptionConfiguration (--encryption-config FILE).";
        return Err(Failure::new(Exit::Usage, "recover", "nothing was named that could open an object", next));
    }
    Ok(Opener::new(keyrings, configuration))
}

fn open(path: &Path) -> Result<Snapshot, Failure> {
    Snapshot::open(path).map_err(|e| {
        let next = "Name a file that `etcdctl snapshot save` wrote, or a copy of a member's `db`.";
        Failure::new(Exit::Configuration, format!("read the snapshot {}", path.display()), e, next)
    })
}

/// Gets an etcd key, the value stored there and the revision that wrote it.
type Visit<'a> = dyn FnMut(&[u8], &[u8], u64) -> ControlFlow<()> + 'a;

/// Shows the current value of every key that begins with `prefix`, the whole file having been compared with its digest.
fn walk(snapshot: &Snapshot, path: &Path, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Failure> {
    let failed = |e| Failure::new(Exit::Incomplete, format!("read the snapshot {}", path.display()), e, "Take another snapshot.");
    let bar = Bar::new("verify", "bytes");
    if snapshot.verify(&mut |done, all| bar.at(done, all)).map_err(failed)? == Digest::Absent {
        super::note("note: the file carries no digest: a changed byte in it may go unnoticed\n");
    }
    let bar = Bar::new("read", "pages");
    let mut visited = 0u32;
    snapshot
        .current(prefix, &OsEntropy, &mut |entry| {
            visited = visited.wrapping_add(1);
            if visited.is_multiple_of(4096) {
                let (done, all) = snapshot.progress();
                bar.at(done, all);
            }
            visit(entry.key, entry.value, entry.mod_revision)
        })
        .map(|_| ())
        .map_err(failed)
}

/// The current value of `key` and the revision that wrote it.
fn find(snapshot: &Snapshot, path: &Path, key: &[u8]) -> Result<Option<(SecretBytes, u64)>, Failure> {
    let mut found = None;
    let mut too_long = false;
    // To its end, so that a damaged file is noticed.
    walk(snapshot, path, key, &mut |at, value, revision| {
        if at == key {
            too_long = value.len() > MAX_VALUE;
            if !too_long {
                found = Some((SecretBytes::from_vec(value.to_vec()), revision));
            }
        }
        ControlFlow::Continue(())
    })?;
    if too_long {
        return Err(Failure::new(Exit::CheckFailed, "open the value", "it is longer than any that etcd takes", "Take another snapshot."));
    }
    Ok(found)
}
