//! The tool `mntfd-create`: see [`tools::mntfd_create`].
#![no_main]

libctr::start!(tools::cli::main::<tools::mntfd_create::MntfdCreate>);
