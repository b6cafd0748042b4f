//! Mounts: detached trees, paths below a root, and plans that put one on the other.
//!
//! A [`Tree`] is held by descriptor and attached nowhere; a [`Root`] finds the place for it without ever leaving a directory; a
//! [`Plan`] is a text that says what goes where; a [`Held`] says what is to be opened on the host. See mount_namespaces(7),
//! mount_setattr(2), openat2(2).
//!
//! ```no_run
//! use libctr::mount::{Plan, Root};
//! let plan = Plan::parse("example", b"none / rootfs usr=bind,etc=minimal\n")?;
//! plan.apply(&mut Root::open("/mnt".as_ref())?)?;
//! # Ok::<(), libctr::Error>(())
//! ```

mod apply;
mod calls;
mod hold;
mod info;
mod journal;
mod legacy;
mod lock;
pub(crate) mod options;
mod plan;
mod remount;
mod resolve;
mod rootfs;
mod tree;
mod undo;

pub use apply::null_device;
pub use hold::Held;
pub use journal::Record;
pub use plan::{MASKED, Plan, READ_ONLY};
pub use resolve::Root;
pub use tree::{Attributes, Tree};
pub use undo::could_not;
