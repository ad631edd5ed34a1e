//! Reading a text: into a tree where the grammar allows it, and into problems where it does not.

use crate::Source;
use crate::build::{Builder, Same};
use crate::diagnostic::{Diagnostic, Severity};
use crate::matched::Matched;
use crate::scan::{Comment, scan};
use crate::tolerant::{self, Repairs};
use crate::tree::{Place, Shape, Statement};
use pest::Parser;

/// The parser that pest makes of the grammar.
#[derive(pest_derive::Parser)]
#[grammar = "grammar.pest"]
pub(crate) struct Reader;

/// What became of a text.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The text.
    pub source: Source,
    /// Its tree: of the text as it stands, or, where that is against the grammar, of what a
    /// tolerant reading made of it. The latter is checked for further errors and never planned.
    pub statements: Vec<Statement>,
    /// The comments, in written order.
    pub comments: Vec<Comment>,
    /// What is against the grammar, and warnings.
    pub problems: Vec<Diagnostic>,
    pub(crate) lines: Lines,
    repairs: Repairs,
    /// It was read tolerantly and gave nothing to check.
    pub(crate) hopeless: bool,
}

impl Parsed {
    /// Whether the text is within the grammar.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Whether what the checks say only repeats a mistake of which the text was repaired already.
    pub(crate) fn has_told(&self, problem: &Diagnostic) -> bool {
        self.repairs.hide(problem, &self.source.text)
    }
}

/// Reads a text, and finds everything that is against the grammar. Never panics, takes linear time.
#[must_use]
pub fn parse(source: &Source) -> Parsed {
    let text = source.text.as_str();
    let mut scan = scan(text);
    let lines = Lines::of(text);
    let mut problems = std::mem::take(&mut scan.problems);
    let broken = problems.iter().any(|problem| problem.severity == Severity::Error);
    let mut repairs = Repairs::default();
    let mut hopeless = scan.hopeless;
    let readable = scan.readable(text);
    let strict = if broken { None } else { Reader::parse(Rule::file, &readable).ok() };
    let statements = if let Some(pairs) = strict {
        let mut builder = Builder { origin: &Same, offset: 0, problems: Vec::new() };
        let statements = builder.file(&Matched::of(&readable, pairs));
        problems.append(&mut builder.problems);
        statements
    } else {
        let reading = tolerant::read(text, &lines, &scan);
        problems.extend(reading.problems);
        hopeless |= reading.statements.is_none();
        let statements = reading.statements.unwrap_or_default();
        repairs = Repairs::of(text, &scan.tokens, reading.touched, &statements);
        statements
    };
    problems.sort_by_key(Diagnostic::place);
    let source = source.clone();
    let comments = scan.comments;
    Parsed { source, statements, comments, problems, lines, repairs, hopeless }
}

/// Where the lines of a text start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect())
    }

    /// The number of the line that a byte is in; the first is 1.
    pub(crate) fn number(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at)
    }

    /// Where the line starts that a byte is in.
    pub(crate) fn start(&self, at: usize) -> usize {
        self.0.get(self.number(at) - 1).copied().unwrap_or(0)
    }
}

/// A step library that a file names in `use`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UseRef {
    /// The name that the file gives to it, if any.
    pub alias: Option<String>,
    /// `stdlib`, a folder of the repository such as `./ci/slack`, or an address outside.
    pub target: String,
    /// Where it stands.
    pub place: Place,
}

impl UseRef {
    /// The folder, from the repository's root, of a library in this repository.
    #[must_use]
    pub fn folder(&self) -> Option<&str> {
        self.target.strip_prefix("./")
    }
}

/// The step libraries that a file names, so that they can be loaded before [`crate::plan`].
#[must_use]
pub fn uses(parsed: &Parsed) -> Vec<UseRef> {
    let lists = parsed.statements.iter().filter_map(|statement| {
        if let Shape::Uses(used) = &statement.shape { Some(used) } else { None }
    });
    lists
        .flatten()
        .map(|used| UseRef {
            alias: used.alias.as_ref().map(|alias| alias.text.clone()),
            target: used.target.text.clone(),
            place: used.target.place,
        })
        .collect()
}

