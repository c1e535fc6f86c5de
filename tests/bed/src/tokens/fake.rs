//! The fake module's other side: its script is written here, and its log of calls read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Hsm, Kind, Token, hex};
use crate::tools::Module;
use crate::{Error, Result, wait};

/// A module that does real AES with keys of its own and follows a script beside; `tests/modules/fake/src/script.rs` has the rules.
///
/// Tokens, PINs and keys outlive the processes that use them, and several may at once.
#[derive(Debug)]
pub struct Fake {
    hsm: Hsm,
    folder: PathBuf,
    written: AtomicUsize,
}

impl Fake {
    /// One with no token yet and an empty script. Writes `folder/fake`.
    pub fn new(folder: &Path) -> Result<Self> {
        let store = folder.join("fake");
        let hsm = Hsm::new(Kind::Fake, Module::Fake.path()?, store.clone(), store.clone())?;
        let fake = Self { hsm, folder: store, written: AtomicUsize::new(0) };
        fake.script("")?;
        Ok(fake)
    }

    /// Its tokens.
    pub fn hsm(&self) -> &Hsm {
        &self.hsm
    }

    /// Adds a token of this label and serial number in which these keys are: frozen ones, which no token would make.
    pub fn keep(&self, (label, serial): (&str, &str), pin: &str, keys: &[Kept<'_>]) -> Result<Token> {
        let mut made = self.hsm.made();
        let mut file = fs::File::options().append(true).create(true).open(self.folder.join("state"))?;
        writeln!(file, "token {serial} {} {} 0", hex(label.as_bytes()), hex(pin.as_bytes()))?;
        for key in keys {
            *made += 1;
            writeln!(file, "key {made} {serial}{}", key.attributes())?;
        }
        Ok(Token { hsm: self.hsm.clone(), label: label.to_owned(), serial: serial.to_owned(), pin: pin.to_owned() })
    }

    /// From now on it follows these rules, one a line, and no others; what hangs by an older rule goes on.
    pub fn script(&self, rules: &str) -> Result<()> {
        // The module takes another length for another script, so no two in a row are equally long.
        let padding = "#".repeat(1 + self.written.fetch_add(1, Ordering::Relaxed) % 4096);
        let (file, new) = (self.folder.join("script"), self.folder.join("script.new"));
        fs::write(&new, format!("{rules}\n{padding}\n"))?;
        fs::rename(&new, &file).map_err(|e| Error::while_doing(format!("rename {} to {}", new.display(), file.display()), e))
    }

    /// Every call so far, since the last [`Self::forget_calls`].
    pub fn calls(&self) -> Result<Calls> {
        match fs::read_to_string(self.folder.join("calls")) {
            Ok(text) => Ok(Calls { lines: text.lines().filter_map(Line::read).collect() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Calls { lines: Vec::new() }),
            Err(error) => Err(error.into()),
        }
    }

    /// Empties the log of calls. Only while no call is inside: its end would be on record without its beginning.
    pub fn forget_calls(&self) -> Result<()> {
        Ok(fs::File::options().write(true).create(true).truncate(false).open(self.folder.join("calls"))?.set_len(0)?)
    }

    /// Waits until `calls` of the function `name` (`C_Decrypt`) are inside the module at once.
    pub fn wait_inside(&self, name: &str, calls: usize, limit: Duration) -> Result<()> {
        wait::until(&format!("{calls} {name} inside the module"), limit, || {
            let inside = self.calls().map_err(|e| e.to_string())?.inside(name);
            if inside >= calls { Ok(()) } else { Err(format!("{inside} are")) }
        })
    }
}

/// A key with everything that a token keeps of it, guarded as one that the token made.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// CKA_LABEL.
    pub label: &'a str,
    /// CKA_ID.
    pub id: &'a [u8],
    /// Of AES; else a generic one, which authenticates.
    pub aes: bool,
    /// Its 32 bytes.
    pub secret: &'a [u8],
}

impl Kept<'_> {
    /// As the module's state has them: type and value, by the numbers of the standard.
    fn attributes(&self) -> String {
        let number = |value: u64| hex(&value.to_ne_bytes());
        let flag = |value: bool| hex(&[u8::from(value)]);
        let (secret_key, aes, generic) = (4, 0x1F, 0x10);
        let all = [
            (0x000, number(secret_key)),
            (0x100, number(if self.aes { aes } else { generic })),
            (0x003, hex(self.label.as_bytes())),
            (0x102, hex(self.id)),
            (0x011, hex(self.secret)),
            (0x161, number(self.secret.len() as u64)),
            // CKA_TOKEN, PRIVATE, SENSITIVE, EXTRACTABLE, LOCAL, NEVER_EXTRACTABLE, ALWAYS_SENSITIVE, MODIFIABLE.
            (0x001, flag(true)),
            (0x002, flag(true)),
            (0x103, flag(true)),
            (0x162, flag(false)),
            (0x163, flag(true)),
            (0x164, flag(true)),
            (0x165, flag(true)),
            (0x170, flag(true)),
            // CKA_ENCRYPT, DECRYPT, SIGN, VERIFY.
            (0x104, flag(self.aes)),
            (0x105, flag(self.aes)),
            (0x108, flag(!self.aes)),
            (0x10A, flag(!self.aes)),
        ];
        all.iter().map(|(kind, value)| format!(" {kind}={value}")).collect()
    }
}

