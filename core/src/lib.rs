//! The domain of Otto, pure: plans, runs, and what they owe to the outside.
//!
//! ```text
//!     Command ──decide──▶ Event ──evolve──▶ Run ──owed──▶ Duty
//!     (a wish)            (a fact)          (state)       (a chore for the outside)
//! ```
//!
//! This crate never holds anything asynchronous, reads no clock, file or socket, draws no random
//! numbers, and iterates over no hash maps: time is an argument, and order is visible.

pub mod capability;
pub mod cluster;
pub mod gate;
pub mod glob;
pub mod ids;
pub mod journal;
pub mod lease;
pub mod plan;
pub mod project;
pub mod release;
pub mod run;
pub mod step;
pub mod time;
pub mod value;
pub mod wait;
