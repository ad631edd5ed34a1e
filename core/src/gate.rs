//! Conditions and gates: what must hold before a stage is entered or left.
//!
//! A condition over plan values is decided at submission and carries its verdict. One that needs a
//! run value is decided when the stage's turn comes. The evaluator is total: every expression ends,
//! and an absent value equals nothing.

pub use crate::glob::matches;
use crate::ids::StageId;
use crate::value::Value;
use crate::wait::Wait;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
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

/// What is known when an expression is decided.
pub trait Known {
    /// What a stage captured under a name.
    fn output(&self, stage: StageId, field: &str) -> Option<&Value>;
    /// What somebody answered at a gate.
    fn answer(&self, gate: &str, field: &str) -> Option<&Value>;
    /// The path of a stage, for people.
    fn path(&self, stage: StageId) -> &str;
}

impl Expression {
    /// Whether it holds: its value is true.
    pub fn holds(&self, known: &dyn Known) -> bool {
        self.value(known) == Value::Boolean(true)
    }

    /// Its value. What is not known is absent; comparing and combining always give true or false.
    pub fn value(&self, known: &dyn Known) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Output { stage, field } => {
                known.output(*stage, field).cloned().unwrap_or(Value::Absent)
            }
            Self::Answer { gate, field } => {
                known.answer(gate, field).cloned().unwrap_or(Value::Absent)
            }
            Self::Compare { operator, left, right } => {
                Value::Boolean(operator.holds(&left.value(known), &right.value(known)))
            }
            Self::Not(inner) => Value::Boolean(!inner.holds(known)),
            Self::And(left, right) => Value::Boolean(left.holds(known) && right.holds(known)),
            Self::Or(left, right) => Value::Boolean(left.holds(known) || right.holds(known)),
        }
    }

    /// What decided it, such as `output('Smoke').verdict is "bad", not "good"`.
    pub fn reason(&self, known: &dyn Known) -> String {
        match self {
            Self::Value(_) | Self::Output { .. } | Self::Answer { .. } => {
                format!("{} is {}", self.text(known), quoted(&self.value(known)))
            }
            Self::Compare { operator, left, right } => {
                let (found, wanted) = (left.value(known), right.value(known));
                let link = match (operator, operator.holds(&found, &wanted)) {
                    (Operator::Equal, false) => "not ",
                    (Operator::Equal, true) | (Operator::NotEqual, _) => {
                        return format!("{} is {}", left.text(known), quoted(&found));
                    }
                    (_, true) => operator.symbol(),
                    (_, false) => {
                        let (text, found) = (left.text(known), quoted(&found));
                        let wanted = quoted(&wanted);
                        return format!("{text} is {found}, not {} {wanted}", operator.symbol());
                    }
                };
                let gap = if link.ends_with(' ') { "" } else { " " };
                format!(
                    "{} is {}, {link}{gap}{}",
                    left.text(known),
                    quoted(&found),
                    quoted(&wanted)
                )
            }
            Self::Not(inner) => inner.reason(known),
            Self::And(left, right) => match (left.holds(known), right.holds(known)) {
                (false, _) => left.reason(known),
                (true, false) => right.reason(known),
                (true, true) => format!("{} and {}", left.reason(known), right.reason(known)),
            },
            Self::Or(left, right) => match (left.holds(known), right.holds(known)) {
                (true, _) => left.reason(known),
                (false, true) => right.reason(known),
                (false, false) => format!("{} and {}", left.reason(known), right.reason(known)),
            },
        }
    }

    /// How it was written, but for plan values, which are filled in.
    pub fn text(&self, known: &dyn Known) -> String {
        match self {
            Self::Value(value) => quoted(value),
            Self::Output { stage, field } => format!("output('{}').{field}", known.path(*stage)),
            Self::Answer { gate, field } => format!("answer('{gate}').{field}"),
            Self::Compare { operator, left, right } => {
                format!("{} {} {}", left.text(known), operator.symbol(), right.text(known))
            }
            Self::Not(inner) => format!("!({})", inner.text(known)),
            Self::And(left, right) => format!("({} && {})", left.text(known), right.text(known)),
            Self::Or(left, right) => format!("({} || {})", left.text(known), right.text(known)),
        }
    }

    /// How deep it nests; a value alone is 1.
    #[must_use]
    pub fn depth(&self) -> usize {
        1 + match self {
            Self::Value(_) | Self::Output { .. } | Self::Answer { .. } => 0,
            Self::Not(inner) => inner.depth(),
            Self::Compare { left, right, .. } | Self::And(left, right) | Self::Or(left, right) => {
                left.depth().max(right.depth())
            }
        }
    }

    /// The stages whose outputs it names.
    pub fn stages(&self) -> Vec<StageId> {
        match self {
            Self::Value(_) | Self::Answer { .. } => Vec::new(),
            Self::Output { stage, .. } => vec![*stage],
            Self::Not(inner) => inner.stages(),
            Self::Compare { left, right, .. } | Self::And(left, right) | Self::Or(left, right) => {
                let mut stages = left.stages();
                stages.extend(right.stages());
                stages
            }
        }
    }
}

