//! The tokens that this machine has: where the module of each is, and where its PIN comes from. What a keyring says of a token is its name alone.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Place};
use crate::keyring::seal::is_credential_name;
use crate::provider::pkcs11::{PinFrom, TokenName, TokenSettings};

/// Most calls of one token at once; each takes a thread and a session.
const MAX_SESSIONS: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawToken {
    uri: Spanned<String>,
    module: Spanned<PathBuf>,
    pin_credential: Option<Spanned<String>>,
    pin_file: Option<Spanned<PathBuf>>,
    sessions: Option<Spanned<usize>>,
    call_timeout: Option<Spanned<String>>,
    away_after: Option<Spanned<String>>,
    module_config: Option<Spanned<String>>,
    #[serde(default)]
    insecure_module_owner: bool,
}

impl Place<'_> {
    /// All of them, each named once.
    pub(super) fn tokens(&self, raw: Vec<RawToken>) -> Result<Vec<TokenSettings>, ConfigError> {
        let mut tokens: Vec<TokenSettings> = vec![];
        for raw in raw {
            let uri = Spanned::new(raw.uri.span(), ());
            let token = self.token(raw)?;
            if tokens.iter().any(|known| known.name == token.name) {
                return self.refuse("token.uri", &uri, "names a token that has a table already");
            }
            tokens.push(token);
        }
        Ok(tokens)
    }

    /// The name of a token.
    pub(super) fn token_name(&self, key: &'static str, uri: &Spanned<String>) -> Result<TokenName, ConfigError> {
        TokenName::parse_given(uri.get_ref()).or_else(|error| self.refuse(key, uri, format!("is no name of a token: {error}")))
    }

    fn token(&self, raw: RawToken) -> Result<TokenSettings, ConfigError> {
        let pin_file_span = raw.pin_file.as_ref().map(|file| Spanned::new(file.span(), ()));
        let pin = match (raw.pin_credential, raw.pin_file) {
            (Some(name), None) if is_credential_name(name.get_ref()) => PinFrom::Credential(name.into_inner()),
            (Some(name), None) => return self.refuse("token.pin_credential", &name, "must be the name of a credential, not a path"),
            (None, Some(path)) => PinFrom::File(self.absolute("token.pin_file", path)?),
            (None, None) => PinFrom::Prompt,
            (Some(name), Some(_)) => {
                let at = pin_file_span.unwrap_or_else(|| Spanned::new(name.span(), ()));
                return self.refuse("token.pin_file", &at, "and `token.pin_credential` exclude each other");
            }
        };
        let sessions = match raw.sessions {
            None => TokenSettings::SESSIONS,
            Some(sessions) if (1..=MAX_SESSIONS).contains(sessions.get_ref()) => sessions.into_inner(),
            Some(sessions) => return self.refuse("token.sessions", &sessions, "must be from 1 to 256"),
        };
        if let Some(config) = raw.module_config.as_ref().filter(|config| config.get_ref().bytes().any(|byte| byte == 0)) {
            return self.refuse("token.module_config", config, "must not have a zero byte in it");
        }
        Ok(TokenSettings {
            name: self.token_name("token.uri", &raw.uri)?,
            module: self.absolute("token.module", raw.module)?,
            pin,
            sessions,
            call_timeout: self.between("token.call_timeout", raw.call_timeout, TokenSettings::CALL_TIMEOUT, 100, 60_000)?,
            away_after: self.between("token.away_after", raw.away_after, TokenSettings::AWAY_AFTER, 1_000, 600_000)?,
            insecure_module_owner: raw.insecure_module_owner,
            module_config: raw.module_config.map(Spanned::into_inner),
        })
    }

    /// A duration within limits in milliseconds.
    fn between(
        &self,
        key: &'static str,
        given: Option<Spanned<String>>,
        default: Duration,
        least: u64,
        most: u64,
    ) -> Result<Duration, ConfigError> {
        let Some(given) = given else { return Ok(default) };
        let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
        match humantime::parse_duration(given.get_ref()) {
            Ok(duration) if (least..=most).contains(&duration) => Ok(duration),
            _ => {
                let limits = [least, most].map(|limit| humantime::format_duration(limit).to_string());
                self.refuse(key, &given, format!("must be a duration from {} to {}", limits[0], limits[1]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, parse};
    use super::*;
    use crate::unseal::Seal;
    use std::path::Path;

    const LEAST: &str = "keyring = \"/k\"\n[seal]\nkey_file = \"/s\"\n[[token]]\nuri = \"pkcs11:token=kms;serial=1\"\nmodule = \"/m.so\"\n";

    fn parsed(text: &str) -> Result<Config, ConfigError> {
        parse(Path::new("c.toml"), text)
    }

    fn refused(line: &str) -> String {
        parsed(&format!("{LEAST}{line}\n")).expect_err(line).to_string()
    }

    #[test]
    fn a_token_has_a_name_and_a_module_and_defaults_for_the_rest() {
        let config = parsed(LEAST).expect("valid");
        let [token] = config.tokens.as_slice() else { panic!("one token") };
        assert_eq!(token.name, TokenName { label: "kms".into(), serial: "1".into() });
        assert_eq!((token.module.as_path(), &token.pin, token.insecure_module_owner), (Path::new("/m.so"), &PinFrom::Prompt, false));
        assert_eq!((token.sessions, token.call_timeout, token.away_after), (8, Duration::from_secs(2), Duration::from_secs(30)));
    }

    #[test]
    fn every_value_out_of_its_range_is_named_with_its_line() {
        for (line, expected) in [
            ("sessions = 0", "c.toml:7: `token.sessions` must be from 1 to 256"),
            ("sessions = 257", "c.toml:7: `token.sessions` must be from 1 to 256"),
            ("call_timeout = \"1ms\"", "`token.call_timeout` must be a duration from 100ms to 1m"),
            ("away_after = \"1h\"", "`token.away_after` must be a duration from 1s to 10m"),
            ("pin_credential = \"/etc/pin\"", "`token.pin_credential` must be the name of a credential, not a path"),
            ("pin_file = \"pin\"", "`token.pin_file` must be an absolute path"),
            ("pin_credential = \"a\"\npin_file = \"/b\"", "c.toml:8: `token.pin_file` and `token.pin_credential` exclude each other"),
            ("pin = \"1234\"", "unknown key `pin`"),
            ("module_config = \"a\\u0000\"", "`token.module_config` must not have a zero byte in it"),
        ] {
            assert!(refused(line).contains(expected), "{line}: {}", refused(line));
        }
        let relative = parsed(&LEAST.replace("\"/m.so\"", "\"m.so\"")).expect_err("relative").to_string();
        assert!(relative.contains("`token.module` must be an absolute path"), "{relative}");
        let pin = parsed(&LEAST.replace("serial=1", "serial=1;pin-value=0000")).expect_err("a PIN").to_string();
        assert!(pin.contains("a PIN must not stand in a URI") && !pin.contains("0000"), "{pin}");
    }

    #[test]
    fn two_tables_for_one_token_are_refused_and_two_tokens_are_not() {
        let second = |uri: &str| format!("{LEAST}[[token]]\nuri = \"{uri}\"\nmodule = \"/m.so\"\n");
        let error = parsed(&second("pkcs11:serial=1;token=kms")).expect_err("twice").to_string();
        assert!(error.contains("c.toml:8: `token.uri` names a token that has a table already"), "{error}");
        assert_eq!(parsed(&second("pkcs11:token=kms;serial=2")).expect("two").tokens.len(), 2);
    }

    #[test]
    fn a_seal_may_be_a_token_that_has_a_table() {
        let sealed = |uri: &str| parsed(&LEAST.replace("key_file = \"/s\"", &format!("token = \"{uri}\"")));
        let config = sealed("pkcs11:token=kms;serial=1").expect("valid");
        assert_eq!(config.seal, Seal::Token(config.tokens[0].name.clone()));
        let error = sealed("pkcs11:token=other;serial=1").expect_err("no such token").to_string();
        assert!(error.contains("`seal.token` names a token that has no [[token]] table"), "{error}");
    }
}
