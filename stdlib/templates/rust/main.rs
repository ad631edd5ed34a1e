//! Greets somebody in the log, and captures whom.

use otto_stdlib::sdk::{Exit, Step, StepError};
use std::process::ExitCode;

fn main() -> ExitCode {
    Exit::of(greet())
}

fn greet() -> Result<Exit, StepError> {
    let step = Step::from_arguments()?;
    let name = step.text("name")?;
    let text = format!("{}, {name}!", step.setting("greeting"));
    println!("{}", if step.truth("loud")? { text.to_uppercase() } else { text });
    step.capture("greeted", name)?;
    Ok(Exit::Success)
}
