//! Conditions: who decides them, what they are decided as, and why.

use super::parameters::stand_in;
use super::values::Known;
use super::{Lowering, Scope};
use crate::diagnostic::{Diagnostic, Id};
use crate::tree::{Expression, Kind, Place};
use otto_core::gate::{self, Condition, Decided, Operator};
use otto_core::value::{Decimal, Value, ValueType};

/// How deep a condition that the run decides may nest: plans are stored with bounded depth.
const MAX_DEPTH: usize = 12;

/// What is known of a condition, and what was compared.
pub(super) struct Decision {
    pub(super) known: Known,
    reason: String,
}

impl Decision {
    fn plan(truth: bool, reason: String) -> Self {
        Self { known: Known::Plan(Value::Boolean(truth)), reason }
    }

    fn run(expression: gate::Expression) -> Self {
        Self { known: Known::Run(expression, ValueType::Boolean), reason: String::new() }
    }

    fn truth(&self) -> Option<bool> {
        match self.known {
            Known::Plan(Value::Boolean(truth)) => Some(truth),
            Known::Plan(Value::Text(_) | Value::Number(_) | Value::List(_) | Value::Absent)
            | Known::Run(..) => None,
        }
    }

    fn into_expression(self) -> gate::Expression {
        match self.known {
            Known::Plan(value) => gate::Expression::Value(value),
            Known::Run(expression, _) => expression,
        }
    }
}

impl Lowering<'_> {
    /// A condition as the plan holds it; several are joined by "and".
    pub(super) fn condition(&mut self, parts: &[&Expression], scope: &Scope) -> Option<Condition> {
        let decisions: Vec<_> = parts.iter().map(|part| self.decide(part, scope)).collect();
        let decisions: Vec<Decision> = decisions.into_iter().collect::<Option<_>>()?;
        let single = decisions.len() == 1;
        let texts: Vec<String> = parts
            .iter()
            .map(|part| {
                let in_brackets = matches!(part.kind, Kind::Or(_)) && !single;
                if in_brackets { format!("({part})") } else { part.to_string() }
            })
            .collect();
        let decision = join(decisions, true);
        if let Known::Run(expression, _) = &decision.known
            && expression.depth() > MAX_DEPTH
        {
            let place = parts.first().map_or(Place::default(), |part| part.place);
            self.error(Id::TooDeep, place, "this condition nests too deep");
            return None;
        }
        let decided = match decision.truth() {
            Some(holds) => Decided::Plan { holds, reason: decision.reason },
            None => Decided::Run(decision.into_expression()),
        };
        Some(Condition { text: texts.join(" && "), decided })
    }

    /// Decides an expression that must be true or false.
    pub(super) fn decide(&mut self, expression: &Expression, scope: &Scope) -> Option<Decision> {
        match &expression.kind {
            Kind::Compare(operator, left, right) => self.compare(*operator, left, right, scope),
            Kind::Not(inner) => {
                let decision = self.decide(inner, scope)?;
                Some(match decision.truth() {
                    Some(truth) => Decision::plan(!truth, decision.reason),
                    None => Decision::run(gate::Expression::Not(decision.into_expression().into())),
                })
            }
            Kind::And(parts) | Kind::Or(parts) => {
                let all = matches!(expression.kind, Kind::And(_));
                // All of them are looked at: a mistake behind a decided part is a mistake too.
                let decisions: Vec<_> = parts.iter().map(|part| self.decide(part, scope)).collect();
                let decisions: Vec<Decision> = decisions.into_iter().collect::<Option<_>>()?;
                Some(join(decisions, all))
            }
            Kind::Text(_)
            | Kind::Template(_)
            | Kind::Number(_)
            | Kind::Unit(_)
            | Kind::Boolean(_)
            | Kind::List(_)
            | Kind::Path(_)
            | Kind::Function { .. } => self.truth_of(expression, scope),
        }
    }

    fn truth_of(&mut self, expression: &Expression, scope: &Scope) -> Option<Decision> {
        match self.operand(expression, scope)? {
            Known::Plan(Value::Boolean(truth)) => {
                Some(Decision::plan(truth, format!("{expression} is {truth}")))
            }
            Known::Run(run, ValueType::Boolean) => Some(Decision::run(run)),
            other => {
                let message =
                    format!("a condition is true or false, and this is {}", other.type_name());
                let problem = Diagnostic::error(Id::BadComparison, expression.place, message)
                    .help(format!("compare it: {expression} == …"));
                self.tell(problem);
                None
            }
        }
    }

    /// What is known of an operand: of a parameter without a value that is its type.
    fn operand(&mut self, expression: &Expression, scope: &Scope) -> Option<Known> {
        if let Kind::Path(words) = &expression.kind
            && let [of, name] = words.as_slice()
            && matches!(of.as_str(), "params" | "parameters" | "vars")
            && let Some(Some(value_type)) = self.unknown.get(name)
        {
            let value = gate::Expression::Value(stand_in(value_type));
            return Some(Known::Run(value, value_type.clone()));
        }
        self.known(expression, scope)
    }

    fn compare(
        &mut self,
        operator: Operator,
        left: &Expression,
        right: &Expression,
        scope: &Scope,
    ) -> Option<Decision> {
        let (one, other) = (self.operand(left, scope), self.operand(right, scope));
        let (one, other) = (one?, other?);
        if let Some(problem) = mismatch(operator, (left, &one), (right, &other)) {
            self.tell(problem);
            return None;
        }
        if let (Known::Plan(a), Known::Plan(b)) = (&one, &other) {
            let truth = operator.holds(a, b);
            return Some(Decision::plan(truth, reason(operator, (left, a), (right, b), truth)));
        }
        let operand = |known| match known {
            Known::Plan(value) => Box::new(gate::Expression::Value(value)),
            Known::Run(expression, _) => Box::new(expression),
        };
        let (left, right) = (operand(one), operand(other));
        Some(Decision::run(gate::Expression::Compare { operator, left, right }))
    }
}

