//! All tools in one program: see [`tools::ctrtool`].

fn main() -> std::process::ExitCode {
    tools::ctrtool::main(std::env::args_os())
}
