//! Tokens behind PKCS#11 modules, for tests: two real implementations that share nothing, NSS with its quirks, and a fake that follows a
//! script.
//!
//! A module that is not installed or does not build is an error, never a reason to skip. Modules read their configuration from a variable
//! of the environment; a test that loads one into its own process starts itself again by [`alone`].

mod alone;
mod fake;
mod tool;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

pub use alone::alone;
pub use fake::{Calls, Fake, Kept};
pub use tool::Object;

use crate::ran::Ran;
use crate::tools::Module;
use crate::{Error, Result};

/// The security officer's PIN of every token here.
const SO_PIN: &str = "87654321";

/// Where Debian puts its libraries.
const LIBRARIES: &str = if cfg!(target_arch = "aarch64") { "/usr/lib/aarch64-linux-gnu" } else { "/usr/lib/x86_64-linux-gnu" };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    SoftHsm,
    Kryoptic,
    Nss,
    Fake,
}

/// A module with a store of tokens of its own.
#[derive(Debug, Clone)]
pub struct Hsm(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    kind: Kind,
    module: PathBuf,
    /// What the module is told by the environment.
    config: PathBuf,
    /// Folder of everything that the tokens keep.
    store: PathBuf,
    /// Tokens made so far; held while one is made, for a token is found by being new.
    made: Mutex<u32>,
}

impl Hsm {
    /// SoftHSM 2 with no token yet. Writes `folder/softhsm2.conf` and `folder/softhsm2`.
    pub fn softhsm(folder: &Path) -> Result<Self> {
        let module = installed(format!("{LIBRARIES}/softhsm/libsofthsm2.so"), "softhsm2")?;
        let hsm = Self::new(Kind::SoftHsm, module, folder.join("softhsm2.conf"), folder.join("softhsm2"))?;
        let store = hsm.0.store.display();
        std::fs::write(&hsm.0.config, format!("directories.tokendir = {store}\nobjectstore.backend = file\nlog.level = ERROR\n"))?;
        Ok(hsm)
    }

    /// Kryoptic with no token yet. Writes `folder/kryoptic.toml` and `folder/kryoptic`.
    pub fn kryoptic(folder: &Path) -> Result<Self> {
        let hsm = Self::new(Kind::Kryoptic, Module::Kryoptic.path()?, folder.join("kryoptic.toml"), folder.join("kryoptic"))?;
        std::fs::write(&hsm.0.config, "")?;
        Ok(hsm)
    }

    /// NSS softokn with no token yet; it can have one. Writes `folder/nss`. It is configured by [`Self::module_config`], not by a variable.
    pub fn nss(folder: &Path) -> Result<Self> {
        let module = installed(format!("{LIBRARIES}/libsoftokn3.so"), "libnss3")?;
        Self::new(Kind::Nss, module, folder.join("nss"), folder.join("nss"))
    }

    fn new(kind: Kind, module: PathBuf, config: PathBuf, store: PathBuf) -> Result<Self> {
        std::fs::create_dir(&store).map_err(|e| Error::while_doing(format!("create {}", store.display()), e))?;
        Ok(Self(Arc::new(Parts { kind, module, config, store, made: Mutex::new(0) })))
    }

    /// The module, by absolute path.
    pub fn module(&self) -> &Path {
        &self.0.module
    }

    /// The variable that a process needs which loads the module: for `Command::envs`.
    pub fn env(&self) -> Option<(&'static str, &OsStr)> {
        let name = match self.0.kind {
            Kind::SoftHsm => "SOFTHSM2_CONF",
            Kind::Kryoptic => "KRYOPTIC_CONF",
            Kind::Fake => "FAKE_PKCS11",
            Kind::Nss => return None,
        };
        Some((name, self.0.config.as_os_str()))
    }

    /// What C_Initialize is to be given as pReserved: a string for NSS, nothing for others.
    pub fn module_config(&self) -> Option<String> {
        let folder = self.0.store.display();
        (self.0.kind == Kind::Nss).then(|| format!("configdir='sql:{folder}' certPrefix='' keyPrefix='' secmod='secmod.db' flags="))
    }

    /// Makes a token, initialised, with this label and user PIN. Labels may repeat; the serial number is the token's own.
    ///
    /// NSS has one token, whose label is its own too: see [`Token::label`].
    pub fn token(&self, label: &str, pin: &str) -> Result<Token> {
        let mut made = self.made();
        let serial = match self.0.kind {
            Kind::SoftHsm => self.new_serial(|| self.softhsm_init(&["--free"], label, pin))?,
            Kind::Kryoptic => self.kryoptic_init(*made + 1, label, pin)?,
            Kind::Fake => fake::add_token(&self.0.store, *made + 1, label, pin)?,
            Kind::Nss if *made > 0 => return Err(Error::new("NSS has one token, and it was made already")),
            Kind::Nss => self.nss_init(pin)?,
        };
        *made += 1;
        let label = if self.0.kind == Kind::Nss { "NSS Certificate DB" } else { label };
        Ok(Token { hsm: self.clone(), label: label.to_owned(), serial, pin: pin.to_owned() })
    }

