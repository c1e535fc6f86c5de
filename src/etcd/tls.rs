//! TLS to etcd: the three files of etcdctl's options into a configuration, and the library's errors sorted by what to do about them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig, RootCertStore};

use crate::secret::SecretBytes;

/// What is wrong with the files before anybody is asked.
#[derive(Debug, Error)]
pub enum TlsError {
    /// An https endpoint, and nothing to know its certificate by. The system's own list is not used: no etcd of a cluster is on it.
    #[error("an https endpoint needs the CA certificate of etcd: --cacert")]
    NoCa,
    /// One of `--cert` and `--key` without the other.
    #[error("--cert and --key go together")]
    Half,
    /// A file cannot be read.
    #[error("read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has no PEM block of the wanted kind, or a broken one.
    #[error("{path} holds no valid {wanted} in PEM")]
    Pem {
        /// Which.
        path: PathBuf,
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// The key is not the certificate's, or of a kind that is not supported.
    #[error("{cert} and {key} make no identity: {reason}")]
    Identity {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the library said.
        reason: String,
    },
}

/// Why a handshake failed, whoever refused it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TlsFault {
    /// Signed by a CA that is not in `--cacert`.
    #[error("its certificate is signed by an authority that --cacert does not hold")]
    UnknownIssuer,
    /// Not valid any more.
    #[error("its certificate has expired (or the clock here is wrong)")]
    Expired,
    /// Not valid yet.
    #[error("its certificate is not valid yet (or the clock here is wrong)")]
    NotYetValid,
    /// Valid for other names.
    #[error("its certificate is for another name or address: use an endpoint that it names")]
    WrongName,
    /// It wants a certificate from us and got none.
    #[error("it wants a client certificate: --cert and --key")]
    ClientCertificateWanted,
    /// It got ours and does not accept it.
    #[error("it does not accept the client certificate of --cert")]
    ClientCertificateRefused,
    /// What answers there does not speak TLS.
    #[error("what answers there speaks no TLS: an http:// endpoint?")]
    NotTls,
    /// Anything else, in the library's words.
    #[error("TLS: {0}")]
    Other(String),
}

impl TlsFault {
    /// Sorts an error of the library; `identified`: whether we had a client certificate to show.
    pub(super) fn of(error: &rustls::Error, identified: bool) -> Self {
        use AlertDescription as Alert;
        match error {
            rustls::Error::InvalidCertificate(certificate) => match certificate {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
                other => Self::Other(other.to_string()),
            },
            rustls::Error::AlertReceived(Alert::CertificateRequired) => Self::ClientCertificateWanted,
            // TLS 1.2 has no alert of its own for a certificate that was not sent.
            rustls::Error::AlertReceived(Alert::BadCertificate | Alert::HandshakeFailure) if !identified => Self::ClientCertificateWanted,
            rustls::Error::AlertReceived(
                Alert::BadCertificate
                | Alert::UnknownCA
                | Alert::CertificateUnknown
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                | Alert::UnsupportedCertificate
                | Alert::AccessDenied
                | Alert::DecryptError,
            ) => Self::ClientCertificateRefused,
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            other => Self::Other(other.to_string()),
        }
    }
}

/// How to speak TLS with every https endpoint, and whether we have a certificate to show.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) identified: bool,
}

/// Reads the files of `--cacert`, `--cert` and `--key`.
pub(super) fn load(cacert: Option<&Path>, cert: Option<&Path>, key: Option<&Path>) -> Result<Tls, TlsError> {
    let cacert = cacert.ok_or(TlsError::NoCa)?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(cacert)? {
        roots.add(authority).map_err(|_| TlsError::Pem { path: cacert.to_owned(), wanted: "certificate" })?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let (mut config, identified) = match (cert, key) {
        (None, None) => (builder.with_no_client_auth(), false),
        (Some(cert), Some(key)) => {
            let identity = builder.with_client_auth_cert(certificates(cert)?, private_key(key)?);
            let config = identity.map_err(|e| TlsError::Identity { cert: cert.to_owned(), key: key.to_owned(), reason: e.to_string() })?;
            (config, true)
        }
        _ => return Err(TlsError::Half),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Tls { config: Arc::new(config), identified })
}

/// At least one certificate.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text.expose_secret()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::Pem { path: path.to_owned(), wanted: "certificate" }),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(text.expose_secret()).map_err(|_| TlsError::Pem { path: path.to_owned(), wanted: "private key" })
}

/// Any of the three files: a key is among them, so all are wiped.
fn read(path: &Path) -> Result<SecretBytes, TlsError> {
    std::fs::read(path).map(SecretBytes::from_vec).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_https_endpoint_without_a_ca_and_half_an_identity_are_refused_before_anything_is_read() {
        assert!(matches!(load(None, None, None), Err(TlsError::NoCa)));
        let missing = Path::new("/nonexistent/ca.crt");
        assert!(matches!(load(Some(missing), None, None), Err(TlsError::Read { path, .. }) if path == missing));
    }

    #[test]
    fn a_file_without_pem_is_named_with_what_was_wanted_in_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("ca.crt");
        for text in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
            std::fs::write(&file, text).expect("writes");
            let error = load(Some(&file), None, None).expect_err("no certificate");
            assert!(matches!(&error, TlsError::Pem { path, wanted: "certificate" } if *path == file), "{error}");
        }
    }

    #[test]
    fn the_same_alert_means_another_thing_with_and_without_a_client_certificate() {
        let alert = rustls::Error::AlertReceived(AlertDescription::BadCertificate);
        assert_eq!(TlsFault::of(&alert, false), TlsFault::ClientCertificateWanted);
        assert_eq!(TlsFault::of(&alert, true), TlsFault::ClientCertificateRefused);
    }
}
