//! A tolerant reading, after the grammar refused a text: it finds the other mistakes.
//!
//! It works on tokens. Brackets are balanced first; a brace that is missing is put where the
//! indentation says. Then what the parser stumbles over is taken out, one mistake after another,
//! until the rest can be read. What comes out is checked, and never planned.

use crate::build::{Builder, Origin};
use crate::diagnostic::{Diagnostic, Id, nearest};
use crate::matched::Matched;
use crate::parse::{Lines, Reader, Rule};
use crate::scan::{Lexeme, Scan, Token};
use crate::tree::{Place, Statement};
use pest::Parser;
use pest::error::InputLocation;
use std::collections::BTreeSet;

/// After this many mistakes the rest can wait.
const MAX_MISTAKES: usize = 20;
/// How much text may be read again and again, in bytes, so that a huge file is answered soon.
const MAX_READ: usize = 1 << 20;

/// What a tolerant reading gives.
pub(crate) struct Reading {
    /// The tree of what could be read; `None` where too much was wrong.
    pub(crate) statements: Option<Vec<Statement>>,
    pub(crate) problems: Vec<Diagnostic>,
    /// What was taken out.
    pub(crate) removed: Vec<Place>,
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
    let mut reading = Reading { statements: None, problems: Vec::new(), removed: Vec::new() };
    if scan.hopeless {
        return reading;
    }
    let broken = scan.tokens.iter().filter(|token| token.lexeme == Lexeme::Broken);
    let broken: BTreeSet<usize> = broken.map(|token| lines.start(token.place.start)).collect();
    let mut balance = Balance {
        text,
        lines,
        indent: 0,
        fixed: Vec::new(),
        open: Vec::new(),
        problems: Vec::new(),
        broken,
    };
    balance.run(&scan.tokens);
    reading.problems = balance.problems;
    let mut tokens = balance.fixed;
    let places = reading.problems.iter().filter_map(Diagnostic::place);
    let mut told: BTreeSet<usize> =
        places.map(|place| lines.start(place.start)).chain(balance.broken).collect();
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
        let (from, to) = mistake.range();
        if from >= to {
            return reading;
        }
        // Where the text was repaired already, this is only an after-effect.
        let problem = mistake.describe();
        if problem.place().is_some_and(|place| told.insert(lines.start(place.start))) {
            reading.problems.push(problem);
        }
        if length > MAX_READ {
            return reading;
        }
        reading.removed.extend(tokens.drain(from..to).map(|token| token.place));
    }
    reading
}

/// Puts brackets where they are missing, and takes out those that nothing opened.
struct Balance<'a> {
    text: &'a str,
    lines: &'a Lines,
    /// Of the line that is being read.
    indent: usize,
    fixed: Vec<Fixed<'a>>,
    open: Vec<OpenBracket>,
    problems: Vec<Diagnostic>,
    /// Where the lines start that have a quote which is never closed.
    broken: BTreeSet<usize>,
}

struct OpenBracket {
    bracket: char,
    place: Place,
    line: usize,
    indent: usize,
}

