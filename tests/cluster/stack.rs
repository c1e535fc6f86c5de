//! One control plane with one plugin, as most tests want it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use keywright_testbed::api::Api;
use keywright_testbed::apiserver::{ApiServer, Settings};
use keywright_testbed::encryption::{Provider, configuration};
use keywright_testbed::etcd::Etcd;
use keywright_testbed::kubeconfig;
use keywright_testbed::leak;
use keywright_testbed::plugin::Plugin;
use keywright_testbed::stored::EncryptedObject;
use keywright_testbed::tools::Tools;

use crate::home::Home;
use crate::kms;

/// The program under test.
pub(crate) const KEYWRIGHT: &str = env!("CARGO_BIN_EXE_keywright");

/// The name of the provider in every EncryptionConfiguration here.
pub(crate) const PROVIDER: &str = "keywright";

/// Part of every value that is written: must be found nowhere but in the API server's answers.
pub(crate) const MARKER: &[u8] = b"plaintext-marker-4Kd9";

/// A rewrite or a whole rotation takes two polls of the API server, and some more.
pub(crate) const LONG: Duration = Duration::from_secs(150);

/// Every wait for something that should happen at once or after a known pause.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The built control plane; a test without it fails and says how to get it.
pub(crate) fn tools() -> &'static Tools {
    static TOOLS: LazyLock<Tools> = LazyLock::new(|| Tools::locate().unwrap_or_else(|e| panic!("{e}")));
    &TOOLS
}

/// etcd, a plugin and an API server that uses it.
pub(crate) struct Stack {
    // In the order in which they are to be dropped.
    pub(crate) server: ApiServer,
    pub(crate) plugin: Plugin,
    pub(crate) etcd: Etcd,
    pub(crate) key_id: String,
    pub(crate) home: Home,
    /// What plugins that were killed had printed.
    printed: String,
}

impl Stack {
    /// A fresh one, ready for writes.
    pub(crate) fn start() -> Self {
        Self::start_with(settings)
    }

    /// The same, with the API server's settings for the plugin's socket.
    pub(crate) fn start_with(settings: impl FnOnce(&Path) -> Settings) -> Self {
        Self::of_with(Home::local(), settings)
    }

    /// A fresh one with this keyring.
    pub(crate) fn of(home: Home) -> Self {
        Self::of_with(home, settings)
    }

    fn of_with(home: Home, settings: impl FnOnce(&Path) -> Settings) -> Self {
        let plugin = home.serve();
        let etcd = Etcd::start(tools()).expect("etcd starts");
        let server = ApiServer::start(tools(), &etcd, &settings(plugin.socket())).expect("the API server starts");
        server.kms_ready(SOON).expect("the API server likes the plugin");
        let key_id = plugin.ready().expect("it was ready before");
        Self { server, plugin, etcd, key_id, home, printed: String::new() }
    }

    /// The one that tests share which only write and read.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Stack> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// The API server's client.
    pub(crate) fn api(&self) -> &Api {
        self.server.api()
    }

    /// The plugin's folder, for whatever a test leaves there.
    pub(crate) fn folder(&self) -> &Path {
        self.home.folder()
    }

    /// The options that name its keyring and its etcd.
    pub(crate) fn place(&self) -> Vec<String> {
        [self.home.options(), vec!["--endpoints".to_owned(), self.etcd.endpoint().to_owned()]].concat()
    }

    /// The options that name its API server and who asks, by a kubeconfig `file` of its folder.
    pub(crate) fn user(&self, file: &str, token: &str) -> Vec<String> {
        let file = self.folder().join(file);
        kubeconfig::write(&file, &self.server, token).expect("it is written");
        vec!["--kubeconfig".into(), file.display().to_string()]
    }

    /// From here on everything that is stored is stale.
    pub(crate) fn promote(&self) {
        for step in ["begin", "promote"] {
            self.home.run(&["rotate", step]).succeeds();
        }
    }

    /// Does `work` while the API server is made to poll its plugin.
    pub(crate) fn polled<T>(&self, work: impl FnOnce() -> T) -> T {
        crate::trio::polled(&[&self.server], work)
    }

    /// Kills the plugin; its output is kept for [`Stack::nothing_secret_was_printed`].
    pub(crate) fn kill_plugin(&mut self) {
        self.plugin.kill().expect("the plugin can be killed");
        self.plugin.log().wait_end(SOON).expect("its output ends with it");
        self.printed.push_str(&self.plugin.printed());
    }

    /// Starts the plugin anew, on the same folder, and waits until its keys answer.
    pub(crate) fn start_plugin(&mut self) {
        self.plugin = self.home.serve();
        assert_eq!(self.plugin.ready().expect("it is ready"), self.key_id, "another key_id after a restart");
    }

    /// Asserts that nothing the plugin printed, now or before a kill, holds the marker or a seed of anything in etcd.
    pub(crate) fn nothing_secret_was_printed(&self) {
        nothing_secret_printed_by(&self.plugin, &self.printed, &stored(&self.etcd));
    }
}

/// The settings of an API server with this plugin as the only provider: what it did not encrypt, it could not read either.
pub(crate) fn settings(socket: &Path) -> Settings {
    Settings::new(configuration(&[Provider::kms_v2(PROVIDER, socket)]))
}

/// Every Secret and ConfigMap in etcd, with its key.
pub(crate) fn stored(etcd: &Etcd) -> Vec<(String, EncryptedObject)> {
    ["/registry/secrets/", "/registry/configmaps/"]
        .into_iter()
        .flat_map(|prefix| etcd.values(prefix).expect("etcd answers"))
        .map(|(key, value)| {
            let object = EncryptedObject::from_value(&value).unwrap_or_else(|e| panic!("{key}: {e}"));
            (key, object)
        })
        .collect()
}

/// The distinct wrapped seeds among them.
pub(crate) fn sources(stored: &[(String, EncryptedObject)]) -> BTreeSet<(String, Vec<u8>)> {
    stored.iter().map(|(_, object)| (object.key_id.clone(), object.source.clone())).collect()
}

/// Asserts that neither the marker nor any seed of `stored` is in what the plugin has printed, nor in what was printed `earlier`.
///
/// The plugin itself is asked for the seeds; that it unwraps them is part of what it must not print.
pub(crate) fn nothing_secret_printed_by(plugin: &Plugin, earlier: &str, stored: &[(String, EncryptedObject)]) {
    let seen = plugin.log().len();
    let open =
        |(key_id, source): (String, Vec<u8>)| kms::decrypt(plugin.socket(), &key_id, &source).expect("the plugin opens what it made");
    let seeds: Vec<Vec<u8>> = sources(stored).into_iter().map(open).collect();
    assert!(!seeds.is_empty(), "no seed to look for");
    plugin.wait_line_with(seen, SOON, &[" op=Decrypt ", " code=OK "]).expect("the plugin logs what it does");

    let printed = format!("{earlier}{}", plugin.printed());
    assert_eq!(leak::found_in(printed.as_bytes(), MARKER), [""; 0], "the plaintext is in the plugin's output");
    for seed in seeds {
        assert_eq!(seed.len(), 32);
        assert_eq!(leak::found_in(printed.as_bytes(), &seed), [""; 0], "a seed is in the plugin's output");
    }
}

/// `size` bytes that repeat nowhere and begin with the marker as far as there is room.
pub(crate) fn bytes(size: usize, salt: u64) -> Vec<u8> {
    // xorshift64*: any generator will do, as long as a failed run can be repeated.
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let noise = std::iter::repeat_with(move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0]
    });
    MARKER.iter().copied().chain(noise).take(size).collect()
}
