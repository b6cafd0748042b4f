//! The tool `ns-enter`: see [`tools::ns_enter`].

fn main() -> std::process::ExitCode {
    tools::cli::main::<tools::ns_enter::NsEnter>(std::env::args_os().skip(1))
}
