//! Safe Linux container primitives.

pub mod error;
pub mod sys;

pub use error::{Context, Errno, Error, Fault, Object, Result, show};
