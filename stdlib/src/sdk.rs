//! What a step written in Rust uses: its arguments, and its agent's ear.
//!
//! ```no_run
//! use otto_stdlib::sdk::{Exit, Step, StepError};
//!
//! fn greet() -> Result<Exit, StepError> {
//!     let step = Step::from_arguments()?;
//!     let name = step.text("name")?;
//!     println!("{}, {name}!", step.setting("greeting"));
//!     step.capture("greeted", name)?;
//!     Ok(Exit::Success)
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     Exit::of(greet())
//! }
//! ```

mod link;

pub use link::{ArtifactReader, ArtifactWriter};

use crate::control_socket::{Callback, Credential, Status, Variable, Verdict};
use crate::http::{Malformed, encode};
use crate::invocation::{self, Invocation, InvocationError};
use crate::plain::Plain;
use link::Link;
use otto_core::value::Value;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// A step that is running.
#[derive(Debug)]
pub struct Step {
    invocation: Invocation,
}

/// How a step ends, as its exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It did what it should: 0.
    Success,
    /// It did not: 1.
    Failure,
    /// It ended because somebody wanted it to: 2.
    Aborted,
    /// It did, with reservations: 3.
    Unstable,
}

impl Exit {
    /// The exit code of a step's result; what failed is printed.
    #[must_use]
    pub fn of(result: Result<Self, StepError>) -> ExitCode {
        let exit = result.unwrap_or_else(|error| {
            // In one write, so that it stays one line beside what others print.
            std::io::stderr().write_all(format!("error: failed to {error}\n").as_bytes()).ok();
            Self::Failure
        });
        ExitCode::from(match exit {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Aborted => 2,
            Self::Unstable => 3,
        })
    }
}

/// Why a step cannot go on. Its text fits behind "failed to".
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Nobody said which invocation file.
    #[error(
        "find the invocation file: give its path as the argument, or in {}",
        invocation::VARIABLE
    )]
    NotInvoked,
    /// The invocation file cannot be used.
    #[error(transparent)]
    Invocation(#[from] InvocationError),
    /// An argument is missing or of another type.
    #[error("use the argument '{name}': expected {expected}, found {found}")]
    Argument {
        /// Its name.
        name: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The step was started without a control socket.
    #[error("ask the agent: this step was started without a control socket")]
    NoControl,
    /// The control socket did not answer.
    #[error("ask the agent at {at}: {cause}")]
    Unreachable {
        /// Where its socket is.
        at: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The agent answered what is no answer.
    #[error("understand the agent's answer: {0}")]
    Malformed(String),
    /// The agent said no.
    #[error("{error}")]
    Refused {
        /// The status code.
        status: u16,
        /// Why.
        error: String,
    },
    /// Anything else: what the step tried, and why that failed.
    #[error("{0}")]
    Other(String),
}

impl From<Malformed> for StepError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.to_string())
    }
}

impl Step {
    /// The step whose invocation file is the first argument, or else stands in `OTTO_INVOCATION`.
    ///
    /// # Errors
    /// When neither names a file that can be used.
    pub fn from_arguments() -> Result<Self, StepError> {
        let path = std::env::args_os().nth(1).or_else(|| std::env::var_os(invocation::VARIABLE));
        Self::from_invocation(Path::new(&path.ok_or(StepError::NotInvoked)?))
    }

    /// The step of this invocation file.
    ///
    /// # Errors
    /// When the file is missing, damaged, or of a later version.
    pub fn from_invocation(path: &Path) -> Result<Self, StepError> {
        Ok(Self { invocation: Invocation::read(path)? })
    }

    /// What it was started with.
    #[must_use]
    pub fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// The text of a parameter.
    ///
    /// # Errors
    /// When it is missing or no text.
    pub fn text(&self, name: &str) -> Result<&str, StepError> {
        self.optional_text(name)?.ok_or_else(|| self.unfit(name, "text"))
    }

