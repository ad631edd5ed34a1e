//! The ractor shells around the domain: they journal, then act; they never decide.
//!
//! On the control side a `shard` supervises a `pipeline` for each live run, which keeps one child
//! actor for each duty that its run owes. On the agent side an `agent` holds the session with the
//! control side, and an `executor` works off one lease.
//!
//! This crate knows the outside only through [`ports`]: it never holds a database, a wire protocol,
//! consensus, sockets, files, or a decision.

mod address;
pub mod agent;
mod alarm;
mod backoff;
mod bell;
pub mod cluster;
pub mod control;
mod ended;
mod errand;
mod executor;
mod matchmaker;
mod pipeline;
mod plans;
pub mod ports;
mod shard;
mod stage;
