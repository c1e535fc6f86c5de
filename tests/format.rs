//! Frozen formats: what `docs/formats.md` promises, against vectors that an independent implementation made.
//!
//! The vectors in `tests/vectors` say what every byte must be. Their SHA-256 stands here, so that none of them changes in silence: a
//! value in somebody's etcd does not change either. A new format gets a new file beside the old ones.

#[path = "format/acknowledgement.rs"]
mod acknowledgement;
#[path = "format/canary.rs"]
mod canary;
#[path = "format/canonical.rs"]
mod canonical;
#[path = "format/documentation.rs"]
mod documentation;
#[path = "format/envelope.rs"]
mod envelope;
#[cfg(feature = "operator")]
#[path = "format/export.rs"]
mod export;
#[path = "format/in_tokens.rs"]
mod in_tokens;
#[path = "format/key_id.rs"]
mod key_id;
#[path = "format/keyring.rs"]
mod keyring;
#[cfg(feature = "operator")]
#[path = "format/recover.rs"]
mod recover;
#[path = "format/report.rs"]
mod report;
#[path = "format/script.rs"]
mod script;
#[path = "format/seen.rs"]
mod seen;
#[path = "format/stored.rs"]
mod stored;
#[path = "format/vectors.rs"]
#[allow(dead_code, reason = "shared by two test binaries, of which this one has no token to put a key into")]
mod vectors;

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Every vector file and its SHA-256. Lines are added; a line that stands here is never changed.
const FROZEN: [(&str, &str); 10] = [
    ("acknowledgement-1.json", "80e81090529f597bef55e0652d28b659d4bf2213949716a84976601d75b4a609"),
    ("canary-1.json", "fc310b207bec51ddb83219e2875bb7f829517239a0f0b16cb39b37879b24fe70"),
    ("envelope-1-tokens.json", "8e735f2077fcc131970eb4a19e2f9d4c97d45d32df89f3e084a6ffcc344e78d8"),
    ("envelope-1.json", "18ad3cb86ab6040c469663dc6c10b9923cf244ed56350cd3f81e6159e8f99304"),
    ("key_id.json", "d885a2f2f483445b2b3f1328879815b5ae2aaf04c6382fd98396f0e6572c4a7d"),
    ("keyring-1.json", "720a912baffd2ae3ae8df020f8c03201c37be03f2a144cbb6f73bb489e973e9e"),
    ("keyring-2.json", "3c056e7a0162f36bb9b10648c8b7416ff4b21fedbad0c4213b11a51f762c7f0a"),
    ("report-1.json", "ab7902918b2a9f46cd2c21da317b62e1256a59546d8381d3b94258e075ce2be3"),
    ("seen-1.json", "dd29b35fc9caa9bab99f1732d21d9a5a403099ff824913734d76fe1c40859a6b"),
    ("stored-1.json", "3321b002853a84787cdb21e35c9a0a166ffdf7b6c0e4ebaea544b8a7a5b84b85"),
];

#[test]
fn no_vector_was_changed_added_or_removed_in_silence() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut found: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of vectors")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8"))
        .filter(|name| name.ends_with(".json"))
        .map(|name| {
            let digest = base16ct::lower::encode_string(&Sha256::digest(fs::read(folder.join(&name)).expect("a readable vector")));
            (name, digest)
        })
        .collect();
    found.sort();
    let frozen = FROZEN.map(|(name, digest)| (name.to_owned(), digest.to_owned()));
    assert_eq!(found, frozen, "vectors are frozen: add a file for a new format, never change one");
}
