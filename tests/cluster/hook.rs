//! An admission webhook that judges by name: `sNNN` is refused with status NNN, everything else passes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use keywright_testbed::api::base64;
use keywright_testbed::pki::Authority;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A review has the object twice, each at most of etcd's 1.5 MiB.
const LARGEST: usize = 8 << 20;

/// How often each name was asked for, dry runs left out.
type Asked = Arc<Mutex<BTreeMap<String, u64>>>;

/// It serves until it is dropped.
pub(crate) struct Hook {
    authority: Authority,
    address: String,
    asked: Asked,
    runtime: Option<Runtime>,
}

impl Hook {
    pub(crate) fn start() -> Self {
        let authority = Authority::new().expect("an authority");
        let identity = authority.server(&["127.0.0.1"]).expect("a certificate");
        let certificates = vec![CertificateDer::from_pem_file(&identity.cert).expect("a certificate in PEM")];
        let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key in PEM");
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions that ring knows");
        let tls = tls.with_no_client_auth().with_single_cert(certificates, key).expect("they belong together");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let asked = Asked::default();
        runtime.spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&asked)));
        Self { authority, address, asked, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}/", self.address)
    }

    /// As `caBundle` has it.
    pub(crate) fn authority(&self) -> String {
        base64(&read(&self.authority.cert()))
    }

    /// How often it was asked about the object `name`, dry runs left out.
    pub(crate) fn asked(&self, name: &str) -> u64 {
        self.asked.lock().expect("nobody panics with it").get(name).copied().unwrap_or_default()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, asked: Asked) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, asked) = (tls.clone(), Arc::clone(&asked));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(|request| judge(request, &asked));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn judge(request: Request<Incoming>, asked: &Asked) -> Result<Response<Full<Bytes>>, Failed> {
    let body = Limited::new(request.into_body(), LARGEST).collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body)?;
    let name = review["request"]["name"].as_str().unwrap_or_default().to_owned();
    let status: Option<u16> = name.strip_prefix('s').and_then(|status| status.parse().ok());
    if review["request"]["dryRun"] != true {
        *asked.lock().map_err(|e| e.to_string())?.entry(name.clone()).or_default() += 1;
    }
    let refusal = status.map(|status| {
        // As thorough as a webhook can be in looking like the API server itself.
        let details = json!({"name": name, "kind": "secrets", "retryAfterSeconds": 1});
        json!({"code": status, "message": format!("says {status}"), "reason": "NotFound", "details": details})
    });
    let response = json!({"uid": review["request"]["uid"], "allowed": refusal.is_none(), "status": refusal});
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Ok(Response::builder().header("Content-Type", "application/json").body(Full::new(Bytes::from(answer.to_string())))?)
}
