//! The `keywright` binary: calls the library and turns its outcome into an exit code.

fn main() -> std::process::ExitCode {
    keywright::cli::run(std::env::args_os())
}
