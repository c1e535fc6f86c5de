//! The program that people type, and that serves: see `cli::front`.

fn main() -> std::process::ExitCode {
    keywright::cli::front(std::env::args_os())
}
