//! `otto-step-parameter NAME`: prints a parameter of the step, for steps that are shell scripts.

use super::failed;
use crate::invocation::VARIABLE;
use crate::sdk::{Exit, Step, StepError};
use otto_core::value::Value;
use std::io::Write;
use std::path::Path;

pub(super) fn run() -> Result<Exit, StepError> {
    let mut words = std::env::args_os().skip(1).map(std::ffi::OsString::into_string);
    let (Some(Ok(name)), None) = (words.next(), words.next()) else {
        let usage = "print a parameter: write `otto-step-parameter NAME`";
        return Err(StepError::Other(usage.to_owned()));
    };
    let path = std::env::var_os(VARIABLE).ok_or(StepError::NotInvoked)?;
    let step = Step::from_invocation(Path::new(&path))?;
    let invocation = step.invocation();
    let settings = &invocation.configuration;
    let Some(plain) = invocation.parameters.get(&name).or_else(|| settings.get(&name)) else {
        let known: Vec<&str> =
            invocation.parameters.keys().chain(settings.keys()).map(String::as_str).collect();
        let help = crate::problem::instead(&name, &known)
            .unwrap_or_else(|| "this step has none".to_owned());
        return Err(failed(&format!("print the parameter '{name}'"), help));
    };
    let value = &plain.0;
    if *value != Value::Absent {
        writeln!(std::io::stdout(), "{value}").map_err(|error| failed("print", error))?;
    }
    Ok(Exit::Success)
}
