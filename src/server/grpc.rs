//! Unary gRPC on one connection, straight on the `h2` crate: the calls of KMS need no more than a fifth of what a gRPC framework carries,
//! and the framework would be the largest cost of the plugin, in processor time and in code to trust.
//!
//! The protocol is gRPC over HTTP/2 (grpc/grpc, doc/PROTOCOL-HTTP2.md): a POST to the method's path with a content type of
//! `application/grpc`, one length-prefixed message each way, the outcome in the trailers. Everything a peer can do wrong below that is
//! checked by h2, with the limits set in [`Limits`].

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method as HttpMethod, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::protocol::MAX_MESSAGE;
use crate::secret::SecretBytes;
use crate::service::refusal::{Code, Refusal};
use crate::service::{Method, Service};

/// Length of what stands before a message: compressed or not, and its length.
const PREFIX: usize = 5;
/// Most calls of one connection that are under way at once; gRPC clients wait with more, they are not refused.
const CALLS: u32 = 1024;
/// Most bytes of request headers; an API server sends about 200.
const MAX_HEADERS: u32 = 16 << 10;
/// Bytes that a peer may send on a connection before we have taken them; several full messages.
const WINDOW: u32 = 1 << 20;
/// How long the HTTP/2 preface, and the rest of a message whose beginning is here, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves the calls of one connection until the peer closes it or `stop` says so; then the calls under way are still answered.
///
/// Errors: what h2 says of a peer that breaks the rules, or goes away.
pub(super) async fn serve<S>(stream: S, service: Arc<Service>, mut stop: watch::Receiver<bool>) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(CALLS)
        .max_header_list_size(MAX_HEADERS)
        .initial_window_size(MAX_MESSAGE as u32 + PREFIX as u32)
        .initial_connection_window_size(WINDOW)
        // The default of 20 would end the connection of an API server whose clients hang up together.
        .max_pending_accept_reset_streams(CALLS as usize)
        .handshake::<_, Bytes>(stream);
    let Ok(connection) = tokio::time::timeout(PATIENCE, handshake).await else {
        tracing::warn!("connection ended: it did not begin like HTTP/2 in time");
        return Ok(());
    };
    let mut connection = connection?;
    let mut stopping = *stop.borrow_and_update();
    if stopping {
        connection.graceful_shutdown();
    }
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            _ = stop.changed(), if !stopping => {
                stopping = true;
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(accepted) = accepted else { return Ok(()) };
        let (request, respond) = accepted?;
        let mut call = Box::pin(call(request, respond, service.clone()));
        // The message came with its headers almost always, and no call waits for anything else: answered here and now, without a task.
        if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(call);
        }
    }
}

/// One call from its headers to its trailers. A peer that has gone away meanwhile is not told.
async fn call(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, service: Arc<Service>) {
    if let Some(status) = not_grpc(&request) {
        let mut response = Response::new(());
        *response.status_mut() = status;
        // An error means that the peer has reset the stream.
        let _ = respond.send_response(response, true);
        return;
    }
    let outcome = match service.method(request.uri().path()) {
        Some(method) => answer(&service, method, request.into_body()).await,
        None => Err(Failure::Refused(Refusal::NoSuchMethod)),
    };
    let _ = match outcome {
        Ok(message) => send(respond, message),
        Err(Failure::Refused(refusal)) => refuse(respond, refusal),
        Err(Failure::Reset) => Ok(()),
    };
}

