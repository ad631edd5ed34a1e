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
  OTTO_COLOR      auto, always or never
  OTTO_PROGRESS   auto, tree, plain or quiet
  OTTO_STRICT     true: an unstable run ends with code 1
  OTTO_TIMEOUT    how long to wait for a run, such as 20m
  OTTO_CONTEXT    the cluster to speak with, as `otto ctx` lists them; local is this machine's node
  OTTO_TOKEN      what `otto login` signs in with
  NO_COLOR        anything: no colours, as OTTO_COLOR=never

  XDG_STATE_HOME, XDG_CONFIG_HOME and HOME say where those folders are that are not named.

Of a node, and of the local node when `otto` starts it:

  OTTO_IDLE       how long the local node stays when nothing is to be done [default: 5m]
  OTTO_OBJECTS    the URL of the folder or bucket that all nodes share for artifacts and logs;
                  a bucket's keys and region are in AWS_…
  OTTO_TRACE      what it writes to the folder traces of its data, such as info,otto_nodes=debug

Of `otto-node join`:

  OTTO_JOIN_TOKEN   the token, out of sight of whoever lists processes

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

#[cfg(test)]
mod tests {
    use super::TOPICS;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// The variables of Otto's own that a text names: of sources only those in quotes.
    fn named(text: &str, quoted: bool) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (at, _) in text.match_indices("OTTO_").chain(text.match_indices("NO_COLOR")) {
            let end = text[at..].find(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            let name = end.map_or(&text[at..], |end| &text[at..at + end]);
            let before = text[..at].chars().next_back();
            let behind = text[at + name.len()..].chars().next();
            let in_quotes = before == Some('"') && behind == Some('"');
            let alone = !before.is_some_and(char::is_alphanumeric) && !name.ends_with('_');
            if alone && (in_quotes || !quoted) {
                names.insert(name.to_owned());
            }
        }
        names
    }

    fn read_in(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str());
            let is_test = matches!(name, Some("tests" | "tests.rs" | "golden.rs"));
            if is_test {
                continue;
            }
            if path.is_dir() {
                read_in(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(named(&fs::read_to_string(&path).expect("a source"), true));
            }
        }
    }

    #[test]
    fn every_variable_that_is_read_is_on_the_page() {
        let mut read = BTreeSet::new();
        read_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut read);
        let page = TOPICS.iter().find(|(name, _)| *name == "environment").expect("a topic").1;
        assert_eq!(named(page, false), read);
        assert!(read.contains("OTTO_IDLE") && read.contains("OTTO_HOME"), "{read:?}");
    }
}
