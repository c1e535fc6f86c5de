//! The API server's EncryptionConfiguration, as JSON (which it reads as well as YAML).

use std::path::Path;

use serde_json::{Value, json};

/// One entry of a provider list; the first of the list writes, all of them read.
#[derive(Debug, Clone)]
pub enum Provider {
    /// A KMS plugin.
    Kms {
        /// `v1` or `v2`.
        version: &'static str,
        /// The name that becomes part of every stored value.
        name: String,
        /// The plugin's socket.
        socket: String,
    },
    /// No encryption.
    Identity,
}

impl Provider {
    /// The plugin behind `socket`, KMS v2, named `name`.
    pub fn kms_v2(name: &str, socket: &Path) -> Self {
        Self::Kms { version: "v2", name: name.to_owned(), socket: socket.display().to_string() }
    }

    /// The plugin behind `socket`, KMS v1, named `name`.
    pub fn kms_v1(name: &str, socket: &Path) -> Self {
        Self::Kms { version: "v1", name: name.to_owned(), socket: socket.display().to_string() }
    }

    fn json(&self) -> Value {
        match self {
            Self::Kms { version, name, socket } => {
                json!({"kms": {"apiVersion": version, "name": name, "endpoint": format!("unix://{socket}"), "timeout": "3s"}})
            }
            Self::Identity => json!({"identity": {}}),
        }
    }
}

/// The whole file: Secrets and ConfigMaps through `providers`.
///
/// No `identity` is added: a value that a provider did not encrypt, or cannot read, then is an error and not a silent success.
pub fn configuration(providers: &[Provider]) -> String {
    let providers: Vec<Value> = providers.iter().map(Provider::json).collect();
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets", "configmaps"], "providers": providers}],
    })
    .to_string()
}
