//! What the tokens keep, in a text file that every process reads again when another has changed it.
//!
//! `token SERIAL LABEL PIN WRONG`, then `key NUMBER SERIAL TYPE=VALUE ...`; labels, PINs and values in hexadecimal, types in decimal. Nothing here is
//! secret: such tokens are for tests.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};

use cryptoki_sys::*;

use crate::script::{Stamp, folder};

/// How many wrong PINs lock a token.
pub(crate) const TRIES: u32 = 3;

#[derive(Debug, Default)]
pub(crate) struct State {
    stamp: Option<Stamp>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) keys: Vec<Key>,
}

#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) serial: String,
    pub(crate) label: String,
    pub(crate) pin: Vec<u8>,
    /// Wrong PINs since the last right one.
    pub(crate) wrong: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Its own for ever, unlike a handle.
    pub(crate) number: u64,
    pub(crate) serial: String,
    pub(crate) attributes: BTreeMap<CK_ATTRIBUTE_TYPE, Vec<u8>>,
}

impl Key {
    pub(crate) fn is(&self, attribute: CK_ATTRIBUTE_TYPE) -> bool {
        self.attributes.get(&attribute).is_some_and(|value| value == &[CK_TRUE])
    }

    pub(crate) fn set(&mut self, attribute: CK_ATTRIBUTE_TYPE, value: bool) {
        self.attributes.insert(attribute, vec![if value { CK_TRUE } else { CK_FALSE }]);
    }

    pub(crate) fn secret(&self) -> &[u8] {
        self.attributes.get(&CKA_VALUE).map(Vec::as_slice).unwrap_or_default()
    }
}

impl State {
    /// Reads the file again if somebody has written it.
    pub(crate) fn refresh(&mut self) {
        let file = folder().expect("C_Initialize has asked for it").join("state");
        let stamp = Stamp::of(&file);
        if self.stamp == Some(stamp) {
            return;
        }
        *self = Self { stamp: Some(stamp), ..Self::default() };
        for line in fs::read_to_string(file).unwrap_or_default().lines() {
            self.add(line).unwrap_or_else(|| panic!("the state of the fake PKCS#11 module has the line `{line}`"));
        }
    }

    /// Changes what the tokens keep, for every process.
    pub(crate) fn change<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> T {
        let folder = folder().expect("C_Initialize has asked for it");
        let lock = File::create(folder.join("lock")).expect("the fake's folder can be written");
        lock.lock().expect("a file there can be locked");
        self.refresh();
        let result = change(self);
        let (new, file) = (folder.join("state.new"), folder.join("state"));
        fs::write(&new, self.text()).expect("the fake's folder can be written");
        fs::rename(&new, &file).expect("a file there can be renamed");
        self.stamp = Some(Stamp::of(&file));
        result
    }

    pub(crate) fn token(&self, serial: &str) -> Option<&Token> {
        self.tokens.iter().find(|token| token.serial == serial)
    }

    pub(crate) fn token_mut(&mut self, serial: &str) -> Option<&mut Token> {
        self.tokens.iter_mut().find(|token| token.serial == serial)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "token" => {
                let serial = words.next()?.to_owned();
                let label = String::from_utf8(unhex(words.next()?)?).ok()?;
                self.tokens.push(Token { serial, label, pin: unhex(words.next()?)?, wrong: words.next()?.parse().ok()? });
            }
            "key" => {
                let (number, serial) = (words.next()?.parse().ok()?, words.next()?.to_owned());
                let attribute = |word: &str| word.split_once('=').and_then(|(kind, value)| Some((kind.parse().ok()?, unhex(value)?)));
                self.keys.push(Key { number, serial, attributes: words.map(attribute).collect::<Option<_>>()? });
            }
            _ => return None,
        }
        Some(())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Token { serial, label, pin, wrong } in &self.tokens {
            let _ = writeln!(text, "token {serial} {} {} {wrong}", hex(label.as_bytes()), hex(pin));
        }
        for Key { number, serial, attributes } in &self.keys {
            let _ = write!(text, "key {number} {serial}");
            for (kind, value) in attributes {
                let _ = write!(text, " {kind}={}", hex(value));
            }
            text.push('\n');
        }
        text
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}
