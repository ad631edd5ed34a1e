//! `otto completions`: what a shell needs to complete commands and options.

use super::fault::{Exit, Fault};
use super::{Context, Otto};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// The command's arguments.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  otto completions bash > ~/.local/share/bash-completion/completions/otto"
)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Otto::command(), "otto", &mut text);
        context.screen.data(text)?;
        Ok(Exit::Done)
    }
}
