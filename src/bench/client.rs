//! One connection to a KMS socket, with the wire shape of grpc-go: HEADERS, then one DATA frame that ends the stream.
//!
//! Built on `h2` alone: a full gRPC client costs more than the server it measures. Of what grpc-go sends, its PING after a DATA
//! frame (bandwidth estimation) is absent.

use std::io;
use std::os::unix;
use std::path::Path;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, Version, header};
use prost::Message;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::protocol::{MAX_MESSAGE, OURS};

/// What the API server's client says of itself.
const USER_AGENT: HeaderValue = HeaderValue::from_static("grpc-go/1.82.1");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
/// Flag byte and length in front of every gRPC message.
const PREFIX: usize = 5;

/// One of the calls of KMS v2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Whether all is well, and which key wraps.
    Status,
    /// Wraps a seed.
    Encrypt,
    /// Unwraps one.
    Decrypt,
}

impl Operation {
    /// As KMS v2 spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "Status",
            Self::Encrypt => "Encrypt",
            Self::Decrypt => "Decrypt",
        }
    }

    fn uri(self) -> Uri {
        Uri::from_static(match self {
            Self::Status => "http://localhost/v2.KeyManagementService/Status",
            Self::Encrypt => "http://localhost/v2.KeyManagementService/Encrypt",
            Self::Decrypt => "http://localhost/v2.KeyManagementService/Decrypt",
        })
    }
}

/// For whom calls are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// An API server: a plugin of ours reckons with what it was told. Only for a plugin that serves none.
    ApiServer,
    /// A command of ours, which says nothing about an API server.
    Ours,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The socket does not take it.
    #[error("connect: {0}")]
    Socket(#[from] io::Error),
    /// What answers does not speak HTTP/2.
    #[error("begin HTTP/2: {0}")]
    Handshake(#[from] h2::Error),
}

/// Why a call brought no answer that an API server would take.
#[derive(Debug, Error)]
pub enum CallError {
    /// It was refused, with a gRPC status.
    #[error("{code:?}: {text}")]
    Refused {
        /// Of the status.
        code: tonic::Code,
        /// Its message.
        text: String,
    },
    /// No answer in time.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
    /// The connection broke; no later call will be answered on it.
    #[error("the connection broke: {0}")]
    Broken(h2::Error),
    /// The stream of this one call was reset.
    #[error("the call was reset: {0}")]
    Reset(h2::Error),
    /// It was answered, and the answer is not right.
    #[error("{0}")]
    Wrong(String),
}

impl CallError {
    /// The gRPC code under which grpc-go would count it; none for an answer that is not right.
    pub fn code(&self) -> Option<tonic::Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Late(_) => Some(tonic::Code::DeadlineExceeded),
            Self::Broken(_) => Some(tonic::Code::Unavailable),
            Self::Reset(_) => Some(tonic::Code::Internal),
            Self::Wrong(_) => None,
        }
    }
}

impl From<h2::Error> for CallError {
    fn from(error: h2::Error) -> Self {
        if error.is_reset() { Self::Reset(error) } else { Self::Broken(error) }
    }
}

/// A connection; clones share it. Must be used on the runtime that made it. It closes when the last clone goes.
#[derive(Clone)]
pub struct Client {
    sender: SendRequest<Bytes>,
    caller: Caller,
    pid: Option<i32>,
    timeout: Duration,
}

impl Client {
    /// Connects without waiting: a socket that is not there yet is an error. Each call may take `timeout`.
    pub async fn connect(socket: &Path, caller: Caller, timeout: Duration) -> Result<Self, ConnectError> {
        let stream = unix::net::UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        Self::over(UnixStream::from_std(stream)?, caller, timeout).await
    }

    /// Speaks over a stream that is connected.
    pub async fn over(stream: UnixStream, caller: Caller, timeout: Duration) -> Result<Self, ConnectError> {
        let pid = stream.peer_cred()?.pid();
        // Answers are small frames that do not end their stream; with hundreds in flight h2's default budget for such frames ends the connection.
        let handshake = h2::client::Builder::new().enable_push(false).data_frame_budget(16 << 20).handshake(stream);
        let (sender, connection) = handshake.await?;
        // A connection that breaks fails every call on it; its own result would say nothing more.
        tokio::spawn(connection);
        Ok(Self { sender, caller, pid, timeout })
    }

