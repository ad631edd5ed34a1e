//! What the parser matched, as one flat list that trees are built from.
//!
//! pest's own pairs count their siblings and share their list with each step from one to the next,
//! which takes as long again as the parsing.

use crate::parse::Rule;
use pest::Token;
use pest::iterators::Pairs;

/// Everything that was matched, comments and the end of the text excepted: the scan before the
/// parser has the comments already.
#[derive(Debug)]
pub(crate) struct Matched<'i> {
    text: &'i str,
    parts: Vec<Match>,
}

/// One rule's match. Those inside of it follow it at once.
#[derive(Debug)]
struct Match {
    rule: Rule,
    /// Its bytes: texts are far shorter than 4 GiB.
    start: u32,
    end: u32,
    /// The index of the first match behind it that is not inside of it.
    next: u32,
}

impl<'i> Matched<'i> {
    pub(crate) fn of(text: &'i str, pairs: Pairs<'i, Rule>) -> Self {
        let tokens = pairs.tokens();
        let mut parts: Vec<Match> = Vec::with_capacity(tokens.len() / 2);
        let mut open: Vec<usize> = Vec::new();
        let mut comments = 0_usize;
        for token in tokens {
            match token {
                Token::Start { rule: Rule::comment, .. } => comments += 1,
                Token::End { rule: Rule::comment, .. } => comments -= 1,
                Token::Start { rule, pos } if comments == 0 && rule != Rule::EOI => {
                    open.push(parts.len());
                    parts.push(Match { rule, start: short(pos.pos()), end: 0, next: 0 });
                }
                Token::End { rule, pos } if comments == 0 && rule != Rule::EOI => {
                    let next = short(parts.len());
                    if let Some(part) = open.pop().and_then(|index| parts.get_mut(index)) {
                        part.end = short(pos.pos());
                        part.next = next;
                    }
                }
                Token::Start { .. } | Token::End { .. } => {}
            }
        }
        Self { text, parts }
    }

    /// The match of the rule that was asked for.
    pub(crate) fn whole(&self) -> Option<Part<'_>> {
        self.parts.first().map(|found| Part { all: self, index: 0, found })
    }
}

fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// One rule's match, and the way to those inside of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'m> {
    all: &'m Matched<'m>,
    index: u32,
    found: &'m Match,
}

impl<'m> Part<'m> {
    pub(crate) fn rule(self) -> Rule {
        self.found.rule
    }

    pub(crate) fn start(self) -> usize {
        self.found.start as usize
    }

    pub(crate) fn end(self) -> usize {
        self.found.end as usize
    }

    pub(crate) fn text(self) -> &'m str {
        self.all.text.get(self.start()..self.end()).unwrap_or_default()
    }

    /// The matches directly inside of this one.
    pub(crate) fn parts(self) -> Parts<'m> {
        Parts { all: self.all, from: self.index + 1, to: self.found.next }
    }
}

/// Matches beside each other.
#[derive(Clone, Debug)]
pub(crate) struct Parts<'m> {
    all: &'m Matched<'m>,
    from: u32,
    to: u32,
}

impl<'m> Iterator for Parts<'m> {
    type Item = Part<'m>;

    fn next(&mut self) -> Option<Part<'m>> {
        let index = self.from;
        let found = self.all.parts.get(index as usize).filter(|_| index < self.to)?;
        self.from = found.next;
        Some(Part { all: self.all, index, found })
    }
}
