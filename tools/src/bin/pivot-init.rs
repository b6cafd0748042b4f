//! The tool `pivot-init`: see [`tools::pivot_init`].
#![no_main]

libctr::start!(tools::cli::main::<tools::pivot_init::PivotInit>);
