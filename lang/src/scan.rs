//! The linear pass before the parser: words, quotes, brackets and comments, without grammar.
//!
//! It bounds what the parser will meet (the depth of brackets and of comments), decides which
//! comments nest and which are flat, and finds quotes that are never closed at the line where they
//! were opened. Its tokens are what a tolerant reading repairs.

use crate::diagnostic::{Diagnostic, Id, MAX_PROBLEMS};
use crate::tree::Place;

/// How deep brackets may nest.
const MAX_DEPTH: usize = 64;
/// How deep comments may nest; what nests deeper is read as flat.
const MAX_COMMENT_DEPTH: usize = 64;
/// How long an Ottofile may be, in bytes.
const MAX_LENGTH: usize = 8 << 20;

/// How many lines on the end of a text is looked for.
const MAX_LINES_OF_TEXT: usize = 200;

/// A comment, and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Comment {
    /// With its delimiters, without the line end.
    pub place: Place,
}

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lexeme {
    /// A word or a key.
    Word,
    /// Digits, with whatever is glued to them.
    Number,
    /// `'…'`, `'''…'''` or `"…"`, properly closed.
    Quoted,
    /// A quote that is not closed.
    Broken,
    /// `(`, `[` or `{`.
    Open,
    /// `)`, `]` or `}`.
    Close,
    /// `==`, `->`, `,` and the like.
    Symbol,
    /// A character that means nothing outside of quotes.
    Stray,
}

/// One token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) lexeme: Lexeme,
    pub(crate) place: Place,
}

/// What the pass found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) tokens: Vec<Token>,
    pub(crate) comments: Vec<Comment>,
    pub(crate) problems: Vec<Diagnostic>,
    /// The inner openings of flat comments: the parser must not see them.
    pub(crate) hidden: Vec<Place>,
    /// Where something begins that never ends: nothing behind it was read.
    pub(crate) cut: Option<usize>,
    /// Reading on would only produce errors that are not there.
    pub(crate) hopeless: bool,
}

impl Scan {
    /// The text for the parser: every byte at its place, flat comments made harmless.
    pub(crate) fn readable<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        if self.hidden.is_empty() {
            return text.into();
        }
        let mut readable = String::with_capacity(text.len());
        let mut done = 0;
        for place in &self.hidden {
            readable.push_str(&text[done..place.start]);
            readable.push_str("  ");
            done = place.end;
        }
        readable.push_str(&text[done..]);
        readable.into()
    }
}

/// Reads a text once, from its start to its end.
pub(crate) fn scan(text: &str) -> Scan {
    let mut scan = Scan::default();
    if text.len() > MAX_LENGTH {
        let message = format!("this file is longer than {} MiB", MAX_LENGTH >> 20);
        scan.problems.push(Diagnostic::error(Id::TooLong, Place::default(), message));
        scan.hopeless = true;
        return scan;
    }
    Scanner { text, at: 0, depth: 0, scan }.run()
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    scan: Scan,
}

