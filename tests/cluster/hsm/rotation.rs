//! From the keyring file into a token, and from there into another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keywright_testbed::apiserver::TOKEN;
use keywright_testbed::ran::Ran;
use keywright_testbed::tokens::Token;
use keywright_testbed::wait;
use tonic::Code;

use crate::home::{Configured, Home};
use crate::kms;
use crate::stack::{LONG, SOON, Stack, bytes, sources, stored};

/// Secrets that are written before.
const SECRETS: u64 = 20;
/// Time between two that are written beside a command: each is read again, several times.
const PAUSE: Duration = Duration::from_millis(50);

/// A stack, the options that name its cluster, and how many Secrets there are.
struct Bench {
    stack: Stack,
    cluster: Vec<String>,
    written: u64,
}

impl Bench {
    fn of(home: Home) -> Self {
        let stack = Stack::of(home);
        let endpoints = ["--endpoints".to_owned(), stack.etcd.endpoint().to_owned()].to_vec();
        let cluster = [endpoints, stack.user("kubeconfig", TOKEN)].concat();
        let mut bench = Self { stack, cluster, written: 0 };
        while bench.written < SECRETS {
            write(&bench.stack, bench.written);
            bench.written += 1;
        }
        bench
    }

    fn run(&self, words: &[&str]) -> Ran {
        Ran::within(self.stack.home.command(words).args(&self.cluster), LONG).expect("it ends by itself")
    }

    /// The same while the API server is made to poll its plugin, and while Secrets are written without a pause.
    fn run_beside_writes(&mut self, words: &[&str]) -> Ran {
        let over = AtomicBool::new(false);
        let (ran, written) = std::thread::scope(|scope| {
            let (bench, over) = (&*self, &over);
            let writer = scope.spawn(move || {
                let mut next = bench.written;
                while !over.load(Ordering::SeqCst) {
                    write(&bench.stack, next);
                    next += 1;
                    std::thread::sleep(PAUSE);
                }
                next
            });
            let ran = bench.stack.polled(|| bench.run(words));
            over.store(true, Ordering::SeqCst);
            (ran, writer.join().expect("every write succeeded"))
        });
        assert!(written > self.written, "nothing was written beside it");
        self.written = written;
        ran
    }

    /// A rotation to a key in `token`, as far as the hold of the old version, which is given with something that was wrapped by it.
    fn move_to(&mut self, token: &Token) -> (String, Vec<u8>) {
        let (old, source) = sources(&stored(&self.stack.etcd)).into_iter().next().expect("something is stored");
        assert_eq!(old, self.versions().last().expect("a version").0);
        let to = ["--provider", "pkcs11", "--token", token.label(), "--until", "disable"];
        let disabled = self.run_beside_writes(&[&rotation(&old)[..], &to].concat());
        assert_eq!((disabled.code, disabled.json()["state"].as_str()), (0, Some("disabled")), "{disabled:?}");
        (old, source)
    }

    /// The end of the rotation away from `old`, once every condition of it is met.
    fn destroy(&self, (old, source): &(String, Vec<u8>)) {
        let ended = self.stack.polled(|| self.run(&[&rotation(old)[..], &["--wait-hold"]].concat()));
        assert_eq!((ended.code, ended.json()["state"].as_str()), (0, Some("destroyed")), "{ended:?}");
        // The plugin looks at its file four times a second.
        let refused = || match kms::decrypt(self.stack.plugin.socket(), old, source) {
            Ok(_) => Err("it opens".to_owned()),
            Err(status) => Ok(status.code()),
        };
        let code = wait::until("what is destroyed to be refused", SOON, refused).expect("it is refused");
        assert_eq!(code, Code::FailedPrecondition);
    }

    /// key_id and state of each version.
    fn versions(&self) -> Vec<(String, String)> {
        let list = self.stack.home.run(&["keyring", "list", "--output", "json"]).json();
        let text = |version: &serde_json::Value, field: &str| version[field].as_str().expect("text").to_owned();
        list.as_array().expect("a list").iter().map(|version| (text(version, "key_id"), text(version, "state"))).collect()
    }

    fn everything_reads(&self) {
        for number in 0..self.written {
            let read = self.stack.api().secret(&name(number)).expect("it is read");
            assert_eq!(read["value"], bytes(200, number), "{}", name(number));
        }
    }

    /// Asserts that the versions are in these states, and that all that is stored is under the last one.
    fn everything_is_under_the_last_of(&self, states: &[&str]) {
        let versions = self.versions();
        assert_eq!(versions.iter().map(|(_, state)| state.as_str()).collect::<Vec<_>>(), states);
        let (new, _) = versions.last().expect("a version");
        let stored = stored(&self.stack.etcd);
        assert!(stored.len() as u64 > self.written, "{} Secrets, and ConfigMaps of the API server's own", self.written);
        for (key, object) in stored {
            assert_eq!(object.key_id, *new, "{key}");
        }
        let scan = ["scan", "--expect-primary", "--require-no-plaintext", "--endpoints", self.stack.etcd.endpoint()];
        self.stack.home.run(&scan).succeeds();
    }
}

fn rotation(old: &str) -> [&str; 9] {
    ["rotate", "run", "--from", old, "--no-backup", "a test", "--yes", "--output", "json"]
}

fn name(number: u64) -> String {
    format!("moved-{number}")
}

fn write(stack: &Stack, number: u64) {
    let written = stack.api().create_secret(&name(number), &[("value", &bytes(200, number))]);
    written.and_then(|answer| answer.ok()).expect("it is written");
}

fn keys(token: &Token) -> usize {
    token.objects().expect("its objects are listed").len()
}

#[test]
fn a_rotation_from_the_keyring_into_a_token_and_on_into_another_leaves_no_key_and_no_object_behind() {
    let (configured, [first, second]) = Configured::beside_tokens(["first", "second"]);
    let mut bench = Bench::of(Home::Configured(configured));
    assert_eq!((keys(&first), keys(&second)), (0, 0));

    let local = bench.move_to(&first);
    bench.everything_is_under_the_last_of(&["disabled", "primary"]);
    assert_eq!((keys(&first), keys(&second)), (1, 0));
    let in_first = bench.move_to(&second);
    bench.everything_is_under_the_last_of(&["disabled", "disabled", "primary"]);
    assert_eq!((keys(&first), keys(&second)), (1, 1));

    // With nothing in its memory the API server reads what was moved twice, and needs neither old key.
    bench.stack.server.restart().expect("the API server starts");
    bench.everything_reads();
    bench.stack.etcd.compact().expect("it compacts");
    bench.destroy(&in_first);
    assert_eq!((keys(&first), keys(&second)), (0, 1));
    bench.destroy(&local);
    bench.everything_is_under_the_last_of(&["destroyed", "destroyed", "primary"]);
    assert_eq!((keys(&first), keys(&second)), (0, 1));

    bench.stack.key_id = bench.versions().pop().expect("a version").0;
    bench.stack.kill_plugin();
    bench.stack.start_plugin();
    bench.stack.server.restart().expect("the API server starts");
    bench.everything_reads();
    bench.stack.nothing_secret_was_printed();
}
