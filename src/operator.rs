//! Every command but `serve`, in a program of its own beside `keywright`, which starts it: see `cli::front`.

fn main() -> std::process::ExitCode {
    keywright::cli::run(std::env::args_os())
}
