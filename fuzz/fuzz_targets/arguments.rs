//! What a command line names: whatever is accepted says itself in a form that is accepted again and means the same.
//!
//! On stable Rust, without cargo-fuzz: build with `RUSTFLAGS` of the sanitizer coverage passes, as fuzz/README.md says.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;

fn round_trip<T: FromStr + Display + PartialEq + Debug>(text: &str)
where
    T::Err: Debug,
{
    // what a person could not read is shown quoted
    let plain = text.chars().all(|c| c.is_ascii_graphic() && c != '"');
    if let (true, Ok(value)) = (plain, text.parse::<T>()) {
        let again = value.to_string().parse::<T>();
        assert!(again.is_ok_and(|again| again == value), "{text:?} is {value:?}");
    }
}

fuzz_target!(|text: &str| {
    let _ = text.parse::<libctr::idmap::IdMap>();
    round_trip::<libctr::ns::NsRef>(text);
    round_trip::<libctr::ns::Kind>(text);
    round_trip::<libctr::process::PidRef>(text);
    round_trip::<libctr::net::Address>(text);
    round_trip::<libctr::net::Mac>(text);
    round_trip::<libctr::net::InterfaceName>(text);
    round_trip::<libctr::net::Route>(text);
    let _ = text.parse::<libctr::fd::FdList>().map(|list| list.numbers());
    let _ = text.parse::<libctr::idmap::MapSpec>();
    let _ = text.parse::<libctr::net::LinkKind>();
    let _ = text.parse::<libctr::net::Assignment>();
    let _ = text.parse::<libctr::net::Neighbour>();
    let _ = text.parse::<libctr::net::Rule>();
    let _ = text.parse::<libctr::net::Sysctl>();
    let _ = text.parse::<libctr::net::link::Port>();
});
