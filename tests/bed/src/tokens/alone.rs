//! A test in a process of its own, with the variables that modules read.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::ran::Ran;
use crate::{Error, Result, scratch};

/// Set in the process that runs the test, to its folder.
const INSIDE: &str = "KEYWRIGHT_ALONE";

/// How long such a test may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs the test `name` (as `cargo test` prints it, `fake::a_token_that_hangs`) again, alone in a new process.
///
/// There it gives the folder in which to make an [`super::Hsm`] or a [`super::Fake`]: the environment names the files that these write. Here,
/// after that process ended well, it gives nothing, and the test is over:
///
/// ```text
/// let Some(folder) = alone("fake::a_token_that_hangs").unwrap() else { return };
/// ```
///
/// Modules read their variable when they are loaded, and a test may not set one in its own process, which others share.
pub fn alone(name: &str) -> Result<Option<PathBuf>> {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return Ok(Some(folder.into()));
    }
    again(name)?;
    Ok(None)
}

pub(super) fn again(name: &str) -> Result<()> {
    let folder = scratch::folder("alone")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(INSIDE, folder.path());
    for (variable, file) in [("SOFTHSM2_CONF", "softhsm2.conf"), ("KRYOPTIC_CONF", "kryoptic.toml"), ("FAKE_PKCS11", "fake")] {
        command.env(variable, folder.path().join(file));
    }
    let ran = Ran::within(&mut command, LIMIT)?;
    // Output that is shown comes on the line of the result, so only the summary can be looked for.
    if ran.code == 0 && ran.out.contains("test result: ok. 1 passed") {
        return Ok(());
    }
    if ran.code == 0 {
        return Err(Error::new(format!("there is no test of the name {name}")));
    }
    // As lines, which an error in a panic would not keep.
    eprintln!("{}{}", ran.out, ran.err);
    Err(Error::new(format!("{name} failed alone; what it said is above")))
}
