//! From the parser's pairs to the syntax tree.

use crate::diagnostic::{Diagnostic, Id};
use crate::matched::{Matched, Part, Parts};
use crate::parse::{Reader, Rule};
use crate::tree::{Argument, Body, Condition, Expression, Kind, Name};
use crate::tree::{Piece, Place, Shape, Statement, Used};
use otto_core::gate::Operator;
use pest::Parser;

/// How many comparisons one condition may join, how many `!` may stand in a row, and how deep a
/// text with `${}` may nest or how many comments it may hold.
const MAX_PARTS: usize = 200;
const MAX_NEGATIONS: usize = 12;
const MAX_TEMPLATE_DEPTH: usize = 16;

/// Where the parser's text came from: itself, or a repaired copy of it.
pub(crate) trait Origin {
    /// The place in the author's text.
    fn place(&self, start: usize, end: usize) -> Place;
}

/// The parser's text is the author's.
pub(crate) struct Same;

impl Origin for Same {
    fn place(&self, start: usize, end: usize) -> Place {
        Place { start, end }
    }
}

/// Builds trees, and collects what the grammar lets pass but the language does not.
pub(crate) struct Builder<'a> {
    pub(crate) origin: &'a dyn Origin,
    /// Where the text that is being read starts: not at zero inside a `"…"`.
    pub(crate) offset: usize,
    pub(crate) problems: Vec<Diagnostic>,
}

