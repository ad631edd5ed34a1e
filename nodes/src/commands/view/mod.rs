//! A run as it goes on, in front of a person or a program.
//!
//! A view keeps no state of its own about the run: the run is replayed here from its journal, as
//! everywhere, and a view prints what an entry changed.
//!
//! ```text
//!   words.rs   stages, steps and outcomes in words, for all views
//!   tree.rs    a live tree on a terminal
//!   plain.rs   a line with the time for each change
//!   json.rs    a JSON object for each change
//!   tail.rs    the step that failed, and its last lines
//! ```

mod json;
mod plain;
pub(super) mod tail;
mod tree;
mod words;

pub(super) use words::{Names, farewell, sign as mark, stage_line};

use super::clock;
use super::fault::Fault;
use super::screen::{Progress, Screen};
use super::waiting::Reasons;
use otto_core::ids::StageId;
use otto_core::run::Run;
use otto_core::run::event::Entry;
use otto_core::time::Timestamp;
use plain::Plain;
use tail::Tail;
use tree::Tree;

/// One way of showing a run.
pub(super) enum View {
    /// A live tree.
    Tree(Tree),
    /// A line for each change.
    Plain(Plain),
    /// A JSON object for each change.
    Json,
    /// Nothing before the end.
    Quiet,
}

impl View {
    /// The view that the screen and the arguments ask for.
    pub(super) fn new(screen: &Screen, changes_as_json: bool) -> Self {
        match screen.progress {
            _ if changes_as_json => Self::Json,
            Progress::Tree | Progress::Auto => Self::Tree(Tree::default()),
            Progress::Plain => Self::Plain(Plain::default()),
            Progress::Quiet => Self::Quiet,
        }
    }

    /// Whether it wants to be drawn again as time passes.
    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Tree(_) | Self::Plain(_))
    }

    /// Shows what an entry changed; `run` has taken it in already.
    pub(super) fn entry(&mut self, screen: &Screen, run: &Run, entry: &Entry) -> Result<(), Fault> {
        match self {
            Self::Tree(_) | Self::Quiet => Ok(()),
            Self::Plain(plain) => {
                plain.entry(run, entry);
                Ok(())
            }
            Self::Json => {
                for object in json::changes(run, entry) {
                    screen.data(format!("{object}\n"))?;
                }
                Ok(())
            }
        }
    }

    /// Shows why a stage waits that no agent can serve. A tree has it below the stage.
    pub(super) fn waits(&mut self, run: &Run, stage: StageId, reason: &str) {
        match self {
            Self::Plain(plain) => {
                plain.add(clock::now(), format!("{}: {reason}", run.plan().path(stage)));
            }
            Self::Tree(_) | Self::Json | Self::Quiet => {}
        }
    }

    /// Shows how a stage failed, with the end of its log: above everything that still moves.
    pub(super) fn failure(&mut self, screen: &Screen, tail: &Tail) {
        match self {
            Self::Tree(tree) => {
                tree.clear();
                screen.tell(tail.rendered(screen.err));
            }
            Self::Plain(plain) => {
                plain.block(tail.at, tail.rendered(screen.err));
            }
            Self::Quiet => screen.tell(tail.rendered(screen.err)),
            Self::Json => {}
        }
    }

    /// Says something in between.
    pub(super) fn say(&mut self, screen: &Screen, text: &str) {
        match self {
            Self::Tree(tree) => tree.clear(),
            Self::Plain(plain) => plain.flush(screen),
            Self::Json | Self::Quiet => {}
        }
        screen.tell(text);
    }

    /// Draws what moves.
    pub(super) fn draw(&mut self, screen: &Screen, run: &Run, reasons: &Reasons, now: Timestamp) {
        match self {
            Self::Tree(tree) => tree.draw(screen.err, run, reasons, now),
            Self::Plain(plain) => plain.draw(screen, run, now),
            Self::Json | Self::Quiet => {}
        }
    }

    /// Leaves what moved where it ended, all of it.
    pub(super) fn leave(&mut self, screen: &Screen, run: &Run, reasons: &Reasons, now: Timestamp) {
        match self {
            Self::Tree(tree) => tree.leave(screen.err, run, reasons, now),
            Self::Plain(plain) => plain.flush(screen),
            Self::Json | Self::Quiet => {}
        }
    }
}
