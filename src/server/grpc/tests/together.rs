//! Calls that came together, and how their answers leave.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};

use super::burst::{frame, status_call};
use super::*;

/// Counts what would be system calls.
struct Counted(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn the_answers_of_calls_that_came_together_leave_together() {
    const TOGETHER: u32 = 50;
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let writes = Arc::new(AtomicUsize::new(0));
    let (log, _guard) = crate::log::Log::to(std::io::sink()).expect("starts");
    let service = Service::new(Default::default(), Box::new(crate::entropy::OsEntropy), log, false);
    let caller = crate::adoption::Callers::new(std::time::Instant::now()).connect(0, 0, std::time::Instant::now());
    let (_running, stop) = watch::channel(false);
    tokio::spawn(serve(Counted(near, writes.clone()), caller, Arc::new(service), stop));

    let mut sent = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[])[..]].concat();
    sent.extend((0..TOGETHER).flat_map(|call| status_call(2 * call + 1)));
    far.write_all(&sent).await.expect("it has room for all of them");
    let mut ended = 0;
    let reading = async {
        while ended != TOGETHER {
            let mut head = [0; 9];
            far.read_exact(&mut head).await.expect("reads");
            let [l0, l1, l2, kind, flags, ..] = head;
            far.read_exact(&mut vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize]).await.expect("reads");
            ended += u32::from((kind, flags & 1) == (1, 1));
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reading).await.expect("every call is answered");
    // The beginning of the connection, the first answer, and all the others, which may not fit into one buffer.
    let writes = writes.load(Ordering::Relaxed);
    assert!(writes < 10, "{writes} writes");
}
