//! `docs/export.md`, format 2: the export of a keyring whose keys are in tokens.

use keywright::entropy::OsEntropy;
use keywright::export::{Export, ExportError};
use keywright::keyring::document::Document;
use keywright::keyring::store;
use keywright::provider::pkcs11::Tokens;
use keywright::secret::SecretBytes;

use crate::in_tokens::vectors;
use crate::vectors::text;

#[test]
fn an_export_says_where_keys_in_tokens_are_and_has_those_of_the_file() {
    let vectors = vectors();
    let (vector, expected) = (&vectors.every_state, text(&vectors.export));
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keyring");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
    std::fs::write(&path, text(&vector.lines)).expect("write");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    let opened = store::read(&path, &vector.openers[0].opener(), &Tokens::none()).expect("opens");
    let export = Export::of(&opened).expect("exports");
    assert_eq!(std::str::from_utf8(export.text.expose_secret()).expect("text"), expected);
    for key in &vectors.keys {
        assert!(!expected.contains(&base16ct::lower::encode_string(&key.secret.0)), "{}", key.place);
    }

    let open = |text: &str| Export::open(SecretBytes::from_vec(text.as_bytes().to_vec()), &Tokens::none(), &OsEntropy);
    let (again, theirs) = open(&expected).expect("opens");
    assert_eq!(again.digest, export.digest);
    let homes = |document: &Document| document.versions.iter().map(|v| v.in_token().cloned()).collect::<Vec<_>>();
    assert_eq!((homes(&theirs.document), &theirs.document.attempts), (homes(&opened.document), &opened.document.attempts));
    let attempt = vectors.export.iter().find(|line| line.starts_with("attempt ")).expect("an attempt");
    for (defect, text) in [
        ("format 1", expected.replacen("export 2\n", "export 1\n", 1)),
        ("format 3", expected.replacen("export 2\n", "export 3\n", 1)),
        ("a key beside a place", expected.replacen(" at pkcs11:", &format!(" key {} at pkcs11:", "00".repeat(32)), 1)),
        ("a slot", expected.replacen("\nversion ", &format!("\n{}\nversion ", vector.lines[8]), 1)),
        ("a place in another form", expected.replacen("%C3", "%c3", 1)),
        ("an attempt behind the history", format!("{}{attempt}\n", expected.replacen(&format!("{attempt}\n"), "", 1))),
        ("no last entry", expected.trim_end().rsplit_once('\n').expect("lines").0.to_owned() + "\n"),
    ] {
        assert_ne!(text, expected, "{defect}");
        let refused = open(&text).err().unwrap_or_else(|| panic!("{defect} is not refused"));
        assert_eq!(matches!(refused, ExportError::Format(3)), defect == "format 3", "{defect}: {refused}");
    }
}