impl Operator {
    /// How it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
            Self::In => "in",
            Self::Matches => "matches",
        }
    }

    /// Whether two values compare so. An absent value equals nothing, is in nothing and matches
    /// nothing; values of different types are unequal and have no order.
    #[must_use]
    pub fn holds(self, left: &Value, right: &Value) -> bool {
        match self {
            Self::Equal => equal(left, right),
            Self::NotEqual => !equal(left, right),
            Self::Less => order(left, right) == Some(Ordering::Less),
            Self::AtMost => order(left, right).is_some_and(Ordering::is_le),
            Self::More => order(left, right) == Some(Ordering::Greater),
            Self::AtLeast => order(left, right).is_some_and(Ordering::is_ge),
            Self::In => match right {
                Value::List(items) => items.iter().any(|item| equal(left, item)),
                Value::Text(_) | Value::Number(_) | Value::Boolean(_) | Value::Absent => false,
            },
            Self::Matches => match (left, right) {
                (Value::Text(text), Value::Text(glob)) => matches(glob, text),
                (_, Value::List(globs)) => globs.iter().any(|glob| self.holds(left, glob)),
                _ => false,
            },
        }
    }
}

/// Whether two values are the same; nothing equals an absent one, also inside of lists.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Absent, _) | (_, Value::Absent) => false,
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| equal(l, r))
        }
        (left, right) => left == right,
    }
}

/// The order of two texts or two numbers.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// A value as it is written in an Ottofile's double quotes.
fn quoted(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Number(_) | Value::Boolean(_) => value.to_string(),
        Value::List(items) => {
            format!("[{}]", items.iter().map(quoted).collect::<Vec<_>>().join(", "))
        }
        Value::Absent => "absent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Decimal;

    /// One stage, `Smoke`, which captured a verdict.
    #[derive(Debug)]
    struct Smoke(Value);

    impl Known for Smoke {
        fn output(&self, stage: StageId, field: &str) -> Option<&Value> {
            (stage == StageId(1) && field == "verdict").then_some(&self.0)
        }

        fn answer(&self, _gate: &str, _field: &str) -> Option<&Value> {
            None
        }

        fn path(&self, _stage: StageId) -> &'static str {
            "Smoke"
        }
    }

    fn text(word: &str) -> Value {
        Value::Text(word.to_owned())
    }

    fn verdict(operator: Operator, right: Value) -> Expression {
        let left = Expression::Output { stage: StageId(1), field: "verdict".to_owned() };
        let right = Box::new(Expression::Value(right));
        Expression::Compare { operator, left: Box::new(left), right }
    }

    #[test]
    fn comparisons_hold_as_written() {
        use Operator::{AtLeast, AtMost, Equal, In, Less, Matches, More, NotEqual};
        let number = |whole| Value::Number(Decimal::whole(whole).expect("small"));
        let check = |left: &Value, operator: Operator, right: &Value, holds: bool| {
            assert_eq!(operator.holds(left, right), holds, "{left:?} {operator:?} {right:?}");
        };
        check(&text("a"), Equal, &text("a"), true);
        check(&text("a"), NotEqual, &text("a"), false);
        check(&text("2"), Equal, &number(2), false);
        check(&number(2), Less, &number(10), true);
        check(&text("2"), Less, &text("10"), false);
        check(&text("2"), Less, &number(10), false);
        check(&number(2), AtMost, &number(2), true);
        check(&number(2), More, &number(2), false);
        check(&number(2), AtLeast, &number(2), true);
        check(&text("a"), In, &Value::List(vec![text("b"), text("a")]), true);
        check(&text("a"), In, &text("abc"), false);
        check(&text("release/1"), Matches, &text("release/*"), true);
        check(&text("a"), Matches, &Value::List(vec![text("b"), text("?")]), true);
        check(&number(1), Matches, &text("1"), false);
    }

    #[test]
    fn an_absent_value_equals_nothing() {
        let absent = Value::Absent;
        assert!(!Operator::Equal.holds(&absent, &absent));
        assert!(Operator::NotEqual.holds(&absent, &absent));
        assert!(!Operator::In.holds(&absent, &Value::List(vec![Value::Absent])));
        assert!(!Operator::Less.holds(&absent, &text("a")));
        assert!(!verdict(Operator::Equal, text("good")).holds(&Smoke(Value::Absent)));
    }

    #[test]
    fn reasons_say_what_was_found() {
        let smoke = Smoke(text("bad"));
        let good = || verdict(Operator::Equal, text("good"));
        let check = |expression: Expression, reason: &str| {
            assert_eq!(expression.reason(&smoke), reason, "{}", expression.text(&smoke));
        };
        check(good(), "output('Smoke').verdict is \"bad\", not \"good\"");
        check(verdict(Operator::NotEqual, text("bad")), "output('Smoke').verdict is \"bad\"");
        check(
            verdict(Operator::In, Value::List(vec![text("good"), text("fine")])),
            "output('Smoke').verdict is \"bad\", not in [\"good\", \"fine\"]",
        );
        let bad = || verdict(Operator::Equal, text("bad"));
        let both = Expression::And(Box::new(bad()), Box::new(good()));
        check(both, "output('Smoke').verdict is \"bad\", not \"good\"");
        let answer = Expression::Answer { gate: "Ship it?".to_owned(), field: "when".to_owned() };
        check(Expression::Not(Box::new(answer)), "answer('Ship it?').when is absent");
    }

    #[test]
    fn logic_holds_as_written() {
        let smoke = Smoke(text("bad"));
        let is = |truth: bool| Box::new(Expression::Value(Value::Boolean(truth)));
        for (left, right) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(Expression::And(is(left), is(right)).holds(&smoke), left && right);
            assert_eq!(Expression::Or(is(left), is(right)).holds(&smoke), left || right);
        }
        assert!(Expression::Not(is(false)).holds(&smoke));
        assert!(!Expression::Value(text("true")).holds(&smoke), "only true is true");
    }
}
