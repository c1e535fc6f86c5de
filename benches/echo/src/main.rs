//! H, the floor of the benchmark `instructions`: `keywright-echo SOCKET` answers KMS v2 calls on the `h2` crate and does nothing else.
//!
//! It reads every message and gives a canned answer of 92 bytes. Nothing in it knows a key, a log line or a limit, so what it costs is what HTTP/2
//! costs. It is a package of its own because it is built with the plugin's profile, which nothing else of a benchmark needs to be.

use std::error::Error;
use std::future::poll_fn;
use std::path::Path;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::{UnixListener, UnixStream};

/// The answer of Encrypt and Decrypt, whole, with the frame in front.
const CANNED: usize = 92;
/// In front of every gRPC message: whether it is compressed, and its length.
const FRAME: usize = 5;
/// Number and length of a field of protobuf that is shorter than 128 bytes.
const FIELD: usize = 2;
const KEY_ID: &[u8] = b"echo";

fn main() -> Result<(), Box<dyn Error>> {
    let socket = std::env::args_os().nth(1).ok_or("usage: keywright-echo SOCKET")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(serve(Path::new(&socket)))?)
}

async fn serve(socket: &Path) -> std::io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A client that goes away ends its connection only.
            let _ = answer(stream).await;
        });
    }
}

/// All calls that are there are taken before any of them is answered, so that answers leave together.
async fn answer(stream: UnixStream) -> Result<(), h2::Error> {
    let status = message(&[(1, b"v2"), (2, b"ok"), (3, KEY_ID)]);
    let ciphertext = [0x4b; CANNED - FRAME - 2 * FIELD - KEY_ID.len()];
    let wrapped = message(&[(1, &ciphertext), (2, KEY_ID)]);
    let mut connection = h2::server::handshake(stream).await?;
    let mut waiting = Vec::new();
    loop {
        let accepted = poll_fn(|cx| match connection.poll_accept(cx) {
            Poll::Pending if !waiting.is_empty() => Poll::Ready(None),
            other => other.map(Some),
        });
        match accepted.await {
            Some(Some(call)) => waiting.push(call?),
            Some(None) => return Ok(()),
            None => {
                for (request, mut respond) in waiting.drain(..) {
                    let canned = if request.uri().path().ends_with("/Status") { &status } else { &wrapped };
                    let mut body = request.into_body();
                    if let Poll::Ready(Some(message)) = body.poll_data(&mut Context::from_waker(Waker::noop())) {
                        body.flow_control().release_capacity(message?.len())?;
                    }
                    let mut response = Response::new(());
                    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
                    let mut stream = respond.send_response(response, false)?;
                    stream.send_data(canned.clone(), false)?;
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static("0"));
                    stream.send_trailers(trailers)?;
                }
            }
        }
    }
}

/// A gRPC message of these fields, each of them bytes or text and shorter than 128 bytes.
fn message(fields: &[(u8, &[u8])]) -> Bytes {
    let length = fields.iter().map(|(_, value)| FIELD + value.len()).sum::<usize>();
    let mut frame = BytesMut::with_capacity(FRAME + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a few fields of less than 128 bytes"));
    for (number, value) in fields {
        // The 2 says that a length follows.
        frame.put_u8(number << 3 | 2);
        frame.put_u8(u8::try_from(value.len()).expect("less than 128 bytes"));
        frame.put_slice(value);
    }
    frame.freeze()
}
