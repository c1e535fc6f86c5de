//! A client that sends much before it reads.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// An HTTP/2 frame; what it asks is small.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A call of Status in its two frames, its fields as literals (RFC 7541 section 6.2.2).
pub(super) fn status_call(stream: u32) -> Vec<u8> {
    let mut block = vec![0x83, 0x86]; // POST, http
    let fields = [(&[4][..], "/v2.KeyManagementService/Status"), (&[1], "localhost"), (&[15, 16], "application/grpc")];
    for (name, value) in fields {
        block.extend_from_slice(name);
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    }
    [frame(1, 4, stream, &block), frame(0, 1, stream, &[0; PREFIX])].concat()
}

#[tokio::test]
async fn a_client_that_sends_all_its_calls_before_it_reads_gets_every_answer() {
    const PINGS: u32 = 4;
    let (near, mut far) = tokio::net::UnixStream::pair().expect("pair");
    let (log, _guard) = crate::log::Log::to(std::io::sink()).expect("starts");
    let service = Service::new(Default::default(), Box::new(crate::entropy::OsEntropy), log, false);
    let caller = crate::adoption::Callers::new(std::time::Instant::now()).connect(0, 0, std::time::Instant::now());
    let (_running, stop) = watch::channel(false);
    let stream = crate::server::quiet::QuietStream::new(near).expect("registers");
    let serving = tokio::spawn(serve(stream, caller, Arc::new(service), stop));

    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[])[..]].concat();
    let sending = async {
        far.write_all(&preface).await.expect("writes");
        for call in 0..CALLS {
            // A write of its own for each: so a socket is full the sooner.
            far.write_all(&status_call(2 * call + 1)).await.expect("writes");
            // h2 reads nothing while it has no room for the answer to a PING.
            for _ in 0..PINGS {
                far.write_all(&frame(6, 0, 0, &[7; 8])).await.expect("writes");
            }
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, sending).await.expect("the server reads although nobody reads its answers");

    let (mut ended, mut pongs) = (0, 0);
    let reading = async {
        while (ended, pongs) != (CALLS, PINGS * CALLS) {
            let mut head = [0; 9];
            far.read_exact(&mut head).await.expect("reads");
            let [l0, l1, l2, kind, flags, ..] = head;
            far.read_exact(&mut vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize]).await.expect("reads");
            match (kind, flags & 1) {
                (1, 1) => ended += 1,
                (6, 1) => pongs += 1,
                _ => {}
            }
        }
    };
    tokio::time::timeout(limit, reading).await.expect("every call and every PING is answered");
    drop(far);
    // It hung up.
    let _ = tokio::time::timeout(limit, serving).await.expect("ends");
}
