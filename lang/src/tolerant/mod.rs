//! A tolerant reading, after the grammar refused a text: it finds the other mistakes.
//!
//! It works on tokens. Brackets are balanced first; a brace that is missing is put where the
//! indentation says. Then what the parser stumbles over is taken out, one mistake after another,
//! until the rest can be read. What comes out is checked, and never planned; what the checks find
//! where something was repaired would only repeat the same mistake, and is not told.
//!
//! ```text
//!   balance.rs   brackets in pairs
//!   mistake.rs   what the parser stumbled over
//!   repairs.rs   which problems only follow from a repair
//! ```

mod balance;
mod mistake;
mod repairs;

pub(crate) use repairs::Repairs;

use crate::build::{Builder, Origin};
use crate::diagnostic::Diagnostic;
use crate::matched::Matched;
use crate::parse::{Lines, Reader, Rule};
use crate::scan::{Lexeme, Scan, Token};
use crate::tree::{Place, Statement};
use balance::Balance;
use mistake::{Mistake, Repair};
use pest::Parser;
use pest::error::InputLocation;

/// After this many mistakes the rest can wait.
const MAX_MISTAKES: usize = 20;
/// How much text may be read again and again, in bytes, so that a huge file is answered soon.
const MAX_READ: usize = 2 << 20;

/// What a tolerant reading gives.
pub(crate) struct Reading {
    /// The tree of what could be read; `None` where too much was wrong.
    pub(crate) statements: Option<Vec<Statement>>,
    pub(crate) problems: Vec<Diagnostic>,
    /// The statements that are not what the author wrote.
    pub(crate) touched: Vec<Place>,
}

/// A token of the repaired text.
#[derive(Clone, Copy)]
struct Fixed<'a> {
    lexeme: Lexeme,
    text: &'a str,
    /// Where it stands, or before what it was put.
    place: Place,
}

pub(crate) fn read(text: &str, lines: &Lines, scan: &Scan) -> Reading {
    let mut reading = Reading { statements: None, problems: Vec::new(), touched: Vec::new() };
    if scan.hopeless {
        return reading;
    }
    let Balance { fixed: mut tokens, problems, touched, .. } =
        Balance::of(text, lines, &scan.tokens, scan.cut.is_some());
    reading.problems = problems;
    reading.touched = touched;
    reading.touched.extend(broken(text, lines, scan));
    let mut length = 0;
    for _ in 0..MAX_MISTAKES {
        let copy = Copy::of(&tokens);
        length += copy.text.len();
        let error = match Reader::parse(Rule::file, &copy.text) {
            Ok(pairs) => {
                let mut builder = Builder { origin: &copy, offset: 0, problems: Vec::new() };
                let matched = Matched::of(&copy.text, pairs);
                reading.statements = Some(builder.file(&matched));
                reading.problems.append(&mut builder.problems);
                return reading;
            }
            Err(error) => error,
        };
        let (InputLocation::Pos(at) | InputLocation::Span((at, _))) = error.location;
        let mistake = Mistake { text, lines, tokens: &tokens, at: copy.token_at(at) };
        let repair = mistake.repair();
        if matches!(repair, Repair::TakeOut(from, to) if from >= to) {
            return reading;
        }
        let at = mistake.at;
        let region = mistake.region(repair);
        // Where the text was repaired already, this is only an after-effect.
        if !reading.touched.iter().any(|touched| touched.touches(region)) {
            let problem = mistake.describe();
            reading.touched.extend(problem.place());
            reading.problems.push(problem);
        }
        reading.touched.push(region);
        if length > MAX_READ {
            return reading;
        }
        match repair {
            Repair::TakeOut(from, to) => drop(tokens.drain(from..to)),
            Repair::Write(meant) => tokens[at].text = meant,
        }
    }
    reading
}

/// The statements with quotes that are never closed, and what was not read at all.
fn broken(text: &str, lines: &Lines, scan: &Scan) -> Vec<Place> {
    let start_of = |at: usize| {
        let brace = |token: &&Token| {
            let written = &text[token.place.start..token.place.end];
            token.place.end <= at && matches!(written, "{" | "}")
        };
        let before = scan.tokens.partition_point(|token| token.place.start < at);
        let line = lines.start(at);
        let here = scan.tokens[..before].iter().rev();
        let mut here = here.take_while(|token| token.place.start >= line);
        here.find(brace).map_or(line, |token| token.place.end)
    };
    let broken = scan.tokens.iter().filter(|token| token.lexeme == Lexeme::Broken);
    let statements = broken.map(|token| {
        let start = start_of(token.place.start);
        Place { start, end: token.place.end }
    });
    let cut = scan.cut.map(|at| Place { start: start_of(at), end: text.len() });
    statements.chain(cut).collect()
}

/// The repaired text, and where each of its tokens came from.
struct Copy {
    text: String,
    /// Start and end in the copy, and the author's place.
    origins: Vec<(usize, usize, Place)>,
}

impl Copy {
    fn of(tokens: &[Fixed<'_>]) -> Self {
        let mut copy = Self { text: String::new(), origins: Vec::with_capacity(tokens.len()) };
        let mut last_end = None;
        for token in tokens {
            // A space that was not there would change `f(x)`, one that was there keeps words apart.
            if last_end != Some(token.place.start) || token.place.start == token.place.end {
                copy.text.push(' ');
            }
            let start = copy.text.len();
            copy.text.push_str(token.text);
            copy.origins.push((start, copy.text.len(), token.place));
            last_end = Some(token.place.end);
        }
        copy
    }

    /// The token that a position of the copy lies in or before; their number behind the last.
    fn token_at(&self, at: usize) -> usize {
        self.origins.partition_point(|(_, end, _)| *end <= at)
    }
}

impl Origin for Copy {
    fn place(&self, start: usize, end: usize) -> Place {
        let token = |at: usize| self.origins.get(self.token_at(at));
        let last = self.origins.last().map_or(0, |(_, _, place)| place.end);
        // What was put in has no length in the author's text.
        let in_text = |at: usize, (begins, _, place): &(usize, usize, Place)| {
            (place.start + at.saturating_sub(*begins)).min(place.end)
        };
        let from = token(start).map_or(last, |token| in_text(start, token));
        let to = token(end.saturating_sub(1)).map_or(last, |token| in_text(end, token));
        Place { start: from, end: to.max(from) }
    }
}
