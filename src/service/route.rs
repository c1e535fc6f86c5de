//! Sends a request to the service that its path names. A router library would be half of the server's own cost.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tower_service::Service as TowerService;

use super::kms_v1::KmsV1;
use super::kms_v2::KmsV2;
use super::{Service, refusal};
use crate::protocol::{MAX_MESSAGE, v1beta1, v2};

type V1 = v1beta1::key_management_service_server::KeyManagementServiceServer<KmsV1>;
type V2 = v2::key_management_service_server::KeyManagementServiceServer<KmsV2>;

/// All services of one socket.
#[derive(Clone)]
pub struct Routes {
    v2: V2,
    v1: Option<V1>,
}

impl Routes {
    /// KMS v2, and KMS v1 if `with_v1`.
    pub fn new(service: Arc<Service>, with_v1: bool) -> Self {
        Self {
            v2: V2::new(KmsV2(service.clone())).max_decoding_message_size(MAX_MESSAGE),
            v1: with_v1.then(|| V1::new(KmsV1(service)).max_decoding_message_size(MAX_MESSAGE)),
        }
    }
}

impl TowerService<Request<Body>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = request.uri().path().strip_prefix('/').and_then(|path| path.split_once('/')).map(|(service, _)| service);
        match (service, &mut self.v1) {
            (Some(V2::NAME), _) => self.v2.call(request),
            (Some(V1::NAME), Some(v1)) => v1.call(request),
            _ => Box::pin(std::future::ready(Ok(refusal::unknown_service().into_http()))),
        }
    }
}