/// Why there is no message to answer with.
enum Failure {
    Refused(Refusal),
    /// The peer has reset the stream, or the connection is gone.
    Reset,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<h2::Error> for Failure {
    fn from(_: h2::Error) -> Self {
        Self::Reset
    }
}

/// The HTTP status for a request that is no gRPC at all.
fn not_grpc<B>(request: &Request<B>) -> Option<StatusCode> {
    if *request.method() != HttpMethod::POST {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let grpc = request.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if grpc { None } else { Some(StatusCode::UNSUPPORTED_MEDIA_TYPE) }
}

async fn answer(service: &Service, method: Method, mut body: RecvStream) -> Result<SecretBytes, Failure> {
    let Some(first) = body.data().await else { return Err(Refusal::NotOneMessage.into()) };
    let first = first?;
    body.flow_control().release_capacity(first.len())?;
    if body.is_end_stream() {
        // Whole in one piece: nothing is copied.
        return Ok(service.call(method, message(&first)?)?);
    }
    if let Some([_, length @ ..]) = first.first_chunk::<PREFIX>()
        && u32::from_be_bytes(*length) as usize > MAX_MESSAGE
    {
        return Err(Refusal::TooLong.into());
    }
    let rest = tokio::time::timeout(PATIENCE, collect(first, &mut body)).await;
    let whole = rest.map_err(|_| Refusal::Late)??;
    Ok(service.call(method, message(whole.expose_secret())?)?)
}

/// The bytes of `first` and of all that follows it. They may be secret.
async fn collect(first: Bytes, body: &mut RecvStream) -> Result<SecretBytes, Failure> {
    let mut whole = SecretBytes::with_capacity(PREFIX + MAX_MESSAGE);
    let mut next = Some(first);
    while let Some(bytes) = next {
        // Within the capacity, so that it never moves and leaves nothing behind.
        if whole.len() + bytes.len() > PREFIX + MAX_MESSAGE {
            return Err(Refusal::TooLong.into());
        }
        whole.extend(&bytes);
        next = match body.data().await {
            Some(bytes) => {
                let bytes = bytes?;
                body.flow_control().release_capacity(bytes.len())?;
                Some(bytes)
            }
            None => None,
        };
    }
    Ok(whole)
}

/// The one message in `bytes`, without its prefix.
fn message(bytes: &[u8]) -> Result<&[u8], Refusal> {
    let (prefix, message) = bytes.split_first_chunk::<PREFIX>().ok_or(Refusal::NotOneMessage)?;
    let [compressed, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    match compressed {
        _ if length > MAX_MESSAGE => Err(Refusal::TooLong),
        0 if length == message.len() => Ok(message),
        0 => Err(Refusal::NotOneMessage),
        1 => Err(Refusal::Compressed),
        _ => Err(Refusal::NotOneMessage),
    }
}

fn send(mut respond: SendResponse<Bytes>, message: SecretBytes) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(response(), false)?;
    stream.send_data(Bytes::from_owner(Framed::new(&message)), false)?;
    stream.send_trailers(outcome(Code::Ok))
}

fn refuse(mut respond: SendResponse<Bytes>, refusal: Refusal) -> Result<(), h2::Error> {
    // Headers and trailers in one: there is no message.
    let mut response = response();
    response.headers_mut().extend(outcome(refusal.code()));
    // Every text of ours is ASCII without a percent sign, so that it needs no encoding here; a test holds them to it.
    if let Ok(text) = HeaderValue::try_from(refusal.to_string()) {
        response.headers_mut().insert("grpc-message", text);
    }
    respond.send_response(response, true).map(|_| ())
}

fn response() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn outcome(code: Code) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert("grpc-status", HeaderValue::from_static(code.number()));
    trailers
}

/// An answer behind its prefix, wiped when h2 has written it.
struct Framed(SecretBytes);

impl Framed {
    fn new(message: &SecretBytes) -> Self {
        let mut framed = SecretBytes::with_capacity(PREFIX + message.len());
        // An answer has a few hundred bytes.
        framed.extend(&[0]);
        framed.extend(&(message.len() as u32).to_be_bytes());
        framed.extend(message.expose_secret());
        Self(framed)
    }
}

impl AsRef<[u8]> for Framed {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(compressed: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
        [&[compressed][..], &length.to_be_bytes(), bytes].concat()
    }

    #[test]
    fn a_message_is_taken_out_of_its_prefix_only_when_it_is_exactly_one() {
        assert_eq!(message(&framed(0, 3, b"abc")), Ok(&b"abc"[..]));
        assert_eq!(message(&framed(0, 0, b"")), Ok(&b""[..]));
        assert_eq!(message(&framed(0, 4, b"abc")), Err(Refusal::NotOneMessage));
        assert_eq!(message(&framed(0, 2, b"abc")), Err(Refusal::NotOneMessage));
        assert_eq!(message(&framed(2, 3, b"abc")), Err(Refusal::NotOneMessage));
        assert_eq!(message(&framed(1, 3, b"abc")), Err(Refusal::Compressed));
        assert_eq!(message(&framed(0, u32::MAX, b"abc")), Err(Refusal::TooLong));
        for cut in 0..PREFIX {
            assert_eq!(message(&framed(0, 3, b"")[..cut]), Err(Refusal::NotOneMessage));
        }
    }

    #[test]
    fn an_answer_is_taken_out_of_its_prefix_as_it_was_put_in() {
        let answer = SecretBytes::from_vec(vec![7; 300]);
        assert_eq!(message(Framed::new(&answer).as_ref()), Ok(&[7; 300][..]));
    }
}
