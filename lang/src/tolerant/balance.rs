//! Brackets in pairs: what is missing is put where the indentation or the words say, and what is
//! too many is taken out.

use super::Fixed;
use crate::diagnostic::{Diagnostic, Id};
use crate::lower::words;
use crate::parse::Lines;
use crate::scan::{Lexeme, Token};
use crate::tree::Place;
use std::collections::BTreeSet;

/// Puts brackets where they are missing, and takes out those that nothing opened.
pub(super) struct Balance<'a> {
    text: &'a str,
    lines: &'a Lines,
    tokens: &'a [Token],
    /// What follows this end was not read: what is open there may well be closed.
    is_cut: bool,
    /// All lines begin in the same column, so that indentation says nothing.
    is_flat: bool,
    /// How many braces are missing, and how many too many.
    missing: usize,
    extra: usize,
    /// Of the line that is being read.
    indent: usize,
    open: Vec<OpenBracket<'a>>,
    /// The tokens, with brackets in pairs.
    pub(super) fixed: Vec<Fixed<'a>>,
    pub(super) problems: Vec<Diagnostic>,
    /// Where something was put in or taken out.
    pub(super) touched: Vec<Place>,
    /// Where the lines start of which a quote that is never closed took the end.
    broken: BTreeSet<usize>,
}

struct OpenBracket<'a> {
    bracket: char,
    place: Place,
    line: usize,
    indent: usize,
    /// The word that the block belongs to.
    owner: &'a str,
    /// It has a block of steps already, so that no stage can follow in it.
    has_steps: bool,
}

impl<'a> Balance<'a> {
    pub(super) fn of(text: &'a str, lines: &'a Lines, tokens: &'a [Token], is_cut: bool) -> Self {
        let count = |bracket: &str| {
            let is = |token: &&Token| &text[token.place.start..token.place.end] == bracket;
            tokens.iter().filter(|token| token.lexeme != Lexeme::Quoted).filter(is).count()
        };
        let (opened, closed) = if is_cut { (0, 0) } else { (count("{"), count("}")) };
        let takes_the_end =
            |token: &&Token| token.lexeme == Lexeme::Broken && ends_a_line(text, token.place.end);
        let broken = tokens.iter().filter(takes_the_end);
        let mut balance = Self {
            text,
            lines,
            tokens,
            is_cut,
            is_flat: false,
            missing: opened.saturating_sub(closed),
            extra: closed.saturating_sub(opened),
            indent: 0,
            open: Vec::new(),
            fixed: Vec::with_capacity(tokens.len()),
            problems: Vec::new(),
            touched: Vec::new(),
            broken: broken.map(|token| lines.start(token.place.start)).collect(),
        };
        balance.is_flat = !tokens.iter().any(|token| balance.indent_at(*token) > 0);
        balance.run();
        balance
    }

    fn run(&mut self) {
        let mut last_line = None;
        for (index, token) in self.tokens.iter().enumerate() {
            let line = self.lines.start(token.place.start);
            let first = last_line.replace(line) != Some(line);
            if first {
                self.indent = self.text[line..token.place.start].chars().count();
            }
            let next = self.tokens.get(index + 1);
            while self.missing > 0
                && (first && self.ends_before(*token, line) || self.has_ended_before(*token, next))
            {
                self.close(token.place);
                self.missing -= 1;
            }
            if self.extra > 0 && self.is_too_many(*token, line, next) {
                self.extra -= 1;
                self.stray(token.place, "}");
                continue;
            }
            self.take(*token, line);
        }
        let end = Place { start: self.text.len(), end: self.text.len() };
        while !self.open.is_empty() {
            self.close(end);
        }
    }

