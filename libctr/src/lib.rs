//! Safe Linux container primitives.
//!
//! A container is not an object. It is a process whose namespaces, mounts, ids and descriptors were prepared one step at a
//! time. Each step is one primitive of this crate; the tools of the same repository give each primitive as one small
//! program, for shell scripts.
//!
//! | step | what happens | module |
//! |---|---|---|
//! | 1 | user and network namespaces are made, mapped, and held by descriptor, with no process left in them | [`ns`], [`idmap`] |
//! | 2 | a veth pair is made, its peer born in the new network namespace | [`net`] |
//! | 3 | the process enters both | [`ns`], [`cred`] |
//! | 4 | every descriptor that is not wanted is closed | [`fd`] |
//! | 5 | ipc, cgroup, mount and uts namespaces are made | [`ns`] |
//! | 6 | network and mounts are configured | [`net`], [`mount`] |
//! | 7 | pivot_root, a pid namespace, privileges dropped, the init program | [`pivot`], [`process`], [`cred`] |
//!
//! All of it, as one program that runs as root (the same as `libctr/examples/seven_steps.rs`):
//!
//! ```no_run
#![doc = include_str!("../examples/seven_steps.rs")]
//! ```
//!
//! # What holds everywhere
//!
//! Descriptors are [`OwnedFd`](std::os::fd::OwnedFd) and friends, close-on-exec until they are [passed
//! on](process::Exec::pass). An [`Error`] says what was attempted on what, with the errno and a hint. What fails leaves nothing
//! behind. What runs between clone3(2) and execve(2) allocates nothing and reports a [`Fault`], so that programs with threads
//! may link this crate; what needs a caller with a single thread says so in an error. Nothing panics.

pub mod cred;
pub mod error;
pub mod fd;
pub mod idmap;
pub mod mount;
pub mod net;
pub mod ns;
pub mod open;
pub mod pivot;
pub mod process;
pub mod sys;

pub use error::{Context, Errno, Error, Fault, Object, Result, show};

/// The example of README.md, so that it is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
