//! `error`: fails, and says why.

use crate::sdk::{Exit, Step, StepError};

pub(super) fn run(step: &Step) -> Result<Exit, StepError> {
    eprintln!("error: {}", step.text("message")?);
    Ok(Exit::Failure)
}
