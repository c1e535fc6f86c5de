//! The serving process never writes the keyring: it runs where the folder of the keyring cannot be written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use keywright_testbed::plugin::Plugin;

use crate::common::{Place, binary, text};

fn files(dir: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("a folder");
    entries.map(|entry| entry.expect("entry")).map(|e| (e.file_name(), std::fs::read(e.path()).expect("read"))).collect()
}

#[test]
fn a_plugin_that_cannot_write_the_folder_of_its_keyring_serves_and_follows_a_rotation() {
    let place = Place::configured("", &[]);
    let keys = place.keyring().parent().expect("a folder").to_owned();
    // A mount namespace of its own; the commands below run outside of it.
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && ! touch \"$0/probe\" 2>/dev/null && exec \"$@\"";
    let unshare = if rustix::process::geteuid().is_root() { "--mount" } else { "--mount --map-root-user" };
    let arguments =
        unshare.split(' ').chain(["--", "sh", "-c", script, text(&keys), text(binary()), "serve", "--config", &place.names()[1]]);
    let plugin = Plugin::spawn(Path::new("unshare"), arguments.map(OsString::from), &place.socket()).expect("spawns");
    let before = files(&keys);
    let old = plugin.ready().expect("it serves");
    assert_eq!(files(&keys), before, "the plugin wrote into the folder");
    assert!(place.dir().join("state/seen").exists(), "what was seen is remembered in the state folder");

    let mut client = place.client();
    let wrapped = client.encrypt(b"seed");
    place.run(&["rotate", "begin"]).succeeds();
    place.run(&["rotate", "promote"]).succeeds();
    let after = files(&keys);
    place.loaded();
    assert_ne!(client.status(), old);
    client.opens(&wrapped);
    assert_eq!(files(&keys), after, "the plugin wrote into the folder");
    let seen = std::fs::read_to_string(place.dir().join("state/seen")).expect("read");
    assert!(seen.lines().nth(1).is_some_and(|line| line.contains(" 3 ")), "{seen}");
}
