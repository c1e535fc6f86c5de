//! Where a member listens: `[SCHEME://]HOST:PORT`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::Uri;
use thiserror::Error;

/// Where etcdctl looks when it is told nothing.
pub const DEFAULT_ENDPOINT: &str = "127.0.0.1:2379";

/// One member's address, with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    tls: bool,
    /// A name, or an address without brackets.
    host: String,
    port: u16,
}

/// What is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no endpoint: {reason}; write http://HOST:PORT or https://HOST:PORT")]
pub struct EndpointError {
    /// As given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Endpoint {
    /// One endpoint. Without a scheme it is https when `tls_files` (any of `--cacert`, `--cert`, `--key` is given), as for etcdctl.
    pub fn parse(text: &str, tls_files: bool) -> Result<Self, EndpointError> {
        let fail = |reason| Err(EndpointError { text: text.to_owned(), reason });
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return fail("only http and https are spoken"),
            None => (tls_files, text),
        };
        if rest.trim_end_matches('/').contains('/') {
            return fail("it has more than a host and a port");
        }
        let Ok(uri) = rest.trim_end_matches('/').parse::<Uri>() else { return fail("it cannot be read") };
        let (Some(authority), None) = (uri.authority(), uri.path_and_query().filter(|path| *path != "/")) else {
            return fail("it has more than a host and a port");
        };
        if authority.as_str().contains('@') {
            return fail("a user is named by --user");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let Some(port) = authority.port_u16() else { return fail("it has no port") };
        let valid = !host.is_empty() && (authority.host().starts_with('[') == host.parse::<Ipv6Addr>().is_ok());
        if valid { Ok(Self { tls, host: host.to_owned(), port }) } else { fail("it has no valid host") }
    }

    /// As `--endpoints` and kube-apiserver's `--etcd-servers` take them: several, with commas between.
    pub fn list(text: &str, tls_files: bool) -> Result<Vec<Self>, EndpointError> {
        text.split(',').map(|one| Self::parse(one.trim(), tls_files)).collect()
    }

    /// Whether it is https.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether what is sent there stays on this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_back_as_it_was_written() {
        for text in ["http://127.0.0.1:2379", "https://etcd-0.etcd.svc:2379", "https://[::1]:2379"] {
            assert_eq!(Endpoint::parse(text, false).expect("valid").to_string(), text);
        }
        assert_eq!(Endpoint::parse("https://h:1/", false).expect("valid").to_string(), "https://h:1");
    }

    #[test]
    fn without_a_scheme_the_tls_files_decide() {
        assert_eq!(Endpoint::parse(DEFAULT_ENDPOINT, false).expect("valid").to_string(), "http://127.0.0.1:2379");
        assert_eq!(Endpoint::parse(DEFAULT_ENDPOINT, true).expect("valid").to_string(), "https://127.0.0.1:2379");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_its_reason() {
        for (text, reason) in [
            ("unix:///run/etcd.sock", "only http and https are spoken"),
            ("http://host", "it has no port"),
            ("http://host:99999", "it has no port"),
            ("http://host:1/v3", "it has more than a host and a port"),
            ("http://root:pw@host:1", "a user is named by --user"),
            ("http://:2379", "it has no valid host"),
            ("http://", "it cannot be read"),
            ("", "it cannot be read"),
            ("http://a b:1", "it cannot be read"),
        ] {
            assert_eq!(Endpoint::parse(text, false).map_err(|e| e.reason), Err(reason), "{text}");
        }
        assert!(Endpoint::list("http://a:1,,http://b:1", false).is_err());
    }
}
