//! What OpenSC's pkcs11-tool prints: slots and objects of any module.

use crate::Result;

use super::Hsm;

/// Something in a token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object {
    /// What kind of object: `Secret Key Object; AES length 32`. Empty with NSS, whose tool lists secret keys alone.
    pub kind: String,
    /// CKA_LABEL.
    pub label: String,
    /// CKA_ID in hexadecimal. Empty with NSS, whose tool does not say.
    pub id: String,
    /// How it may be reached: `sensitive, always sensitive, never extractable, local`. Empty with NSS.
    pub access: String,
}

/// A slot with a token that is initialised.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// As `--slot` takes it.
    pub(super) id: String,
    pub(super) serial: String,
}

impl Hsm {
    /// Runs pkcs11-tool on the module.
    pub(super) fn tool(&self, words: &[&str]) -> Result<String> {
        let module = self.module().display().to_string();
        self.run("pkcs11-tool", "opensc", &[&["--module", module.as_str()], words].concat())
    }

    pub(super) fn slots(&self) -> Result<Vec<Slot>> {
        Ok(slots(&self.tool(&["--list-token-slots"])?))
    }
}

/// `Slot 0 (0x51547cc1): name`, then `  serial num  :  text` if the token is initialised.
fn slots(text: &str) -> Vec<Slot> {
    let mut slots = Vec::new();
    let mut id = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("Slot ") {
            id = rest.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or(String::new(), |(id, _)| id.to_owned());
        } else if let Some(serial) = field(line, "serial num") {
            slots.push(Slot { id: id.clone(), serial });
        }
    }
    slots
}

/// `Secret Key Object; AES length 32`, then fields with two spaces in front.
pub(super) fn objects(text: &str) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    for line in text.lines() {
        if !line.starts_with(' ') && line.contains("Object;") {
            objects.push(Object { kind: line.to_owned(), ..Object::default() });
        } else if let Some(last) = objects.last_mut() {
            let fields = [("label", &mut last.label), ("ID", &mut last.id), ("Access", &mut last.access)];
            for (name, value) in fields {
                if let Some(text) = field(line, name) {
                    *value = text;
                }
            }
        }
    }
    objects
}

/// symkeyutil's table: a line of headings, the token's name with a colon, then `name length strength type <restricted>`.
pub(super) fn nss_keys(text: &str) -> Vec<Object> {
    let lines = text.lines().filter(|line| line.ends_with("<restricted>"));
    lines.map(|line| Object { label: line.split_whitespace().next().unwrap_or_default().to_owned(), ..Object::default() }).collect()
}

fn field(line: &str, name: &str) -> Option<String> {
    let (found, value) = line.strip_prefix("  ")?.split_once(':')?;
    (found.trim() == name).then(|| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_counts_when_its_token_is_initialised() {
        let text = "Available slots:\nSlot 0 (0x5154): SoftHSM slot ID 0x5154\n  token label        : one\n  serial num         : d1aa\n\
                    Slot 1 (0x1): SoftHSM slot ID 0x1\n  token state:   uninitialized\n";
        assert_eq!(slots(text), [Slot { id: "0x5154".to_owned(), serial: "d1aa".to_owned() }]);
    }

    #[test]
    fn objects_keep_their_own_fields() {
        let text = "Secret Key Object; AES length 32\n  label:      a: b\n  ID:         0102\n  Access:     sensitive, local\n\
                    Secret Key Object; AES length 32\n  label:      c\n";
        let found = objects(text);
        let fields: Vec<_> = found.iter().map(|object| [object.label.as_str(), &object.id, &object.access]).collect();
        assert_eq!(fields, [["a: b", "0102", "sensitive, local"], ["c", "", ""]]);
    }
}
