//! `keywright completions` and `keywright man`, for packages.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::failure::{Exit, Failure};
use super::print;

/// Print shell completions
#[derive(Args)]
#[command(after_help = "Example:
  keywright completions bash > /usr/share/bash-completion/completions/keywright")]
pub(super) struct CompletionsArguments {
    /// For which shell
    shell: Shell,
}

/// Write man pages
#[derive(Args)]
#[command(after_help = "Example:
  keywright man /usr/share/man/man1")]
pub(super) struct ManArguments {
    /// Folder to write them to; it must exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn completions(arguments: CompletionsArguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "keywright", &mut script);
    print(&String::from_utf8_lossy(&script));
    Ok(())
}

pub(super) fn man(arguments: ManArguments) -> Result<(), Failure> {
    let folder = arguments.folder;
    clap_mangen::generate_to(super::Arguments::command(), &folder).map_err(|e| {
        Failure::new(Exit::Runtime, format!("write man pages to {}", folder.display()), e, "Name a folder that exists and can be written.")
    })?;
    Ok(())
}