    /// Pulls out every token: what they keep goes away until [`Self::put_back`].
    ///
    /// A module that runs may go on from what it has open: SoftHSM does not, Kryoptic and NSS do until they are initialised again. For the fake,
    /// use its script.
    pub fn take_away(&self) -> Result<()> {
        rename(&self.0.store, &self.away())
    }

    /// Puts back what [`Self::take_away`] took.
    pub fn put_back(&self) -> Result<()> {
        rename(&self.away(), &self.0.store)
    }

    fn away(&self) -> PathBuf {
        self.0.store.with_extension("away")
    }

    fn made(&self) -> MutexGuard<'_, u32> {
        self.0.made.lock().expect("no holder of this lock panics")
    }

    /// Runs a program of Debian's on this module.
    fn run(&self, program: &str, package: &str, words: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(words).envs(self.env());
        let ran = Ran::of(&mut command).map_err(|e| Error::new(format!("{e} (install {package})")))?;
        if ran.code != 0 {
            return Err(Error::new(format!("{program} {}: exit {}: {}{}", words.join(" "), ran.code, ran.out, ran.err)));
        }
        Ok(ran.out)
    }

    /// The serial number that is there after `make` and was not before.
    fn new_serial(&self, make: impl FnOnce() -> Result<()>) -> Result<String> {
        let before = self.slots()?;
        make()?;
        let new = self.slots()?.into_iter().find(|slot| !before.iter().any(|old| old.serial == slot.serial));
        new.map(|slot| slot.serial).ok_or_else(|| Error::new("the new token is not in the list of slots"))
    }

    fn softhsm_init(&self, which: &[&str], label: &str, pin: &str) -> Result<()> {
        let words = [which, &["--init-token", "--label", label, "--so-pin", SO_PIN, "--pin", pin]].concat();
        self.run("softhsm2-util", "softhsm2", &words).map(drop)
    }

    fn kryoptic_init(&self, slot: u32, label: &str, pin: &str) -> Result<String> {
        let mut config = std::fs::read_to_string(&self.0.config)?;
        let file = self.0.store.join(format!("{slot}.sql"));
        let _ = writeln!(config, "[[slots]]\nslot = {slot}\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n", file.display());
        std::fs::write(&self.0.config, config)?;
        self.kryoptic_reset(&format!("0x{slot:x}"), label, pin)
    }

    /// Gives the new serial number.
    fn kryoptic_reset(&self, slot: &str, label: &str, pin: &str) -> Result<String> {
        self.tool(&["--slot", slot, "--init-token", "--label", label, "--so-pin", SO_PIN])?;
        let login = ["--slot", slot, "--login", "--login-type", "so", "--so-pin", SO_PIN];
        self.tool(&[&login[..], &["--init-pin", "--new-pin", pin]].concat())?;
        let new = self.slots()?.into_iter().find(|found| found.id == slot);
        new.map(|slot| slot.serial).ok_or_else(|| Error::new(format!("no token is in slot {slot}")))
    }

    fn nss_init(&self, pin: &str) -> Result<String> {
        let file = self.nss_pin_file("pin", pin)?;
        self.run("certutil", "libnss3-tools", &["-N", "-d", &self.nss_folder(), "-f", &file])?;
        Ok("0000000000000000".to_owned())
    }

    fn nss_folder(&self) -> String {
        format!("sql:{}", self.0.store.display())
    }

    fn nss_pin_file(&self, name: &str, pin: &str) -> Result<String> {
        let file = self.0.store.join(name);
        std::fs::write(&file, format!("{pin}\n"))?;
        Ok(file.display().to_string())
    }
}

/// A token of an [`Hsm`].
#[derive(Debug, Clone)]
pub struct Token {
    hsm: Hsm,
    label: String,
    serial: String,
    pin: String,
}

/// How well a key that a test makes is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// Sensitive and not extractable, as ours are.
    Fully,
    /// Sensitive, but it may leave the token under another key.
    Extractable,
    /// Whoever is logged in may read it.
    Readable,
}

impl Token {
    /// The module and store that it is in.
    pub fn hsm(&self) -> &Hsm {
        &self.hsm
    }

