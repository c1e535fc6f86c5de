//! The frozen vectors where the tokens are: keyrings and envelopes that an independent implementation made are opened by a token that has their keys.

use std::sync::Arc;
use std::time::Instant;

use keywright::entropy::OsEntropy;
use keywright::envelope::{Algorithm, Envelope, Header, Purpose};
use keywright::keyring::LookupError;
use keywright::keyring::canary::Subject;
use keywright::keyring::seal::Opener;
use keywright::keyring::store;
use keywright::provider::pkcs11::{IvFrom, KeyAt, KeySpec, ObjectId, TokenKek, TokenName, Tokens};
use keywright::provider::{Kek, KekError};
use keywright_testbed::tokens::{Fake, Kept, Token, alone};

use crate::script::Script;
use crate::support::{Pin, access};
use crate::vectors::{Bytes, EnvelopesOfTokens, KeyringsInTokens, error_name, load, text, version};

const PIN: &str = "12345678";

fn vectors() -> KeyringsInTokens {
    load("keyring-2.json")
}

fn reached(tokens: &[Token]) -> Arc<Tokens> {
    Arc::new(Tokens::new(tokens.iter().map(|token| access(token, &Pin::new(PIN))).collect(), Instant::now()))
}

/// The tokens of the vectors with everything that is in them, in a process of its own; elsewhere `test` has run there by now.
fn with_tokens(test: &str, vectors: &KeyringsInTokens) -> Option<Arc<Tokens>> {
    let folder = alone(&format!("frozen::{test}")).expect("it passes alone")?;
    let fake = Fake::new(&folder).expect("the fake builds");
    let places: Vec<(KeyAt, &str, &Bytes)> =
        vectors.keys.iter().map(|key| (key.place.parse().expect("a place"), key.kind.as_str(), &key.secret)).collect();
    let keep = |label: &str, serial: &str| {
        let name = TokenName { label: label.to_owned(), serial: serial.to_owned() };
        let of = places.iter().filter(|(at, ..)| at.token == name);
        let keys: Vec<_> =
            of.map(|(at, kind, secret)| Kept { label: &at.label, id: &at.id, aes: *kind == "aes", secret: &secret.0 }).collect();
        assert!(keys.len() >= 2, "{name} has keys");
        fake.keep((label, serial), PIN, &keys).expect("the token is there")
    };
    Some(reached(&vectors.tokens.iter().map(|token| keep(&token.label, &token.serial)).collect::<Vec<_>>()))
}

#[test]
fn a_frozen_keyring_opens_with_each_of_its_secrets_and_each_version_does_what_its_state_allows() {
    let vectors = vectors();
    let test = "a_frozen_keyring_opens_with_each_of_its_secrets_and_each_version_does_what_its_state_allows";
    let Some(tokens) = with_tokens(test, &vectors) else { return };
    let vector = &vectors.every_state;
    for way in &vector.openers {
        let keyring = store::open(&text(&vector.lines), &way.opener_with(&tokens), &tokens).expect("opens");
        assert!(keyring.away().is_empty(), "{:?}", keyring.away());
        for version in &vector.versions {
            let envelope = Envelope::parse(&version.envelope.0).expect("an envelope");
            match keyring.find(&version.key_id.parse().expect("a key_id")) {
                Ok(unwrapping) => {
                    assert!(["staged", "primary", "retired"].contains(&version.state.as_str()), "{}", version.state);
                    let opened = unwrapping.unwrap(Purpose::KmsV2, &envelope).expect("opens");
                    assert_eq!(opened.expose_secret(), version.plaintext.0);
                    assert!(matches!(unwrapping.unwrap(Purpose::KmsV1, &envelope), Err(KekError::Authentication)));
                }
                Err(LookupError::Disabled) => assert_eq!(version.state, "disabled"),
                Err(LookupError::Destroyed) => assert_eq!(version.state, "destroyed"),
                Err(LookupError::Unknown) => panic!("{} is not found", version.key_id),
            }
        }
        let primary = vector.versions.iter().find(|v| v.state == "primary").expect("a primary");
        let wrapped = keyring.wrap(Purpose::KmsV2, &primary.plaintext.0, &Script::new(&primary.nonce.0)).expect("wraps");
        assert_eq!(wrapped, primary.envelope.0);
    }
    for vector in &vectors.more {
        for way in &vector.openers {
            store::open(&text(&vector.lines), &way.opener_with(&tokens), &tokens).expect(&vector.name);
        }
    }
}

#[test]
fn every_defect_of_a_frozen_keyring_is_refused_where_its_tokens_are() {
    let vectors = vectors();
    let Some(tokens) = with_tokens("every_defect_of_a_frozen_keyring_is_refused_where_its_tokens_are", &vectors) else { return };
    let refused = |lines: &[String], opener: &Opener, defect: &str| {
        let outcome = store::open(&text(lines), opener, &tokens);
        error_name(&outcome.err().unwrap_or_else(|| panic!("{defect} is not refused")))
    };
    let key_file = vectors.every_state.openers[0].opener();
    for vector in &vectors.invalid {
        assert_eq!(refused(&vector.lines, &key_file, &vector.defect), vector.error, "{}", vector.defect);
    }
    let token = vectors.every_state.openers[1].opener_with(&tokens);
    for vector in &vectors.slots_that_do_not_open {
        assert_eq!(refused(&vector.lines, &token, &vector.defect), "WrongSecret", "{}", vector.defect);
    }
}

/// Keys of envelope vectors in a token, each pair under ids of its own.
struct Bench {
    name: TokenName,
    pairs: Vec<(Bytes, Option<Bytes>)>,
    tokens: Arc<Tokens>,
}