/// The fake module's log: which functions were called, in order, and what they answered.
#[derive(Debug)]
pub struct Calls {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    /// Process and thread.
    who: String,
    name: String,
    /// None: the call began; else it ended so.
    answer: Option<u64>,
}

impl Line {
    /// `PID.TID C_Name` at the beginning of a call, `PID.TID C_Name 0xA0` at its end. The last line may be cut: somebody is writing it.
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (who, name) = (words.next()?.to_owned(), words.next()?.to_owned());
        let answer = words.next().map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16));
        Some(Self { who, name, answer: answer.transpose().ok()? })
    }
}

impl Calls {
    /// How many calls of this function began, such as `C_Login`.
    pub fn count(&self, name: &str) -> usize {
        self.lines.iter().filter(|line| line.name == name && line.answer.is_none()).count()
    }

    /// What the calls of this function answered, in order: CKR_ codes.
    pub fn answers(&self, name: &str) -> Vec<u64> {
        self.lines.iter().filter(|line| line.name == name).filter_map(|line| line.answer).collect()
    }

    /// How many of this function are inside the module at the end of the log.
    pub fn inside(&self, name: &str) -> usize {
        self.count(name).saturating_sub(self.answers(name).len())
    }

    /// Most calls of this function that were inside the module at once.
    pub fn most_inside(&self, name: &str) -> usize {
        let steps = self.lines.iter().filter(|line| line.name == name).map(|line| line.answer.is_none());
        let counted = steps.scan(0_usize, |inside, begins| {
            *inside = if begins { *inside + 1 } else { inside.saturating_sub(1) };
            Some(*inside)
        });
        counted.max().unwrap_or(0)
    }

    /// Most threads of one process that were inside the module at once.
    pub fn most_at_once(&self) -> usize {
        let mut most = 0;
        self.walk(|_, inside| most = most.max(inside));
        most
    }

    /// Whether no other thread of the process was inside whenever a call of this function began or ended.
    pub fn always_alone(&self, name: &str) -> bool {
        let mut alone = true;
        self.walk(|line, inside| alone &= line.name != name || inside == 1);
        alone
    }

    /// Gives every line, and how many threads of its process are inside, with the one that comes or goes.
    fn walk<'a>(&'a self, mut see: impl FnMut(&'a Line, usize)) {
        let mut processes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for line in &self.lines {
            let threads = processes.entry(line.who.split('.').next().unwrap_or_default()).or_default();
            threads.insert(&line.who);
            see(line, threads.len());
            if line.answer.is_some() {
                threads.remove(line.who.as_str());
            }
        }
    }
}

/// Adds a token to what the module keeps; gives its serial number.
pub(super) fn add_token(store: &Path, number: u32, label: &str, pin: &str) -> Result<String> {
    let serial = format!("fake{number:012}");
    let mut file = fs::File::options().append(true).create(true).open(store.join("state"))?;
    writeln!(file, "token {serial} {} {} 0", hex(label.as_bytes()), hex(pin.as_bytes()))?;
    Ok(serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_one_process_that_are_inside_together_are_counted() {
        let text = "1.1 C_Login\n1.1 C_Login 0xa0\n1.1 C_Sign\n1.2 C_Sign\n2.3 C_Sign\n1.1 C_Sign 0x0\n1.4 C_Sign\n1.2 C_Si";
        let calls = Calls { lines: text.lines().filter_map(Line::read).collect() };
        assert_eq!((calls.count("C_Sign"), calls.inside("C_Sign"), calls.most_at_once()), (4, 3, 2));
        assert_eq!((calls.most_inside("C_Sign"), calls.most_inside("C_Login")), (3, 1));
        assert_eq!(calls.answers("C_Login"), [0xA0]);
        assert!(calls.always_alone("C_Login") && !calls.always_alone("C_Sign"));
    }
}
