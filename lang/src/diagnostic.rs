//! What is wrong with an Ottofile, for people: what, where, and what to write instead.

use crate::Source;
use crate::tree::Place;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;
use std::fmt;

/// Nobody reads more problems than these at once.
pub(crate) const MAX_PROBLEMS: usize = 100;

/// Declares the identifiers of all diagnostics.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Which rule a diagnostic is about. Each has a page: see [`explain_id`].
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Id { $($(#[$doc])* $name,)* }

        impl Id {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code that people see: `OTTO0102`.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }
    };
}

ids! {
    /// Something stands where it makes no sense.
    Unexpected = "OTTO0101",
    /// A quote is never closed.
    OpenQuote = "OTTO0102",
    /// `'''` is not followed by a line end.
    BlockOnOneLine = "OTTO0103",
    /// A bracket is never closed.
    OpenBracket = "OTTO0104",
    /// A closing bracket that nothing opened.
    StrayBracket = "OTTO0105",
    /// Brackets nest too deep.
    TooDeep = "OTTO0106",
    /// A comment was read as flat (a warning).
    FlatComment = "OTTO0107",
    /// The file holds nothing.
    EmptyFile = "OTTO0108",
    /// `20m` without quotes.
    UnquotedUnit = "OTTO0109",
    /// The shell's `${HOME:-x}` in a `"…"`.
    ShellVariable = "OTTO0110",
    /// An escape that does not exist.
    UnknownEscape = "OTTO0111",
    /// `sh make test`
    UnquotedArgument = "OTTO0112",
    /// A file or an expression that is too long.
    TooLong = "OTTO0113",
    /// A word that has no meaning at its place.
    UnknownWord = "OTTO0201",
    /// The same twice.
    Twice = "OTTO0202",
    /// Two stages of one name side by side.
    SameName = "OTTO0203",
    /// A known word, written in a shape that it does not have.
    WrongShape = "OTTO0204",
    /// A stage with both stages and steps.
    StagesAndSteps = "OTTO0206",
    /// A block that holds nothing.
    Nothing = "OTTO0207",
    /// A name that cannot be one.
    BadName = "OTTO0208",
    /// A file without a pipeline.
    NoPipeline = "OTTO0209",
    /// Something necessary is not there.
    Missing = "OTTO0210",
    /// A value of another type than its place expects.
    WrongType = "OTTO0301",
    /// A word that is no value.
    UnknownValue = "OTTO0302",
    /// A word that is not among those that are possible.
    NotOneOf = "OTTO0303",
    /// A value that is absent, inside a text.
    AbsentInText = "OTTO0304",
    /// A run's value where the plan must know it.
    TooEarly = "OTTO0305",
    /// Values that cannot be compared.
    BadComparison = "OTTO0306",
    /// A function that does not exist, or its arguments are wrong.
    UnknownFunction = "OTTO0307",
    /// `each` with too many values, or none.
    BadEach = "OTTO0308",
    /// A setting that authors may not make.
    BadSetting = "OTTO0309",
    /// A text that is no duration, size, version or pattern.
    BadText = "OTTO0310",
    /// A stage that does not exist.
    UnknownStage = "OTTO0401",
    /// A stage that is not earlier.
    NotEarlier = "OTTO0402",
    /// `needs` where there is nothing to need.
    NeedsOutside = "OTTO0403",
    /// More stages or steps than a plan may have.
    TooMany = "OTTO0404",
    /// A captured value that its stage does not declare.
    UnknownOutput = "OTTO0405",
    /// An environment that does not exist.
    UnknownEnvironment = "OTTO0406",
    /// A step that no library has.
    UnknownStep = "OTTO0501",
    /// An argument that a step does not have.
    UnknownArgument = "OTTO0502",
    /// An argument that a step cannot do without.
    MissingArgument = "OTTO0503",
    /// More arguments than a step has.
    TooManyArguments = "OTTO0504",
    /// A value inside a script.
    ValueInScript = "OTTO0505",
    /// A block of steps behind a step that takes none, or the other way round.
    NoBlock = "OTTO0506",
    /// A step library that is not there.
    UnknownLibrary = "OTTO0507",
    /// A step that two libraries have.
    TwoLibraries = "OTTO0508",
    /// A path that leaves the workspace.
    OutsideWorkspace = "OTTO0509",
    /// A configuration that a library does not have.
    UnknownConfiguration = "OTTO0510",
    /// A parameter that got no value.
    NoParameter = "OTTO0601",
    /// A value for a parameter that does not exist.
    UnknownParameter = "OTTO0602",
    /// A value that does not fit its parameter.
    BadParameter = "OTTO0603",
    /// A construct of the language that this release does not run yet.
    NotThereYet = "OTTO0901",
    /// Nobody can tell what changed (a warning).
    UnknownChanges = "OTTO0902",
    /// A pipeline that is to be inferred from the repository.
    ToBeInferred = "OTTO0903",
    /// More is wrong than anybody reads at once.
    MoreProblems = "OTTO0904",
}

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// There is no plan.
    Error,
    /// There is a plan, but look.
    Warning,
}