impl Scanner<'_> {
    fn run(mut self) -> Scan {
        while let Some(character) = self.rest().chars().next() {
            if self.scan.hopeless {
                break;
            }
            match character {
                ' ' | '\t' | '\n' | '\r' | '\u{feff}' => self.at += character.len_utf8(),
                '/' if self.rest().starts_with("//") => self.line_comment(),
                '/' if self.rest().starts_with("/*") => self.block_comment(),
                '#' if self.text[..self.at].chars().next_back().is_none_or(char::is_whitespace) => {
                    self.foreign_comment();
                }
                '\'' if self.rest().starts_with("'''") => self.raw_block(),
                '\'' => self.raw(),
                '"' => self.template(),
                '(' | '[' | '{' => self.open(),
                ')' | ']' | '}' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.token(Lexeme::Close, 1);
                }
                _ => self.word_or_symbol(character),
            }
        }
        self.scan
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn token(&mut self, lexeme: Lexeme, length: usize) {
        let place = Place { start: self.at, end: self.at + length };
        self.scan.tokens.push(Token { lexeme, place });
        self.at = place.end;
    }

    /// How many bytes from here belong to the line, its end not counted.
    fn line_length(&self) -> usize {
        self.rest().find(['\n', '\r']).unwrap_or(self.rest().len())
    }

    fn open(&mut self) {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let place = Place { start: self.at, end: self.at + 1 };
            let message = format!("brackets nest deeper than {MAX_DEPTH}");
            self.scan.problems.push(Diagnostic::error(Id::TooDeep, place, message));
            self.scan.hopeless = true;
        }
        self.token(Lexeme::Open, 1);
    }

    fn word_or_symbol(&mut self, first: char) {
        const PAIRS: [&str; 7] = ["==", "!=", "<=", ">=", "->", "&&", "||"];
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let rest = self.rest();
        let number = first.is_ascii_digit()
            || first == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit());
        if number || part(first) {
            let mut length = 1;
            let bytes = rest.as_bytes();
            while let Some(byte) = bytes.get(length) {
                let glued = bytes.get(length + 1).is_some_and(u8::is_ascii_alphanumeric);
                let joins = *byte == b'-' && !number || *byte == b'.' && number;
                if !(part(*byte as char) || joins && glued) {
                    break;
                }
                length += 1;
            }
            self.token(if number { Lexeme::Number } else { Lexeme::Word }, length);
        } else if PAIRS.iter().any(|pair| rest.starts_with(pair)) {
            self.token(Lexeme::Symbol, 2);
        } else if "=<>!,.:".contains(first) {
            self.token(Lexeme::Symbol, 1);
        } else {
            self.token(Lexeme::Stray, first.len_utf8());
        }
    }

    /// `'…'` on one line, in which `''` is a quote.
    fn raw(&mut self) {
        let bytes = self.rest().as_bytes();
        let mut end = 1;
        while let Some(byte) = bytes.get(end) {
            match byte {
                b'\'' if bytes.get(end + 1) == Some(&b'\'') => end += 2,
                b'\'' => return self.token(Lexeme::Quoted, end + 1),
                b'\n' | b'\r' => break,
                _ => end += 1,
            }
        }
        let length = end.min(bytes.len());
        self.broken(length, "'", "close it with ', or write several lines between ''' and '''");
    }

    /// `'''`, a line end, and all up to the next `'''`.
    fn raw_block(&mut self) {
        let start = self.at;
        let opening = &self.rest()[3..];
        let place = Place { start, end: start + 3 };
        let behind = opening.trim_start_matches([' ', '\t']);
        if !behind.is_empty() && !behind.starts_with(['\n', '\r']) {
            let line = self.line_length();
            let length = opening[..line - 3].find("'''").map_or(line, |found| found + 6);
            let problem = Diagnostic::error(
                Id::BlockOnOneLine,
                place,
                "''' opens a block of lines, so a line end must follow it",
            )
            .help("for text on one line write '…', in which '' is a quote");
            self.refuse(problem);
            return self.token(Lexeme::Broken, length);
        }
        if let Some(found) = opening.find("'''") {
            return self.token(Lexeme::Quoted, found + 6);
        }
        let problem = Diagnostic::error(Id::OpenQuote, place, "this block of text is never closed")
            .help("write ''' behind its last line");
        self.scan.problems.push(problem);
        self.scan.cut = Some(start);
        self.token(Lexeme::Broken, self.rest().len());
    }

    /// `"…"` on one line, in which `\` takes the next character's meaning away.
    fn template(&mut self) {
        let bytes = self.rest().as_bytes();
        let mut end = 1;
        while let Some(byte) = bytes.get(end) {
            match byte {
                b'"' => return self.token(Lexeme::Quoted, end + 1),
                b'\\' if !matches!(bytes.get(end + 1), Some(b'\n' | b'\r')) => end += 2,
                b'\n' | b'\r' => break,
                _ => end += 1,
            }
        }
        let length = end.min(bytes.len());
        self.broken(length, "\"", "close it with \", or write \\n for a line end");
    }

    /// Tells an error, and reads no further where they are too many.
    fn refuse(&mut self, problem: Diagnostic) {
        self.scan.problems.push(problem);
        self.scan.hopeless |= self.scan.problems.len() > 2 * MAX_PROBLEMS;
    }

    /// A quote that its line does not close: the text ends there, or where it ends some lines on.
    fn broken(&mut self, length: usize, quote: &str, help: &str) {
        let place = Place { start: self.at, end: self.at + quote.len() };
        let message = "this quote is never closed on its line";
        let problem = Diagnostic::error(Id::OpenQuote, place, message);
        let (length, help) = match self.length_over_lines(quote) {
            Some(length) => (length, "write several lines between ''' and '''"),
            None => (length, help),
        };
        self.refuse(problem.help(help));
        self.token(Lexeme::Broken, length);
    }

    /// The length of a text that goes on over several lines, where its end can be told: its quote
    /// stands at the start of a line of its own, or at the end of a line that opens none.
    fn length_over_lines(&self, quote: &str) -> Option<usize> {
        let own_line = self.text[..self.at].rfind('\n').map_or(0, |end| end + 1);
        let indent_of = |line: &str| line.len() - line.trim_start().len();
        let own_indent = indent_of(&self.text[own_line..]);
        let mut lines = self.rest().split_inclusive('\n');
        let mut length = lines.next()?.len();
        for line in lines.take(MAX_LINES_OF_TEXT) {
            let indent = indent_of(line);
            let inner = line.trim_start();
            let behind = inner.strip_prefix(quote).map(str::trim_start);
            let is_alone = |behind: &str| {
                behind.is_empty()
                    || behind.starts_with([',', '}', ')', ']']) && !behind.contains(quote)
            };
            if behind.is_some_and(is_alone) {
                return Some(length + indent + quote.len());
            }
            if indent < own_indent && !inner.is_empty() {
                return None;
            }
            let text = line.trim_end_matches(|c: char| c.is_whitespace() || ",})]".contains(c));
            if text.ends_with(quote) && text.matches(quote).count() % 2 == 1 {
                return Some(length + text.len());
            }
            length += line.len();
        }
        None
    }

    /// `# …`, a comment in many other languages. What it says is no part of the file.
    fn foreign_comment(&mut self) {
        let place = Place { start: self.at, end: self.at + 1 };
        let problem = Diagnostic::error(Id::Unexpected, place, "`#` makes no sense here")
            .help("comments begin with //");
        self.refuse(problem);
        self.at += self.line_length();
    }

    fn comment(&mut self, length: usize) {
        let place = Place { start: self.at, end: self.at + length };
        self.scan.comments.push(Comment { place });
        self.at = place.end;
    }

    fn line_comment(&mut self) {
        self.comment(self.line_length());
    }

    /// `/* … */`, nested where that closes all of them, and otherwise flat.
    fn block_comment(&mut self) {
        if let Some(length) = nested_length(self.rest()) {
            return self.comment(length);
        }
        let place = Place { start: self.at, end: self.at + 2 };
        let Some(length) = self.rest()[2..].find("*/").map(|found| found + 4) else {
            let problem = Diagnostic::error(Id::OpenQuote, place, "this comment is never closed")
                .help("write */ behind it, or // in front of each line");
            self.scan.problems.push(problem);
            self.scan.cut = Some(self.at);
            self.at = self.text.len();
            return;
        };
        let inner = &self.text[self.at + 2..self.at + length - 2];
        let hidden = inner.match_indices("/*").map(|(found, _)| {
            let start = self.at + 2 + found;
            Place { start, end: start + 2 }
        });
        self.scan.hidden.extend(hidden.collect::<Vec<_>>());
        let problem = Diagnostic::warning(
            Id::FlatComment,
            place,
            "the comments inside this one are not all closed, so it ends at the first */",
        )
        .help("toggle code with // in front of each line");
        self.scan.problems.push(problem);
        self.comment(length);
    }
}

/// The length of a comment whose inner comments are all closed.
///
/// Comments inside that stay open make the depth grow, so one that is read in vain is short or ends
/// the file: all readings together stay linear.
fn nested_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Some(at);
        }
        if depth > MAX_COMMENT_DEPTH {
            return None;
        }
    }
    None
}
