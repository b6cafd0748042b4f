//! The tool `fd-open`: see [`tools::fd_open`].
#![no_main]

libctr::start!(tools::cli::main::<tools::fd_open::FdOpen>);
