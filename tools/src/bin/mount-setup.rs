//! The tool `mount-setup`: see [`tools::mount_setup`].
#![no_main]

libctr::start!(tools::cli::main::<tools::mount_setup::MountSetup>);
