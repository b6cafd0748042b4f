//! The tool `pivot-init`: see [`tools::pivot_init`].

fn main() -> std::process::ExitCode {
    tools::cli::main::<tools::pivot_init::PivotInit>(std::env::args_os().skip(1))
}
