//! Whatever else may answer at an endpoint.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::Instant;

use keywright::etcd::live::{EtcdError, Refusal};
use keywright_testbed::{etcd as bed, ports};

use crate::support::{connect, options_for, refusal, tools};

/// A listener that answers every connection with those bytes and closes it; its endpoint. It ends with the test process.
fn answers(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let endpoint = format!("http://{}", listener.local_addr().expect("is bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepts");
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(bytes);
            // To its end, as a server does: closing with bytes unread would reset the connection, and the answer might never be read.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    endpoint
}

#[tokio::test]
async fn nobody_listening_is_told_from_a_server_of_another_kind() {
    let free = format!("http://127.0.0.1:{}", ports::free().expect("a port"));
    let error = refusal(options_for(&free)).await;
    assert!(matches!(error.refusal(), Some(Refusal::Refused)), "{error}");
    let http = answers(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let error = refusal(options_for(&http)).await;
    assert!(matches!(error.refusal(), Some(Refusal::NotEtcd(_))), "{error}");
    let ssh = answers(b"SSH-2.0-OpenSSH_9.2p1\r\n");
    let error = refusal(options_for(&ssh)).await;
    assert!(matches!(error.refusal(), Some(Refusal::NotEtcd(_))), "{error}");
    let closes = answers(b"");
    let error = refusal(options_for(&closes)).await;
    assert!(matches!(error.refusal(), Some(Refusal::Lost(_))), "{error}");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let silent = format!("http://{}", listener.local_addr().expect("is bound"));
    let start = Instant::now();
    let error = refusal(options_for(&silent)).await;
    assert!(matches!(error.refusal(), Some(Refusal::Timeout)), "{error}");
    assert!(start.elapsed() < 3 * options_for(&silent).command_timeout);
}

#[tokio::test]
async fn endpoints_are_tried_in_turn_and_each_is_named_with_its_reason() {
    let server = bed::Etcd::start(tools()).expect("etcd starts");
    let free = format!("http://127.0.0.1:{}", ports::free().expect("a port"));
    let http = answers(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let working = options_for(&format!("{free},{http},{}", server.endpoint()));
    keywright::etcd::live::Etcd::connect(working).await.unwrap_or_else(|e| panic!("{e}"));
    let error = refusal(options_for(&format!("{free},{http}"))).await;
    assert!(matches!(&error, EtcdError::NoEndpoint(refused) if refused.len() == 2), "{error}");
    assert!(error.to_string().contains(&free) && error.to_string().contains(&http), "{error}");
    connect(&[&server]).await;
}
