//! The tool `fd-open`: see [`tools::fd_open`].

fn main() -> std::process::ExitCode {
    tools::cli::main::<tools::fd_open::FdOpen>(std::env::args_os().skip(1))
}