/// Why two operands cannot be compared this way.
fn mismatch(
    operator: Operator,
    (left, one): (&Expression, &Known),
    (right, other): (&Expression, &Known),
) -> Option<Diagnostic> {
    let (a, b) = (one.type_name(), other.type_name());
    let sign = operator.symbol();
    let wrong =
        |place: Place, message: String| Diagnostic::error(Id::BadComparison, place, message);
    let fits = |expected: &str| a == expected || a == "absent";
    match operator {
        Operator::Equal | Operator::NotEqual => {
            let alike = a == b || a == "absent" || b == "absent";
            let place = left.place.to(right.place);
            (!alike).then(|| {
                let problem = wrong(place, format!("{a} never equals {b}"));
                if let Kind::Number(text) = &right.kind
                    && a == "text"
                {
                    problem.help(format!("write '{text}'"))
                } else if let Kind::Number(text) = &left.kind
                    && b == "text"
                {
                    problem.help(format!("write '{text}'"))
                } else if let Kind::Text(text) = &right.kind
                    && (a == "number" && Decimal::parse(text).is_some()
                        || a == "boolean" && text.parse::<bool>().is_ok())
                {
                    problem.help(format!("write {text} without quotes"))
                } else {
                    problem
                }
            })
        }
        Operator::Less | Operator::AtMost | Operator::More | Operator::AtLeast => {
            let ordered = |t: &str| matches!(t, "number" | "text" | "absent");
            let alike = a == b || a == "absent" || b == "absent";
            let message = format!("`{sign}` compares two numbers or two texts, not {a} and {b}");
            (!ordered(&a) || !ordered(&b) || !alike)
                .then(|| wrong(left.place.to(right.place), message))
        }
        Operator::In => {
            let place = right.place;
            if let Known::Plan(Value::List(items)) = other {
                return items
                    .iter()
                    .find(|item| !fits(item.type_name()) && item.type_name() != "absent")
                    .map(|item| wrong(place, format!("{a} never equals {}", item.type_name())));
            }
            (b != "list").then(|| {
                wrong(place, "a list stands behind `in`".to_owned())
                    .help(format!("write `{left} in [{right}]`"))
            })
        }
        Operator::Matches => {
            if !fits("text") {
                return Some(wrong(left.place, "`matches` looks at text".to_owned()));
            }
            let is_pattern = matches!(other, Known::Plan(Value::Text(_) | Value::List(_)));
            (!is_pattern)
                .then(|| wrong(right.place, "a pattern in '…' stands behind `matches`".to_owned()))
        }
    }
}

