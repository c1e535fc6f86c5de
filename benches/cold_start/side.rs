//! One plugin, and what an API server asks of it while it starts.

use std::path::Path;
use std::time::{Duration, Instant};

use keywright::bench::client::{Caller, Client, Operation};
use keywright::bench::content;
use keywright::bench::process::Clock;
use keywright::protocol::v2::{EncryptRequest, EncryptResponse};
use keywright_testbed::apiserver::{ApiServer, Settings};
use keywright_testbed::encryption::{Provider, configuration};
use keywright_testbed::etcd::Etcd;
use keywright_testbed::metrics;
use keywright_testbed::pki::Authority;
use keywright_testbed::plugin::Plugin;
use keywright_testbed::tools::Tools;
use tokio::runtime::Runtime;

use crate::Result;
use crate::corpus::Corpus;

/// How long a call may take, a plugin until it is ready, and its log until it is written.
const WITHIN: Duration = Duration::from_secs(10);
/// What an API server makes anew where it is gone: left by the other side, it could not be read by this one.
const OTHERS: &str = "/registry/configmaps/";
const SECRETS: &str = "/api/v1/secrets";
const CALLS: &str = "apiserver_envelope_encryption_kms_operations_latency_seconds_count";
const DECRYPT: &str = "/v2.KeyManagementService/Decrypt";

/// A running plugin.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    plugin: Plugin,
    clock: Clock,
    /// Whether each call leaves a line in the log.
    logs: bool,
}

/// A seed, and what the plugin made of it.
pub(crate) struct Seed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) wrapped: EncryptResponse,
}

/// What one start was.
pub(crate) struct Started {
    /// From the start of the API server to the last byte of the list.
    pub(crate) seconds: f64,
    /// That the API server sent.
    pub(crate) decrypts: u64,
    /// Processor time of the plugin, in milliseconds.
    pub(crate) plugin_ms: f64,
}

impl Side {
    /// `keywright serve` with a keyring of its own.
    pub(crate) fn keywright(binary: &Path, home: &Path) -> Result<Self> {
        let plugin = Plugin::dev(binary, home)?;
        Ok(Self { name: "keywright", clock: Clock::watch(plugin.pid())?, plugin, logs: true })
    }

    /// The reference plugin. Its key is in its memory alone, so that it lives as long as what it wrapped.
    pub(crate) fn reference(tools: &Tools, home: &Path) -> Result<Self> {
        let socket = home.join("reference.sock");
        let mut plugin = Plugin::spawn(&tools.refplugin(), ["-socket".into(), socket.clone().into()], &socket)?;
        plugin.process().out().wait_for(0, WITHIN, "the reference plugin to serve", |line| line == "ready")?;
        Ok(Self { name: "reference", clock: Clock::watch(plugin.pid())?, plugin, logs: false })
    }

    /// As many seeds, wrapped by the plugin; numbers from `first` make them, so that none comes twice.
    pub(crate) fn seeds(&self, runtime: &Runtime, first: usize, count: usize) -> Result<Vec<Seed>> {
        runtime.block_on(async {
            let client = Client::connect(self.plugin.socket(), Caller::Ours, WITHIN).await?;
            let mut seeds = Vec::new();
            for number in (first as u64..).take(count) {
                let bytes = content::seed(number);
                let request = EncryptRequest { plaintext: bytes.clone(), uid: content::uid(number) };
                let wrapped: EncryptResponse = client.call(Operation::Encrypt, &request, number).await?;
                seeds.push(Seed { bytes, wrapped });
            }
            Ok(seeds)
        })
    }

    /// Puts `sealed` into etcd, where no API server runs, starts one, and lists every Secret.
    pub(crate) fn start(
        &self,
        runtime: &Runtime,
        (tools, etcd, authority): (&Tools, &Etcd, &Authority),
        corpus: &Corpus,
        sealed: &[(String, Vec<u8>)],
    ) -> Result<Started> {
        etcd.etcdctl(&["del", "--prefix", OTHERS])?;
        etcd.put_all(sealed)?;
        let settings = Settings::new(configuration(&[Provider::kms_v2(self.name, self.plugin.socket())])).certified(authority)?;
        let logged = self.logged();
        let window = runtime.block_on(self.clock.open())?;

        let begun = Instant::now();
        let server = ApiServer::start(tools, etcd, &settings)?;
        let list = server.api().get(SECRETS)?;
        let seconds = begun.elapsed().as_secs_f64();

        let used = runtime.block_on(window.close())?;
        corpus.check(&list.ok()?)?;
        let decrypts = decrypts(&server.api().metrics()?, self.name)?;
        drop(server);
        self.check_log(logged, decrypts)?;
        Ok(Started { seconds, decrypts, plugin_ms: used.time.as_secs_f64() * 1e3 })
    }

    /// Decrypts that the plugin's log tells of, those whose lines it had to drop included. One of the reference tells nothing.
    fn logged(&self) -> u64 {
        let line = |line: &String| {
            let dropped = line.split_once(" WARN log lines dropped count=").and_then(|(_, count)| count.parse::<u64>().ok());
            dropped.unwrap_or_else(|| u64::from(line.contains(" INFO request op=Decrypt ") && line.contains(" code=OK ")))
        };
        self.plugin.log().lines().iter().map(line).sum()
    }

    /// Errors unless the plugin served what the API server says that it asked.
    fn check_log(&self, before: u64, decrypts: u64) -> Result<()> {
        if !self.logs {
            return Ok(());
        }
        let end = Instant::now() + WITHIN;
        loop {
            match self.logged() - before {
                logged if logged == decrypts => return Ok(()),
                logged if logged > decrypts || Instant::now() > end => {
                    return Err(format!("{} logged {logged} Decrypts and the API server counts {decrypts}", self.name).into());
                }
                // Lines go through another thread, and a pipe.
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Decrypts by the API server's own count. Errors when one of its calls failed.
fn decrypts(page: &str, provider: &str) -> Result<u64> {
    let calls = metrics::find(page, CALLS, &[("provider_name", provider)]);
    if let Some(failed) = calls.iter().find(|call| call.labels.get("grpc_status_code").is_none_or(|code| code != "OK")) {
        return Err(format!("a call of the API server failed: {failed:?}").into());
    }
    let decrypts = calls.iter().filter(|call| call.labels.get("method_name").is_some_and(|name| name == DECRYPT));
    match decrypts.map(|call| call.value).sum::<f64>() {
        count if count > 0.0 => Ok(count as u64),
        _ => Err(format!("the API server counts no Decrypt of {provider}: {calls:?}").into()),
    }
}
