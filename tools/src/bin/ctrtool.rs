//! All tools in one program: see [`tools::ctrtool`].
#![no_main]

libctr::start!(tools::ctrtool::main);
