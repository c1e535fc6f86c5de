//! Where the figures come from: the builds.

use std::fs;
use std::process::Command;

use crate::Result;
use crate::server::{Kind, Program};

/// A server's binary.
pub(crate) struct Build {
    pub(crate) name: &'static str,
    pub(crate) bytes: u64,
    pub(crate) version: String,
}

impl Build {
    pub(crate) fn describe(program: &Program) -> Result<Self> {
        let bytes = fs::metadata(&program.binary).map_err(|error| format!("{}: {error}", program.binary.display()))?.len();
        Ok(Self { name: program.name, bytes, version: version(program) })
    }
}

/// What the binary, or for a Go binary its toolchain, says of its version. Only printed, so that a missing answer is no error.
fn version(program: &Program) -> String {
    let output = match program.kind {
        Kind::Keywright => Command::new(&program.binary).arg("--version").output(),
        Kind::Reference => Command::new("go").args(["version", "-m"]).arg(&program.binary).output(),
    };
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let known = match program.kind {
        Kind::Keywright => text.lines().next().map(str::to_owned),
        Kind::Reference => {
            let toolchain = text.lines().next().and_then(|line| line.rsplit_once(": ")).map(|(_, toolchain)| toolchain.to_owned());
            let modules = ["google.golang.org/grpc", "k8s.io/kms"].into_iter().filter_map(|module| {
                let mut fields = text.lines().map(str::split_whitespace).find(|fields| fields.clone().nth(1) == Some(module))?;
                Some(format!("{module} {}", fields.nth(2)?))
            });
            toolchain.map(|toolchain| [toolchain].into_iter().chain(modules).collect::<Vec<_>>().join(", "))
        }
    };
    known.unwrap_or_else(|| "version unknown".into())
}
