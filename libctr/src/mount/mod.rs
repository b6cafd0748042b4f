//! Mounts.
mod resolve;
pub use resolve::Root;
