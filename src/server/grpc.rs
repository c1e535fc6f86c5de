//! Unary gRPC on one connection, straight on the `h2` crate: the calls of KMS need no more than a fifth of what a gRPC framework carries,
//! and the framework would be the largest cost of the plugin, in processor time and in code to trust.
//!
//! The protocol is gRPC over HTTP/2 (grpc/grpc, doc/PROTOCOL-HTTP2.md): a POST to the method's path with a content type of
//! `application/grpc`, one length-prefixed message each way, the outcome in the trailers. Everything a peer can do wrong below that is
//! checked by h2, with the limits set in [`Limits`].

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method as HttpMethod, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::adoption::Caller;
use crate::protocol::{self, MAX_MESSAGE};
use crate::secret::SecretBytes;
use crate::service::refusal::{Code, Refusal};
use crate::service::{Answer, Later, Method, ROOM, Service};

/// Outcome of a call, in the trailers.
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// As a header's name, parsed once.
static OURS: HeaderName = HeaderName::from_static(protocol::OURS);
/// How long the caller waits.
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Length of what stands before a message: compressed or not, and its length.
const PREFIX: usize = 5;
const _: () = assert!(PREFIX == ROOM, "an answer has room for the prefix in front of it");
/// Most calls of one connection that are under way at once; gRPC clients wait with more, they are not refused.
pub(super) const CALLS: u32 = 1024;
/// Most bytes of request headers; an API server sends about 200.
const MAX_HEADERS: u32 = 16 << 10;
/// Bytes that a peer may send on a connection before we have taken them; several full messages.
const WINDOW: u32 = 1 << 20;
/// How long the HTTP/2 preface, and the rest of a message whose beginning is here, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves the calls of one connection, that of `caller`, until the peer closes it or `stop` says so; then the calls under way are still answered.
///
/// Errors: what h2 says of a peer that breaks the rules, or goes away.
pub(super) async fn serve<S>(
    stream: S,
    caller: Arc<Caller>,
    service: Arc<Service>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), h2::Error>
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
    // Made once: to begin and give up such a wait for every call would cost more than the call's own routing.
    let mut stopped = pin!(async move {
        // An error means that the sender is gone, which asks for the same.
        let _ = stop.wait_for(|stop| *stop).await;
    });
    let mut stopping = false;
    // Calls that came together are taken together, before one of them is answered: to look for the next one sends what is ready, so their answers
    // would leave one by one, each in a system call of its own. The first is answered at once, for most come alone, and a look costs time too.
    let (mut together, mut taken) = (false, Vec::new());
    loop {
        let next = poll_fn(|cx| match connection.poll_accept(cx) {
            Poll::Pending => {
                together = false;
                if taken.is_empty() { Poll::Pending } else { Poll::Ready(None) }
            }
            accepted => accepted.map(Some),
        });
        let accepted = tokio::select! {
            biased;
            () = &mut stopped, if !stopping => {
                stopping = true;
                connection.graceful_shutdown();
                continue;
            }
            accepted = next => accepted,
        };
        match accepted {
            Some(None) => return Ok(()),
            // A peer that resets its calls could otherwise have any number of them taken.
            Some(Some(call)) if together && taken.len() < CALLS as usize => taken.push(call?),
            Some(Some(call)) => {
                let (request, respond) = call?;
                begin(request, respond, &caller, &service);
                together = true;
            }
            None => taken.drain(..).for_each(|(request, respond)| begin(request, respond, &caller, &service)),
        }
    }
}

