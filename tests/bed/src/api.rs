//! The API server's HTTPS API: raw JSON with a bearer token, and the few shapes that the tests use often.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ureq::http::Request;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::{Error, Result};

/// No answer is larger: 2,000 Secrets of a few hundred bytes, or one of a mebibyte.
const LARGEST_ANSWER: u64 = 256 << 20;

/// Longer than anything the API server does before it gives up by itself (60 s).
const LIMIT: Duration = Duration::from_secs(70);

/// A client with its own connections; clones share them.
#[derive(Debug, Clone)]
pub struct Api {
    agent: ureq::Agent,
    base: String,
    token: String,
}

/// What came back: any HTTP status, the API server's refusals included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, JSON or not.
    pub text: String,
}

impl Answer {
    /// The body of a success; the status and the API server's text as an error otherwise.
    pub fn ok(self) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            return Err(Error::new(format!("HTTP {}: {}", self.status, self.text)));
        }
        Ok(serde_json::from_str(&self.text)?)
    }
}

impl Api {
    /// A client of `https://ADDRESS` that trusts the certificates in the file and shows `token`.
    pub fn new(address: &str, certificates: &Path, token: &str) -> Result<Self> {
        let pem = std::fs::read(certificates).map_err(|e| Error::while_doing(format!("read {}", certificates.display()), e))?;
        let roots: Vec<Certificate<'static>> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        let tls = TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(roots))).build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .proxy(None) // the servers are on this machine, whatever the environment says
            .timeout_global(Some(LIMIT))
            .max_idle_connections_per_host(32)
            .build()
            .into();
        Ok(Self { agent, base: format!("https://{address}"), token: token.to_owned() })
    }

    /// One request. `body` is a media type and bytes. An error means that no answer came.
    pub fn request(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> Result<Answer> {
        let what = || format!("{method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Accept", "application/json, text/plain, */*");
        let answer = match body {
            Some((media_type, bytes)) => {
                let request = request.header("Content-Type", media_type).body(bytes).map_err(|e| Error::while_doing(what(), e))?;
                self.agent.run(request)
            }
            None => self.agent.run(request.body(()).map_err(|e| Error::while_doing(what(), e))?),
        };
        let mut answer = answer.map_err(|e| Error::while_doing(what(), e))?;
        let text = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_string().map_err(|e| Error::while_doing(what(), e))?;
        Ok(Answer { status: answer.status().as_u16(), text })
    }

    /// Reads an object, a list, or a text page such as `/readyz`.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.request("GET", path, None)
    }

    /// Creates an object in the collection at `path`.
    pub fn create(&self, path: &str, object: &Value) -> Result<Answer> {
        self.request("POST", path, Some(("application/json", object.to_string().as_bytes())))
    }

    /// Merges `patch` into the object at `path`.
    pub fn patch(&self, path: &str, patch: &Value) -> Result<Answer> {
        self.request("PATCH", path, Some(("application/merge-patch+json", patch.to_string().as_bytes())))
    }

    /// Deletes the object at `path`.
    pub fn delete(&self, path: &str) -> Result<Answer> {
        self.request("DELETE", path, None)
    }

    /// Creates the Secret `name` in namespace default.
    pub fn create_secret(&self, name: &str, data: &[(&str, &[u8])]) -> Result<Answer> {
        let data: BTreeMap<&str, String> = data.iter().map(|(key, value)| (*key, base64(value))).collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data});
        self.create("/api/v1/namespaces/default/secrets", &secret)
    }

    /// Reads the Secret `name` in namespace default.
    pub fn secret(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        secret_data(&self.get(&format!("/api/v1/namespaces/default/secrets/{name}"))?.ok()?)
    }

    /// What `/readyz/kms-providers` says: `Ok` when the plugin's check passes, the API server's text otherwise.
    ///
    /// Asking is also what makes the API server ask the plugin: at most every 20 s while healthy, every 3 s while not.
    pub fn kms_ready(&self) -> std::result::Result<(), String> {
        let answer = self.get("/readyz/kms-providers").map_err(|e| e.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    }

    /// The metrics page; see [`crate::metrics`].
    pub fn metrics(&self) -> Result<String> {
        let answer = self.get("/metrics")?;
        if answer.status != 200 {
            return Err(Error::new(format!("/metrics: HTTP {}: {}", answer.status, answer.text)));
        }
        Ok(answer.text)
    }
}

/// Bytes as they stand in the JSON of a Secret.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The `data` of a Secret, decoded. No data at all is an empty map.
pub fn secret_data(secret: &Value) -> Result<BTreeMap<String, Vec<u8>>> {
    let data = secret["data"].as_object();
    let pairs = data.into_iter().flatten();
    pairs
        .map(|(key, value)| {
            let value = STANDARD.decode(value.as_str().unwrap_or_default()).map_err(|e| Error::while_doing(format!("data of {key}"), e))?;
            Ok((key.clone(), value))
        })
        .collect()
}
