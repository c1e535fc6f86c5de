//! Why a program or a module is not there, and what to do about it.

use std::io;
use std::path::PathBuf;

/// A program or a module could not be located or built. Every text ends with the next step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolsError {
    /// Neither `KEYWRIGHT_CACHE`, `XDG_CACHE_HOME` nor `HOME` names an absolute folder.
    #[error("find the cache folder: none of KEYWRIGHT_CACHE, XDG_CACHE_HOME and HOME is an absolute path; set KEYWRIGHT_CACHE")]
    NoCacheFolder,
    /// Nothing was built yet for this state of `tests/go`.
    #[error("find {name} in {}: not built for this state of tests/go; run `cargo xtask tools`", folder.display())]
    NotBuilt {
        /// The first program that is missing.
        name: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// There is no `go` in `PATH`.
    #[error("run `go version`: no `go` in PATH; install Go {needed} or newer (https://go.dev/doc/install)")]
    GoMissing {
        /// The `go` line of `tests/go/go.mod`.
        needed: String,
    },
    /// The Go in `PATH` is older than `tests/go/go.mod` asks for, and could not fetch a newer one by itself.
    #[error("build with {found}: tests/go needs Go {needed} or newer (https://go.dev/doc/install)")]
    GoTooOld {
        /// What `go version` said.
        found: String,
        /// The `go` line of `tests/go/go.mod`.
        needed: String,
    },
    /// The Go modules could not be downloaded.
    #[error("build {name}: Go could not download modules; check the network and `go env GOPROXY`, then run it again\n{output}")]
    Network {
        /// The program that was being built.
        name: String,
        /// The last lines that Go printed.
        output: String,
    },
    /// The compiler, the linker or the disk said no.
    #[error("build {name}: `{command}` failed in {} ({status})\n{output}", folder.display())]
    Build {
        /// What was being built.
        name: String,
        /// The command, to try by hand.
        command: String,
        /// Where it ran.
        folder: PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines that the compiler printed.
        output: String,
    },
    /// A file or a process of ours.
    #[error("{attempt}: {source}")]
    Io {
        /// What was attempted, on what.
        attempt: String,
        /// What the system said.
        source: io::Error,
    },
}

impl ToolsError {
    /// For `map_err`: an I/O error with what was attempted.
    pub(super) fn io(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Io { attempt, source }
    }
}
