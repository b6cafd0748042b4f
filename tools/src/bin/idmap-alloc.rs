//! The tool `idmap-alloc`: see [`tools::idmap_alloc`].
#![no_main]

libctr::start!(tools::cli::main::<tools::idmap_alloc::IdmapAlloc>);
