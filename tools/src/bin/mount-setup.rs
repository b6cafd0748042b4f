//! The tool `mount-setup`: see [`tools::mount_setup`].

fn main() -> std::process::ExitCode {
    tools::cli::main::<tools::mount_setup::MountSetup>(std::env::args_os().skip(1))
}
