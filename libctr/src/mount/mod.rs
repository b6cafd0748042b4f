//! Mounts.
mod resolve;
mod tree;
pub use resolve::Root;
pub use tree::{Attributes, Tree};
