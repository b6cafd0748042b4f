//! The tool `veth-create`: see [`tools::veth_create`].
#![no_main]

libctr::start!(tools::cli::main::<tools::veth_create::VethCreate>);
