//! The tool `veth-create`: see [`tools::veth_create`].

fn main() -> std::process::ExitCode {
    tools::cli::main::<tools::veth_create::VethCreate>(std::env::args_os().skip(1))
}
