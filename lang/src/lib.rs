//! Placeholder.
pub mod conventions;
pub mod explain;
