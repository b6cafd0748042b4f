//! The tool `net-setup`: see [`tools::net_setup`].
#![no_main]

libctr::start!(tools::cli::main::<tools::net_setup::NetSetup>);
