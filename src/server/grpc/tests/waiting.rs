//! Calls of a key in a token that the test plays, over HTTP/2 in memory.

use std::time::Instant;

use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use prost::Message;
use tokio::task::JoinHandle;

use super::*;
use crate::adoption::Callers;
use crate::entropy::OsEntropy;
use crate::keyring::Keyring;
use crate::log::{Log, LogGuard};
use crate::protocol::v2;
use crate::provider::waits::Limits;
use crate::provider::waits::played::{Plays, Token, envelope};
use crate::service::Snapshots;

const SOON: Duration = Duration::from_secs(20);
/// Longer than any test.
const LONG: Limits = Limits { call_timeout: Duration::from_secs(600), away_after: Duration::from_secs(600) };

struct Plugin {
    token: Token,
    keyring: Arc<Keyring>,
    client: SendRequest<Bytes>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<Result<(), h2::Error>>,
    _guard: LogGuard,
}

impl Plugin {
    /// One connection to a plugin whose primary is in a token of one thread.
    async fn start(limits: Limits) -> Self {
        let token = Token::new(1, limits, Plays::Hangs);
        let snapshots = Snapshots::default();
        snapshots.publish(Keyring::played(vec![token.key()]));
        let keyring = snapshots.current().expect("is published");
        let (log, guard) = Log::to(std::io::sink()).expect("starts");
        let service = Arc::new(Service::new(snapshots, Box::new(OsEntropy), log, false));
        let caller = Callers::new(Instant::now()).connect(0, 0, Instant::now());
        let (near, far) = tokio::io::duplex(1 << 16);
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(near, caller, service, stopped));
        let (client, connection) = h2::client::handshake(far).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self { token, keyring, client, stop, serving, _guard: guard }
    }

    /// Calls; `timeout` is the header of that name, `pieces` are sent one after the other.
    async fn send(&mut self, method: &str, timeout: Option<&str>, pieces: &[&[u8]]) -> (ResponseFuture, h2::SendStream<Bytes>) {
        let mut request = Request::post(format!("http://x/v2.KeyManagementService/{method}")).header(CONTENT_TYPE, "application/grpc");
        if let Some(timeout) = timeout {
            request = request.header(&GRPC_TIMEOUT, timeout);
        }
        self.client = self.client.clone().ready().await.expect("ready");
        let (response, mut stream) = self.client.send_request(request.body(()).expect("a request"), false).expect("sends");
        for (piece, last) in pieces.iter().zip((0..pieces.len()).rev()) {
            stream.send_data(Bytes::copy_from_slice(piece), last == 0).expect("sends");
            tokio::task::yield_now().await;
        }
        (response, stream)
    }

    fn decrypt(&self, plaintext: &[u8]) -> Vec<u8> {
        let key_id = self.keyring.primary();
        let ciphertext = envelope(*key_id, plaintext);
        let request = v2::DecryptRequest { ciphertext, uid: "u".into(), key_id: key_id.to_string(), annotations: Default::default() };
        let message = request.encode_to_vec();
        super::framed(0, message.len() as u32, &message)
    }

    async fn entered(&mut self) -> Vec<u8> {
        tokio::time::timeout(SOON, self.token.entered.recv()).await.expect("a call comes").expect("the key is there")
    }
}

/// The number of the code, and the message if there is one.
async fn outcome(response: ResponseFuture) -> (String, Vec<u8>) {
    let read = async {
        let response = response.await.expect("answers");
        let of = |headers: &HeaderMap| headers.get(&GRPC_STATUS).and_then(|code| code.to_str().ok()).map(str::to_owned);
        if let Some(code) = of(response.headers()) {
            return (code, Vec::new());
        }
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(piece) = body.data().await {
            bytes.extend_from_slice(&piece.expect("arrives"));
        }
        let trailers = body.trailers().await.expect("arrive").expect("are there");
        (of(&trailers).expect("a code"), message(&bytes).expect("one message").to_vec())
    };
    tokio::time::timeout(SOON, read).await.expect("in time")
}

fn opened(message: &[u8]) -> Vec<u8> {
    let mut answer = v2::DecryptResponse::decode(message).expect("decodes");
    std::mem::take(&mut answer.plaintext)
}

