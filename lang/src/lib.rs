//! Placeholder.
pub mod explain;
