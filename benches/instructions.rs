//! How many instructions a call costs, beside the least that HTTP/2 costs: `cargo xtask instructions`, or `KEYWRIGHT_BIN=... cargo bench --bench instructions`.
//!
//! Encrypt, Decrypt and Status of a plugin (the release binary, `serve --dev`) are held against H, an echo on the `h2` crate that reads every message and
//! gives a canned answer of 92 bytes, both under callgrind (Valgrind) at 1 connection x 100 in flight. Instructions per call are those of 4,500 calls
//! without those of 500, each from the start of a process to its end, by the 4,000 between: what a start costs is in neither. Callgrind sees no
//! kernel, and its count does not depend on what else the machine does. Every answer is checked.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a benchmark prints is its result")]

#[path = "shared/report.rs"]
mod report;

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use keywright::bench::client::{Caller, Client, Operation};
use keywright::bench::content::Numbers;
use keywright::bench::load::{Amount, Control, Load, Target};
use keywright::protocol::v2::{EncryptResponse, StatusResponse};
use prost::Message;
use report::{Figure, Gate, Report};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{UnixListener, UnixStream};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const IN_FLIGHT: usize = 100;
const CALLS: [u64; 2] = [500, 4_500];
const ROUNDS: usize = 3;
const GATE: f64 = 1.70;
const STRETCH: f64 = 1.40;
/// Whole, with the frame in front.
const CANNED: usize = 92;
/// Ciphertexts that are decrypted in turn; made in every run, so that they cancel out.
const DISTINCT: u64 = 100;
/// Under callgrind everything takes fifty times as long.
const WITHIN: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if let (Some("echo"), Some(socket)) = (words.next().as_deref(), words.next()) {
        return outcome(runtime().and_then(|runtime| runtime.block_on(echo(Path::new(&socket)))).map(|()| ExitCode::SUCCESS));
    }
    outcome(compare())
}

fn outcome(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        println!("no result: {error}");
        ExitCode::from(2)
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn compare() -> Result<ExitCode> {
    let binary = report::binary()?;
    let mut report = Report::begin("instructions");
    let folder = keywright_testbed::scratch::folder("instructions")?;
    let runtime = runtime()?;
    let operations = [Operation::Encrypt, Operation::Decrypt, Operation::Status];
    let (mut floor, mut counts) = (Vec::new(), [const { Vec::new() }; 3]);
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        floor.push(runtime.block_on(per_call(&Server::echo(folder.path())?, Operation::Encrypt))?);
        for (operation, counts) in operations.iter().zip(&mut counts) {
            counts.push(runtime.block_on(per_call(&Server::plugin(&binary, folder.path()), *operation))?);
        }
    }
    for (operation, counts) in operations.iter().zip(&counts) {
        let ratios = counts.iter().zip(&floor).map(|(count, floor)| count / floor).collect();
        let sides = [Figure::median("keywright", counts, "Ir"), Figure::median("h2 echo", &floor, "Ir")];
        report.gate(Gate::at_most(format!("instructions per {}, 1 x {IN_FLIGHT}", operation.name()), GATE, STRETCH, sides, ratios));
    }
    Ok(report.end())
}

/// A program to run under callgrind.
struct Server {
    words: Vec<PathBuf>,
    folder: PathBuf,
}

impl Server {
    fn plugin(binary: &Path, folder: &Path) -> Self {
        let words: [&Path; 6] = [binary, "serve".as_ref(), "--dev".as_ref(), "--dir".as_ref(), &folder.join("dev"), "--socket".as_ref()];
        Self { words: words.map(Path::to_owned).to_vec(), folder: folder.to_owned() }
    }

    fn echo(folder: &Path) -> Result<Self> {
        Ok(Self { words: vec![std::env::current_exe()?, "echo".into()], folder: folder.to_owned() })
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("kms.sock")
    }

    /// Starts it; what it executes is counted into `counts`.
    fn start(&self, counts: &Path) -> Result<Running> {
        for old in [self.socket(), counts.to_owned()] {
            match std::fs::remove_file(old) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", counts.display()));
        command.args(&self.words).arg(self.socket()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Running(command.spawn().map_err(|error| format!("start valgrind (is it installed?): {error}"))?))
    }
}

/// Killed when it is dropped; [`Running::end`] is the proper way.
struct Running(Child);

impl Running {
    fn end(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        let end = Instant::now() + WITHIN;
        while self.0.try_wait()?.is_none() {
            if Instant::now() > end {
                return Err("it does not end".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a child that is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn per_call(server: &Server, operation: Operation) -> Result<f64> {
    let mut counted = [0; 2];
    for (counted, calls) in counted.iter_mut().zip(CALLS) {
        let counts = server.folder.join("callgrind.out");
        let mut running = server.start(&counts)?;
        let load = loaded(server, &mut running, operation, calls).await;
        load.map_err(|error| format!("{} of {}: {error}", operation.name(), server.words[0].display()))?;
        running.end()?;
        *counted = instructions(&counts)?;
    }
    Ok((counted[1] - counted[0]) as f64 / (CALLS[1] - CALLS[0]) as f64)
}

async fn loaded(server: &Server, running: &mut Running, operation: Operation, calls: u64) -> Result<()> {
    let numbers = Numbers::default();
    let end = Instant::now() + WITHIN;
    let target = loop {
        let target =
            async { Ok(Target::new(vec![Client::connect(&server.socket(), Caller::ApiServer, WITHIN).await?], numbers.clone()).await?.0) };
        match target.await {
            Result::<Arc<Target>>::Ok(target) => break target,
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) if running.0.try_wait()?.is_some() => return Err("it ended by itself".into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let load = |operation, count, keep| Load { operation, in_flight: IN_FLIGHT, amount: Amount::Count(count), rate: None, keep };
    let mut wrapped = Arc::from([]);
    let mut loads = vec![load(operation, calls, 0)];
    if operation == Operation::Decrypt {
        loads.insert(0, load(Operation::Encrypt, DISTINCT, DISTINCT as usize));
    }
    for load in loads {
        let measured = target.run(load, &wrapped, &Arc::new(Control::default())).await;
        if let Some(first) = measured.failures.first {
            return Err(first.into());
        }
        wrapped = measured.kept.into();
    }
    Ok(())
}

/// The total of a file of callgrind.
fn instructions(counts: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(counts)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    Ok(total.ok_or("callgrind has counted nothing")?.trim().parse()?)
}

/// H: all calls that are there are taken before any of them is answered, so that answers leave together.
async fn echo(socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A client that goes away ends its connection only.
            let _ = answer(stream).await;
        });
    }
}

async fn answer(stream: UnixStream) -> std::result::Result<(), h2::Error> {
    let status = StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: "echo".into() };
    let mut wrapped = EncryptResponse { ciphertext: Vec::new(), key_id: "echo".into(), annotations: Default::default() };
    wrapped.ciphertext = vec![0x4b; CANNED - frame(&wrapped).len() - 2];
    let (status, wrapped) = (frame(&status), frame(&wrapped));
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

fn frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}
