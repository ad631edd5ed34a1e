//! From the parser's pairs to the syntax tree.

use crate::diagnostic::{Diagnostic, Id};
use crate::parse::{Reader, Rule};
use crate::tree::{Argument, Body, Condition, Expression, Kind, Name};
use crate::tree::{Piece, Place, Shape, Statement, Used};
use otto_core::gate::Operator;
use pest::{Parser, iterators::Pair, iterators::Pairs};

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
    pub(crate) fn file(&mut self, mut pairs: Pairs<'_, Rule>) -> Vec<Statement> {
        pairs.next().map_or_else(Vec::new, |file| self.statements(file))
    }

    fn place(&self, pair: &Pair<'_, Rule>) -> Place {
        let span = pair.as_span();
        let end = span.start() + written(pair).len();
        self.origin.place(self.offset + span.start(), self.offset + end)
    }

    fn statements(&mut self, pair: Pair<'_, Rule>) -> Vec<Statement> {
        let inner = parts(pair).filter(|part| part.as_rule() != Rule::EOI);
        inner.map(|part| self.statement(part)).collect()
    }

    fn body(&mut self, pair: Pair<'_, Rule>) -> Body {
        Body { place: self.place(&pair), statements: self.statements(pair) }
    }

    fn statement(&mut self, pair: Pair<'_, Rule>) -> Statement {
        match pair.as_rule() {
            Rule::uses => self.uses(pair),
            Rule::declarations => self.declarations(pair),
            Rule::conditions => self.conditions(pair),
            _ => self.named(pair),
        }
    }

    fn named(&mut self, pair: Pair<'_, Rule>) -> Statement {
        let place = self.place(&pair);
        let mut inner = parts(pair);
        let name = self.first_name(&mut inner, place);
        let shape = match inner.next() {
            None => Shape::Word,
            Some(tail) => self.tail(tail, inner.next()),
        };
        Statement { name, shape, place }
    }

    fn tail(&mut self, tail: Pair<'_, Rule>, behind: Option<Pair<'_, Rule>>) -> Shape {
        let body = behind.map(|body| self.body(body));
        match (tail.as_rule(), body) {
            (Rule::assigned, _) => Shape::Property(self.first_expression(tail)),
            (Rule::pointed, _) => Shape::Arrow(self.first_expression(tail)),
            (Rule::arguments, body) => Shape::Call { arguments: self.arguments(tail), body },
            (Rule::head, Some(body)) => Shape::Block { head: Some(self.listed(tail)), body },
            (Rule::head, None) => Shape::Head(self.listed(tail)),
            (_, _) => Shape::Block { head: None, body: self.body(tail) },
        }
    }

    /// The statement's first word; every rule that has one starts with it.
    fn first_name<'i>(
        &mut self,
        inner: &mut impl Iterator<Item = Pair<'i, Rule>>,
        place: Place,
    ) -> Name {
        let empty = Name { text: String::new(), place };
        inner.next().map_or(empty, |word| self.name(&word))
    }

    fn name(&mut self, pair: &Pair<'_, Rule>) -> Name {
        let text = match pair.as_rule() {
            Rule::text => plain_text(pair.as_str()),
            _ => pair.as_str().to_owned(),
        };
        Name { text, place: self.place(pair) }
    }

    fn uses(&mut self, pair: Pair<'_, Rule>) -> Statement {
        let place = self.place(&pair);
        let mut inner = parts(pair);
        let name = self.first_name(&mut inner, place);
        let used = inner.map(|item| self.used(item)).collect();
        Statement { name, shape: Shape::Uses(used), place }
    }

    fn used(&mut self, item: Pair<'_, Rule>) -> Used {
        let words: Vec<_> = match item.as_rule() {
            Rule::used => parts(item).collect(),
            _ => vec![item],
        };
        let names: Vec<_> = words.iter().map(|word| self.name(word)).collect();
        let quoted = words.last().is_some_and(|word| word.as_rule() == Rule::text);
        let mut names = names.into_iter().rev();
        let empty = Name { text: String::new(), place: Place::default() };
        Used { target: names.next().unwrap_or(empty), alias: names.next(), quoted }
    }

    fn declarations(&mut self, pair: Pair<'_, Rule>) -> Statement {
        let place = self.place(&pair);
        let mut inner = parts(pair);
        let name = self.first_name(&mut inner, place);
        let statements = inner.map(|part| self.declaration(part)).collect();
        let body = Body { statements, place };
        Statement { name, shape: Shape::Block { head: None, body }, place }
    }

    fn declaration(&mut self, pair: Pair<'_, Rule>) -> Statement {
        let place = self.place(&pair);
        let mut inner = parts(pair);
        let name = self.first_name(&mut inner, place);
        let statements = inner
            .map(|property| {
                let place = self.place(&property);
                let mut inner = parts(property);
                let name = self.first_name(&mut inner, place);
                let value = inner.next().map(|value| self.operand(value));
                let shape = value.map_or(Shape::Word, Shape::Property);
                Statement { name, shape, place }
            })
            .collect();
        let body = Body { statements, place };
        Statement { name, shape: Shape::Block { head: None, body }, place }
    }

    fn conditions(&mut self, pair: Pair<'_, Rule>) -> Statement {
        let place = self.place(&pair);
        let mut inner = parts(pair);
        let name = self.first_name(&mut inner, place);
        let items = inner
            .map(|item| match item.as_rule() {
                Rule::expression => Condition::Holds(self.expression(item)),
                Rule::gate => Condition::Gate(self.named(item)),
                _ => {
                    let place = self.place(&item);
                    let text = item.as_str().trim_end().to_owned();
                    let name = Name { text, place };
                    Condition::Gate(Statement { name, shape: Shape::Word, place })
                }
            })
            .collect();
        Statement { name, shape: Shape::Conditions(items), place }
    }

    fn arguments(&mut self, pair: Pair<'_, Rule>) -> Vec<Argument> {
        parts(pair).map(|part| self.argument(part)).collect()
    }

    fn argument(&mut self, pair: Pair<'_, Rule>) -> Argument {
        match pair.as_rule() {
            Rule::listed_steps => Argument::Steps(self.listed_steps(pair)),
            Rule::option => {
                let place = self.place(&pair);
                let mut inner = parts(pair);
                let name = self.first_name(&mut inner, place);
                match inner.next() {
                    Some(steps) if steps.as_rule() == Rule::listed_steps => {
                        Argument::Steps(self.listed_steps(steps))
                    }
                    Some(value) => Argument::Option(name, self.expression(value)),
                    None => Argument::Option(name, Expression { kind: Kind::List(vec![]), place }),
                }
            }
            _ => Argument::Positional(self.operand(pair)),
        }
    }

    fn listed_steps(&mut self, pair: Pair<'_, Rule>) -> Body {
        let place = self.place(&pair);
        Body { statements: parts(pair).map(|step| self.named(step)).collect(), place }
    }

    fn first_expression(&mut self, pair: Pair<'_, Rule>) -> Expression {
        let place = self.place(&pair);
        let absent = Expression { kind: Kind::List(Vec::new()), place };
        parts(pair).next().map_or(absent, |part| self.operand(part))
    }

    fn listed(&mut self, pair: Pair<'_, Rule>) -> Vec<Expression> {
        parts(pair).map(|part| self.operand(part)).collect()
    }

    /// An operand, or a whole expression in parentheses.
    fn operand(&mut self, pair: Pair<'_, Rule>) -> Expression {
        let place = self.place(&pair);
        let text = pair.as_str();
        let kind = match pair.as_rule() {
            Rule::expression => return self.expression(pair),
            Rule::operand => {
                let absent = Expression { kind: Kind::List(Vec::new()), place };
                return parts(pair).next().map_or(absent, |part| self.operand(part));
            }
            Rule::text => Kind::Text(plain_text(text)),
            Rule::quoted => self.template(text, pair.as_span().start()),
            Rule::number => Kind::Number(text.to_owned()),
            Rule::boolean => Kind::Boolean(text == "true"),
            Rule::path => Kind::Path(text.split('.').map(str::to_owned).collect()),
            Rule::list => Kind::List(self.listed(pair)),
            Rule::function => self.function(pair),
            _ => Kind::Unit(text.to_owned()),
        };
        Expression { kind, place }
    }

    fn function(&mut self, pair: Pair<'_, Rule>) -> Kind {
        let (mut name, mut arguments, mut fields) = (String::new(), Vec::new(), Vec::new());
        for part in parts(pair) {
            match part.as_rule() {
                Rule::called => part.as_str().clone_into(&mut name),
                Rule::word => fields.push(part.as_str().to_owned()),
                _ => arguments.push(self.operand(part)),
            }
        }
        Kind::Function { name, arguments, fields }
    }

    /// `!`, comparisons, and `&&` before `||`, from the flat list that the grammar gives.
    fn expression(&mut self, pair: Pair<'_, Rule>) -> Expression {
        let place = self.place(&pair);
        let mut either: Vec<Expression> = Vec::new();
        let mut all: Vec<Expression> = Vec::new();
        let mut count = 0;
        let mut inner = parts(pair).peekable();
        while let Some(part) = self.comparison(&mut inner) {
            count += 1;
            all.push(part);
            match inner.next().map(|connective| connective.as_str()) {
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
        inner: &mut std::iter::Peekable<impl Iterator<Item = Pair<'i, Rule>>>,
    ) -> Option<Expression> {
        let (mut count, mut first) = (0_usize, None);
        while let Some(negation) = inner.next_if(|part| part.as_rule() == Rule::negation) {
            first.get_or_insert(self.place(&negation));
            count += 1;
        }
        if let Some(place) = first.filter(|_| count > MAX_NEGATIONS) {
            let message = format!("more than {MAX_NEGATIONS} `!` stand in a row");
            self.problems.push(Diagnostic::error(Id::TooDeep, place, message));
        }
        let left = self.operand(inner.next()?);
        let compared = match inner.next_if(|part| part.as_rule() == Rule::operator) {
            None => left,
            Some(sign) => {
                let right = self.operand(inner.next()?);
                let place = left.place.to(right.place);
                let kind = Kind::Compare(operator(sign.as_str()), left.into(), right.into());
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
        let Ok(mut pairs) = Reader::parse(Rule::template, inner) else {
            let message = "this text cannot be read";
            self.problems.push(Diagnostic::error(Id::Unexpected, place, message));
            return Kind::Text(String::new());
        };
        let outer = std::mem::replace(&mut self.offset, base);
        let pieces = pairs.next().map_or_else(Vec::new, |template| self.pieces(template));
        self.offset = outer;
        match pieces.as_slice() {
            [] => Kind::Text(String::new()),
            [Piece::Text(text)] => Kind::Text(text.clone()),
            _ => Kind::Template(pieces),
        }
    }

    fn pieces(&mut self, template: Pair<'_, Rule>) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for part in parts(template) {
            let text = match part.as_rule() {
                Rule::EOI => continue,
                Rule::inserted => {
                    let Some(value) = parts(part).next() else { continue };
                    pieces.push(Piece::Value(self.expression(value)));
                    continue;
                }
                Rule::escape => self.escaped(&part),
                Rule::not_inserted => {
                    self.not_a_value(&part);
                    continue;
                }
                _ => part.as_str().to_owned(),
            };
            match pieces.last_mut() {
                Some(Piece::Text(last)) => last.push_str(&text),
                _ => pieces.push(Piece::Text(text)),
            }
        }
        pieces
    }

    fn escaped(&mut self, pair: &Pair<'_, Rule>) -> String {
        let text = match pair.as_str() {
            "\\n" => "\n",
            "\\t" => "\t",
            "\\\"" => "\"",
            "\\\\" => "\\",
            "\\$" => "$",
            other => {
                let message = format!("there is no escape {other}");
                let problem = Diagnostic::error(Id::UnknownEscape, self.place(pair), message).help(
                    "in \"…\" there are \\\" \\\\ \\n \\t and \\$; in '…' everything is text",
                );
                self.problems.push(problem);
                other
            }
        };
        text.to_owned()
    }

    fn not_a_value(&mut self, pair: &Pair<'_, Rule>) {
        let message = format!("{} is no value of the plan", pair.as_str());
        let problem = Diagnostic::error(Id::ShellVariable, self.place(pair), message)
            .help("for the shell's variables use '…'");
        self.problems.push(problem);
    }
}

/// The inner pairs, without comments.
fn parts(pair: Pair<'_, Rule>) -> impl Iterator<Item = Pair<'_, Rule>> {
    pair.into_inner().filter(|part| part.as_rule() != Rule::COMMENT)
}

/// A pair's text without the spaces and comments behind it, which the grammar counts to a rule that
/// may end earlier.
fn written<'i>(pair: &Pair<'i, Rule>) -> &'i str {
    let whole = pair.as_str();
    if !whole.contains('/') {
        return whole.trim_end();
    }
    let start = pair.as_span().start();
    let mut text = whole.trim_end();
    let mut comments = pair.clone().into_inner().rev();
    while let Some(comment) = comments.next().filter(|part| part.as_rule() == Rule::COMMENT) {
        let span = comment.as_span();
        if span.end() != start + text.len() {
            break;
        }
        text = whole[..span.start() - start].trim_end();
    }
    text
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
