//! The tool `net-setup`: see [`tools::net_setup`].

fn main() -> std::process::ExitCode {
    tools::cli::main::<tools::net_setup::NetSetup>(std::env::args_os().skip(1))
}
