//! The syntax tree of an Ottofile: every construct with its place in the text.
//!
//! The tree knows shapes, not meanings: a `stage` and a `cache` are both blocks here. Together with
//! the comments beside it and the text itself it loses nothing, so that a formatter can work on it.

use otto_core::gate::Operator;
use serde::Serialize;
use std::fmt;

/// Where something stands in the text: a range of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize)]
pub struct Place {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Place {
    /// The place from the start of this one to the end of another.
    #[must_use]
    pub fn to(self, end: Self) -> Self {
        Self { start: self.start, end: end.end.max(self.start) }
    }

    /// Whether two places have a byte or an end in common.
    #[must_use]
    pub fn touches(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// A word or a quoted name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// What it says, without quotes.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// One statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// The word that it starts with.
    pub name: Name,
    /// What follows the word.
    pub shape: Shape,
    /// All of it.
    pub place: Place,
}

/// What follows a statement's first word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shape {
    /// `timeout = '20m'`
    Property(Expression),
    /// `environment -> preprod`
    Arrow(Expression),
    /// `sh 'make', timeout: '3m'`, `dir 'web' { … }`
    Call {
        /// At least one.
        arguments: Vec<Argument>,
        /// The block behind it.
        body: Option<Body>,
    },
    /// `steps { … }`, `stage('Build') { … }`
    Block {
        /// What stands in parentheses.
        head: Option<Vec<Expression>>,
        /// What stands in braces.
        body: Body,
    },
    /// `when (branch == 'main')`, `ping()`
    Head(Vec<Expression>),
    /// `docker`
    Word,
    /// `use { … }`, `use 'x'`, `use gems`
    Uses(Vec<Used>),
    /// `enter { … }`, `exit { … }`, `when { … }`
    Conditions(Vec<Condition>),
}

/// Statements in braces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// In written order.
    pub statements: Vec<Statement>,
    /// With both braces.
    pub place: Place,
}

/// One thing that `use` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Used {
    /// The name that was given to it: `gem = '…'`.
    pub alias: Option<Name>,
    /// The word, path or address.
    pub target: Name,
    /// It is in quotes: a path or an address.
    pub quoted: bool,
}

/// What stands in the braces of `enter`, `exit` and `when`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// A condition.
    Holds(Expression),
    /// A wait, or a property of the gates.
    Gate(Statement),
}

/// One argument of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Argument {
    /// `'make'`
    Positional(Expression),
    /// `timeout: '3m'`
    Option(Name, Expression),
    /// `[ sh 'x' ]`
    Steps(Body),
}

/// An expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expression {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub place: Place,
}

/// What an expression is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `'…'`, as it is meant: quotes undone, indentation removed.
    Text(String),
    /// `"…"`
    Template(Vec<Piece>),
    /// `4`, `-0.5`
    Number(String),
    /// `20m`: a number with something behind it, which is always a mistake.
    Unit(String),
    /// `true`
    Boolean(bool),
    /// `['14', '15']`
    List(Vec<Expression>),
    /// `branch`, `params.smoke`
    Path(Vec<String>),
    /// `output('Smoke').verdict`
    Function {
        /// The function's word.
        name: String,
        /// What stands in parentheses.
        arguments: Vec<Expression>,
        /// What follows them.
        fields: Vec<String>,
    },
    /// `branch == 'main'`
    Compare(Operator, Box<Expression>, Box<Expression>),
    /// `!params.smoke`
    Not(Box<Expression>),
    /// `a && b && c`
    And(Vec<Expression>),
    /// `a || b || c`
    Or(Vec<Expression>),
}

/// A piece of a `"…"`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Text, with its escapes undone.
    Text(String),
    /// `${…}`
    Value(Expression),
}

impl Expression {
    /// The items of a list; anything else is a list of itself alone.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        if let Kind::List(items) = &self.kind { items } else { std::slice::from_ref(self) }
    }
}

impl fmt::Display for Expression {
    /// Writes it in one way, however the author spaced and quoted it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Kind::Template(pieces) => write_template(pieces, f),
            Kind::Number(text) | Kind::Unit(text) => f.write_str(text),
            Kind::Boolean(truth) => write!(f, "{truth}"),
            Kind::List(items) => {
                f.write_str("[")?;
                write_joined(items, ", ", f)?;
                f.write_str("]")
            }
            Kind::Path(words) => f.write_str(&words.join(".")),
            Kind::Function { name, arguments, fields } => {
                write!(f, "{name}(")?;
                write_joined(arguments, ", ", f)?;
                f.write_str(")")?;
                fields.iter().try_for_each(|field| write!(f, ".{field}"))
            }
            Kind::Compare(operator, left, right) => {
                write_operand(left, f)?;
                write!(f, " {} ", operator.symbol())?;
                write_operand(right, f)
            }
            Kind::Not(inner) => {
                f.write_str("!")?;
                write_operand(inner, f)
            }
            Kind::And(parts) => write_operands(parts, " && ", f),
            Kind::Or(parts) => write_operands(parts, " || ", f),
        }
    }
}

fn write_joined(items: &[Expression], gap: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if index == 0 { "" } else { gap })?;
    }
    Ok(())
}

fn write_operands(items: &[Expression], gap: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { gap })?;
        if matches!(item.kind, Kind::And(_) | Kind::Or(_)) {
            write!(f, "({item})")?;
        } else {
            write!(f, "{item}")?;
        }
    }
    Ok(())
}

fn write_operand(item: &Expression, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if matches!(item.kind, Kind::And(_) | Kind::Or(_) | Kind::Compare(..) | Kind::Not(_)) {
        write!(f, "({item})")
    } else {
        write!(f, "{item}")
    }
}

fn write_template(pieces: &[Piece], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for piece in pieces {
        match piece {
            Piece::Value(value) => write!(f, "${{{value}}}")?,
            Piece::Text(text) => {
                for character in text.chars() {
                    match character {
                        '"' => f.write_str("\\\"")?,
                        '\\' => f.write_str("\\\\")?,
                        '\n' => f.write_str("\\n")?,
                        '\t' => f.write_str("\\t")?,
                        '$' => f.write_str("\\$")?,
                        other => write!(f, "{other}")?,
                    }
                }
            }
        }
    }
    f.write_str("\"")
}
