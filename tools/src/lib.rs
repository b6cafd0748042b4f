//! The container tools, one module each; `bin/` holds their one-line mains. What they share is in [`cli`].

pub mod cli;
pub mod close_fds;
pub mod ctrtool;
mod ending;
pub mod fd_open;
pub mod idmap_alloc;
mod ids;
pub mod man;
pub mod mntfd_create;
pub mod mount_setup;
pub mod net_setup;
pub mod ns_enter;
pub mod nsfd_create;
pub mod pivot_init;
mod privileges;
pub mod veth_create;
