//! Which problems only follow from a repair: they would tell the same mistake again, elsewhere.

use crate::diagnostic::{Diagnostic, Id};
use crate::scan::{Lexeme, Token};
use crate::tree::{Place, Shape, Statement};
use std::collections::BTreeSet;

/// What a tolerant reading changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repairs {
    /// The statements that are not what the author wrote.
    touched: Vec<Place>,
    /// The beginnings of the blocks that hold them, and so hold less than the author wrote.
    hollow: Vec<Place>,
    /// The words of the touched statements: they may name what is missed elsewhere.
    lost: BTreeSet<String>,
    /// A library may be missing, with any step in it.
    lost_use: bool,
}

impl Repairs {
    pub(crate) fn of(
        text: &str,
        tokens: &[Token],
        touched: Vec<Place>,
        statements: &[Statement],
    ) -> Self {
        let mut repairs = Self { touched, ..Self::default() };
        let is_lost = |token: &&Token| {
            let (start, end) = (token.place.start, token.place.end);
            repairs.touched.iter().any(|touched| start < touched.end && touched.start < end)
        };
        let lost = tokens
            .iter()
            .filter(is_lost)
            .filter(|token| matches!(token.lexeme, Lexeme::Word | Lexeme::Quoted | Lexeme::Broken));
        let lost = lost.flat_map(|token| words(&text[token.place.start..token.place.end]));
        repairs.lost = lost.map(str::to_owned).collect();
        repairs.lost_use = repairs.lost.contains("use");
        repairs.look_into(statements);
        repairs
    }

    fn look_into(&mut self, statements: &[Statement]) {
        for statement in statements {
            if !self.touched.iter().any(|touched| touched.touches(statement.place)) {
                continue;
            }
            let start = statement.place.start;
            match &statement.shape {
                Shape::Block { body, .. } | Shape::Call { body: Some(body), .. } => {
                    self.hollow.push(Place { start, end: body.place.start + 1 });
                    self.look_into(&body.statements);
                }
                Shape::Conditions(_) => self.hollow.push(statement.place),
                Shape::Uses(_) => self.lost_use = true,
                Shape::Property(_)
                | Shape::Arrow(_)
                | Shape::Call { body: None, .. }
                | Shape::Head(_)
                | Shape::Word => {}
            }
        }
    }

    /// Whether a problem that a check found follows from a repair.
    pub(crate) fn hide(&self, problem: &Diagnostic, text: &str) -> bool {
        let Some(place) = problem.place().filter(|_| !self.touched.is_empty()) else {
            return false;
        };
        let within = |around: &Place| {
            around.start <= place.start && place.start < around.end.max(around.start + 1)
        };
        if self.touched.iter().any(within) {
            return true;
        }
        let id = problem.id;
        let is_of_the_whole = matches!(id, Id::NoPipeline | Id::EmptyFile);
        let is_of_a_block = matches!(
            id,
            Id::Nothing | Id::Missing | Id::MissingArgument | Id::NoBlock | Id::StagesAndSteps
        );
        let is_of_a_library =
            matches!(id, Id::UnknownStep | Id::UnknownLibrary | Id::UnknownConfiguration);
        let is_of_a_name = matches!(id, Id::UnknownStage | Id::NotEarlier | Id::UnknownOutput)
            || matches!(id, Id::UnknownEnvironment | Id::UnknownValue | Id::NotOneOf);
        let named = text.get(place.start..place.end).unwrap_or_default();
        is_of_the_whole
            || is_of_a_block && self.hollow.iter().any(within)
            || is_of_a_library && self.lost_use
            || is_of_a_name && words(named).any(|word| self.lost.contains(word))
    }
}

/// The words in a piece of text, whatever stands between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.split(move |c| !part(c)).filter(|word| !word.is_empty())
}
