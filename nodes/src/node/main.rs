//! Which process this is: one executable image serves every role, told apart by its name.

use super::child::Role;
use crate::launcher;
use crate::wire::release::Release;
use std::env;
use std::path::Path;
use std::process::ExitCode;

/// Runs the process that this one's name stands for. Nothing comes before this: no runtime, no
/// argument parser, no log.
#[must_use]
pub fn main(release: Release) -> ExitCode {
    release.begin();
    let name = env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(code) = launcher::dispatch(&name) {
        return code;
    }
    if let Some(role) = Role::named(&name) {
        let argument = env::args_os().nth(1).and_then(|argument| argument.into_string().ok());
        return super::process::main(role, argument);
    }
    if name == "otto-node" { super::command::main() } else { crate::commands::main() }
}
