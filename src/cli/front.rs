//! The program `keywright`: it serves, and becomes the operators' program for everything else.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{ended, not_parsed, serve};

/// The command line of `serve` alone: a plugin that starts does not build the other commands first.
#[derive(Parser)]
#[command(name = "keywright", version, max_term_width = 100, propagate_version = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
}

/// Serves if `args` (with the program's name first) say so; any other command is that of the operators' program, or of this one where it was
/// built without. Returns the exit code.
pub fn front(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_none_or(|command| command != "serve") {
        return others(args);
    }
    match Arguments::try_parse_from(args) {
        Ok(Arguments { command: Command::Serve(arguments) }) => ended(serve::run(arguments)),
        Err(error) => not_parsed(&error),
    }
}

#[cfg(not(feature = "operator"))]
use super::run as others;

/// Replaces this process by the operators' program, which stands in the same folder. Returns only if that failed.
#[cfg(feature = "operator")]
fn others(args: Vec<OsString>) -> ExitCode {
    use std::os::unix::process::CommandExt;

    use super::failure::{Exit, Failure};

    /// Its file name.
    const OPERATOR: &str = "keywright-operator";

    let mut args = args.into_iter();
    let name = args.next().unwrap_or_else(|| "keywright".into());
    let (path, why) = match std::env::current_exe() {
        Ok(here) => {
            let path = here.with_file_name(OPERATOR);
            // The name by which it was called stays: it is what usage lines show.
            let error = std::process::Command::new(&path).arg0(name).args(args).exec();
            (path.display().to_string(), error)
        }
        Err(error) => (OPERATOR.to_owned(), error),
    };
    let next =
        "Install keywright-operator into the folder of keywright: both come from one build. `keywright serve` alone does without it.";
    ended(Err(Failure::new(Exit::Unexpected, format!("start {path}, which has every command but `serve`"), why, next)))
}