/// A place that a diagnostic points at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// What is there; may be empty.
    pub text: String,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    /// The rule.
    pub id: Id,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in a line.
    pub message: String,
    /// The place, and then others that explain it. Empty where it is about no text.
    pub labels: Vec<Label>,
    /// What to write instead.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(id: Id, place: Place, message: impl Into<String>) -> Self {
        let labels = vec![Label { place, text: String::new() }];
        Self { id, severity: Severity::Error, message: message.into(), labels, help: Vec::new() }
    }

    /// A warning at a place.
    pub fn warning(id: Id, place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(id, place, message) }
    }

    /// An error about something outside the text.
    pub fn elsewhere(id: Id, message: impl Into<String>) -> Self {
        Self { labels: Vec::new(), ..Self::error(id, Place::default(), message) }
    }

    /// Says what is at the main place.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        if let Some(label) = self.labels.first_mut() {
            label.text = text.into();
        }
        self
    }

    /// Points at another place too.
    #[must_use]
    pub fn also(mut self, place: Place, text: impl Into<String>) -> Self {
        self.labels.push(Label { place, text: text.into() });
        self
    }

    /// Says what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// The main place.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.labels.first().map(|label| label.place)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}]: {}", self.id.code(), self.message)
    }
}

/// The problems that are shown, in the order of the text. Where they are too many, errors come
/// before warnings, and the last one says that there are more.
pub(crate) fn shown(mut problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    problems.sort_by_key(Diagnostic::place);
    if problems.len() <= MAX_PROBLEMS {
        return problems;
    }
    let is_error = |problem: &Diagnostic| problem.severity == Severity::Error;
    let (mut shown, warnings): (Vec<_>, Vec<_>) = problems.into_iter().partition(is_error);
    shown.extend(warnings);
    let left_out = shown.split_off(MAX_PROBLEMS);
    shown.sort_by_key(Diagnostic::place);
    let severity = if left_out.iter().any(is_error) { Severity::Error } else { Severity::Warning };
    let message = format!("there are more problems than these {MAX_PROBLEMS}");
    let more = Diagnostic { severity, ..Diagnostic::elsewhere(Id::MoreProblems, message) };
    shown.push(more.help("put these right, and the next ones are shown"));
    shown
}

/// Draws a diagnostic as rustc would, with the lines of the source that it is about.
#[must_use]
pub fn render(diagnostic: &Diagnostic, source: &Source, color: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(&diagnostic.message).id(diagnostic.id.code());
    let annotations = diagnostic.labels.iter().enumerate().map(|(index, label)| {
        let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let text = Some(label.text.as_str()).filter(|text| !text.is_empty());
        kind.span(within(label.place, &source.text)).label(text)
    });
    let help = diagnostic.help.iter().map(|help| Level::HELP.message(help));
    let group = if diagnostic.labels.is_empty() {
        title.elements(help)
    } else {
        let snippet = Snippet::source(&source.text).path(&source.name).annotations(annotations);
        title.element(snippet).elements(help)
    };
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[group])
}

/// The place as a range that surely lies in the text and cuts no character.
fn within(place: Place, text: &str) -> std::ops::Range<usize> {
    let start = text.floor_char_boundary(place.start.min(text.len()));
    let end = text.ceil_char_boundary(place.end.clamp(start, text.len()));
    start..end
}

/// The page about a rule: what it means, an example that is wrong, and one that is right.
#[must_use]
pub fn explain_id(code: &str) -> Option<&'static str> {
    const PAGES: &str = include_str!("errors.md");
    PAGES.split("\n## ").skip(1).find(|page| page.split_whitespace().next() == Some(code))
}

/// The known word that is nearest to a written one, if it is near enough to be meant.
#[must_use]
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = written.chars().count();
    let most = if length < 3 { 0 } else { (length / 3).max(1) };
    known
        .into_iter()
        .filter_map(|word| Some((distance(written, word, most)?, word)))
        .min()
        .map(|(_, word)| word)
}

/// How many letters must be added, taken, replaced or swapped with their neighbour; `None` where
/// it is more than `most`.
fn distance(left: &str, right: &str, most: usize) -> Option<usize> {
    let fold = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    let (left, right) = (fold(left), fold(right));
    if left.len().abs_diff(right.len()) > most || left.len() > 64 {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            let mut cost = replaced.min(above[column + 1] + 1).min(line[column] + 1);
            let swapped = row > 0 && column > 0 && *a == right[column - 1] && *b == left[row - 1];
            if swapped {
                cost = cost.min(before[column - 1] + 1);
            }
            line.push(cost);
        }
        before = std::mem::replace(&mut above, line);
    }
    above.last().copied().filter(|cost| *cost <= most)
}

#[cfg(test)]
mod tests {
    use super::{Id, explain_id, nearest};

    #[test]
    fn the_nearest_word_is_the_one_that_was_meant() {
        let known = ["steps", "stage", "settings", "timeout"];
        let check = |written: &str, meant: Option<&str>| {
            assert_eq!(nearest(written, known), meant, "{written}");
        };
        check("setps", Some("steps"));
        check("timout", Some("timeout"));
        check("Stage", Some("stage"));
        check("zebra", None);
        check("", None);
    }

    #[test]
    fn every_rule_has_a_page() {
        for id in Id::ALL {
            assert!(explain_id(id.code()).is_some(), "{} has no page in errors.md", id.code());
        }
        assert!(explain_id("OTTO9999").is_none());
    }
}
