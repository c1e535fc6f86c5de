//! Who may connect, and how many.

use std::io::Read;
use std::os::unix::net::UnixStream;

use keywright_testbed::plugin::{Plugin, field};

use crate::common::{SOON, binary, config, folder, run, socket_table, text};

/// Whether the plugin has closed `stream`.
fn is_closed(stream: &mut UnixStream) -> bool {
    stream.set_read_timeout(Some(SOON)).expect("limit");
    matches!(stream.read(&mut [0; 1]), Ok(0))
}

fn configured(extra: &str) -> (tempfile::TempDir, Plugin) {
    let dir = folder();
    let config = config(dir.path(), &format!("{}{extra}", socket_table(dir.path())));
    assert_eq!(run(&["init", "--config", text(&config)]).code, 0);
    let plugin = Plugin::configured(binary(), &config, &dir.path().join("kms.sock")).expect("starts");
    (dir, plugin)
}

#[test]
fn a_uid_that_is_not_on_the_list_is_refused_and_logged_with_uid_and_pid() {
    let own = rustix::process::geteuid().as_raw();
    let (_dir, plugin) = configured(&format!("allow_uids = [{}]\n", own + 1));
    let mut stream = UnixStream::connect(plugin.socket()).expect("the kernel lets us");
    assert!(is_closed(&mut stream));
    let line = plugin.wait_line(0, SOON, "connection refused").expect("logged");
    assert_eq!(field(&line, "uid"), Some(own.to_string()));
    assert_eq!(field(&line, "pid"), Some(std::process::id().to_string()));
    assert!(line.contains("socket.allow_uids"), "{line}");
    run(&["status", "--socket", text(plugin.socket())]).fails(5, &["was closed without an answer", "socket.allow_uids"]);
}

#[test]
fn connections_over_the_limit_are_refused_and_a_closed_one_makes_room() {
    let (_dir, plugin) = configured("[limits]\nconnections = 2\n");
    let open = || UnixStream::connect(plugin.socket()).expect("connects");
    let (first, second) = (open(), open());
    let connected = |count: usize| {
        (0..count).fold(0, |from, _| {
            let line = plugin.wait_line(from, SOON, " connected ").expect("logged");
            plugin.log().lines().iter().skip(from).position(|l| *l == line).expect("there") + from + 1
        })
    };
    let from = connected(2);
    assert!(is_closed(&mut open()), "a third");
    let refused = plugin.wait_line(from, SOON, "connection refused").expect("logged");
    assert!(refused.contains("limits.connections"), "{refused}");
    drop(first);
    // The plugin notices the end of a connection in its own time; `status` needs one place.
    let end = std::time::Instant::now() + SOON;
    while run(&["status", "--socket", text(plugin.socket())]).code != 0 {
        assert!(std::time::Instant::now() < end, "no place was free again");
    }
    drop(second);
}