/// What was compared, in words: `branch is "fix-1", not "main"`.
fn reason(
    operator: Operator,
    (left, a): (&Expression, &Value),
    (right, b): (&Expression, &Value),
    truth: bool,
) -> String {
    let is = quoted(a);
    // A value that is written as such needs no name, and is told from the other side.
    let constant = |expression: &Expression| matches!(expression.kind, Kind::Text(_));
    if constant(left)
        && !constant(right)
        && matches!(operator, Operator::Equal | Operator::NotEqual)
    {
        return reason(operator, (right, b), (left, a), truth);
    }
    let equal = |truth: bool| {
        if truth { format!("{left} is {is}") } else { format!("{left} is {is}, not {}", quoted(b)) }
    };
    match operator {
        Operator::Equal => equal(truth),
        Operator::NotEqual => equal(!truth),
        Operator::In if truth => format!("{left} is {is}, one of {}", quoted(b)),
        Operator::In => format!("{left} is {is}, none of {}", quoted(b)),
        Operator::Matches if truth => format!("{left} is {is} and matches {}", quoted(b)),
        Operator::Matches => format!("{left} is {is} and does not match {}", quoted(b)),
        Operator::Less | Operator::AtMost | Operator::More | Operator::AtLeast => {
            let not = if truth { "" } else { "not " };
            format!("{left} is {is}, {not}{} {}", operator.symbol(), quoted(b))
        }
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("\"{text}\""),
        Value::List(items) => items.iter().map(quoted).collect::<Vec<_>>().join(", "),
        Value::Number(_) | Value::Boolean(_) => value.to_string(),
        Value::Absent => "absent".to_owned(),
    }
}

/// Joins decisions by "and" or "or": one that settles it alone does, with its own
/// reason; those that
/// the run decides stay.
fn join(decisions: Vec<Decision>, all: bool) -> Decision {
    if let Some(settles) = decisions.iter().position(|one| one.truth() == Some(!all)) {
        let mut decisions = decisions;
        return decisions.swap_remove(settles);
    }
    let (open, known): (Vec<_>, Vec<_>) =
        decisions.into_iter().partition(|one| one.truth().is_none());
    if open.is_empty() {
        let reasons: Vec<String> = known.into_iter().map(|one| one.reason).collect();
        return Decision::plan(all, reasons.join(if all { " and " } else { ", " }));
    }
    Decision::run(balanced(open.into_iter().map(Decision::into_expression).collect(), all))
}

/// A tree of "and" or "or" that is as flat as it can be: plans are stored with bounded depth.
fn balanced(mut parts: Vec<gate::Expression>, all: bool) -> gate::Expression {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let right = parts.split_off(parts.len() / 2);
    let (left, right) = (balanced(parts, all).into(), balanced(right, all).into());
    if all { gate::Expression::And(left, right) } else { gate::Expression::Or(left, right) }
}

/// Two conditions that must both hold, the first one told first.
pub(super) fn both(first: Option<Condition>, second: Option<Condition>) -> Option<Condition> {
    let (first, second) = match (first, second) {
        (Some(first), Some(second)) => (first, second),
        (one, other) => return one.or(other),
    };
    let decision = |condition: &Condition| match &condition.decided {
        Decided::Plan { holds, reason } => Decision::plan(*holds, reason.clone()),
        Decided::Run(expression) => Decision::run(expression.clone()),
    };
    let joined = join(vec![decision(&first), decision(&second)], true);
    let decided = match joined.truth() {
        Some(holds) => Decided::Plan { holds, reason: joined.reason },
        None => Decided::Run(joined.into_expression()),
    };
    Some(Condition { text: format!("{} && {}", first.text, second.text), decided })
}
