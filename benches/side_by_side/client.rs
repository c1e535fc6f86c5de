//! One connection to a KMS socket, with the wire shape of grpc-go: HEADERS, then one DATA frame that ends the stream.
//!
//! Built on `h2` alone: a full gRPC client costs more than the server it measures. Of what grpc-go sends, its PING after a DATA
//! frame (bandwidth estimation) is absent.

use std::os::unix;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, Version, header};
use prost::Message;
use tokio::net::UnixStream;

use crate::{Result, wire};

/// What the API server's client says of itself.
const USER_AGENT: HeaderValue = HeaderValue::from_static("grpc-go/1.82.1");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// One of the calls of KMS v2.
#[derive(Clone, Copy)]
pub(crate) enum Method {
    Status,
    Encrypt,
    Decrypt,
}

impl Method {
    fn uri(self) -> Uri {
        Uri::from_static(match self {
            Self::Status => "http://localhost/v2.KeyManagementService/Status",
            Self::Encrypt => "http://localhost/v2.KeyManagementService/Encrypt",
            Self::Decrypt => "http://localhost/v2.KeyManagementService/Decrypt",
        })
    }
}

/// A connection; clones share it. Must be used on the runtime that made it. It closes when the last clone goes.
#[derive(Clone)]
pub(crate) struct Client {
    sender: SendRequest<Bytes>,
}

impl Client {
    /// Connects without waiting: a socket that is not there yet is an error.
    pub(crate) async fn connect(socket: &Path) -> Result<Self> {
        let stream = unix::net::UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        let (sender, connection) = h2::client::Builder::new().enable_push(false).handshake(UnixStream::from_std(stream)?).await?;
        // A connection that breaks fails every call on it; its own result would say nothing more.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// One call. `number` makes its deadline differ from that of the calls around it, as elapsing time does for grpc-go.
    ///
    /// Errors unless the answer is a well-formed gRPC success with exactly one message.
    pub(crate) async fn call<M: Message + Default>(&self, method: Method, message: &impl Message, number: u64) -> Result<M> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(request(method, number)?, false)?;
        stream.send_data(wire::frame(message)?, true)?;

        let (head, mut body) = response.await?.into_parts();
        if head.status != StatusCode::OK || head.headers.get(header::CONTENT_TYPE) != Some(&GRPC) {
            return Err(format!("not a gRPC answer: status {}, headers {:?}", head.status, head.headers).into());
        }
        if head.headers.contains_key("grpc-status") {
            return Err(refusal(&head.headers).into());
        }
        let message = collect(&mut body).await?;
        let trailers = body.trailers().await?.ok_or("an answer without trailers")?;
        if trailers.get("grpc-status").map(HeaderValue::as_bytes) != Some(b"0") {
            return Err(refusal(&trailers).into());
        }
        wire::unframe(message)
    }
}

/// Headers in the order in which grpc-go sends them.
fn request(method: Method, number: u64) -> Result<Request<()>> {
    // Below the API server's 3 s, in the unit that grpc-go picks for it.
    let deadline = HeaderValue::try_from(format!("{}u", 2_999_999 - number % 1_000_000))?;
    let request = Request::post(method.uri())
        .version(Version::HTTP_2)
        .header(header::CONTENT_TYPE, GRPC)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::TE, TRAILERS)
        .header("grpc-timeout", deadline);
    Ok(request.body(())?)
}

/// Reads the body whole and gives its window back.
async fn collect(body: &mut RecvStream) -> Result<Bytes> {
    let mut whole = Bytes::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        whole = if whole.is_empty() { chunk } else { BytesMut::from_iter(whole.into_iter().chain(chunk)).freeze() };
    }
    Ok(whole)
}

fn refusal(headers: &HeaderMap) -> String {
    let text = |name| headers.get(name).map_or("none".into(), |value| String::from_utf8_lossy(value.as_bytes()));
    format!("grpc-status {}: {}", text("grpc-status"), text("grpc-message"))
}
