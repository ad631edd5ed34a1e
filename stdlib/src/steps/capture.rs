//! `otto-step-capture NAME VALUE`: captures a variable from a script.

use super::failed;
use crate::invocation::VARIABLE;
use crate::sdk::{Exit, Step, StepError};
use std::path::Path;

pub(super) fn run() -> Result<Exit, StepError> {
    let mut words = std::env::args_os().skip(1).map(std::ffi::OsString::into_string);
    let (Some(Ok(name)), Some(Ok(value)), None) = (words.next(), words.next(), words.next()) else {
        let usage = "capture a variable: write `otto-step-capture NAME VALUE`, in UTF-8";
        return Err(StepError::Other(usage.to_owned()));
    };
    let path = std::env::var_os(VARIABLE).ok_or_else(|| {
        // Scripts get a control socket where their stage has outputs to capture.
        let help = format!("write `outputs {{ {name} {{ type = string }} }}` in the stage");
        failed(&format!("capture '{name}'"), help)
    })?;
    Step::from_invocation(Path::new(&path))?.capture(&name, &value)?;
    Ok(Exit::Success)
}
