//! The tool `ns-enter`: see [`tools::ns_enter`].
#![no_main]

libctr::start!(tools::cli::main::<tools::ns_enter::NsEnter>);
