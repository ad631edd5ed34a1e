//! What keeps a node from working, for people: what happened, where, and what to do now.

use crate::store::{Fault, OpenError};
use crate::wire::hello::{Refused, RefusedKind};
use std::io;
use std::path::Path;

/// The exit code of whatever failed by its surroundings, not by its input.
pub const EXIT_INFRASTRUCTURE: u8 = 5;

impl Refused {
    /// A node that cannot work.
    #[must_use]
    pub fn trouble(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { kind: RefusedKind::Trouble, what: what.into(), help: help.into() }
    }

    /// What the operating system refused at a path.
    #[must_use]
    pub fn at(doing: &str, path: &Path, error: &io::Error) -> Self {
        let place = path.display();
        let help = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "make it writable for this user, or name another folder with OTTO_HOME"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space; what is on disk stays as it is"
            }
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                "move what is there away, or name another folder with OTTO_HOME"
            }
            // The operating system has too many kinds for a list to tell anything more.
            _ => "mend that, or name another folder with OTTO_HOME",
        };
        Self::trouble(format!("failed to {doing} {place}: {error}"), help)
    }

    /// What broke the store in a data folder.
    #[must_use]
    pub(crate) fn of_store(fault: &Fault, data: &str) -> Self {
        let text = fault.to_string();
        let (what, help) = text.rsplit_once("; ").unwrap_or((&text, "start the node again"));
        Self::trouble(format!("failed to {what} (in {data})"), help)
    }

    /// The text for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        format!("error: {}\nhelp: {}\n", self.what, self.help)
    }
}

impl From<&OpenError> for Refused {
    fn from(error: &OpenError) -> Self {
        let text = error.to_string();
        let (what, help) = text.rsplit_once("; ").unwrap_or((&text, "look at that path"));
        Self::trouble(format!("failed to {what}"), help)
    }
}
