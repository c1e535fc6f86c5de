//! The Secrets: made once, by an API server that does not encrypt, so that what is sealed later is what an API server stores.

use std::collections::{BTreeMap, BTreeSet};

use keywright::bench::content;
use keywright::entropy::{Entropy, OsEntropy};
use keywright::protocol::v2::EncryptResponse;
use keywright_testbed::api::{Api, secret_data};
use keywright_testbed::apiserver::{ApiServer, Settings};
use keywright_testbed::encryption::{Provider, configuration};
use keywright_testbed::etcd::Etcd;
use keywright_testbed::pki::Authority;
use keywright_testbed::stored::{self, EncryptedObject};
use keywright_testbed::tools::Tools;
use serde_json::Value;

use crate::Result;
use crate::side::Seed;

/// Where the API server keeps them.
const PREFIX: &str = "/registry/secrets/";
const FIELD: &str = "value";
/// Pieces of 32 bytes in the one value of each Secret.
const PIECES: u64 = 16;
/// Requests at a time while they are made.
const WRITERS: usize = 8;

/// Key and content in etcd of every Secret, not encrypted.
pub(crate) struct Corpus(Vec<(String, Vec<u8>)>);

impl Corpus {
    /// Has `count` Secrets made in `etcd`.
    pub(crate) fn make(tools: &Tools, etcd: &Etcd, authority: &Authority, count: usize) -> Result<Self> {
        let settings = Settings::new(configuration(&[Provider::Identity])).certified(authority)?;
        let server = ApiServer::start(tools, etcd, &settings)?;
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let api = server.api();
                    scope.spawn(move || (writer..count).step_by(WRITERS).try_for_each(|number| create(api, number)))
                })
                .collect();
            writers.into_iter().try_for_each(|writer| writer.join().expect("a writer returns its errors"))
        })?;
        drop(server);
        let found = etcd.values(PREFIX)?;
        let plain = found.iter().filter(|(_, value)| value.starts_with(b"k8s\0")).count();
        if (found.len(), plain) != (count, count) {
            return Err(format!("etcd has {} Secrets, {plain} of them in plaintext, not {count}", found.len()).into());
        }
        Ok(Self(found))
    }

    /// All of it under `seeds` in turn, by the provider `name`.
    pub(crate) fn sealed(&self, name: &str, seeds: &[Seed]) -> Result<Vec<(String, Vec<u8>)>> {
        let all = self.0.iter().zip(seeds.iter().cycle());
        all.map(|((key, plain), seed)| Ok((key.clone(), seal(name, seed, key, plain)?))).collect()
    }

    /// Errors unless a list that the API server gave holds every Secret once, with the content that was written, and nothing else.
    pub(crate) fn check(&self, list: &Value) -> Result<()> {
        let items = list["items"].as_array().ok_or("the API server's list has no items")?;
        let mut names = BTreeSet::new();
        for item in items {
            let name = item["metadata"]["name"].as_str().ok_or("a Secret without a name")?;
            let number = name.strip_prefix("secret-").and_then(|number| number.parse().ok()).ok_or_else(|| format!("not ours: {name}"))?;
            if secret_data(item)? != BTreeMap::from([(FIELD.to_owned(), value(number))]) {
                return Err(format!("{name} has another content than was written").into());
            }
            names.insert(name);
        }
        if (items.len(), names.len()) != (self.0.len(), self.0.len()) {
            return Err(format!("{} Secrets were listed, {} of them different, not {}", items.len(), names.len(), self.0.len()).into());
        }
        Ok(())
    }
}

/// What stands at `key` for the object `plain` under `seed`, by the provider `name`, byte for byte; the API server that reads it is the judge.
fn seal(name: &str, seed: &Seed, key: &str, plain: &[u8]) -> Result<Vec<u8>> {
    let mut random = [0; stored::RANDOM];
    OsEntropy.fill(&mut random)?;
    let data = stored::seal(&seed.bytes, &random, key, plain)?;
    let EncryptResponse { ciphertext, key_id, annotations } = &seed.wrapped;
    let (source, annotations) = (ciphertext.clone(), annotations.clone().into_iter().collect());
    Ok(EncryptedObject { data, key_id: key_id.clone(), source, annotations, source_type: 1 }.to_value(name))
}

/// What Secret `number` holds.
fn value(number: usize) -> Vec<u8> {
    (0..PIECES).flat_map(|piece| content::seed(number as u64 * PIECES + piece)).collect()
}

fn create(api: &Api, number: usize) -> Result<()> {
    api.create_secret(&format!("secret-{number:06}"), &[(FIELD, &value(number))])?.ok()?;
    Ok(())
}