impl Balance<'_> {
    fn run(&mut self, tokens: &[Token]) {
        let count = |bracket: &str| {
            let is = |token: &&Token| &self.text[token.place.start..token.place.end] == bracket;
            tokens.iter().filter(|token| token.lexeme != Lexeme::Quoted).filter(is).count()
        };
        let mut missing = count("{").saturating_sub(count("}"));
        let mut last_line = None;
        for token in tokens {
            let line = self.lines.start(token.place.start);
            let first = last_line.replace(line) != Some(line);
            if first {
                self.indent = self.text[line..token.place.start].chars().count();
            }
            while first && missing > 0 && self.ends_before(*token, line) {
                self.close(token.place);
                missing -= 1;
            }
            self.take(*token, line);
        }
        let end = Place { start: self.text.len(), end: self.text.len() };
        while !self.open.is_empty() {
            self.close(end);
        }
    }

    /// Whether the indentation of a line's first token says that the innermost block has ended.
    fn ends_before(&self, token: Token, line: usize) -> bool {
        let Some(top) = self.open.last() else { return false };
        let closes = self.text[token.place.start..].starts_with('}');
        top.bracket == '{'
            && top.line < line
            && (self.indent < top.indent || self.indent == top.indent && !closes)
    }

    /// Puts the innermost bracket's counterpart before a place.
    fn close(&mut self, before: Place) {
        let Some(top) = self.open.pop() else { return };
        let closing = counterpart(top.bracket);
        let at = Place { start: before.start, end: before.start };
        self.fixed.push(Fixed { lexeme: Lexeme::Close, text: closing, place: at });
        let message = format!("this {} is never closed", top.bracket);
        let number = self.lines.number(before.start);
        let mut problem = Diagnostic::error(Id::OpenBracket, top.place, message);
        if before.start == self.text.len() {
            problem = problem.help(format!("write {closing} at the end of the file"));
        } else if number != self.lines.number(top.place.start) {
            problem = problem.help(format!("write {closing} before line {number} goes on"));
        }
        if before.start < self.text.len() {
            let end = self.text.ceil_char_boundary(before.start + 1);
            let here = Place { start: before.start, end };
            problem = problem.also(here, format!("{closing} is missing before this"));
        }
        // A quote that was left open took what closes the bracket with it: one mistake.
        if !self.broken.contains(&top.line) {
            self.problems.push(problem);
        }
    }

    fn take(&mut self, token: Token, line: usize) {
        let text = &self.text[token.place.start..token.place.end];
        let bracket = text.chars().next().unwrap_or(' ');
        match token.lexeme {
            Lexeme::Open => {
                while bracket == '{' && self.open.last().is_some_and(|top| top.bracket == '(') {
                    self.close(token.place);
                }
                let indent = self.indent;
                self.open.push(OpenBracket { bracket, place: token.place, line, indent });
            }
            Lexeme::Close => {
                let opened = |open: &OpenBracket| counterpart(open.bracket) == text;
                let within = self.open.iter().rposition(opened).filter(|found| {
                    // A parenthesis never closes over a block.
                    bracket == '}' || self.open[*found..].iter().all(|open| open.bracket != '{')
                });
                let Some(found) = within else {
                    let message = format!("nothing opened this {bracket}");
                    self.problems.push(Diagnostic::error(Id::StrayBracket, token.place, message));
                    return;
                };
                while self.open.len() > found + 1 {
                    self.close(token.place);
                }
                self.open.pop();
            }
            Lexeme::Word
            | Lexeme::Number
            | Lexeme::Quoted
            | Lexeme::Broken
            | Lexeme::Symbol
            | Lexeme::Stray => {}
        }
        // What a broken quote holds is anybody's guess; it stands for some text.
        let text = if token.lexeme == Lexeme::Broken { "''" } else { text };
        self.fixed.push(Fixed { lexeme: token.lexeme, text, place: token.place });
    }
}

fn counterpart(bracket: char) -> &'static str {
    match bracket {
        '(' => ")",
        '[' => "]",
        _ => "}",
    }
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
        let within = |at: usize| {
            let (from, _, place) = self.origins.get(self.token_at(at))?;
            Some((place.start + at.saturating_sub(*from)).min(place.end))
        };
        let last = self.origins.last().map_or(0, |(_, _, place)| place.end);
        let from = within(start).unwrap_or(last);
        let to = within(end.saturating_sub(1)).map_or(last, |at| at + 1);
        Place { start: from, end: to.max(from) }
    }
}

/// The token that the parser stumbled over, among the others.
struct Mistake<'a> {
    text: &'a str,
    lines: &'a Lines,
    tokens: &'a [Fixed<'a>],
    at: usize,
}

