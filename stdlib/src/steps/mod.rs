//! The steps that come with Otto and run inside its image, one file each beside its manifest.
//!
//! `sh` is not among them, because its process is the shell itself, nor `dir`, which is none.

mod archive;
mod capture;
mod drop;
mod echo;
mod error;
mod files;
mod git;
mod parameter;
mod sleep;
mod tree;
mod unarchive;

use crate::sdk::{Exit, Step, StepError};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

/// What the name of an image's step begins with, as the image's own name: `otto-step-git`.
pub const PREFIX: &str = "otto-step-";

/// Commands for scripts. They find their step's invocation file in `OTTO_INVOCATION`, and lie on
/// the `PATH` of every step, as links to the image with [`PREFIX`] in front:
/// `otto-step-capture NAME VALUE` captures a variable, and `otto-step-parameter NAME` prints a
/// parameter or a setting of the step.
pub const COMMANDS: &[&str] = &["capture", "parameter"];

/// Makes a folder for `PATH`, in which the image answers to the names of its [`COMMANDS`].
///
/// # Errors
/// When the folder or a link in it cannot be made.
pub fn link_commands(folder: &Path, image: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for name in COMMANDS {
        match symlink(image, folder.join(format!("{PREFIX}{name}"))) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    Ok(())
}

/// Runs the step or command of this name, which is the image's own name without [`PREFIX`].
///
/// Call it before any runtime, argument parser or logging starts.
#[must_use]
pub fn main(name: &str) -> ExitCode {
    match name {
        "capture" => return Exit::of(capture::run()),
        "parameter" => return Exit::of(parameter::run()),
        _ => {}
    }
    let step: fn(&Step) -> Result<Exit, StepError> = match name {
        "archive" => archive::run,
        "drop" => drop::run,
        "echo" => echo::run,
        "error" => error::run,
        "git" => git::run,
        "sleep" => sleep::run,
        "unarchive" => unarchive::run,
        _ => {
            let message =
                format!("find the step '{name}': this build of Otto has none of that name");
            return Exit::of(Err(StepError::Other(message)));
        }
    };
    Exit::of(Step::from_arguments().and_then(|started| step(&started)))
}

/// An error of a step's own, from what it tried and why that failed.
fn failed(tried: &str, cause: impl std::fmt::Display) -> StepError {
    StepError::Other(format!("{tried}: {cause}"))
}
