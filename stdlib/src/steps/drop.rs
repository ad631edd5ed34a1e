//! `drop`: forgets a captured variable.

use crate::sdk::{Exit, Step, StepError};

pub(super) fn run(step: &Step) -> Result<Exit, StepError> {
    step.drop_variable(step.text("name")?)?;
    Ok(Exit::Success)
}
