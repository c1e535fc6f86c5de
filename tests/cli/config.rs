//! The configuration file and the shape of the command line.

use crate::common::{config, folder, run, text};

#[test]
fn an_unknown_key_ends_with_3_its_line_and_the_nearest_name() {
    let dir = folder();
    let config = config(dir.path(), "[kms]\nlegacy_client = true");
    run(&["serve", "--config", text(&config)]).fails(3, &["config.toml:6: unknown key `legacy_client`; did you mean `legacy_clients`?"]);
    assert!(!dir.path().join("keyring").exists());
}

#[test]
fn a_missing_configuration_ends_with_3_and_its_name() {
    run(&["serve", "--config", "/nonexistent/config.toml"]).fails(3, &["/nonexistent/config.toml: No such file"]);
}

#[test]
fn a_command_that_names_no_keyring_ends_with_2() {
    run(&["serve"]).fails(2, &["no keyring was named", "--config FILE"]);
    run(&["init"]).fails(2, &["no configuration was named"]);
}

#[test]
fn a_mistyped_option_ends_with_2_and_help_with_0() {
    let mistyped = run(&["serve", "--devel"]);
    assert_eq!(mistyped.code, 2);
    assert!(mistyped.err.contains("--dev"), "{mistyped:?}");
    for help in [run(&["--help"]), run(&["serve", "--help"]), run(&["--version"])] {
        assert_eq!((help.code, help.err.as_str()), (0, ""));
    }
    assert!(run(&["--help"]).out.contains("Exit codes:"));
}

#[cfg(feature = "operator")]
#[test]
fn completions_and_man_pages_are_made_for_every_command() {
    let dir = folder();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.code, 0);
        assert!(script.out.contains("keywright"), "{shell}");
    }
    assert_eq!(run(&["man", text(dir.path())]).code, 0);
    for page in ["keywright.1", "keywright-serve.1", "keywright-init.1", "keywright-status.1"] {
        assert!(dir.path().join(page).exists(), "{page}");
    }
    run(&["man", "/nonexistent"]).fails(5, &["cannot write man pages"]);
}
