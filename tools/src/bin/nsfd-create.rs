//! The tool `nsfd-create`: see [`tools::nsfd_create`].
#![no_main]

libctr::start!(tools::cli::main::<tools::nsfd_create::NsfdCreate>);