    /// CK_TOKEN_INFO.label, without the spaces behind it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// CK_TOKEN_INFO.serialNumber, without the spaces behind it.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The user's PIN.
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// `pkcs11:token=LABEL;serial=SERIAL`, for a configuration.
    pub fn uri(&self) -> String {
        format!("pkcs11:token={};serial={}", escaped(&self.label), escaped(&self.serial))
    }

    /// Changes the user's PIN; this value knows the new one then.
    pub fn change_pin(&mut self, pin: &str) -> Result<()> {
        if self.hsm.0.kind == Kind::Nss {
            let (old, new) = (self.hsm.nss_pin_file("pin", &self.pin)?, self.hsm.nss_pin_file("new-pin", pin)?);
            let words = ["-force", "-dbdir", &self.hsm.nss_folder(), "-changepw", &self.label, "-pwfile", &old, "-newpwfile", &new];
            self.hsm.run("modutil", "libnss3-tools", &words)?;
            self.hsm.nss_pin_file("pin", pin)?;
        } else {
            self.logged_in(&["--change-pin", "--new-pin", pin])?;
        }
        pin.clone_into(&mut self.pin);
        Ok(())
    }

    /// Initialises it again, with the same label and PIN: every object in it is gone. SoftHSM keeps the serial number, Kryoptic draws another.
    pub fn reinitialise(&mut self) -> Result<()> {
        let _made = self.hsm.made();
        match self.hsm.0.kind {
            Kind::SoftHsm => self.hsm.softhsm_init(&["--serial", &self.serial], &self.label, &self.pin),
            Kind::Kryoptic => {
                self.serial = self.hsm.kryoptic_reset(&self.slot()?, &self.label, &self.pin)?;
                Ok(())
            }
            Kind::Nss | Kind::Fake => Err(Error::new("only SoftHSM and Kryoptic can be initialised again here")),
        }
    }

    /// Makes an AES-256 key in the token, from outside the process under test. Ids may repeat. Not with NSS, whose tools make neither
    /// sensitive keys nor such with an id.
    pub fn make_key(&self, label: &str, id: &[u8], guarded: Guarded) -> Result<()> {
        let id = hex(id);
        self.not_nss("make a key")?;
        let more: &[&str] = match guarded {
            Guarded::Fully => &["--sensitive"],
            Guarded::Extractable => &["--sensitive", "--extractable"],
            Guarded::Readable => &["--extractable"],
        };
        self.logged_in(&[&["--keygen", "--key-type", "AES:32", "--usage-decrypt", "--label", label, "--id", &id], more].concat()).map(drop)
    }

    /// Destroys one secret key of this id, from outside the process under test. Not with NSS, whose tools do not find an id.
    pub fn destroy_key(&self, id: &[u8]) -> Result<()> {
        self.not_nss("destroy a key")?;
        self.logged_in(&["--delete-object", "--type", "secrkey", "--id", &hex(id)]).map(drop)
    }

    /// Every object in the token, of any class; with NSS, secret keys alone.
    pub fn objects(&self) -> Result<Vec<Object>> {
        match self.hsm.0.kind {
            Kind::Nss => Ok(tool::nss_keys(&self.nss_keys(&["-L"])?)),
            _ => Ok(tool::objects(&self.logged_in(&["--list-objects"])?)),
        }
    }

    fn not_nss(&self, attempt: &str) -> Result<()> {
        if self.hsm.0.kind == Kind::Nss { Err(Error::new(format!("{attempt}: the tools of NSS cannot"))) } else { Ok(()) }
    }

    fn nss_keys(&self, words: &[&str]) -> Result<String> {
        let pin = self.hsm.nss_pin_file("pin", &self.pin)?;
        self.hsm.run("symkeyutil", "libnss3-tools", &[words, &["-d", &self.hsm.nss_folder(), "-f", &pin]].concat())
    }

    fn logged_in(&self, words: &[&str]) -> Result<String> {
        let slot = self.slot()?;
        self.hsm.tool(&[&["--slot", slot.as_str(), "--login", "--pin", &self.pin], words].concat())
    }

    fn slot(&self) -> Result<String> {
        let slot = self.hsm.slots()?.into_iter().find(|slot| slot.serial == self.serial);
        slot.map(|slot| slot.id).ok_or_else(|| Error::new(format!("no slot has a token of serial number {}", self.serial)))
    }
}

/// A file of Debian's, or the package that has it.
fn installed(file: String, package: &str) -> Result<PathBuf> {
    let path = PathBuf::from(file);
    if path.is_file() { Ok(path) } else { Err(Error::new(format!("{} is missing: install {package}", path.display()))) }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|e| Error::while_doing(format!("rename {} to {}", from.display(), to.display()), e))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Percent-encoded but for letters, digits and `-._~`.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests;
