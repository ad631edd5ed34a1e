//! Conditions and gates: what must hold before a stage is entered or left.
//!
//! A condition over plan values is decided at submission and carries its verdict. One that needs a
//! run value is decided when the stage's turn comes. The evaluator is total: every expression ends,
//! and an absent value equals nothing.

use crate::ids::StageId;
use crate::value::Value;
use crate::wait::Wait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What holds a stage at its entrance and its exit.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Gates {
    /// Before its first step.
    pub enter: Vec<Gate>,
    /// After its last step.
    pub exit: Vec<Gate>,
}

/// One gate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// A bare condition: where it does not hold, the stage is skipped.
    Condition(Condition),
    /// A wait for the outside.
    Wait(Wait),
}

/// A condition as written, with who decides it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Condition {
    /// The text as the author wrote it, for people.
    pub text: String,
    /// Who decides it, or how it was decided.
    pub decided: Decided,
}

/// Who decides a condition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// The plan: it is known at submission.
    Plan {
        /// Whether it holds.
        holds: bool,
        /// What was compared, such as `branch is "fix-1", not "main"`.
        reason: String,
    },
    /// The run: it is known when the stages that it names have ended.
    Run(Expression),
}

/// How two values are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
    /// `in`
    In,
    /// `matches`: a glob, in which `*` stops at `/` and `**` does not.
    Matches,
}

/// An expression whose plan values are already filled in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expression {
    /// A value that the plan knows.
    Value(Value),
    /// What a stage captured.
    Output {
        /// Which stage.
        stage: StageId,
        /// Under which name.
        field: String,
    },
    /// What somebody answered at a gate.
    Answer {
        /// Which gate.
        gate: String,
        /// Under which name.
        field: String,
    },
    /// A comparison.
    Compare {
        /// How.
        operator: Operator,
        /// The left side.
        left: Box<Expression>,
        /// The right side.
        right: Box<Expression>,
    },
    /// The opposite.
    Not(Box<Expression>),
    /// Both sides hold.
    And(Box<Expression>, Box<Expression>),
    /// One side holds at least.
    Or(Box<Expression>, Box<Expression>),
}

/// What stages captured, by stage and name.
pub type Captured = BTreeMap<StageId, BTreeMap<String, Value>>;
