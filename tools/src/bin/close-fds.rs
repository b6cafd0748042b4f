//! The tool `close-fds`: see [`tools::close_fds`].

fn main() -> std::process::ExitCode {
    tools::cli::main::<tools::close_fds::CloseFds>(std::env::args_os().skip(1))
}
