//! Waits: gates that are open towards the outside. They hold a run, but no agent.

use crate::time::Span;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A wait for a person, a callback or a polled condition. Every wait ends, and says how.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wait {
    /// Its name within its stage.
    pub name: String,
    /// Whom it waits for.
    pub kind: WaitKind,
    /// How long at most.
    pub timeout: Span,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// The values that an answer may carry.
    pub answers: BTreeMap<String, Value>,
}

/// Whom a wait is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    /// A person decides.
    Approval {
        /// Who may.
        approvers: Vec<String>,
    },
    /// An outside system tells us.
    Callback,
    /// We ask an outside system until it holds.
    Poll {
        /// How often.
        every: Span,
        /// What is asked: a step's symbol and its arguments.
        probe: BTreeMap<String, Value>,
    },
}

/// How a wait that nobody answered ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// Its stage fails.
    Fail,
    /// Its stage is left as unstable.
    Unstable,
    /// It counts as passed.
    Pass,
}
