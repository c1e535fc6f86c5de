//! The plugin with its primary in a token, as a child process.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keywright_testbed::ran::Ran;
use keywright_testbed::tokens::Token;

use crate::Result;

const READY_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// `keywright serve`; killed when it is dropped.
pub(crate) struct Plugin {
    child: Child,
    socket: PathBuf,
}

impl Plugin {
    /// Makes a keyring whose first key is in `token`, and starts the plugin with it. The log has its default level and goes to a file.
    pub(crate) fn start(folder: &Path, token: &Token) -> Result<Self> {
        let binary = crate::report::binary()?;
        let home = folder.join(format!("plugin-{}", token.serial()));
        fs::create_dir(&home)?;
        let config = configure(&home, token)?;
        let made = Ran::of(Command::new(&binary).args(["init", "--provider", "pkcs11", "--config"]).arg(&config))?;
        if made.code != 0 {
            return Err(format!("init: exit {}: {}{}", made.code, made.out, made.err).into());
        }
        let log = home.join("log");
        let mut command = Command::new(&binary);
        command.args(["serve", "--config"]).arg(&config).env_remove("RUST_LOG");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?).spawn()?;
        let mut plugin = Self { child, socket: home.join("kms.sock") };
        let end = Instant::now() + READY_WITHIN;
        while !fs::read_to_string(&log)?.contains(" INFO ready ") {
            if plugin.child.try_wait()?.is_some() || Instant::now() > end {
                return Err(format!("the plugin does not start: {}", fs::read_to_string(&log)?).into());
            }
            std::thread::sleep(POLL);
        }
        Ok(plugin)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // Both fail only for a child that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configure(home: &Path, token: &Token) -> Result<PathBuf> {
    fs::create_dir(home.join("state"))?;
    fs::set_permissions(home.join("state"), Permissions::from_mode(0o700))?;
    for (name, content) in [("seal.key", [7; 32].as_slice()), ("pin", token.pin().as_bytes())] {
        fs::write(home.join(name), content)?;
        fs::set_permissions(home.join(name), Permissions::from_mode(0o400))?;
    }
    let text = format!(
        "keyring = \"{0}/keyring\"\nstate_dir = \"{0}/state\"\n[seal]\nkey_file = \"{0}/seal.key\"\n[socket]\npath = \"{0}/kms.sock\"\n\
         [[token]]\nuri = \"{1}\"\nmodule = \"{2}\"\npin_file = \"{0}/pin\"\ninsecure_module_owner = true\n",
        home.display(),
        token.uri(),
        token.hsm().module().display()
    );
    let config = home.join("config.toml");
    fs::write(&config, text)?;
    Ok(config)
}
