//! Each part, ready to run once more.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use keywright::entropy::OsEntropy;
use keywright::envelope::{Envelope, Purpose};
use keywright::etcd::object::{EncryptedObject, SourceType};
use keywright::etcd::snapshot::{Snapshot, Summary};
use keywright::key_id::KeyId;
use keywright::keyring::seal::Opener;
use keywright::keyring::{Keyring, store};
use keywright::provider::pkcs11::Tokens;
use keywright_testbed::tools::Tools;
use serde_json::Value;

use super::{Result, versions};

/// What an API server gives to Encrypt: 32 bytes.
const SEED: [u8; 32] = [9; 32];
/// Of a stored object.
const BODY: [u8; 500] = [0x5a; 500];
const VERSIONS: [usize; 3] = [1, 100, 1_000];
const VALUES: usize = 10_000;

/// Something small that the program does.
pub(crate) struct Part {
    /// A file name too.
    pub(crate) id: &'static str,
    /// As pages name it.
    pub(crate) title: String,
    /// Does it once.
    pub(crate) run: Box<dyn Fn()>,
}

/// Writes the files that the parts read; to make them is not what is measured.
pub(crate) fn prepare(folder: &Path) -> Result<()> {
    for count in VERSIONS {
        let path = keyring(folder, count);
        versions::create(&path);
        versions::grow(&path, count);
    }
    let tools = Tools::build_own(&mut |_| {})?;
    let made = Command::new(tools.snapshotgen()).arg("-out").arg(snapshot(folder)).args(["-values", &VALUES.to_string()]).output()?;
    let made: Value = serde_json::from_slice(&made.stdout)?;
    let summary = scan(&snapshot(folder));
    if made["keys"] != summary.keys || made["bytes"] != summary.bytes || summary.keys == 0 {
        return Err(format!("the snapshot was written with {made}, and read with {} keys", summary.keys).into());
    }
    Ok(())
}

/// Every part, over the files of [`prepare`]. Each has run once, and its answer was right.
pub(crate) fn all(folder: &Path) -> Vec<Part> {
    let ring = load(&keyring(folder, 1));
    let envelope = ring.wrap(Purpose::KmsV2, &SEED, &OsEntropy).expect("a key in memory wraps");
    assert_eq!(unwrap(&ring, &envelope), SEED);
    let name = ring.primary().to_string();
    assert_eq!(name.parse::<KeyId>().ok().as_ref(), Some(ring.primary()));
    let object = object(&name, &envelope);
    let parsed = EncryptedObject::parse(&object).expect("as an API server writes it");
    assert_eq!((parsed.data, parsed.key_id, parsed.source, parsed.source_type), (&BODY[..], &name[..], &envelope[..], SourceType::Seed));

    let ring: &'static Keyring = Box::leak(Box::new(ring));
    let of_keyring = |versions: usize| {
        let path = keyring(folder, versions);
        assert_eq!(load(&path).versions().len(), versions);
        move || drop(black_box(load(&path)))
    };
    let to_unwrap = envelope.clone();
    let snapshot = snapshot(folder);
    let [one, hundred, thousand] = VERSIONS;
    vec![
        part("wrap", "wrap 32 bytes, and prove it", move || {
            black_box(ring.wrap(Purpose::KmsV2, black_box(&SEED), &OsEntropy).is_ok());
        }),
        part("unwrap", "unwrap 32 bytes", move || {
            black_box(unwrap(ring, black_box(&to_unwrap)));
        }),
        part("envelope", "parse an envelope", move || {
            black_box(Envelope::parse(black_box(&envelope)).is_ok());
        }),
        part("key_id", "parse a key_id", move || {
            black_box(black_box(&name).parse::<KeyId>().is_ok());
        }),
        part("load_1", format!("load a keyring of {one} version"), of_keyring(one)),
        part("load_100", format!("load a keyring of {hundred} versions"), of_keyring(hundred)),
        part("load_1000", format!("load a keyring of {thousand} versions"), of_keyring(thousand)),
        part("object", "parse an EncryptedObject", move || {
            black_box(EncryptedObject::parse(black_box(&object)).is_ok());
        }),
        part("snapshot", format!("scan a snapshot of {VALUES} values"), move || {
            black_box(scan(&snapshot));
        }),
    ]
}

fn part(id: &'static str, title: impl Into<String>, run: impl Fn() + 'static) -> Part {
    Part { id, title: title.into(), run: Box::new(run) }
}

fn keyring(folder: &Path, versions: usize) -> PathBuf {
    folder.join(format!("keyring-{versions}"))
}

fn snapshot(folder: &Path) -> PathBuf {
    folder.join("snapshot.db")
}

fn load(path: &Path) -> Keyring {
    store::load(path, &Opener::InsecureDevelopment, &Tokens::none(), &OsEntropy).expect("loads")
}

/// All that a Decrypt does between its message and its answer.
fn unwrap(ring: &Keyring, envelope: &[u8]) -> [u8; 32] {
    let envelope = Envelope::parse(envelope).expect("it was just written");
    let version = ring.find(&envelope.header.key_id).expect("the keyring that wrote it");
    let opened = version.unwrap(Purpose::KmsV2, &envelope).expect("its own");
    opened.expose_secret().try_into().expect("32 bytes")
}

/// Every revision, as `scan` reads a backup.
fn scan(file: &Path) -> Summary {
    let snapshot = Snapshot::open(file).expect("a database");
    let walk = snapshot.every_revision(b"/registry/", &OsEntropy, &mut |standing, entry| {
        black_box((standing, entry.value.first()));
        ControlFlow::Continue(())
    });
    walk.expect("a whole file")
}

/// The message that an API server stores behind its prefix: data, key_id, source, and that the source is a seed.
fn object(key_id: &str, source: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    for (number, value) in [(1, &BODY[..]), (2, key_id.as_bytes()), (3, source)] {
        // Number and kind of the field, then its length: seven bits a byte, the lowest first.
        message.push(number << 3 | 2);
        message.extend([value.len() as u8 | 0x80, (value.len() >> 7) as u8]);
        message.extend_from_slice(value);
    }
    message.extend([5 << 3, 1]);
    message
}