impl Builder<'_> {
    /// All statements of a file.
    pub(crate) fn file(&mut self, matched: &Matched<'_>) -> Vec<Statement> {
        matched.whole().map_or_else(Vec::new, |file| self.statements(file))
    }

    fn place(&self, part: Part<'_>) -> Place {
        self.origin.place(self.offset + part.start(), self.offset + part.end())
    }

    fn statements(&mut self, part: Part<'_>) -> Vec<Statement> {
        part.parts().map(|part| self.statement(part)).collect()
    }

    fn body(&mut self, part: Part<'_>) -> Body {
        Body { place: self.place(part), statements: self.statements(part) }
    }

    fn statement(&mut self, part: Part<'_>) -> Statement {
        match part.rule() {
            Rule::uses => self.uses(part),
            Rule::declarations => self.declarations(part),
            Rule::conditions => self.conditions(part),
            _ => self.named(part),
        }
    }

    fn named(&mut self, part: Part<'_>) -> Statement {
        let place = self.place(part);
        let mut inner = part.parts();
        let name = self.first_name(&mut inner, place);
        let shape = match inner.next() {
            None => Shape::Word,
            Some(tail) => self.tail(tail, inner.next()),
        };
        Statement { name, shape, place }
    }

    fn tail(&mut self, tail: Part<'_>, behind: Option<Part<'_>>) -> Shape {
        let body = behind.map(|body| self.body(body));
        match (tail.rule(), body) {
            (Rule::assigned, _) => Shape::Property(self.expression(tail)),
            (Rule::pointed, _) => Shape::Arrow(self.expression(tail)),
            (Rule::arguments, body) => Shape::Call { arguments: self.arguments(tail), body },
            (Rule::head, Some(body)) => Shape::Block { head: Some(self.listed(tail)), body },
            (Rule::head, None) => Shape::Head(self.listed(tail)),
            (_, _) => Shape::Block { head: None, body: self.body(tail) },
        }
    }

    /// The statement's first word; every rule that has one starts with it.
    fn first_name<'i>(&mut self, inner: &mut impl Iterator<Item = Part<'i>>, place: Place) -> Name {
        let empty = Name { text: String::new(), place };
        inner.next().map_or(empty, |word| self.name(word))
    }

    fn name(&mut self, part: Part<'_>) -> Name {
        let text = match part.rule() {
            Rule::text => plain_text(part.text()),
            _ => part.text().to_owned(),
        };
        Name { text, place: self.place(part) }
    }

    fn uses(&mut self, part: Part<'_>) -> Statement {
        let place = self.place(part);
        let mut inner = part.parts();
        let name = self.first_name(&mut inner, place);
        let used = inner.map(|item| self.used(item)).collect();
        Statement { name, shape: Shape::Uses(used), place }
    }

    fn used(&mut self, item: Part<'_>) -> Used {
        let words: Vec<_> = match item.rule() {
            Rule::used => item.parts().collect(),
            _ => vec![item],
        };
        let names: Vec<_> = words.iter().map(|word| self.name(*word)).collect();
        let quoted = words.last().is_some_and(|word| word.rule() == Rule::text);
        let mut names = names.into_iter().rev();
        let empty = Name { text: String::new(), place: Place::default() };
        Used { target: names.next().unwrap_or(empty), alias: names.next(), quoted }
    }

    fn declarations(&mut self, part: Part<'_>) -> Statement {
        let place = self.place(part);
        let mut inner = part.parts();
        let name = self.first_name(&mut inner, place);
        let statements = inner.map(|part| self.declaration(part)).collect();
        let body = Body { statements, place };
        Statement { name, shape: Shape::Block { head: None, body }, place }
    }

    fn declaration(&mut self, part: Part<'_>) -> Statement {
        let place = self.place(part);
        let mut inner = part.parts();
        let name = self.first_name(&mut inner, place);
        let statements = inner
            .map(|property| {
                let place = self.place(property);
                let mut inner = property.parts();
                let name = self.first_name(&mut inner, place);
                let value = inner.next().map(|value| self.operand(value));
                let shape = value.map_or(Shape::Word, Shape::Property);
                Statement { name, shape, place }
            })
            .collect();
        let body = Body { statements, place };
        Statement { name, shape: Shape::Block { head: None, body }, place }
    }

    fn conditions(&mut self, part: Part<'_>) -> Statement {
        let place = self.place(part);
        let mut inner = part.parts();
        let name = self.first_name(&mut inner, place);
        let items = inner
            .map(|item| match item.rule() {
                Rule::expression => Condition::Holds(self.expression(item)),
                Rule::gate => Condition::Gate(self.named(item)),
                _ => {
                    let place = self.place(item);
                    let text = item.text().to_owned();
                    let name = Name { text, place };
                    Condition::Gate(Statement { name, shape: Shape::Word, place })
                }
            })
            .collect();
        Statement { name, shape: Shape::Conditions(items), place }
    }

    fn arguments(&mut self, part: Part<'_>) -> Vec<Argument> {
        part.parts().map(|part| self.argument(part)).collect()
    }

    fn argument(&mut self, part: Part<'_>) -> Argument {
        match part.rule() {
            Rule::listed_steps => Argument::Steps(self.listed_steps(part)),
            Rule::option => {
                let place = self.place(part);
                let mut inner = part.parts();
                let name = self.first_name(&mut inner, place);
                let steps = inner.clone().next().filter(|it| it.rule() == Rule::listed_steps);
                match steps {
                    Some(steps) => Argument::Steps(self.listed_steps(steps)),
                    None => Argument::Option(name, self.compared(inner, part)),
                }
            }
            _ => Argument::Positional(self.operand(part)),
        }
    }

    fn listed_steps(&mut self, part: Part<'_>) -> Body {
        let place = self.place(part);
        Body { statements: part.parts().map(|step| self.named(step)).collect(), place }
    }

    fn listed(&mut self, part: Part<'_>) -> Vec<Expression> {
        part.parts().map(|part| self.operand(part)).collect()
    }

    /// An operand, or a whole expression in parentheses.
    fn operand(&mut self, part: Part<'_>) -> Expression {
        let place = self.place(part);
        let text = part.text();
        let kind = match part.rule() {
            Rule::expression => return self.expression(part),
            Rule::text => Kind::Text(plain_text(text)),
            Rule::quoted => self.template(text, part.start()),
            Rule::number => Kind::Number(text.to_owned()),
            Rule::boolean => Kind::Boolean(text == "true"),
            Rule::path => Kind::Path(text.split('.').map(str::to_owned).collect()),
            Rule::list => Kind::List(self.listed(part)),
            Rule::function => self.function(part),
            _ => Kind::Unit(text.to_owned()),
        };
        Expression { kind, place }
    }

    fn function(&mut self, part: Part<'_>) -> Kind {
        let (mut name, mut arguments, mut fields) = (String::new(), Vec::new(), Vec::new());
        for part in part.parts() {
            match part.rule() {
                Rule::called => part.text().clone_into(&mut name),
                Rule::word => fields.push(part.text().to_owned()),
                _ => arguments.push(self.operand(part)),
            }
        }
        Kind::Function { name, arguments, fields }
    }

    /// `!`, comparisons, and `&&` before `||`, from the flat list that the grammar gives.
    fn expression(&mut self, part: Part<'_>) -> Expression {
        self.compared(part.parts(), part)
    }

    /// The same of the last parts of another one, which is no expression as a whole.
    fn compared(&mut self, inner: Parts<'_>, within: Part<'_>) -> Expression {
        let start = inner.clone().next().map_or(within.start(), Part::start);
        let place = self.origin.place(self.offset + start, self.offset + within.end());
        let mut either: Vec<Expression> = Vec::new();
        let mut all: Vec<Expression> = Vec::new();
        let mut count = 0;
        let mut inner = inner.peekable();
        while let Some(part) = self.comparison(&mut inner) {
            count += 1;
            all.push(part);
            match inner.next().map(Part::text) {
                Some("||") => either.push(joined(std::mem::take(&mut all), Kind::And, place)),
                Some(_) => {}
                None => break,
            }
        }
        either.push(joined(all, Kind::And, place));
        if count > MAX_PARTS {
            let message = format!("this condition joins more than {MAX_PARTS} comparisons");
            self.problems.push(Diagnostic::error(Id::TooLong, place, message));
            return Expression { kind: Kind::Boolean(false), place };
        }
        joined(either, Kind::Or, place)
    }

    fn comparison<'i>(
        &mut self,
        inner: &mut std::iter::Peekable<impl Iterator<Item = Part<'i>>>,
    ) -> Option<Expression> {
        let (mut count, mut first) = (0_usize, None);
        while let Some(negation) = inner.next_if(|part| part.rule() == Rule::negation) {
            first.get_or_insert(self.place(negation));
            count += 1;
        }
        if let Some(place) = first.filter(|_| count > MAX_NEGATIONS) {
            let message = format!("more than {MAX_NEGATIONS} `!` stand in a row");
            self.problems.push(Diagnostic::error(Id::TooDeep, place, message));
        }
        let left = self.operand(inner.next()?);
        let compared = match inner.next_if(|part| part.rule() == Rule::operator) {
            None => left,
            Some(sign) => {
                let right = self.operand(inner.next()?);
                let place = left.place.to(right.place);
                let kind = Kind::Compare(operator(sign.text()), left.into(), right.into());
                Expression { kind, place }
            }
        };
        let place = first.map_or(compared.place, |first| first.to(compared.place));
        let negated = |inner: Expression| Expression { kind: Kind::Not(inner.into()), place };
        Some(match count {
            0 => compared,
            _ if count % 2 == 1 => negated(compared),
            // `!!x` is x, and must be a condition like it.
            _ => negated(negated(compared)),
        })
    }

    /// What stands between the quotes of `"…"`.
    fn template(&mut self, quoted: &str, start: usize) -> Kind {
        let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        if !inner.contains(['\\', '$']) {
            return Kind::Text(inner.to_owned());
        }
        let base = self.offset + start + 1;
        let place = self.origin.place(base, base + inner.len());
        if depth(inner) > MAX_TEMPLATE_DEPTH || inner.matches("/*").count() > MAX_TEMPLATE_DEPTH {
            let message = "the values in this text nest too deep";
            self.problems.push(Diagnostic::error(Id::TooDeep, place, message));
            return Kind::Text(String::new());
        }
        let Ok(pairs) = Reader::parse(Rule::template, inner) else {
            let message = "this text cannot be read";
            self.problems.push(Diagnostic::error(Id::Unexpected, place, message));
            return Kind::Text(String::new());
        };
        let outer = std::mem::replace(&mut self.offset, base);
        let matched = Matched::of(inner, pairs);
        let pieces = matched.whole().map_or_else(Vec::new, |template| self.pieces(template));
        self.offset = outer;
        match pieces.as_slice() {
            [] => Kind::Text(String::new()),
            [Piece::Text(text)] => Kind::Text(text.clone()),
            _ => Kind::Template(pieces),
        }
    }

    fn pieces(&mut self, template: Part<'_>) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for part in template.parts() {
            let text = match part.rule() {
                Rule::inserted => {
                    pieces.push(Piece::Value(self.expression(part)));
                    continue;
                }
                Rule::escape => self.escaped(part),
                Rule::not_inserted => {
                    self.not_a_value(part);
                    continue;
                }
                _ => part.text().to_owned(),
            };
            match pieces.last_mut() {
                Some(Piece::Text(last)) => last.push_str(&text),
                _ => pieces.push(Piece::Text(text)),
            }
        }
        pieces
    }

    fn escaped(&mut self, part: Part<'_>) -> String {
        let text = match part.text() {
            "\\n" => "\n",
            "\\t" => "\t",
            "\\\"" => "\"",
            "\\\\" => "\\",
            "\\$" => "$",
            other => {
                let message = format!("there is no escape {other}");
                let problem = Diagnostic::error(Id::UnknownEscape, self.place(part), message).help(
                    "in \"…\" there are \\\" \\\\ \\n \\t and \\$; in '…' everything is text",
                );
                self.problems.push(problem);
                other
            }
        };
        text.to_owned()
    }

    fn not_a_value(&mut self, part: Part<'_>) {
        let message = format!("{} is no value of the plan", part.text());
        let problem = Diagnostic::error(Id::ShellVariable, self.place(part), message)
            .help("for the shell's variables use '…'");
        self.problems.push(problem);
    }
}

