//! The tool `mntfd-create`: see [`tools::mntfd_create`].

fn main() -> std::process::ExitCode {
    tools::cli::main::<tools::mntfd_create::MntfdCreate>(std::env::args_os().skip(1))
}
