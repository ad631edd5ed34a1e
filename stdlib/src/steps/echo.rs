//! `echo`: prints a text to the log.

use super::failed;
use crate::sdk::{Exit, Step, StepError};
use std::io::Write;

pub(super) fn run(step: &Step) -> Result<Exit, StepError> {
    let text = step.text("text")?;
    writeln!(std::io::stdout(), "{text}").map_err(|error| failed("print", error))?;
    Ok(Exit::Success)
}
