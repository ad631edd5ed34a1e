//! Standard output and standard error: data goes to the one, everything else to the other.

use super::fault::{Exit, Fault, Id};
use clap::ValueEnum;
use std::io::{self, IsTerminal, Write};

/// When to use colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// How a run is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum Progress {
    /// A tree on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    /// A live tree of stages.
    Tree,
    /// A line for each change, with the time.
    Plain,
    /// Only how it ended.
    Quiet,
}

/// Both outputs of the command.
#[derive(Debug)]
pub(super) struct Screen {
    stdout: io::Stdout,
    stderr: io::Stderr,
    /// How to paint what goes to standard output.
    pub(super) out: Paint,
    /// How to paint what goes to standard error.
    pub(super) err: Paint,
    /// How a run is shown; never `Auto`.
    pub(super) progress: Progress,
}

impl Screen {
    /// Looks at the terminal and the environment once.
    #[must_use]
    pub(super) fn new(color: Color, progress: Progress) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let paint = |terminal: bool| match color {
            Color::Always => Paint { colored: true },
            Color::Never => Paint { colored: false },
            Color::Auto => Paint { colored: terminal && !dumb && !unwanted },
        };
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let terminal = stderr.is_terminal();
        let progress = match progress {
            Progress::Auto if terminal && !dumb => Progress::Tree,
            Progress::Auto => Progress::Plain,
            Progress::Tree | Progress::Plain | Progress::Quiet => progress,
        };
        Self { out: paint(stdout.is_terminal()), err: paint(terminal), progress, stdout, stderr }
    }

    /// Writes data. A reader that has left ends the command without a word.
    ///
    /// # Errors
    /// When nobody reads any more, or the output cannot be written.
    pub(super) fn data(&self, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(bytes.as_ref()).and_then(|()| stdout.flush()).map_err(|error| match error
            .kind()
        {
            io::ErrorKind::BrokenPipe => Fault::ReaderLeft,
            _ => Fault::infrastructure(Id::Unreadable, format!("cannot write: {error}"))
                .at("standard output"),
        })
    }

    /// Tells a person something. Where nobody reads it, there is nobody to complain to.
    pub(super) fn tell(&self, text: impl AsRef<str>) {
        let mut stderr = self.stderr.lock();
        stderr.write_all(text.as_ref().as_bytes()).and_then(|()| stderr.write_all(b"\n")).ok();
    }

    /// Tells how a command failed, and answers with its code. Programs that asked for JSON get the
    /// error as such, too.
    pub(super) fn report(&self, fault: &Fault, json: bool) -> Exit {
        match fault {
            Fault::Told(told) => {
                if json {
                    // Where nobody reads it, the person is told all the same.
                    self.data(format!("{}\n", told.page())).ok();
                }
                self.tell(told.rendered(self.err));
                told.exit
            }
            Fault::ReaderLeft => Exit::Done,
            Fault::Silent(exit) => *exit,
        }
    }
}

/// Colours, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Paint {
    /// Whether colours are used at all.
    pub(super) colored: bool,
}

impl Paint {
    /// No colours.
    #[must_use]
    pub(super) const fn plain() -> Self {
        Self { colored: false }
    }

    fn with(self, codes: &str, text: &str) -> String {
        if self.colored { format!("\x1b[{codes}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What is wrong.
    #[must_use]
    pub(super) fn error(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// What to look at.
    #[must_use]
    pub(super) fn warning(self, text: &str) -> String {
        self.with("1;33", text)
    }

    /// What is good to know.
    #[must_use]
    pub(super) fn help(self, text: &str) -> String {
        self.with("1;36", text)
    }

    /// What went well.
    #[must_use]
    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Lines and arrows.
    #[must_use]
    pub(super) fn mark(self, text: &str) -> String {
        self.with("34", text)
    }

    /// What is there for completeness.
    #[must_use]
    pub(super) fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    /// What stands out.
    #[must_use]
    pub(super) fn strong(self, text: &str) -> String {
        self.with("1", text)
    }
}