    /// The process at the other end, by the kernel's word; none if it is not in sight from here.
    pub fn pid(&self) -> Option<u32> {
        self.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0)
    }

    /// One call. `number` makes its deadline differ from that of the calls around it, as elapsing time does for grpc-go.
    ///
    /// Errors unless the answer is a well-formed gRPC success with exactly one message.
    pub async fn call<M: Message + Default>(&self, operation: Operation, message: &impl Message, number: u64) -> Result<M, CallError> {
        tokio::time::timeout(self.timeout, self.exchange(operation, frame(message), number))
            .await
            .map_err(|_| CallError::Late(self.timeout))?
    }

    async fn exchange<M: Message + Default>(&self, operation: Operation, frame: Bytes, number: u64) -> Result<M, CallError> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(self.request(operation, number), false)?;
        stream.send_data(frame, true)?;

        let (head, mut body) = response.await?.into_parts();
        if head.status != StatusCode::OK || head.headers.get(header::CONTENT_TYPE) != Some(&GRPC) {
            return Err(CallError::Wrong(format!("not a gRPC answer: status {}", head.status)));
        }
        if head.headers.contains_key("grpc-status") {
            return Err(refusal(&head.headers));
        }
        let message = collect(&mut body).await?;
        let trailers = body.trailers().await?.ok_or_else(|| CallError::Wrong("an answer without trailers".into()))?;
        if trailers.get("grpc-status").map(HeaderValue::as_bytes) != Some(b"0") {
            return Err(refusal(&trailers));
        }
        unframe(message)
    }

    /// Headers in the order in which grpc-go sends them.
    fn request(&self, operation: Operation, number: u64) -> Request<()> {
        // Below the API server's 3 s, in the unit that grpc-go picks for it.
        let deadline = HeaderValue::try_from(format!("{}u", 2_999_999 - number % 1_000_000)).expect("digits and a letter");
        let mut request = Request::new(());
        (*request.method_mut(), *request.version_mut()) = (http::Method::POST, Version::HTTP_2);
        *request.uri_mut() = operation.uri();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, GRPC);
        headers.insert(header::USER_AGENT, USER_AGENT);
        headers.insert(header::TE, TRAILERS);
        headers.insert("grpc-timeout", deadline);
        if self.caller == Caller::Ours {
            headers.insert(OURS, HeaderValue::from_static("bench"));
        }
        request
    }
}

/// Puts a message into an uncompressed gRPC frame.
fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a message of KMS has a few hundred bytes"));
    message.encode_raw(&mut frame);
    frame.freeze()
}

/// Takes the one message out of a body that must hold exactly one uncompressed frame.
fn unframe<M: Message + Default>(body: Bytes) -> Result<M, CallError> {
    let wrong = |what: String| CallError::Wrong(what);
    let Some((&[flag, a, b, c, d], message)) = body.split_first_chunk::<PREFIX>() else {
        return Err(wrong(format!("not a gRPC frame: {} bytes", body.len())));
    };
    if flag != 0 {
        return Err(wrong("a compressed gRPC frame".into()));
    }
    let length = u32::from_be_bytes([a, b, c, d]);
    if usize::try_from(length) != Ok(message.len()) {
        return Err(wrong(format!("the gRPC frame announces {length} bytes and holds {}", message.len())));
    }
    M::decode(message).map_err(|error| wrong(format!("not the message of this call: {error}")))
}

/// Reads the body whole and gives its window back.
async fn collect(body: &mut RecvStream) -> Result<Bytes, CallError> {
    let mut whole = Bytes::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        whole = if whole.is_empty() { chunk } else { BytesMut::from_iter(whole.into_iter().chain(chunk)).freeze() };
        if whole.len() > PREFIX + MAX_MESSAGE {
            return Err(CallError::Wrong(format!("an answer of more than {MAX_MESSAGE} bytes")));
        }
    }
    Ok(whole)
}

fn refusal(headers: &HeaderMap) -> CallError {
    let bytes = |name| headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes("grpc-message")).escape_debug().to_string();
    CallError::Refused { code: tonic::Code::from_bytes(bytes("grpc-status")), text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::v2::StatusResponse;

    #[test]
    fn a_frame_is_read_only_if_it_is_whole_and_alone() {
        let answer = StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: "k".into() };
        let good = frame(&answer);
        assert!(unframe::<StatusResponse>(good.clone()).is_ok_and(|read| read == answer));
        for cut in 0..good.len() {
            assert!(matches!(unframe::<StatusResponse>(good.slice(..cut)), Err(CallError::Wrong(_))), "{cut}");
        }
        let [mut compressed, mut long] = [good.to_vec(), good.to_vec()];
        compressed[0] = 1;
        long.push(0);
        for bad in [compressed, long] {
            assert!(matches!(unframe::<StatusResponse>(bad.into()), Err(CallError::Wrong(_))));
        }
    }

    #[test]
    fn a_refusal_has_its_code_and_no_control_characters() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("14"));
        headers.insert("grpc-message", HeaderValue::from_bytes(b"not\xff ready").expect("visible"));
        let refused = refusal(&headers);
        assert_eq!(refused.code(), Some(tonic::Code::Unavailable));
        assert!(refused.to_string().starts_with("Unavailable: not"), "{refused}");
        assert_eq!(refusal(&HeaderMap::new()).code(), Some(tonic::Code::Unknown));
    }
}
