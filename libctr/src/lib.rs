//! Safe Linux container primitives.

pub mod error;
pub mod fd;
pub mod net;
pub mod ns;
pub mod process;
pub mod sys;

pub use error::{Context, Errno, Error, Fault, Object, Result, show};
