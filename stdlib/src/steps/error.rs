//! `error`: fails, and says why.

use super::failed;
use crate::sdk::{Exit, Step, StepError};
use std::io::Write;

pub(super) fn run(step: &Step) -> Result<Exit, StepError> {
    let line = format!("error: {}\n", step.text("message")?);
    std::io::stderr().write_all(line.as_bytes()).map_err(|error| failed("print", error))?;
    Ok(Exit::Failure)
}
