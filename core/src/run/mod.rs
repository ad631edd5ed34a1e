//! The heart: one run as a pure state machine.
//!
//! `decide` holds all policy and changes nothing; `evolve` takes in a fact and cannot fail; `owed`
//! is what the outside should be doing now. Replaying a journal is `evolve` and nothing else.

pub mod command;
pub mod duty;
pub mod event;
pub mod outcome;
