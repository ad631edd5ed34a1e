//! What the parser stumbled over: what to say of it, and what to take out so that the rest can be
//! read.

use super::Fixed;
use crate::diagnostic::{Diagnostic, Id, nearest};
use crate::parse::Lines;
use crate::scan::Lexeme;
use crate::tree::Place;

/// How to go on behind a mistake.
#[derive(Clone, Copy)]
pub(super) enum Repair {
    /// The tokens from the first index up to the second are taken out.
    TakeOut(usize, usize),
    /// This stands in the place of the token that the parser stumbled over.
    Write(&'static str),
}

/// The token that the parser stumbled over, among the others.
pub(super) struct Mistake<'a> {
    pub(super) text: &'a str,
    pub(super) lines: &'a Lines,
    pub(super) tokens: &'a [Fixed<'a>],
    pub(super) at: usize,
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

    /// The last word before the mistake that can begin a statement: what stands before it is
    /// intact.
    fn own_start(&self) -> usize {
        let start = self.statement_start();
        let inner = self.tokens.get(start..self.at).unwrap_or_default();
        let mut depth = 0_usize;
        for (index, token) in inner.iter().enumerate().rev() {
            match token.lexeme {
                Lexeme::Close => depth += 1,
                Lexeme::Open => depth = depth.saturating_sub(1),
                Lexeme::Word if depth == 0 && self.begins(start + index) => return start + index,
                Lexeme::Word
                | Lexeme::Number
                | Lexeme::Quoted
                | Lexeme::Broken
                | Lexeme::Symbol
                | Lexeme::Stray => {}
            }
        }
        start
    }

    /// Whether the word at an index begins a statement, by what stands around it.
    fn begins(&self, index: usize) -> bool {
        let text = |index: usize| self.tokens.get(index).map_or("", |token| token.text);
        let behind = self.lexeme(index + 1);
        let goes_on = matches!(text(index + 1), "=" | "->" | "{" | "(")
            || matches!(behind, Some(Lexeme::Word | Lexeme::Quoted | Lexeme::Broken));
        let before = index.checked_sub(1).map_or("", text);
        let is_value =
            matches!(before, "=" | "->" | ":" | "," | "." | "(" | "[" | "!" | "&&" | "||")
                || matches!(before, "==" | "!=" | "<" | ">" | "<=" | ">=" | "in" | "matches");
        goes_on && !is_value
    }

    /// Where a value is missing: the `=` or `->` behind which the next statement was taken for it.
    fn without_value(&self) -> Option<usize> {
        let text = |index: usize| self.tokens.get(index).map(|token| token.text);
        let is_sign = |index: &usize| matches!(text(*index), Some("=" | "->"));
        let last = self.at.checked_sub(1)?;
        if is_sign(&last) {
            let blocks = matches!(text(self.at), Some("{" | "=" | ">" | "->"));
            return (!blocks).then_some(last);
        }
        // `timeout =`, and on the next line `stage('B') {`, of which a function was made.
        let word =
            if text(last) == Some(")") { self.opening_of(last)?.checked_sub(1)? } else { last };
        let sign = word.checked_sub(1).filter(is_sign)?;
        let line = |index: usize| self.lines.start(self.tokens[index].place.start);
        let begins = matches!(text(self.at), Some("{" | "=" | "->"));
        let is_word = self.lexeme(word) == Some(Lexeme::Word);
        (is_word && (begins || line(sign) != line(word))).then_some(sign)
    }

    /// The index of the bracket that the one at an index closes.
    fn opening_of(&self, closing: usize) -> Option<usize> {
        let mut depth = 0_usize;
        self.tokens[..=closing].iter().rposition(|token| {
            match token.lexeme {
                Lexeme::Close => depth += 1,
                Lexeme::Open => depth = depth.saturating_sub(1),
                Lexeme::Word
                | Lexeme::Number
                | Lexeme::Quoted
                | Lexeme::Broken
                | Lexeme::Symbol
                | Lexeme::Stray => {}
            }
            depth == 0
        })
    }

    /// `steps = { … }`: where the sign stands that does not belong there.
    fn sign_before_block(&self) -> Option<usize> {
        let last = self.at.checked_sub(1)?;
        let text = |index: usize| self.tokens.get(index).map(|token| token.text);
        (text(self.at) == Some("{") && text(last) == Some("=")).then_some(last)
    }

    /// What makes the rest readable.
    pub(super) fn repair(&self) -> Repair {
        if let Some(meant) = self.other_sign() {
            return Repair::Write(meant);
        }
        let (from, to) = self.range();
        Repair::TakeOut(from, to)
    }

    /// The sign that was meant where another one stands.
    fn other_sign(&self) -> Option<&'static str> {
        let found = self.tokens.get(self.at)?.text;
        let behind = self.lexeme(self.at + 1)?;
        let is_value = matches!(behind, Lexeme::Word | Lexeme::Number | Lexeme::Quoted)
            || self.tokens[self.at + 1].text == "[";
        let before = self.at.checked_sub(1).and_then(|before| self.lexeme(before));
        let is_word = before == Some(Lexeme::Word);
        match (found, self.is_in_head()) {
            ("=", true) if is_value => Some("=="),
            ("==" | ":", false) if is_value && is_word => Some("="),
            _ => None,
        }
    }

    fn is_in_head(&self) -> bool {
        self.innermost().is_some_and(|open| self.tokens[open].text == "(")
    }

    /// The tokens to take out.
    fn range(&self) -> (usize, usize) {
        if let Some(sign) = self.sign_before_block() {
            return (sign, sign + 1);
        }
        if let Some(sign) = self.without_value() {
            let comma =
                self.at == sign + 1 && self.tokens.get(self.at).is_some_and(|it| it.text == ",");
            return (sign.saturating_sub(1), sign + 1 + usize::from(comma));
        }
        match self.lexeme(self.at) {
            // Something is missing before a closing bracket or the end: what is there makes
            // no whole.
            None | Some(Lexeme::Close) => {
                let opening = self.tokens[..self.at].iter().rposition(|t| t.lexeme == Lexeme::Open);
                let within = opening.map_or(0, |found| found + 1);
                match self.own_start().max(within) {
                    from if from < self.at => (from, self.at),
                    // Nothing but the brackets themselves.
                    _ => (self.at.saturating_sub(1), self.group_end(self.at.saturating_sub(1))),
                }
            }
            Some(Lexeme::Open) => (self.at, self.group_end(self.at)),
            Some(_) => {
                let end = self.line_end();
                // Without anything in front of it, a block is nothing.
                let headless = self.own_start() == self.at
                    && self.tokens.get(end).is_some_and(|token| token.text == "{");
                (self.at, if headless { self.group_end(end) } else { end })
            }
        }
    }

    /// What is not intact when the text is repaired.
    pub(super) fn region(&self, repair: Repair) -> Place {
        let place = |index: usize| self.tokens.get(index).map_or(Place::default(), |it| it.place);
        match repair {
            Repair::Write(_) => place(self.at),
            Repair::TakeOut(from, to) => {
                place(self.own_start().min(from)).to(place(to.saturating_sub(1)))
            }
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
            let other = elsewhere || token.text == "{" || self.begins_block_or_property(index);
            if index > self.at && other || token.lexeme == Lexeme::Close {
                break;
            }
            index = if token.lexeme == Lexeme::Open { self.group_end(index) } else { index + 1 };
        }
        index.max(self.at + 1)
    }

    /// Whether a word is surely the next statement's: `steps {`, `timeout =`.
    fn begins_block_or_property(&self, index: usize) -> bool {
        let behind = self.tokens.get(index + 1).map_or("", |token| token.text);
        self.lexeme(index) == Some(Lexeme::Word)
            && matches!(behind, "{" | "=" | "->")
            && self.begins(index)
    }

    pub(super) fn describe(&self) -> Diagnostic {
        let before = self.at.checked_sub(1).and_then(|index| self.tokens.get(index));
        let place = match (self.tokens.get(self.at), before) {
            (Some(token), _) if token.place.end > token.place.start => token.place,
            (_, Some(before)) => before.place,
            _ => Place::default(),
        };
        let known = self.unquoted().or_else(|| self.almost_conditions()).or_else(|| self.lacking());
        if let Some(problem) = known {
            return problem;
        }
        let found = self.tokens.get(self.at).map_or("", |token| token.text);
        let previous = before.map_or("", |token| token.text);
        let error = |message: String| Diagnostic::error(Id::Unexpected, place, message);
        let in_head = self.is_in_head();
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

    /// A sign without a value behind it, or in front of a block.
    fn lacking(&self) -> Option<Diagnostic> {
        if let Some(sign) = self.sign_before_block() {
            let word = sign.checked_sub(1).map_or("", |word| self.tokens[word].text);
            let message = "a block stands behind its word, without `=`";
            let problem = Diagnostic::error(Id::Unexpected, self.tokens[sign].place, message);
            return Some(problem.help(format!("write `{word} {{ … }}`")));
        }
        let sign = self.tokens.get(self.without_value()?)?;
        let message = format!("a value is missing behind `{}`", sign.text);
        Some(Diagnostic::error(Id::Unexpected, sign.place, message))
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
