//! Where the key of a new version is made: said on the command line, else as the primary's was.

use clap::{Args, ValueEnum};

use super::failure::{Exit, Failure};
use crate::envelope::Algorithm;
use crate::keyring::create::NewKey;
use crate::keyring::document::VersionRecord;
use crate::provider::pkcs11::{IvFrom, TokenName, Tokens};

/// Where, and how it wraps.
#[derive(Args, Default)]
#[group(id = "new_key")]
pub(super) struct Arguments {
    /// Make the key here, to be kept in the keyring file, or in a token [default: as the primary's; local for a first keyring]
    #[arg(long, value_enum)]
    provider: Option<Provider>,
    /// The token, by its label, where the configuration has more than one
    #[arg(long, value_name = "LABEL")]
    token: Option<String>,
    /// How a key in a token wraps: two keys, for AES-CBC and HMAC, only where the token has no AES-GCM [default: aes-256-gcm]
    #[arg(long, value_enum)]
    algorithm: Option<InToken>,
    /// Who chooses the IVs of a key in a token; `token` only for one that insists [default: host]
    #[arg(long, value_enum)]
    iv: Option<Iv>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Provider {
    Local,
    Pkcs11,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InToken {
    #[value(name = "aes-256-gcm")]
    Gcm,
    #[value(name = "aes-256-cbc-hmac-sha-256")]
    CbcHmac,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Iv {
    Host,
    Token,
}

const ATTEMPTED: &str = "decide where the key is made";

impl Arguments {
    /// What they say; `like` is the primary, whose ways are kept where nothing is said.
    pub(super) fn resolve(&self, tokens: &Tokens, like: Option<&VersionRecord>) -> Result<NewKey, Failure> {
        let like = like.map_or(NewKey::Local, NewKey::like);
        let about_tokens = self.token.is_some() || self.algorithm.is_some() || self.iv.is_some();
        let local = match self.provider {
            Some(provider) => provider == Provider::Local,
            None => like == NewKey::Local && !about_tokens,
        };
        if local {
            let next = "Say `--provider pkcs11`, or leave out --token, --algorithm and --iv.";
            let why = "--token, --algorithm and --iv are for keys in a token";
            return if about_tokens { Err(Failure::new(Exit::Usage, ATTEMPTED, why, next)) } else { Ok(NewKey::Local) };
        }
        self.in_token(tokens, like)
    }

    /// The same for a key that is in a token already.
    #[cfg(feature = "operator")]
    pub(super) fn resolve_in_token(&self, tokens: &Tokens) -> Result<NewKey, Failure> {
        if self.provider == Some(Provider::Local) { Ok(NewKey::Local) } else { self.in_token(tokens, NewKey::Local) }
    }

    fn in_token(&self, tokens: &Tokens, like: NewKey) -> Result<NewKey, Failure> {
        let label = self.token.as_deref();
        let mut key = match like {
            NewKey::Token { token, algorithm, iv } if label.is_none_or(|label| label == token.label) => {
                NewKey::Token { token, algorithm, iv }
            }
            _ => NewKey::Token { token: token_of_label(tokens, label)?, algorithm: Algorithm::Aes256Gcm, iv: IvFrom::Host },
        };
        if let NewKey::Token { algorithm, iv, .. } = &mut key {
            match self.algorithm {
                Some(InToken::Gcm) => *algorithm = Algorithm::Aes256Gcm,
                Some(InToken::CbcHmac) => *algorithm = Algorithm::Aes256CbcHmacSha256,
                None => {}
            }
            match self.iv {
                Some(Iv::Host) => *iv = IvFrom::Host,
                Some(Iv::Token) => *iv = IvFrom::Token,
                None => {}
            }
        }
        Ok(key)
    }
}

/// The one token that is configured and has `label`, if that was said.
pub(super) fn token_of_label(tokens: &Tokens, label: Option<&str>) -> Result<TokenName, Failure> {
    let mut meant = tokens.names().filter(|name| label.is_none_or(|label| label == name.label));
    match (meant.next(), meant.next()) {
        (Some(name), None) => Ok(name.clone()),
        (None, _) => {
            let why = match label {
                Some(label) => format!("the configuration has no token with the label `{}`", label.escape_debug()),
                None => "the configuration has no token".to_owned(),
            };
            Err(Failure::new(Exit::Configuration, ATTEMPTED, why, "Add a [[token]] table; `docs/config.toml` shows one."))
        }
        (Some(one), Some(other)) => {
            let why = format!("the configuration has more than one such token, {one} and {other} among them");
            Err(Failure::new(
                Exit::Usage,
                ATTEMPTED,
                why,
                "Name one by its label with --token LABEL; two of one label need a configuration each.",
            ))
        }
    }
}