/// One part as itself, several under the kind that joins them.
fn joined(
    mut parts: Vec<Expression>,
    kind: impl FnOnce(Vec<Expression>) -> Kind,
    whole: Place,
) -> Expression {
    match parts.len() {
        0 => Expression { kind: Kind::Boolean(false), place: whole },
        1 => parts.remove(0),
        _ => {
            let place = match (parts.first(), parts.last()) {
                (Some(first), Some(last)) => first.place.to(last.place),
                _ => whole,
            };
            Expression { kind: kind(parts), place }
        }
    }
}

fn operator(sign: &str) -> Operator {
    match sign {
        "==" => Operator::Equal,
        "!=" => Operator::NotEqual,
        "<" => Operator::Less,
        "<=" => Operator::AtMost,
        ">" => Operator::More,
        ">=" => Operator::AtLeast,
        "in" => Operator::In,
        _ => Operator::Matches,
    }
}

fn depth(text: &str) -> usize {
    let (mut depth, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    most
}

/// What `'…'` or a block of lines means.
pub(crate) fn plain_text(written: &str) -> String {
    if written.starts_with("'''") && written.len() >= 6 {
        return block_text(&written[3..written.len() - 3]);
    }
    let inner = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
    inner.replace("''", "'")
}

/// The lines behind the first line end, without the indentation that all of them share, and without
/// the line that holds only the closing quotes. Line ends are `\n` on every machine.
fn block_text(inner: &str) -> String {
    let inner = inner.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<&str> = inner.split('\n').skip(1).collect();
    if lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    let mut shared: Option<&str> = None;
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
        let common = shared.map_or(indent.len(), |shared| {
            shared.bytes().zip(indent.bytes()).take_while(|(a, b)| a == b).count()
        });
        shared = Some(&indent[..common]);
    }
    let cut = shared.map_or(0, str::len);
    let lines: Vec<&str> = lines.iter().map(|line| line.get(cut..).unwrap_or("")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::plain_text;

    #[test]
    fn quotes_are_undone() {
        let check = |written: &str, means: &str| assert_eq!(plain_text(written), means);
        check("'a // b'", "a // b");
        check("'it''s'", "it's");
        check("''", "");
        check("'''\n    a\n      b\n\n    c\n  '''", "a\n  b\n\nc");
        check("'''\r\n\ta\r\n\tb'''", "a\nb");
        check("'''\n'''", "");
    }
}