/// Answers a call here and now if its message is here, as it almost always is, for it came with the headers, and its key does not wait; else in
/// a task of its own.
fn begin(request: Request<RecvStream>, respond: SendResponse<Bytes>, caller: &Arc<Caller>, service: &Arc<Service>) {
    if let Some(status) = not_grpc(&request) {
        let mut response = Response::new(());
        *response.status_mut() = status;
        // An error means that the peer has reset the stream.
        let _ = { respond }.send_response(response, true);
        return;
    }
    let Some(method) = service.method(request.uri().path()) else {
        return end(respond, Err(Failure::Refused(Refusal::NoSuchMethod)));
    };
    // The others tell nothing of who writes with what.
    if matches!(method, Method::Status | Method::Encrypt) && request.headers().contains_key(&OURS) {
        caller.is_ours();
    }
    let (head, mut body) = request.into_parts();
    let limit = || limit(&head.headers);
    match body.poll_data(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(first))) if body.is_end_stream() => {
            let outcome = body.flow_control().release_capacity(first.len()).map_err(Failure::from);
            // Whole in one piece: nothing is copied.
            match outcome.and_then(|()| Ok(service.call(caller, method, message(&first)?, limit))) {
                Ok(Answer::Now(outcome)) => end(respond, outcome.map_err(Failure::from)),
                Ok(Answer::Later(later)) => drop(tokio::spawn(follow(respond, later))),
                Err(failure) => end(respond, Err(failure)),
            }
        }
        Poll::Ready(None) => end(respond, Err(Failure::Refused(Refusal::NotOneMessage))),
        Poll::Ready(Some(Err(_))) => {}
        first => {
            let first = match first {
                Poll::Ready(Some(Ok(first))) => Some(first),
                _ => None,
            };
            let (caller, service, limit) = (caller.clone(), service.clone(), limit());
            tokio::spawn(async move {
                match whole(first, &mut body)
                    .await
                    .and_then(|whole| Ok(service.call(&caller, method, message(whole.expose_secret())?, || limit)))
                {
                    Ok(Answer::Now(outcome)) => end(respond, outcome.map_err(Failure::from)),
                    Ok(Answer::Later(later)) => follow(respond, later).await,
                    Err(failure) => end(respond, Err(failure)),
                }
            });
        }
    }
}

/// Sends the outcome of a call once it is known. A peer that gives the call up is waited for no longer: `later` is dropped.
async fn follow(mut respond: SendResponse<Bytes>, later: Later) {
    let outcome = tokio::select! {
        biased;
        outcome = later => outcome,
        _ = poll_fn(|context| respond.poll_reset(context)) => return,
    };
    end(respond, outcome.map_err(Failure::from));
}

/// How long the caller waits for an answer, if it says so: up to eight digits and a unit (grpc/grpc, doc/PROTOCOL-HTTP2.md, `Timeout`).
fn limit(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(&GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u32 = digits.parse().ok()?;
    let unit = match unit {
        "H" => Duration::from_secs(3600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    // At most 10^8 hours: no overflow.
    Some(unit * number)
}

/// Sends the outcome of a call. A peer that has gone away meanwhile is not told.
fn end(respond: SendResponse<Bytes>, outcome: Result<SecretBytes, Failure>) {
    let _ = match outcome {
        Ok(answer) => send(respond, answer),
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

/// Waits for the rest of a message.
async fn whole(first: Option<Bytes>, body: &mut RecvStream) -> Result<SecretBytes, Failure> {
    tokio::time::timeout(PATIENCE, collect(first, body)).await.map_err(|_| Refusal::Late)?
}

/// The bytes of `first` and of all that follows it. They may be secret.
async fn collect(first: Option<Bytes>, body: &mut RecvStream) -> Result<SecretBytes, Failure> {
    let mut whole = SecretBytes::with_capacity(PREFIX + MAX_MESSAGE);
    let mut next = first.map(Ok);
    if next.is_none() {
        next = body.data().await;
    }
    while let Some(bytes) = next {
        let bytes = bytes?;
        body.flow_control().release_capacity(bytes.len())?;
        // Within the capacity, so that it never moves and leaves nothing behind.
        if whole.len() + bytes.len() > PREFIX + MAX_MESSAGE {
            return Err(Refusal::TooLong.into());
        }
        whole.extend(&bytes);
        if let Some([_, length @ ..]) = whole.expose_secret().first_chunk::<PREFIX>()
            && u32::from_be_bytes(*length) as usize > MAX_MESSAGE
        {
            return Err(Refusal::TooLong.into());
        }
        next = body.data().await;
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

fn send(mut respond: SendResponse<Bytes>, answer: SecretBytes) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(response(), false)?;
    stream.send_data(Bytes::from_owner(Framed::new(answer)), false)?;
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
    trailers.insert(&GRPC_STATUS, HeaderValue::from_static(code.number()));
    trailers
}

/// An answer behind its prefix, wiped when h2 has written it.
struct Framed(SecretBytes);

impl Framed {
    /// Writes the prefix into the room in front of `answer`.
    fn new(mut answer: SecretBytes) -> Self {
        // An answer has a few hundred bytes.
        let length = answer.len().saturating_sub(PREFIX) as u32;
        if let Some([compressed, room @ ..]) = answer.first_chunk_mut::<PREFIX>() {
            *compressed = 0;
            *room = length.to_be_bytes();
        }
        Self(answer)
    }
}

impl AsRef<[u8]> for Framed {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_secret()
    }
}
