//! The tool `nsfd-create`: see [`tools::nsfd_create`].

fn main() -> std::process::ExitCode {
    tools::cli::main::<tools::nsfd_create::NsfdCreate>(std::env::args_os().skip(1))
}
