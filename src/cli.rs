//! The command line: parse, call, print. One file per command.
//!
//! People type `keywright`. What it does by itself is `serve`; every other command is in a second program beside it, which [`front`] becomes.
//! So the process that holds the keys has no TLS, no HTTP client and no YAML in it, and is a fifth in size: with all of it in one program a
//! request cost 4 % more, and the plugin used twice the memory (benches/side_by_side.rs).

mod advice;
#[cfg(feature = "operator")]
mod bench;
#[cfg(feature = "operator")]
mod cluster;
mod failure;
mod front;
#[cfg(feature = "operator")]
mod generate;
mod init;
#[cfg(feature = "operator")]
mod keyring;
mod new_key;
#[cfg(feature = "operator")]
mod output;
mod place;
#[cfg(feature = "operator")]
mod progress;
mod prompt;
#[cfg(feature = "operator")]
mod recover;
#[cfg(feature = "operator")]
mod rotate;
#[cfg(feature = "operator")]
mod scan;
mod serve;
#[cfg(feature = "operator")]
mod status;
#[cfg(feature = "operator")]
mod target;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::{Exit, Failure};
pub use front::front;

/// A Kubernetes KMS v2 plugin that holds the key-encryption keys of a cluster.
#[derive(Parser)]
#[command(name = "keywright", version, max_term_width = 100, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 ok, 1 unexpected, 2 usage, 3 configuration, 4 check failed,
            5 runtime (socket, backend), 6 refused by a guard, 7 evidence incomplete.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Init(init::Arguments),
    #[cfg(feature = "operator")]
    Status(status::Arguments),
    #[cfg(feature = "operator")]
    Bench(bench::Arguments),
    #[cfg(feature = "operator")]
    Keyring(keyring::Arguments),
    #[cfg(feature = "operator")]
    Rotate(Box<rotate::Arguments>),
    #[cfg(feature = "operator")]
    Scan(scan::Arguments),
    #[cfg(feature = "operator")]
    Recover(recover::Arguments),
    #[cfg(feature = "operator")]
    Completions(generate::CompletionsArguments),
    #[cfg(feature = "operator")]
    Man(generate::ManArguments),
}

/// Runs the command that `args` (with the program's name first) name; prints what there is to say and returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments.command,
        Err(error) => return not_parsed(&error),
    };
    ended(match command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Init(arguments) => init::run(arguments),
        #[cfg(feature = "operator")]
        Command::Status(arguments) => status::run(arguments),
        #[cfg(feature = "operator")]
        Command::Bench(arguments) => bench::run(arguments),
        #[cfg(feature = "operator")]
        Command::Keyring(arguments) => keyring::run(arguments),
        #[cfg(feature = "operator")]
        Command::Rotate(arguments) => rotate::run(*arguments),
        #[cfg(feature = "operator")]
        Command::Scan(arguments) => scan::run(arguments),
        #[cfg(feature = "operator")]
        Command::Recover(arguments) => recover::run(arguments),
        #[cfg(feature = "operator")]
        Command::Completions(arguments) => generate::completions(arguments),
        #[cfg(feature = "operator")]
        Command::Man(arguments) => generate::man(arguments),
    })
}

/// Prints what clap has to say, `--help` and `--version` among it.
fn not_parsed(error: &clap::Error) -> ExitCode {
    // To standard output for --help and --version, else to standard error; nobody is left to tell if that is closed.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS }
}

/// The exit code of a command; why it failed goes to standard error.
fn ended(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = std::io::stderr().write_all(failure.to_string().as_bytes());
            failure.exit.into()
        }
    }
}

/// Says what goes on, to standard error.
#[cfg(feature = "operator")]
fn note(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Waits for what speaks with etcd or an API server.
#[cfg(feature = "operator")]
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(Exit::Unexpected, "start the runtime", e, "This is not foreseen; please report it."))?;
    runtime.block_on(work)
}

/// Prints to standard output. A reader that went away is no failure of the command.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_every_command_shows_examples() {
        let mut command = Arguments::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands_mut() {
            let name = sub.get_name().to_owned();
            assert!(sub.render_long_help().to_string().contains("Example"), "{name} --help shows no example");
        }
    }
}
