//! A keyring that is torn, empty or full of zeros: refused and left as it is, while a running plugin goes on with the one it has.

use keywright_testbed::wait;

use super::cases::{Case, all, stations};
use super::ground::{Ground, SOON};

/// What a crash of the machine can make of a file, each with its name.
fn damaged(sound: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut torn_inside = sound.to_vec();
    torn_inside[sound.len() / 2..].fill(0);
    vec![
        ("empty", Vec::new()),
        ("zeros", vec![0; sound.len()]),
        ("cut in the middle", sound[..sound.len() / 2].to_vec()),
        ("without its last byte", sound[..sound.len() - 1].to_vec()),
        ("zeros from the middle on", torn_inside),
    ]
}

#[test]
fn a_damaged_keyring_is_refused_by_every_command_and_left_as_it_is() {
    let sound = stations().disabled.keyring.clone().expect("a keyring");
    let ground = Ground::new(&stations().disabled);
    for (name, bytes) in damaged(&sound) {
        ground.write("keyring", &bytes);
        for case in all() {
            let Case { name: command, words, .. } = &case;
            if let Some(export) = &case.before.export {
                ground.write("in.age", export);
            }
            let ran = ground.run(words);
            let code = if *command == "init" { 6 } else { 3 };
            assert_eq!(ran.ending(), format!("exit {code}"), "{command} on a keyring that is {name}: {ran:?}");
            ran.fails(code, &["keywright: cannot "]);
            assert_eq!(ground.files().keyring.as_ref(), Some(&bytes), "{command} on a keyring that is {name}");
        }
        for look in ["list", "show", "verify"] {
            ground.run(&["keyring", look, "--config", "DIR/config.toml"]).fails(3, &["cannot open the keyring"]);
        }
        ground.run(&["serve", "--config", "DIR/config.toml"]).fails(3, &["cannot open the keyring", "no new keyring was made"]);
        assert_eq!(ground.files().keyring.as_ref(), Some(&bytes), "a start on a keyring that is {name}");
    }
}

#[test]
fn a_running_plugin_serves_on_with_the_alarm_on_until_the_file_is_whole_again() {
    let sound = stations().promoted.keyring.clone().expect("a keyring");
    let ground = Ground::new(&stations().promoted);
    let plugin = ground.serve("config.toml");
    let key_id = plugin.ready().expect("ready");
    let status = || ground.json(&["status", "--config", "DIR/config.toml"]);
    assert!(status()["alarm"].is_null(), "{}", status());
    for (name, bytes) in damaged(&sound) {
        let from = plugin.log().len();
        ground.write("keyring", &bytes);
        plugin.wait_line(from, SOON, " ERROR the keyring file did not load; the one loaded before goes on serving").expect("it is noticed");
        let shown = status();
        assert_eq!(
            (&shown["healthz"], &shown["round_trip"], shown["key_id"].as_str()),
            (&"ok".into(), &"ok".into(), Some(&*key_id)),
            "{name}"
        );
        alarm(&ground, true);
        assert_eq!(ground.files().keyring.as_ref(), Some(&bytes), "the plugin touched a keyring that is {name}");
        ground.write("keyring", &sound);
        alarm(&ground, false);
    }
}

/// Waits until `keywright status` shows an alarm, or none: it is raised right after the line in the log.
fn alarm(ground: &Ground, on: bool) {
    wait::until("the alarm", SOON, || {
        let shown = ground.json(&["status", "--config", "DIR/config.toml"]);
        if shown["alarm"].is_string() == on { Ok(()) } else { Err(format!("wanted {on}: {shown}")) }
    })
    .unwrap_or_else(|e| panic!("{e}"));
}
