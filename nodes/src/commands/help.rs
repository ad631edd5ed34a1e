//! `otto help`: commands and topics.

use super::fault::{Exit, Fault, Id};
use super::{Context, Otto};
use clap::{Args, CommandFactory};

/// The topics, each with what it says.
const TOPICS: [(&str, &str); 3] = [
    (
        "exit-codes",
        "\
Exit codes

    0   the command did what it should; of `run`, `watch` and `retry`: the run succeeded,
        or was unstable and --strict was not given
    1   the run failed, timed out or was lost, or was unstable under --strict
    2   the command or the plan is wrong; nothing was started
    3   the run was cancelled
    4   you are not signed in
    5   the node, the machine or the disk is in trouble; runs are safe, and go on when it is over
    8   --timeout was reached; the run goes on
  130   interrupted; the run goes on
",
    ),
    (
        "environment",
        "\
Environment

  OTTO_HOME       the folder with the local node's data and socket
  OTTO_COLOR      auto, always or never; NO_COLOR=1 is the same as never
  OTTO_PROGRESS   auto, tree, plain or quiet
  OTTO_STRICT     true: an unstable run ends with code 1
  OTTO_TIMEOUT    how long to wait for a run, such as 20m
  OTTO_CONTEXT    the cluster to speak with, as `otto ctx` lists them; local is this machine's node
  OTTO_TOKEN      what `otto login` signs in with

`otto config --show-origin` shows what counts now, and why.
",
    ),
    (
        "files",
        "\
Files

  Ottofile            the default pipeline; without one, Otto infers it from the repository
  ci/NAME.otto        the pipeline that `otto run NAME` runs
  otto.toml           settings of this repository
  .gitignore          what it names is not part of a run
  ~/.config/otto/config.toml   your settings
  ~/.config/otto/contexts/     the clusters that you are signed in to, and your tokens
",
    ),
];

/// The command's arguments.
#[derive(Args, Debug)]
pub(super) struct Help {
    /// A command, or a topic: exit-codes, environment, files
    what: Vec<String>,
}

impl Help {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let mut command = Otto::command();
        command.build();
        let Some(first) = self.what.first() else {
            context.screen.data(render(&mut command, context))?;
            return Ok(Exit::Done);
        };
        if let Some((_, page)) = TOPICS.iter().find(|(name, _)| name == first) {
            context.screen.data(page)?;
            return Ok(Exit::Done);
        }
        let mut found = &mut command;
        for word in &self.what {
            let Some(inner) = found.find_subcommand_mut(word) else {
                let topics: Vec<&str> = TOPICS.iter().map(|(name, _)| *name).collect();
                let what = format!("there is no command or topic '{word}'");
                return Err(Fault::usage(Id::BadArgument, what).help(format!(
                    "topics are {}; `otto help` lists the commands",
                    topics.join(", ")
                )));
            };
            found = inner;
        }
        context.screen.data(render(found, context))?;
        Ok(Exit::Done)
    }
}

fn render(command: &mut clap::Command, context: &Context) -> String {
    let help = command.render_help();
    if context.screen.out.colored { help.ansi().to_string() } else { help.to_string() }
}