    /// The text of a parameter that may have been left out.
    ///
    /// # Errors
    /// When it is no text.
    pub fn optional_text(&self, name: &str) -> Result<Option<&str>, StepError> {
        match self.invocation.parameter(name) {
            Value::Text(text) => Ok(Some(text)),
            Value::Absent => Ok(None),
            Value::Number(_) | Value::Boolean(_) | Value::List(_) => Err(self.unfit(name, "text")),
        }
    }

    /// The truth of a parameter.
    ///
    /// # Errors
    /// When it is missing or neither true nor false.
    pub fn truth(&self, name: &str) -> Result<bool, StepError> {
        match self.invocation.parameter(name) {
            Value::Boolean(truth) => Ok(*truth),
            Value::Text(_) | Value::Number(_) | Value::List(_) | Value::Absent => {
                Err(self.unfit(name, "true or false"))
            }
        }
    }

    /// A setting of the library, as text; empty where it has no value.
    #[must_use]
    pub fn setting(&self, name: &str) -> String {
        self.invocation.configuration.get(name).map(|plain| plain.0.to_string()).unwrap_or_default()
    }

    fn unfit(&self, name: &str, expected: &'static str) -> StepError {
        let found = self.invocation.parameter(name).type_name().to_owned();
        StepError::Argument { name: name.to_owned(), expected, found }
    }

    /// Sets how the step counts, unless its exit code is worse.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub fn status(&self, status: Status, message: &str) -> Result<(), StepError> {
        let verdict = Verdict { status, message: message.to_owned() };
        self.link()?.tell("POST", "/v1/status", Some(&verdict))
    }

    /// Ends the run after this step.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub fn end(&self, status: Status, message: &str) -> Result<(), StepError> {
        let verdict = Verdict { status, message: message.to_owned() };
        self.link()?.tell("POST", "/v1/end", Some(&verdict))
    }

    /// Captures a variable: later steps see `VAR_<NAME>`, and later stages what `outputs` declares.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub fn capture(&self, name: &str, value: &str) -> Result<(), StepError> {
        self.capture_value(name, Value::Text(value.to_owned()))
    }

    /// Captures a variable of another type than text.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub fn capture_value(&self, name: &str, value: Value) -> Result<(), StepError> {
        let variable = Variable { name: name.to_owned(), value: Plain(value) };
        self.link()?.tell("POST", "/v1/variables", Some(&variable))
    }

    /// Forgets a captured variable.
    ///
    /// # Errors
    /// When the agent cannot be asked or refuses.
    pub fn drop_variable(&self, name: &str) -> Result<(), StepError> {
        let target = format!("/v1/variables/{}", encode(name));
        self.link()?.tell("DELETE", &target, None::<&()>)
    }

    /// Retrieves a credential that was granted to the step's library.
    ///
    /// # Errors
    /// When it was not granted, or the agent cannot be asked.
    pub fn credential(&self, name: &str) -> Result<Credential, StepError> {
        self.link()?.ask("GET", &format!("/v1/credentials/{}", encode(name)))
    }

    /// The address of a callback that a gate of the step's stage waits for.
    ///
    /// # Errors
    /// When there is no such gate, or the agent cannot be asked.
    pub fn callback(&self, name: &str) -> Result<Callback, StepError> {
        self.link()?.ask("POST", &format!("/v1/callbacks/{}", encode(name)))
    }

    /// Begins to keep an artifact: write its bytes, then finish.
    ///
    /// # Errors
    /// When the agent cannot be asked.
    pub fn keep_artifact(&self, name: &str) -> Result<ArtifactWriter, StepError> {
        self.link()?.keep(&format!("/v1/artifacts/{}", encode(name)))
    }

    /// Reads an artifact of this run.
    ///
    /// # Errors
    /// When there is none of this name, or the agent cannot be asked.
    pub fn fetch_artifact(&self, name: &str) -> Result<ArtifactReader, StepError> {
        self.link()?.fetch(&format!("/v1/artifacts/{}", encode(name)))
    }

    fn link(&self) -> Result<Link, StepError> {
        let control = self.invocation.control.as_ref().ok_or(StepError::NoControl)?;
        Link::open(control)
    }
}
