//! How the API server is connected to: as `kube` does by itself, but over HTTP/2 where the server speaks it, as client-go does.
//!
//! Many requests then share one connection, and cost the server less. Nothing is repeated here: who asks knows what can be, and how often.

use std::time::Duration;

use ::kube::client::{Body, ClientBuilder, ConfigExt};
use ::kube::config::Config;
use ::kube::{Client, Error};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::util::{ServiceExt, option_layer};

/// A connection of many requests that is dead would hold all of them, and those after them: it is asked after so long without an answer.
/// Both are client-go's.
const SILENCE: Duration = Duration::from_secs(30);
/// How long it may take to say that it is alive.
const ALIVE: Duration = Duration::from_secs(15);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A client for the server of `config`, with its credentials. Nobody is asked yet.
pub(super) fn client(config: &Config) -> Result<Client, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(config.connect_timeout);
    let mut tls = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into().map_err(|e| Error::Service(Box::new(e)))?;
        tls = tls.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let connector = tls.enable_http1().enable_http2().wrap_connector(tcp);
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(SILENCE)
        .http2_keep_alive_timeout(ALIVE)
        .build(connector);
    Ok(ClientBuilder::new(http.map_err(BoxError::from), config.default_namespace.clone())
        .with_layer(&config.extra_headers_layer()?)
        .with_layer(&option_layer(config.auth_layer()?))
        .with_layer(&config.base_uri_layer())
        .build())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;
    use keywright_testbed::pki::Authority;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;

    /// What the client agrees on with a server that speaks `protocols`.
    async fn agreed(protocols: &[&str]) -> Option<String> {
        let authority = Authority::new().expect("an authority");
        let identity = authority.server(&["127.0.0.1"]).expect("a certificate");
        let read = |file: &std::path::Path| CertificateDer::from_pem_file(file).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
        let server = server.expect("versions").with_no_client_auth().with_single_cert(vec![read(&identity.cert)], key);
        let mut server = server.expect("a certificate and its key");
        server.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");

        let mut config = Config::new(format!("https://{address}").parse().expect("an address"));
        config.root_cert = Some(vec![read(&authority.cert()).to_vec()]);
        let client = client(&config).expect("a client");
        let asked =
            tokio::spawn(async move { client.send(Request::get("/version").body(Body::empty()).expect("a request")).await.is_ok() });
        let (tcp, _) = listener.accept().await.expect("it connects");
        let tls = TlsAcceptor::from(Arc::new(server)).accept(tcp).await.expect("they agree");
        let agreed = tls.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        drop(tls);
        assert!(!asked.await.expect("it ends"), "there was no answer");
        agreed
    }

    #[tokio::test]
    async fn many_requests_share_a_connection_where_the_server_lets_them() {
        assert_eq!(agreed(&["h2", "http/1.1"]).await.as_deref(), Some("h2"));
        assert_eq!(agreed(&["http/1.1"]).await.as_deref(), Some("http/1.1"));
        assert_eq!(agreed(&[]).await, None);
    }
}