impl Mistake<'_> {
    fn lexeme(&self, index: usize) -> Option<Lexeme> {
        self.tokens.get(index).map(|token| token.lexeme)
    }

    /// Where the statement starts that the mistake is in: behind a brace, or at its line's start.
    fn statement_start(&self) -> usize {
        let Some(last) = self.at.checked_sub(1) else { return self.at };
        let anchor = self.tokens.get(self.at).unwrap_or(&self.tokens[last]);
        let line = self.lines.start(anchor.place.start);
        let before = &self.tokens[..self.at];
        before
            .iter()
            .rposition(|token| {
                matches!(token.text, "{" | "}") || self.lines.start(token.place.start) != line
            })
            .map_or(0, |found| found + 1)
    }

    /// The tokens to take out, so that the rest can be read.
    fn range(&self) -> (usize, usize) {
        match self.lexeme(self.at) {
            // Something is missing before a closing bracket or the end: what is there makes
            // no whole.
            None | Some(Lexeme::Close) => {
                let start = self.statement_start();
                let opening = self.tokens[..self.at].iter().rposition(|t| t.lexeme == Lexeme::Open);
                let within = opening.map_or(0, |found| found + 1);
                match start.max(within) {
                    from if from < self.at => (from, self.at),
                    // Nothing but the brackets themselves.
                    _ => (self.at.saturating_sub(1), self.group_end(self.at.saturating_sub(1))),
                }
            }
            Some(Lexeme::Open) => (self.at, self.group_end(self.at)),
            Some(_) => (self.at, self.line_end()),
        }
    }

    /// Behind the bracket that closes the one at an index.
    fn group_end(&self, from: usize) -> usize {
        let mut depth = 0_usize;
        for (index, token) in self.tokens.iter().enumerate().skip(from) {
            if token.lexeme == Lexeme::Open {
                depth += 1;
            } else if token.lexeme == Lexeme::Close {
                depth = depth.saturating_sub(1);
            }
            if depth == 0 {
                return index + 1;
            }
        }
        self.tokens.len()
    }

    /// Behind the last token that belongs to the mistake on its line.
    fn line_end(&self) -> usize {
        let line = self.lines.start(self.tokens[self.at].place.start);
        let mut index = self.at;
        while let Some(token) = self.tokens.get(index) {
            let elsewhere = self.lines.start(token.place.start) != line;
            if index > self.at && (elsewhere || token.text == "{") || token.lexeme == Lexeme::Close
            {
                break;
            }
            index = if token.lexeme == Lexeme::Open { self.group_end(index) } else { index + 1 };
        }
        index.max(self.at + 1)
    }

    fn describe(&self) -> Diagnostic {
        let before = self.at.checked_sub(1).and_then(|index| self.tokens.get(index));
        let place = match (self.tokens.get(self.at), before) {
            (Some(token), _) if token.place.end > token.place.start => token.place,
            (_, Some(before)) => before.place,
            _ => Place::default(),
        };
        if let Some(problem) = self.unquoted().or_else(|| self.almost_conditions()) {
            return problem;
        }
        let found = self.tokens.get(self.at).map_or("", |token| token.text);
        let previous = before.map_or("", |token| token.text);
        let error = |message: String| Diagnostic::error(Id::Unexpected, place, message);
        let in_head = self.innermost().is_some_and(|open| self.tokens[open].text == "(");
        match (found, previous) {
            (";", _) => {
                error("statements need nothing between them".to_owned()).help("take out the ;")
            }
            ("+" | "-" | "*" | "/" | "%", _) => error("there is no arithmetic".to_owned())
                .help("to join texts write \"${…}\" or concat(…)"),
            ("=", _) if in_head => {
                error("a condition compares with ==".to_owned()).help("write == instead of =")
            }
            ("==", _) if !in_head => {
                error("a property is set with =".to_owned()).help("write = instead of ==")
            }
            (":", _) => {
                error("an option `name: value` stands behind a step's first word".to_owned())
                    .help(format!("for a property write `{previous} = …`"))
            }
            (_, "=" | "->" | ":" | "==" | "!=" | "<" | ">" | "<=" | ">=" | "&&" | "||" | "!") => {
                error(format!("a value is missing behind `{previous}`"))
            }
            ("in" | "matches" | "true" | "false", _) => {
                error(format!("`{found}` is a reserved word")).help("names can stand in quotes")
            }
            ("", _) => error("the file ends here in the middle of a statement".to_owned()),
            _ => error(format!("`{found}` makes no sense here")),
        }
    }

    /// `entre { branch == 'main' }`: conditions behind a word that is almost one of theirs.
    fn almost_conditions(&self) -> Option<Diagnostic> {
        let found = self.tokens.get(self.at)?.text;
        let open = self.innermost()?;
        let owner = self.tokens.get(open.checked_sub(1)?)?;
        let words = ["enter", "exit", "when"];
        let near = nearest(owner.text, words).filter(|near| *near != owner.text)?;
        let compares = matches!(found, "==" | "!=" | "<" | ">" | "<=" | ">=" | "in" | "matches");
        if !compares || self.tokens[open].text != "{" {
            return None;
        }
        let message = format!("`{}` has no meaning here", owner.text);
        let problem = Diagnostic::error(Id::UnknownWord, owner.place, message);
        Some(problem.help(format!("did you mean `{near}`?")))
    }

    /// The bracket that the mistake stands in.
    fn innermost(&self) -> Option<usize> {
        let mut depth = 0_usize;
        self.tokens[..self.at].iter().rposition(|token| {
            match token.lexeme {
                Lexeme::Close => depth += 1,
                Lexeme::Open if depth == 0 => return true,
                Lexeme::Open => depth -= 1,
                Lexeme::Word
                | Lexeme::Number
                | Lexeme::Quoted
                | Lexeme::Broken
                | Lexeme::Symbol
                | Lexeme::Stray => {}
            }
            false
        })
    }

    /// `sh ./deploy.sh`: what a step gets must stand in quotes.
    fn unquoted(&self) -> Option<Diagnostic> {
        let start = self.statement_start();
        let word = self.tokens.get(start).filter(|token| token.lexeme == Lexeme::Word)?;
        let block = self.innermost().filter(|open| *open < start)?;
        let owner = self.tokens.get(block.checked_sub(1)?)?.text;
        let steps = matches!(owner, "steps" | "finally") && self.tokens[block].text == "{";
        let behind = self.tokens.get(start + 1)?;
        let glued = |text: &str| matches!(text, "=" | "(" | "{" | ":" | "==" | "," | ";");
        if !steps || self.at <= start || glued(behind.text) || behind.lexeme == Lexeme::Quoted {
            return None;
        }
        let end = self.tokens.get(self.line_end() - 1)?.place.end;
        let rest = self.text.get(behind.place.start..end)?;
        let place = Place { start: behind.place.start, end };
        let step = word.text;
        let message = format!("what `{step}` gets must stand in quotes");
        let help = format!("write `{step} '{}'`", rest.replace('\'', "''"));
        Some(Diagnostic::error(Id::UnquotedArgument, place, message).help(help))
    }
}
