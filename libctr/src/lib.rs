//! Safe Linux container primitives.
//!
//! A container is not an object. It is a process whose namespaces, mounts, ids and descriptors were prepared one step at a
//! time. Each step is one module: [`ns`], [`idmap`], [`net`], [`fd`], [`process`].

pub mod error;
pub mod fd;
pub mod idmap;
pub mod mount;
pub mod net;
pub mod ns;
pub mod pivot;
pub mod process;
pub mod sys;

pub use error::{Context, Errno, Error, Fault, Object, Result, show};
