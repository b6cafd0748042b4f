//! The tool `close-fds`: see [`tools::close_fds`].
#![no_main]

libctr::start!(tools::cli::main::<tools::close_fds::CloseFds>);
