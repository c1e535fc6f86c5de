//! Who comes while the keyring is still being opened: a good answer when that is a moment, `Unavailable` when it is longer, never a refusal to connect.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use keywright_testbed::plugin::Plugin;
use keywright_testbed::process::Process;
use keywright_testbed::wait;
use tonic::Code;

use crate::common::{Blocking, Place, SOON, binary, text, write};

/// Connects in the first moment in which somebody listens.
fn first_connection(socket: &Path) -> UnixStream {
    let end = Instant::now() + SOON;
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "nobody listens: {error}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn the_first_caller_of_a_keyring_that_loads_at_once_is_not_refused() {
    let place = Place::dev();
    drop(place.serve());
    for start in 0..5 {
        std::fs::remove_file(place.socket()).expect("a killed plugin leaves its socket");
        let arguments = ["serve".into(), "--dev".into(), "--dir".into(), place.dir().into()];
        let plugin = Plugin::spawn(binary(), arguments, &place.socket()).expect("starts");
        let mut client = Blocking::on(first_connection(&place.socket()));
        let key_id = client.try_status().unwrap_or_else(|refused| panic!("start {start}: {refused}"));
        assert_eq!(plugin.ready().expect("ready"), key_id);
    }
}

#[test]
fn while_a_slow_keyring_is_opened_calls_are_answered_unavailable_and_then_well() {
    let place = Place::configured_without_keyring("");
    let config = place.dir().join("config.toml");
    let credentials = place.dir().join("credentials");
    std::fs::create_dir(&credentials).expect("mkdir");
    write(&credentials.join("words"), "eleven lilac otters juggle quietly");
    let written = std::fs::read_to_string(&config).expect("read");
    let key_file = written.lines().find(|line| line.starts_with("key_file")).expect("a line");
    write(&config, written.replace(key_file, "passphrase_credential = \"words\""));
    let command = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(arguments).args(["--config", text(&config)]).env("CREDENTIALS_DIRECTORY", &credentials).env_remove("RUST_LOG");
        command
    };
    assert!(command(&["init"]).output().expect("runs").status.success());

    // Argon2id over 64 MiB takes several times the patience of the server.
    let process = Process::spawn("keywright", &mut command(&["serve"])).expect("starts");
    let mut client = Blocking::on(first_connection(&place.socket()));
    let refused = client.try_status().expect_err("the keyring is not open yet");
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "keyring is not ready yet"));
    wait::until("a good Status", SOON, || client.try_status().map_err(|e| e.to_string())).expect("it comes");
    drop(process);
}
