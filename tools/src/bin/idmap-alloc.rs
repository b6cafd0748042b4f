//! The tool `idmap-alloc`: see [`tools::idmap_alloc`].

fn main() -> std::process::ExitCode {
    tools::cli::main::<tools::idmap_alloc::IdmapAlloc>(std::env::args_os().skip(1))
}