    fn text_of(&self, token: Token) -> &'a str {
        &self.text[token.place.start..token.place.end]
    }

    /// How far in the line of a token begins.
    fn indent_at(&self, token: Token) -> usize {
        let line = &self.text[self.lines.start(token.place.start)..];
        line.chars().take_while(|c| matches!(c, ' ' | '\t')).count()
    }

    /// Whether the indentation of a line's first token says that the innermost block has ended.
    fn ends_before(&self, token: Token, line: usize) -> bool {
        let Some(top) = self.open.last() else { return false };
        let text = self.text_of(token);
        let ends = self.indent < top.indent || self.indent == top.indent && text != "}";
        // What stands at the top of a file has words of its own.
        let fits = self.open.len() > 1 || words::FILE.contains(&text);
        !self.is_flat && top.bracket == '{' && top.line < line && ends && fits
    }

    /// Whether what begins here cannot stand in the innermost block, but in one around it.
    fn has_ended_before(&self, token: Token, next: Option<&Token>) -> bool {
        let (Some(top), Some(next)) = (self.open.last(), next) else { return false };
        let (word, behind) = (self.text_of(token), self.text_of(*next));
        if token.lexeme != Lexeme::Word || top.bracket != '{' {
            return false;
        }
        let is_stage = words::GROUP.contains(&word) && matches!(behind, "{" | "(");
        let is_said = words::STAGE.contains(&word) && matches!(behind, "=" | "->" | "{");
        match top.owner {
            "steps" | "finally" => (is_stage || is_said) && word != "settings",
            "stage" => top.has_steps && is_stage && word != "steps",
            _ => false,
        }
    }

    /// Whether the brace here closes a block that goes on behind it.
    fn is_too_many(&self, token: Token, line: usize, next: Option<&Token>) -> bool {
        let (Some(top), Some(next)) = (self.open.last(), next) else { return false };
        if self.text_of(token) != "}" || top.bracket != '{' {
            return false;
        }
        let behind = self.text_of(*next);
        if self.is_flat {
            let goes_on = next.lexeme == Lexeme::Word && !words::FILE.contains(&behind);
            return self.open.len() == 1 && goes_on;
        }
        let next_line = self.lines.start(next.place.start);
        let indent = self.indent_at(*next);
        let goes_on = match behind {
            "}" => indent == top.indent && self.indent > top.indent,
            _ => indent > top.indent,
        };
        top.line < line && line < next_line && goes_on
    }

    fn stray(&mut self, place: Place, bracket: &str) {
        let message = format!("nothing opened this {bracket}");
        self.touched.push(place);
        self.problems.push(Diagnostic::error(Id::StrayBracket, place, message));
    }

    /// Puts the innermost bracket's counterpart before a place.
    fn close(&mut self, before: Place) {
        let Some(top) = self.open.pop() else { return };
        let closing = counterpart(top.bracket);
        let at = Place { start: before.start, end: before.start };
        self.fixed.push(Fixed { lexeme: Lexeme::Close, text: closing, place: at });
        // A quote that was left open took what closes the bracket with it: one mistake.
        if self.is_cut || self.broken.contains(&top.line) {
            return;
        }
        self.touched.push(at);
        // What stands in other brackets is one thing, of which nobody knows where it ends.
        self.touched.push(if top.bracket == '{' { top.place } else { top.place.to(at) });
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
        self.problems.push(problem);
    }

    fn take(&mut self, token: Token, line: usize) {
        let text = self.text_of(token);
        match token.lexeme {
            Lexeme::Open => self.open(token, text, line),
            Lexeme::Close => {
                let Some(found) = self.opened(text) else {
                    return self.stray(token.place, text);
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

    fn open(&mut self, token: Token, text: &str, line: usize) {
        let bracket = text.chars().next().unwrap_or(' ');
        while bracket == '{' && self.open.last().is_some_and(|top| top.bracket == '(') {
            self.close(token.place);
        }
        let owner = if bracket == '{' { self.owner() } else { "" };
        if owner == "steps"
            && let Some(around) = self.open.last_mut()
        {
            around.has_steps = true;
        }
        let (place, indent) = (token.place, self.indent);
        self.open.push(OpenBracket { bracket, place, line, indent, owner, has_steps: false });
    }

    /// The word in front of the block that opens now: `steps {`, `stage('A') {`.
    fn owner(&self) -> &'a str {
        let mut before = self.fixed.iter().rev();
        let mut found = before.next();
        if found.is_some_and(|token| token.text == ")") {
            let mut depth = 1_usize;
            while depth > 0 {
                match before.next().map(|token| token.lexeme) {
                    Some(Lexeme::Close) => depth += 1,
                    Some(Lexeme::Open) => depth -= 1,
                    Some(_) => {}
                    None => return "",
                }
            }
            found = before.next();
        }
        found.filter(|token| token.lexeme == Lexeme::Word).map_or("", |token| token.text)
    }

    /// The index of the open bracket that this one closes.
    fn opened(&self, closing: &str) -> Option<usize> {
        let opened = |open: &OpenBracket<'_>| counterpart(open.bracket) == closing;
        self.open.iter().rposition(opened).filter(|found| {
            // A parenthesis never closes over a block.
            closing == "}" || self.open[*found..].iter().all(|open| open.bracket != '{')
        })
    }
}

/// Whether nothing of a line follows behind a place.
fn ends_a_line(text: &str, at: usize) -> bool {
    text.get(at..).is_none_or(|rest| rest.is_empty() || rest.starts_with(['\n', '\r']))
}

fn counterpart(bracket: char) -> &'static str {
    match bracket {
        '(' => ")",
        '[' => "]",
        _ => "}",
    }
}
