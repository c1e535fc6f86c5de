//! A KMS v2 plugin that keeps no key and, every tenth time, says something that is not so.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use keywright::protocol::v2::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusResponse};
use prost::Message;

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Decrypt answers with another plaintext.
    Plaintext,
    /// Encrypt names another key than Status.
    KeyId,
    /// Status is not well.
    Healthz,
    /// Decrypt is refused.
    Refuse,
}

/// Serves until its one client has gone.
pub(crate) struct Liar(Option<JoinHandle<()>>);

impl Liar {
    pub(crate) fn start(path: &Path, fault: Fault) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("bind");
        Self(Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(listener, fault));
        })))
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        let ended = self.0.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_none_or(|ended| ended.is_ok()), "the liar panicked");
    }
}

async fn serve(listener: UnixListener, fault: Fault) {
    let (stream, _) = listener.accept().expect("a client");
    stream.set_nonblocking(true).expect("of our own");
    let stream = tokio::net::UnixStream::from_std(stream).expect("of our own");
    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
    let mut decrypts = 0_usize;
    // The client ends it without a word.
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        let mut body = request.into_body();
        let message = match body.data().await {
            Some(frame) => frame.expect("whole").slice(5..),
            None => Bytes::new(),
        };
        decrypts += usize::from(path.ends_with("/Decrypt"));
        let (answer, code) = answer(&path, message, fault, decrypts);
        let response = Response::builder().header("content-type", "application/grpc").body(()).expect("valid");
        let mut stream = respond.send_response(response, false).expect("it waits");
        stream.send_data(answer, false).expect("it waits");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(code));
        trailers.insert("grpc-message", HeaderValue::from_static("not today"));
        stream.send_trailers(trailers).expect("it waits");
    }
}

fn answer(path: &str, message: Bytes, fault: Fault, decrypts: usize) -> (Bytes, &'static str) {
    let lie = decrypts.is_multiple_of(10);
    let healthz = if fault == Fault::Healthz { "not at all" } else { "ok" };
    match path.rsplit('/').next() {
        Some("Status") => {
            let status = StatusResponse { version: "v2".into(), healthz: healthz.into(), key_id: "the-key".into() };
            (frame(&status), "0")
        }
        Some("Encrypt") => {
            let request = EncryptRequest::decode(message).expect("an Encrypt");
            let key_id = if fault == Fault::KeyId { "another-key" } else { "the-key" };
            let answer = EncryptResponse { ciphertext: request.plaintext.clone(), key_id: key_id.into(), annotations: Default::default() };
            (frame(&answer), "0")
        }
        _ => {
            let mut plaintext = DecryptRequest::decode(message).expect("a Decrypt").ciphertext;
            if fault == Fault::Plaintext && lie {
                plaintext[31] ^= 1;
            }
            (frame(&DecryptResponse { plaintext }), if fault == Fault::Refuse && lie { "8" } else { "0" })
        }
    }
}

fn frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).expect("short"));
    message.encode(&mut frame).expect("grows");
    frame.freeze()
}
