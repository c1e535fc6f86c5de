//! Two programs under one name: `keywright` serves, and becomes `keywright-operator` for everything else.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::common::{binary, folder, ran, run};

#[test]
fn usage_lines_show_the_name_that_people_type() {
    let shown = run(&["rotate", "promote", "--nope"]);
    assert_eq!(shown.code, 2, "{shown:?}");
    assert!(shown.err.contains("Usage: keywright rotate promote"), "{shown:?}");
}

#[test]
fn a_link_from_another_folder_finds_the_program_beside_the_real_one() {
    let dir = folder();
    let link = dir.path().join("kw");
    symlink(binary(), &link).expect("link");
    let shown = ran(Command::new(&link).args(["keyring", "--help"]));
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.out.contains("Usage: kw keyring"), "{shown:?}");
}

#[test]
fn without_the_operators_program_serve_knows_its_options_and_every_other_command_says_what_to_install() {
    let dir = folder();
    let alone = dir.path().join("keywright");
    std::fs::copy(binary(), &alone).expect("copy");
    let serve = ran(Command::new(&alone).args(["serve", "--help"]));
    assert!(serve.code == 0 && serve.out.contains("Usage: keywright serve"), "{serve:?}");
    for arguments in [&["status"][..], &["--version"], &[]] {
        let missing = ran(Command::new(&alone).args(arguments));
        assert_eq!(missing.code, 1, "{missing:?}");
        let path = dir.path().join("keywright-operator").display().to_string();
        assert!(missing.err.contains(&path) && missing.err.contains("next: Install keywright-operator"), "{missing:?}");
    }
}
