//! A kubeconfig for a server under test, as kubectl and everything that behaves like it wants one.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::json;

use crate::Result;
use crate::apiserver::ApiServer;

/// Writes one for `server` to `path`, mode 0600; `token` says who asks.
pub fn write(path: &Path, server: &ApiServer, token: &str) -> Result<()> {
    write_text(path, &text(server.address(), &server.certificates(), token))
}

pub(crate) fn text(address: &str, certificates: &Path, token: &str) -> String {
    let name = "trial";
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": format!("https://{address}"), "certificate-authority": certificates}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    })
    .to_string()
}

pub(crate) fn write_text(path: &Path, text: &str) -> Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