const LABEL: &str = "frozen";

fn key_id_of(place: usize, second: bool) -> ObjectId {
    let mut id = [u8::from(second); 16];
    id[0] = u8::try_from(place).expect("few keys");
    id
}

impl Bench {
    fn alone(test: &str, vectors: &EnvelopesOfTokens) -> Option<Self> {
        let folder = alone(&format!("frozen::{test}")).expect("it passes alone")?;
        let fake = Fake::new(&folder).expect("the fake builds");
        let mut pairs: Vec<(Bytes, Option<Bytes>)> = Vec::new();
        let valid = vectors.valid.iter().map(|v| (v.aes.clone(), v.hmac.clone()));
        for pair in valid.chain(vectors.invalid.iter().map(|v| (v.aes.clone(), v.hmac.clone()))) {
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        let numbered = || pairs.iter().enumerate();
        let ids: Vec<_> = numbered().map(|(place, _)| [key_id_of(place, false), key_id_of(place, true)]).collect();
        let first = numbered().map(|(place, (aes, _))| Kept { label: LABEL, id: &ids[place][0], aes: true, secret: &aes.0 });
        let second = numbered()
            .filter_map(|(place, (_, hmac))| Some(Kept { label: LABEL, id: &ids[place][1], aes: false, secret: &hmac.as_ref()?.0 }));
        let token = fake.keep(("envelopes", "1"), PIN, &first.chain(second).collect::<Vec<_>>()).expect("the token is there");
        let name = crate::support::name(&token);
        let tokens = reached(&[token]);
        Some(Self { name, pairs, tokens })
    }

    /// The key of a vector.
    fn kek(&self, algorithm: Algorithm, aes: &Bytes, hmac: &Option<Bytes>) -> Arc<TokenKek> {
        let place = self.pairs.iter().position(|(a, h)| a == aes && h == hmac).expect("it is in the token");
        self.tokens.kek(KeySpec {
            at: KeyAt { token: self.name.clone(), label: LABEL.to_owned(), id: key_id_of(place, false) },
            mac: hmac.is_some().then(|| key_id_of(place, true)),
            algorithm,
            iv: IvFrom::Host,
            proof: None,
        })
    }
}

fn open(kek: &TokenKek, purpose: Purpose, bytes: &[u8]) -> Option<Vec<u8>> {
    let envelope = Envelope::parse(bytes).ok()?;
    match kek.unwrap_key(&envelope.header.associated_data(purpose), envelope.nonce, envelope.sealed) {
        Ok(opened) => Some(opened.expose_secret().to_vec()),
        Err(KekError::Authentication) => None,
        Err(other) => panic!("not the one answer for what does not open: {other}"),
    }
}

#[test]
fn a_token_with_the_keys_of_a_frozen_envelope_makes_its_very_bytes_and_opens_it() {
    let vectors: EnvelopesOfTokens = load("envelope-1-tokens.json");
    let test = "a_token_with_the_keys_of_a_frozen_envelope_makes_its_very_bytes_and_opens_it";
    let Some(bench) = Bench::alone(test, &vectors) else { return };
    for vector in &vectors.valid {
        let kek = bench.kek(vector.algorithm(), &vector.aes, &vector.hmac);
        // Finding a key takes random bytes of its own, not those of the vector.
        kek.wrap_key(b"", b"x", &OsEntropy).expect("the key is there");
        let header = Header { algorithm: vector.algorithm(), key_id: vector.key_id.parse().expect("a key_id") };
        let aad = header.associated_data(vector.purpose());
        let wrapped = kek.wrap_key(&aad, &vector.plaintext.0, &Script::new(&vector.nonce.0)).expect("wraps");
        assert_eq!(Envelope { header, nonce: &wrapped.nonce, sealed: &wrapped.sealed }.write(), vector.envelope.0, "{}", vector.name);
        assert_eq!(open(&kek, vector.purpose(), &vector.envelope.0), Some(vector.plaintext.0.clone()), "{}", vector.name);
        let subject = Subject { keyring: vector.keyring.keyring(), version: version(vector.version), algorithm: vector.algorithm() };
        subject.prove(&*kek, &vector.canary.0).expect("the canary is this key's");
    }
}

#[test]
fn no_defect_and_no_flipped_bit_of_a_frozen_envelope_opens_by_its_own_keys() {
    let vectors: EnvelopesOfTokens = load("envelope-1-tokens.json");
    let Some(bench) = Bench::alone("no_defect_and_no_flipped_bit_of_a_frozen_envelope_opens_by_its_own_keys", &vectors) else { return };
    for vector in &vectors.invalid {
        let kek = bench.kek(vector.algorithm(), &vector.aes, &vector.hmac);
        assert_eq!(open(&kek, vector.purpose(), &vector.envelope.0), None, "{}", vector.defect);
    }
    let short = vectors.valid.iter().filter(|vector| vector.plaintext.0.len() == 1);
    let mut flipped = 0;
    for vector in short {
        let kek = bench.kek(vector.algorithm(), &vector.aes, &vector.hmac);
        let mut bytes = vector.envelope.0.clone();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&kek, vector.purpose(), &bytes), None, "{}: bit {bit}", vector.name);
            bytes[bit / 8] ^= 1 << (bit % 8);
            flipped += 1;
        }
        for len in 0..bytes.len() {
            assert_eq!(open(&kek, vector.purpose(), &bytes[..len]), None, "{}: the first {len} bytes", vector.name);
        }
    }
    assert!(flipped > 1000, "{flipped}");
}