#[tokio::test]
async fn status_is_answered_on_a_connection_whose_other_calls_wait() {
    let mut plugin = Plugin::start(LONG).await;
    let request = plugin.decrypt(b"seed");
    // In one piece, and in two.
    let (one, _) = plugin.send("Decrypt", None, &[&request]).await;
    plugin.entered().await;
    let (two, _) = plugin.send("Decrypt", None, &[&request[..9], &request[9..]]).await;
    let (status, _) = plugin.send("Status", None, &[&framed(0, 0, b"")]).await;
    assert_eq!(outcome(status).await.0, Code::Unavailable.number(), "never seen to work");
    plugin.token.play(Plays::Works);
    for response in [one, two] {
        let (code, message) = outcome(response).await;
        assert_eq!((code.as_str(), opened(&message)), ("0", b"seed".to_vec()));
    }
    let (status, _) = plugin.send("Status", None, &[&framed(0, 0, b"")]).await;
    assert_eq!(outcome(status).await.0, "0");
}

#[tokio::test]
async fn a_call_that_is_reset_or_whose_connection_ends_is_given_up() {
    let mut plugin = Plugin::start(LONG).await;
    let [first, second, third] = [b"1", b"2", b"3"].map(|plaintext| plugin.decrypt(plaintext));
    let (inside, _) = plugin.send("Decrypt", None, &[&first]).await;
    plugin.entered().await;
    let (reset, mut stream) = plugin.send("Decrypt", None, &[&second]).await;
    let (last, _) = plugin.send("Decrypt", None, &[&third]).await;
    let Plugin { token, client, .. } = plugin;
    let queued = async |queued| {
        let end = Instant::now() + SOON;
        while token.workers.figures(Instant::now()).queued != queued {
            assert!(Instant::now() < end, "{:?}", token.workers.figures(Instant::now()));
            tokio::task::yield_now().await;
        }
    };
    queued(2).await;
    stream.send_reset(Reason::CANCEL);
    queued(1).await;
    // The last handles: the connection closes.
    drop((inside, reset, last, stream, client));
    queued(0).await;
    token.play(Plays::Works);
}

#[tokio::test]
async fn the_time_that_the_caller_names_ends_the_call() {
    let mut plugin = Plugin::start(LONG).await;
    let request = plugin.decrypt(b"seed");
    let start = Instant::now();
    for pieces in [&[&request[..]][..], &[&request[..9], &request[9..]]] {
        let (response, _) = plugin.send("Decrypt", Some("20m"), pieces).await;
        assert_eq!(outcome(response).await.0, Code::Unavailable.number());
    }
    assert!(start.elapsed() >= Duration::from_millis(40));
    plugin.token.play(Plays::Works);
}

#[tokio::test]
async fn a_plugin_that_stops_waits_for_the_calls_that_wait() {
    let mut plugin = Plugin::start(LONG).await;
    let request = plugin.decrypt(b"seed");
    let (response, _) = plugin.send("Decrypt", None, &[&request]).await;
    plugin.entered().await;
    plugin.stop.send(true).expect("is served");
    // The end of the connection is announced by now, or soon: the call goes on either way.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!plugin.serving.is_finished());
    plugin.token.play(Plays::Works);
    let (code, message) = outcome(response).await;
    assert_eq!((code.as_str(), opened(&message)), ("0", b"seed".to_vec()));
    let Plugin { serving, client, .. } = plugin;
    drop(client);
    tokio::time::timeout(SOON, serving).await.expect("ends").expect("does not panic").expect("well");
}

#[test]
fn the_time_of_a_caller_is_read_as_grpc_writes_it_and_nothing_else() {
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(&GRPC_TIMEOUT, HeaderValue::from_str(text).expect("a header"));
        limit(&headers)
    };
    let seconds = Duration::from_secs;
    for (text, expected) in [("3S", seconds(3)), ("2M", seconds(120)), ("1H", seconds(3600)), ("2999m", Duration::from_millis(2999))] {
        assert_eq!(read(text), Some(expected));
    }
    assert_eq!((read("5u"), read("99999999n")), (Some(Duration::from_micros(5)), Some(Duration::from_nanos(99_999_999))));
    assert_eq!(read("99999999H"), Some(seconds(99_999_999 * 3600)));
    for text in ["", "3", "S", "3s", "+3S", "-3S", "3 S", "123456789S", "3SS", "3.5S"] {
        assert_eq!(read(text), None, "{text:?}");
    }
    assert_eq!(limit(&HeaderMap::new()), None);
}
