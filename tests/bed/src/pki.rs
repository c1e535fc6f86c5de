//! Certificates for the tests: an authority, and servers and clients that it vouches for, within their time or past it.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use tempfile::TempDir;

use crate::{Error, Result, scratch};

/// An authority with its files in a folder of its own.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "etcd-ca");
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.self_signed(&key).map_err(failed)?;
        let folder = scratch::folder("pki")?;
        std::fs::write(folder.path().join("ca.crt"), cert.pem())?;
        Ok(Self { folder, issuer: Issuer::new(params, key) })
    }

    /// The file that others trust.
    pub fn cert(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// For a server at those names and addresses; also a client, since etcd's own gateway dials with it.
    pub fn server(&self, names: &[&str]) -> Result<Identity> {
        self.server_as("server", names)
    }

    /// The same with a common name, and files, of its own.
    pub fn server_as(&self, common_name: &str, names: &[&str]) -> Result<Identity> {
        self.sign(common_name, names, false)
    }

    /// For a client; its common name is its user in etcd's authentication.
    pub fn client(&self, name: &str) -> Result<Identity> {
        self.sign(name, &[], false)
    }

    /// Like [`Authority::server`], expired since 2021.
    pub fn expired_server(&self, names: &[&str]) -> Result<Identity> {
        self.sign("expired-server", names, true)
    }

    fn sign(&self, common_name: &str, names: &[&str], expired: bool) -> Result<Identity> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let at = |suffix: &str| self.folder.path().join(format!("{common_name}.{suffix}"));
        let identity = Identity { cert: at("crt"), key: at("key") };
        write(&identity.cert, &cert.pem())?;
        write(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|e| Error::while_doing(format!("write {}", path.display()), e))
}

fn failed(error: rcgen::Error) -> Error {
    Error::while_doing("make a certificate", error)
}
