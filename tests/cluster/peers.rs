//! Another uid at the socket: only root can make one, so this stands here and not with the tests of the command line.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use keywright_testbed::plugin::{Plugin, field};
use keywright_testbed::process::output;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn another_uid_that_may_open_the_socket_is_still_refused_and_logged_with_uid_and_pid() {
    // A folder that others may pass through, so that only the plugin itself stands in the way.
    let dir = tempfile::tempdir().expect("folder");
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
    mode(dir.path(), 0o711);
    let [config, seal, socket] = ["config.toml", "seal.key", "kms.sock"].map(|name| dir.path().join(name));
    std::fs::write(&seal, [7; 32]).expect("write");
    mode(&seal, 0o400);
    let text = format!(
        "keyring = \"{0}/keyring\"\nstate_dir = \"{0}\"\n[seal]\nkey_file = \"{0}/seal.key\"\n[socket]\npath = \"{0}/kms.sock\"\nmode = \"0660\"\ngid = 4242\n",
        dir.path().display()
    );
    std::fs::write(&config, text).expect("write");
    let binary = Path::new(env!("CARGO_BIN_EXE_keywright"));
    output(binary, &["init", "--config", config.to_str().expect("text")]).expect("makes the keyring");
    let plugin = Plugin::configured(binary, &config, &socket).expect("starts");

    // Ends with 0 if the connection was made and then closed without a byte.
    let connect =
        "use IO::Socket::UNIX; alarm 20; my $s = IO::Socket::UNIX->new(Peer => shift) or exit 1; exit(sysread($s, my $b, 1) == 0 ? 0 : 2)";
    let child = Command::new("setpriv")
        .args(["--reuid=4243", "--regid=4242", "--clear-groups", "/usr/bin/perl", "-e", connect])
        .arg(&socket)
        .stdin(Stdio::null())
        .spawn()
        .expect("setpriv and perl start");
    let pid = child.id();
    let ended = child.wait_with_output().expect("ends");
    assert!(ended.status.success(), "{ended:?}");
    let line = plugin.wait_line(0, SOON, "connection refused").expect("logged");
    assert_eq!((field(&line, "uid"), field(&line, "pid")), (Some("4243".into()), Some(pid.to_string())));
}
