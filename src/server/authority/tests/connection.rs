//! The wrapper on real connections, with h2 behind it.

use std::io::IoSlice;

use http::{Method, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;

use super::*;

const RST_STREAM: u8 = 0x3;

/// The header blocks of the first two calls of real clients: target `/var/run/kms.sock`, method `/v2.KeyManagementService/Status`.
const GRPC_GO: [(&str, &str, [&str; 2]); 2] = [
    (
        "1.54.0",
        "-var-run-kms.sock",
        [
            "8386459763b897cc5f5a0750e62d25a93b8b677310ac6e48d36a3f418d63b8ec62cb6a63ad285d07275f5f8b1d75d0620d263d4c4d65647a8a9acac8b4c7\
             602bb6d2e040027465864d833505b11f40899acac8b24d494f6a7f8613efb4e32e5b",
            "8386c3c2c1c0bf7e8613efbefbafdb",
        ],
    ),
    (
        "1.65.0",
        "-2Fvar-2Frun-2Fkms.sock",
        [
            "8386459763b897cc5f5a0750e62d25a93b8b677310ac6e48d36a3f419154587b8ec54586cb6a54587ad285d072755f8b1d75d0620d263d4c4d65647a8a9a\
             cac8b4c7602bb8dae040027465864d833505b11f40899acac8b24d494f6a7f8613efbe213d6f",
            "8386c3c2c1c0bf7e8613efbefbce5b",
        ],
    ),
];

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("hexadecimal") as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// What h2 makes of a connection whose client sends `stream` with so many calls: the heads of those that it accepts, and all that it
/// answers until it has closed the stream of each.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &[u8],
    calls: usize,
    wrap: impl FnOnce(DuplexStream) -> S,
) -> (Vec<Request<()>>, Vec<u8>) {
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let client = async move {
        near.write_all(stream).await.expect("fits");
        let mut answers = Vec::new();
        while frames_of(&answers).iter().filter(|(kind, _)| matches!(*kind, HEADERS | RST_STREAM)).count() < calls {
            assert!(near.read_buf(&mut answers).await.expect("reads") > 0, "the server hung up: {answers:02x?}");
        }
        answers
    };
    let server = async move {
        let mut requests = Vec::new();
        let mut connection = h2::server::handshake(wrap(far)).await.expect("begins like HTTP/2");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            respond.send_response(Response::new(()), true).expect("answers");
            requests.push(request.map(|_| ()));
        }
        requests
    };
    tokio::join!(server, client)
}

/// Kind and payload of the whole frames in `bytes`.
fn frames_of(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<9>()
        && let Some((payload, later)) = rest.split_at_checked(u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize)
    {
        frames.push((header[3], payload));
        bytes = later;
    }
    frames
}

fn calls(blocks: [&str; 2]) -> Vec<u8> {
    let [first, second] = blocks.map(bytes_of);
    client(&[frame(HEADERS, END_HEADERS | END_STREAM, 1, &first), frame(HEADERS, END_HEADERS | END_STREAM, 3, &second)])
}

#[tokio::test]
async fn calls_of_real_clients_are_served_with_everything_but_the_authority_intact() {
    for (release, authority, blocks) in GRPC_GO {
        let (requests, _) = serve(&calls(blocks), 2, LegacyAuthority::new).await;
        assert_eq!(requests.len(), 2, "{release}");
        for request in requests {
            assert_eq!(request.uri().authority().expect("there").as_str(), authority);
            assert_eq!(request.uri().path(), "/v2.KeyManagementService/Status");
            assert_eq!(request.uri().scheme_str(), Some("http"));
            assert_eq!(request.method(), Method::POST);
            assert_eq!(request.headers()["content-type"], "application/grpc");
            assert_eq!(request.headers()["user-agent"], format!("grpc-go/{release}"));
            assert_eq!(request.headers()["te"], "trailers");
            assert_eq!(request.headers().len(), 4);
        }
    }
}

#[tokio::test]
async fn without_the_wrapper_h2_resets_these_calls() {
    const PROTOCOL_ERROR: &[u8] = &[0, 0, 0, 1];
    for (release, _, blocks) in GRPC_GO {
        let (requests, answers) = serve(&calls(blocks), 2, |io| io).await;
        assert!(requests.is_empty(), "{release}: the workaround is no longer needed");
        let resets: Vec<_> = frames_of(&answers).into_iter().filter(|(kind, _)| *kind == RST_STREAM).collect();
        assert_eq!(resets, [(RST_STREAM, PROTOCOL_ERROR); 2], "{release}");
    }
}

#[tokio::test]
async fn an_authority_that_is_none_even_then_is_still_refused() {
    let stream = client(&[frame(HEADERS, END_HEADERS | END_STREAM, 1, &request("/var/run/kms sock"))]);
    let (requests, _) = serve(&stream, 1, LegacyAuthority::new).await;
    assert!(requests.is_empty());
}

#[tokio::test]
async fn writing_is_that_of_the_inner_connection() {
    let (near, mut far) = UnixStream::pair().expect("a pair");
    let mut wrapper = LegacyAuthority::new(near);
    assert!(wrapper.is_write_vectored());
    let slices = [IoSlice::new(b"/a%"), IoSlice::new(b"2Fb")];
    assert_eq!(wrapper.write_vectored(&slices).await.expect("writes"), 6, "both slices in one write");
    wrapper.write_all(b"/%").await.expect("writes");
    wrapper.flush().await.expect("flushes");
    wrapper.shutdown().await.expect("shuts down");
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.expect("reads to the end that the shutdown made");
    assert_eq!(read, b"/a%2Fb/%");
}

#[tokio::test]
async fn a_failing_read_is_passed_on_and_loses_nothing() {
    let stream = client(&[frame(HEADERS, END_HEADERS, 1, &request(PATHS[0]))]);
    for at in 0..stream.len() {
        let mut wrapper = LegacyAuthority::new(Failing { before: &stream[..at], failed: false, after: &stream[at..] });
        let mut read = Vec::new();
        assert_eq!(wrapper.read_to_end(&mut read).await.expect_err("fails once").kind(), std::io::ErrorKind::TimedOut);
        wrapper.read_to_end(&mut read).await.expect("goes on");
        assert_eq!(read, whole(&stream), "failed after {at} bytes");
    }
}

/// Fails once, between two parts.
struct Failing<'a> {
    before: &'a [u8],
    failed: bool,
    after: &'a [u8],
}

impl AsyncRead for Failing<'_> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if this.before.is_empty() && !this.failed {
            this.failed = true;
            return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
        }
        let part = if this.before.is_empty() { &mut this.after } else { &mut this.before };
        let (piece, later) = part.split_at(part.len().min(buf.remaining()));
        buf.put_slice(piece);
        *part = later;
        Poll::Ready(Ok(()))
    }
}
