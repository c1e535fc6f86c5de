//! `serve` and `init`: what stands in the way, what is kept, how it ends.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use keywright_testbed::plugin::Plugin;
use keywright_testbed::process::ending;

use crate::common::{SOON, binary, config, folder, run, socket_table, text, write};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/keys/insecure-format-1/two-versions.keyring");

#[test]
fn a_first_start_prints_socket_key_id_and_a_configuration_to_paste() {
    let dir = folder();
    let mut plugin = Plugin::dev(binary(), dir.path()).expect("starts");
    let key_id = plugin.ready().expect("ready");
    plugin.stop(SOON).expect("stops");
    let out = plugin.process().out().lines().join("\n");
    let socket = dir.path().join("kms.sock");
    for wanted in [
        "INSECURE".to_owned(),
        format!("socket   {}", socket.display()),
        format!("key_id   {key_id}"),
        "kind: EncryptionConfiguration".to_owned(),
        format!("endpoint: \"unix://{}\"", socket.display()),
        "apiVersion: v2".to_owned(),
    ] {
        assert!(out.contains(&wanted), "{wanted:?} is missing in:\n{out}");
    }
    assert!(plugin.log().lines().iter().any(|l| l.contains("WARN") && l.contains("INSECURE")), "the log says so too");
}

#[test]
fn a_second_start_in_the_same_folder_serves_the_same_key() {
    let dir = folder();
    let mut first = Plugin::dev(binary(), dir.path()).expect("starts");
    let key_id = first.ready().expect("ready");
    first.kill().expect("killed");
    let keyring = std::fs::read(dir.path().join("keyring")).expect("read");
    let second = Plugin::dev(binary(), dir.path()).expect("starts over the stale socket of the killed one");
    assert_eq!(second.ready().expect("ready"), key_id);
    assert_eq!(std::fs::read(dir.path().join("keyring")).expect("read"), keyring);
}

#[test]
fn sigterm_ends_it_with_exit_code_0_and_the_socket_is_gone() {
    let dir = folder();
    let mut plugin = Plugin::dev(binary(), dir.path()).expect("starts");
    let status = plugin.stop(SOON).expect("stops");
    assert_eq!(ending(status), "exit 0");
    assert!(!plugin.socket().exists());
    let lines = plugin.log().lines();
    let at = |text: &str| lines.iter().position(|l| l.ends_with(text)).unwrap_or_else(|| panic!("{text} is missing in {lines:?}"));
    assert!(at(" INFO draining") < at(" INFO stopped"));
}

#[test]
fn a_keyring_that_does_not_load_ends_the_start_and_stays_as_it_is() {
    let dir = folder();
    let keyring = dir.path().join("keyring");
    let serve = || run(&["serve", "--dev", "--dir", text(dir.path())]);
    let sample = std::fs::read_to_string(SAMPLE).expect("read");

    let changed = sample.replacen("retired", "primary", 1);
    write(&keyring, &changed, 0o600);
    serve().fails(3, &["cannot open the keyring", "not authentic", "no new keyring was made"]);
    write(&keyring, &sample[..sample.len() - 40], 0o600);
    serve().fails(3, &["cannot open the keyring", "torn", "Restore the keyring file from its backup"]);
    write(&keyring, b"", 0o600);
    serve().fails(3, &["cannot open the keyring"]);
    assert_eq!(std::fs::read(&keyring).expect("read"), b"", "it was not replaced");

    write(&keyring, &sample, 0o644);
    serve().fails(3, &["has mode 0644", "chmod go-rwx"]);
    std::fs::remove_file(&keyring).expect("remove");
    symlink(SAMPLE, &keyring).expect("link");
    serve().fails(3, &["is a symbolic link"]);
}

#[test]
fn what_stands_at_the_socket_path_each_has_its_own_refusal() {
    let dir = folder();
    let path = dir.path().join("other.sock");
    let serve = || run(&["serve", "--dev", "--dir", text(dir.path()), "--socket", text(&path)]);

    write(&path, b"precious", 0o600);
    serve().fails(5, &["cannot listen", "is a regular file, not a socket; it was left as it is"]);
    assert_eq!(std::fs::read(&path).expect("read"), b"precious");
    std::fs::remove_file(&path).expect("remove");

    symlink(dir.path().join("nowhere"), &path).expect("link");
    serve().fails(5, &["is a symbolic link; it was left as it is"]);
    std::fs::remove_file(&path).expect("remove");

    let live = UnixListener::bind(&path).expect("bind");
    serve().fails(5, &["another process listens on", "ss -xlp"]);
    drop(live);
    std::fs::remove_file(&path).expect("remove");

    let open = dir.path().join("open");
    std::fs::create_dir(&open).expect("mkdir");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("chmod");
    let inside = open.join("kms.sock");
    run(&["serve", "--dev", "--dir", text(dir.path()), "--socket", text(&inside)]).fails(5, &["has mode 0777", "chmod go-w"]);

    let missing = dir.path().join("missing/kms.sock");
    run(&["serve", "--dev", "--dir", text(dir.path()), "--socket", text(&missing)]).fails(5, &["Make the folder"]);
    let long = dir.path().join("s".repeat(120));
    run(&["serve", "--dev", "--dir", text(dir.path()), "--socket", text(&long)]).fails(5, &["a Unix socket allows 107"]);
}

