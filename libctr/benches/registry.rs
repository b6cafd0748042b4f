//! One range given out, from the lock to the new file, in a registry of 10,000 that a process or a namespace holds:
//! `cargo bench -p libctr --bench registry`, as root. Prints the median and the slowest of a hundred.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench reports, and has failed where it cannot go on")]

use std::time::Instant;

use libctr::idmap::{Holder, IdRange, Pool, Registry};
use libctr::ns::{Kind, Namespace};
use libctr::process::PidRef;

const RANGES: usize = 10_000;
const ROUNDS: usize = 100;

fn main() {
    // a tmpfs, as /run is
    let directory = format!("/dev/shm/libctr-bench-{}", std::process::id());
    let registry = Registry::new(&directory);
    let pool = Pool::of_caller(None).unwrap();
    let process = Holder::process(PidRef::Pid(nix::unistd::getpid()).open().unwrap()).unwrap();
    let namespace = Holder::namespace(&Namespace::current(Kind::User).unwrap()).unwrap();
    let ranges: Vec<IdRange> = (0..RANGES)
        .map(|n| registry.allocate(&pool, 1000, "", if n % 2 == 0 { &process } else { &namespace }.clone()).unwrap())
        .collect();
    // one is free in the middle, which is the one that must be found
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            registry.release(&[ranges[RANGES / 2]]).unwrap();
            let start = Instant::now();
            let pool = Pool::of_caller(None).unwrap();
            let given = registry.allocate(&pool, 1000, "", process.clone()).unwrap();
            let time = start.elapsed().as_secs_f64() * 1e3;
            assert_eq!(given, ranges[RANGES / 2]);
            time
        })
        .collect();
    times.sort_by(f64::total_cmp);
    std::fs::remove_dir_all(directory).unwrap();
    println!("one of {RANGES} ranges  {:6.2} ms, slowest {:6.2} ms (bar 2)", times[ROUNDS / 2], times[ROUNDS - 1]);
}