/// The parameters that a file declares, by name.
#[must_use]
pub fn parameters(parsed: &Parsed) -> Vec<String> {
    let declares =
        |statement: &&Statement| matches!(statement.name.text.as_str(), "parameters" | "vars");
    let blocks = parsed.statements.iter().filter(declares).filter_map(|statement| {
        if let Shape::Block { body, .. } = &statement.shape { Some(&body.statements) } else { None }
    });
    blocks.flatten().map(|declared| declared.name.text.clone()).collect()
}

/// What a file asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// The pipeline that it holds: give it to [`crate::plan`].
    Written,
    /// The pipeline that the repository's conventions give: `pipeline { }`, or one of them by name:
    /// `pipeline { from 'rust' }`.
    Inferred {
        /// The convention's name.
        convention: Option<String>,
        /// Where the file says so.
        place: Place,
    },
}

/// Whether a file holds a pipeline or leaves it to the repository's conventions.
#[must_use]
pub fn request(parsed: &Parsed) -> Request {
    let mut inner = parsed.statements.as_slice();
    // `pipeline { stages { } }` and `plan { }` are the same as `pipeline { }`.
    let [Statement { name, shape: Shape::Block { head: None, body }, place }] = inner else {
        return Request::Written;
    };
    if name.text != "pipeline" || !parsed.is_whole() {
        return Request::Written;
    }
    inner = &body.statements;
    match inner {
        [] => Request::Inferred { convention: None, place: *place },
        [only] if only.name.text == "from" => {
            crate::lower::convention_named(only).map_or(Request::Written, |name| {
                Request::Inferred { convention: Some(name), place: only.place }
            })
        }
        _ => Request::Written,
    }
}

#[cfg(test)]
mod tests {
    use super::{Reader, Rule};
    use crate::diagnostic::Severity;
    use crate::scan::scan;
    use crate::tree::Place;
    use pest::Parser;
    use proptest::prelude::*;

    /// What the grammar takes for comments; `None` where it refuses the text.
    fn by_grammar(text: &str) -> Option<Vec<Place>> {
        let pairs = Reader::parse(Rule::file, text).ok()?.flatten();
        let comments = pairs.filter(|pair| pair.as_rule() == Rule::comment);
        let place = |span: pest::Span<'_>| Place { start: span.start(), end: span.end() };
        Some(comments.map(|pair| place(pair.as_span())).collect())
    }

    /// Whole statements, comments, and what looks like one or the other.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "a = 1",
            "b 'x // no'",
            "c \"/* no */\"",
            "d { e = '''\n/* no */\n''' }",
            "f('*/', '/*')",
            "// one",
            "// '",
            "//",
            "// /*",
            "/**/",
            "/* a */",
            "/* a /* b */ c */",
            "/*/ */",
            "/* // */",
            "/* ' \" */",
            "/* a /* b */",
            "*/",
            "/",
            "'",
            " ",
            "\r\n",
        ])
    }

    proptest! {
        #[test]
        fn the_pass_before_the_parser_finds_the_same_comments(
            pieces in prop::collection::vec((piece(), prop_oneof![Just("\n"), Just(" ")]), 0..12)
        ) {
            let text: String = pieces.into_iter().flat_map(|(piece, gap)| [piece, gap]).collect();
            let found = scan(&text);
            let readable = found.readable(&text);
            // Where the pass finds errors, the grammar is not asked.
            let broken = found.problems.iter().any(|it| it.severity == Severity::Error);
            if !broken && let Some(comments) = by_grammar(&readable) {
                let scanned: Vec<Place> = found.comments.iter().map(|it| it.place).collect();
                prop_assert_eq!(scanned, comments, "{:?}", text);
            }
        }
    }

    #[test]
    fn the_grammar_takes_comments_at_all() {
        let text = "a = 1 // one\n/* two /* three */ */ b 'x'";
        let places = by_grammar(text).expect("it is right");
        let texts: Vec<&str> = places.iter().map(|place| &text[place.start..place.end]).collect();
        assert_eq!(texts, ["// one", "/* two /* three */ */"]);
    }
}