#[test]
fn a_second_plugin_on_the_same_socket_is_told_who_serves_it() {
    let dir = folder();
    let plugin = Plugin::dev(binary(), dir.path()).expect("starts");
    let pid = format!("another Keywright (pid {})", plugin.pid());
    run(&["serve", "--dev", "--dir", text(dir.path())]).fails(5, &[&pid, "keywright status --socket"]);
}

#[test]
fn the_socket_has_the_mode_and_group_of_the_configuration() {
    let dir = folder();
    let config = config(dir.path(), &format!("{}mode = \"0660\"\ngid = 4242\n", socket_table(dir.path())));
    assert_eq!(run(&["init", "--config", text(&config)]).code, 0);
    let socket = dir.path().join("kms.sock");
    let _plugin = Plugin::configured(binary(), &config, &socket).expect("starts");
    let stat = std::fs::metadata(&socket).expect("stat");
    assert_eq!((stat.mode() & 0o7777, stat.gid()), (0o660, 4242));
}

#[test]
fn init_makes_a_keyring_once_and_refuses_to_touch_it_again() {
    let dir = folder();
    let config = config(dir.path(), &socket_table(dir.path()));
    let made = run(&["init", "--config", text(&config)]);
    assert_eq!(made.code, 0, "{made:?}");
    let keyring = std::fs::read_to_string(dir.path().join("keyring")).expect("read");
    let key_id = keyring.lines().find_map(|l| l.strip_prefix("version ")).and_then(|l| l.split(' ').next()).expect("key_id");
    assert!(made.out.contains(key_id), "{made:?}");
    run(&["init", "--config", text(&config)]).fails(6, &["exists already and is left as it is"]);
    assert_eq!(std::fs::read_to_string(dir.path().join("keyring")).expect("read"), keyring);
    let plugin = Plugin::configured(binary(), &config, &dir.path().join("kms.sock")).expect("starts");
    assert_eq!(plugin.ready().expect("ready"), key_id);
}

#[test]
fn a_wrong_or_missing_seal_each_has_its_own_message() {
    let dir = folder();
    let config_path = config(dir.path(), &socket_table(dir.path()));
    let serve = || run(&["serve", "--config", text(&config_path)]);
    serve().fails(3, &["cannot open the keyring", "No such file", "keywright init --config"]);
    assert_eq!(run(&["init", "--config", text(&config_path)]).code, 0);

    let seal = dir.path().join("seal.key");
    let replace = |bytes: &[u8], mode| {
        std::fs::remove_file(&seal).expect("remove");
        write(&seal, bytes, mode);
    };
    replace(&[8; 32], 0o400);
    serve().fails(3, &["this is not the secret that the keyring's key-file slot was made with"]);
    replace(&[7; 31], 0o400);
    serve().fails(3, &["the secret has 31 bytes"]);
    replace(&[7; 32], 0o440);
    serve().fails(3, &["cannot open the keyring", "key file:", "has mode 0440"]);
    std::fs::remove_file(&seal).expect("remove");
    serve().fails(3, &["cannot open the keyring", "key file:", "No such file"]);

    let text_of = std::fs::read_to_string(&config_path).expect("read");
    let line = text_of.lines().find(|l| l.starts_with("key_file")).expect("line").to_owned();
    write(&config_path, text_of.replace(&line, "credential = \"keywright-seal\""), 0o644);
    serve().fails(3, &["this process was given no credentials", "LoadCredential=keywright-seal:"]);
}

#[test]
fn a_development_keyring_is_served_with_dev_only() {
    let dir = folder();
    let config = config(dir.path(), &socket_table(dir.path()));
    write(&dir.path().join("keyring"), std::fs::read(SAMPLE).expect("read"), 0o600);
    run(&["serve", "--config", text(&config)]).fails(3, &["the keyring has no key-file slot; it has: insecure-development", "--dev"]);
}

#[test]
fn the_process_cannot_dump_core_and_its_arguments_and_environment_hold_no_key() {
    let dir = folder();
    let plugin = Plugin::dev(binary(), dir.path()).expect("starts");
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", plugin.pid())).expect("read");
    let core = read("limits").lines().find(|l| l.starts_with("Max core file size")).expect("line").to_owned();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let keyring = std::fs::read_to_string(dir.path().join("keyring")).expect("read");
    let root = keyring.lines().find_map(|l| l.strip_prefix("slot insecure-development ")).expect("root key");
    assert_eq!(root.len(), 64);
    for shown in [read("cmdline"), read("environ"), plugin.printed()] {
        assert!(!shown.contains(root));
    }
}
