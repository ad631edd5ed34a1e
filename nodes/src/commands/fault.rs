//! What goes wrong in front of a person: what, where, what to do now; and the codes that scripts
//! read.

use super::ansi::on_one_line;
use super::screen::Paint;
use serde_json::{Value, json};
use std::fmt;

/// How the command ends, for scripts. `otto help exit-codes` documents the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Exit {
    /// All is well.
    Done = 0,
    /// The run did not succeed.
    RunFailed = 1,
    /// The command or the plan is wrong.
    Usage = 2,
    /// The run was cancelled.
    Cancelled = 3,
    /// You are not signed in.
    SignedOut = 4,
    /// Nothing is wrong with the plan: the node, the machine or the disk is.
    Infrastructure = 5,
    /// The time was up; the run goes on.
    StillWaiting = 8,
    /// Ctrl-C; the run goes on.
    Interrupted = 130,
}

/// Which page of [`page`] tells more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Id {
    /// There is nothing to run.
    NoPipeline,
    /// There is no pipeline of this name.
    UnknownPipeline,
    /// The machine lacks a tool.
    MissingTool,
    /// The node cannot be reached.
    NodeUnreachable,
    /// There is no such run.
    UnknownRun,
    /// There is no such stage.
    UnknownStage,
    /// A setting is wrong.
    BadSetting,
    /// The Ottofile is there already.
    AlreadyThere,
    /// The node said no.
    Refused,
    /// The repository cannot be read.
    Unreadable,
    /// An argument is wrong.
    BadArgument,
    /// A step library is wrong.
    BadLibrary,
    /// The node's data folder is in trouble.
    DataFolder,
    /// A file is no text.
    NoText,
    /// The cluster does not know who this is.
    SignedOut,
    /// A context is unknown or damaged.
    BadContext,
    /// A file that a pipeline is inferred from cannot be read by its own tool either.
    BrokenManifest,
}

impl Id {
    /// The code that people see.
    #[must_use]
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::NoPipeline => "OTTO1001",
            Self::UnknownPipeline => "OTTO1002",
            Self::MissingTool => "OTTO1003",
            Self::NodeUnreachable => "OTTO1004",
            Self::UnknownRun => "OTTO1005",
            Self::UnknownStage => "OTTO1006",
            Self::BadSetting => "OTTO1007",
            Self::AlreadyThere => "OTTO1008",
            Self::Refused => "OTTO1009",
            Self::Unreadable => "OTTO1010",
            Self::BadArgument => "OTTO1011",
            Self::BadLibrary => "OTTO1012",
            Self::DataFolder => "OTTO1013",
            Self::NoText => "OTTO1014",
            Self::SignedOut => "OTTO1015",
            Self::BadContext => "OTTO1016",
            Self::BrokenManifest => "OTTO1017",
        }
    }

    #[cfg(test)]
    const ALL: [Self; 17] = [
        Self::NoPipeline,
        Self::UnknownPipeline,
        Self::MissingTool,
        Self::NodeUnreachable,
        Self::UnknownRun,
        Self::UnknownStage,
        Self::BadSetting,
        Self::AlreadyThere,
        Self::Refused,
        Self::Unreadable,
        Self::BadArgument,
        Self::BadLibrary,
        Self::DataFolder,
        Self::NoText,
        Self::SignedOut,
        Self::BadContext,
        Self::BrokenManifest,
    ];
}

/// Why a command ends early.
#[derive(Debug)]
pub(super) enum Fault {
    /// Something to tell a person.
    Told(Box<Told>),
    /// Whoever read standard output has left: there is nobody to tell.
    ReaderLeft,
    /// Everything was said already.
    Silent(Exit),
}

/// The three parts of an error, and its page.
#[derive(Debug)]
pub(super) struct Told {
    /// How the command ends.
    pub(super) exit: Exit,
    /// Which page tells more.
    pub(super) id: Id,
    /// What happened.
    pub(super) what: String,
    /// Where: a file, an argument, an address.
    pub(super) place: Option<String>,
    /// What to do now.
    pub(super) help: Vec<String>,
}

impl Fault {
    /// A fault of the command line or the plan.
    pub(super) fn usage(id: Id, what: impl Into<String>) -> Self {
        Self::told(Exit::Usage, id, what)
    }

    /// A fault of the machine or the node.
    pub(super) fn infrastructure(id: Id, what: impl Into<String>) -> Self {
        Self::told(Exit::Infrastructure, id, what)
    }

    /// A cluster that does not take whoever asks for one of its people.
    pub(super) fn signed_out(what: impl Into<String>) -> Self {
        Self::told(Exit::SignedOut, Id::SignedOut, what)
    }

    fn told(exit: Exit, id: Id, what: impl Into<String>) -> Self {
        Self::Told(Box::new(Told { exit, id, what: what.into(), place: None, help: Vec::new() }))
    }

    /// Says where.
    #[must_use]
    pub(super) fn at(mut self, place: impl Into<String>) -> Self {
        if let Self::Told(told) = &mut self {
            told.place = Some(place.into());
        }
        self
    }

    /// Says what to do now.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        if let Self::Told(told) = &mut self {
            told.help.push(help.into());
        }
        self
    }
}

impl Told {
    /// The error as it is printed.
    #[must_use]
    pub(super) fn rendered(&self, paint: Paint) -> String {
        let head = paint.error(&format!("error[{}]", self.id.code()));
        let mut lines = vec![format!("{head}{}", paint.strong(&format!(": {}", self.what)))];
        lines.extend(self.place.iter().map(|place| {
            let place = on_one_line(place);
            format!("  {} {place}", paint.mark("-->"))
        }));
        lines.extend(self.help.iter().map(|help| format!("{}: {help}", paint.help("help"))));
        lines.join("\n")
    }
}

impl Told {
    /// The error for programs.
    #[must_use]
    pub(super) fn page(&self) -> Value {
        json!({ "error": {
            "id": self.id.code(), "what": self.what, "place": self.place, "help": self.help,
            "exit": self.exit as u8,
        } })
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered(Paint::plain()))
    }
}

/// The page about an error of the command line.
#[must_use]
pub(super) fn page(code: &str) -> Option<&'static str> {
    const PAGES: &str = include_str!("errors.md");
    PAGES.split("\n## ").skip(1).find(|page| page.split_whitespace().next() == Some(code))
}

#[cfg(test)]
mod tests {
    use super::{Fault, Id, page};

    #[test]
    fn every_error_has_a_page() {
        for id in Id::ALL {
            assert!(page(id.code()).is_some(), "{} has no page in errors.md", id.code());
        }
        assert!(page("OTTO0000").is_none());
    }

    #[test]
    fn an_error_has_three_parts() {
        let fault = Fault::usage(Id::UnknownRun, "no run 7").at("shop").help("see `otto runs`");
        let Fault::Told(told) = fault else { panic!("it is told") };
        let expected = "error[OTTO1005]: no run 7\n  --> shop\nhelp: see `otto runs`";
        assert_eq!(told.to_string(), expected);
        let page = r#"{"error":{"id":"OTTO1005","what":"no run 7","place":"shop","help":["see `otto runs`"],"exit":2}}"#;
        assert_eq!(told.page().to_string(), page);
    }
}
