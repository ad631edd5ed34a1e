//! `otto init`: writes down the pipeline that the repository's contents suggest.

use super::fault::{Exit, Fault, Id};
use super::repository::OTTOFILE;
use super::{Context, draft};
use clap::Args;
use otto_lang::conventions::{self, Convention};
use serde_json::json;

/// What a repository that follows no convention begins with.
const LEAST: &str = "\
// Nothing was recognised here, so this is the smallest pipeline: write your own steps.
pipeline {
  steps { sh 'echo hello' }
}
";

/// The command's arguments.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  otto init           write ./Ottofile\n  otto init --print   only show it"
)]
pub(super) struct Init {
    /// Overwrite an Ottofile that is there
    #[arg(long)]
    force: bool,
    /// Print it instead of writing it
    #[arg(long)]
    print: bool,
}

impl Init {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let repository = context.repository()?;
        let found = conventions::recognise(&draft::readable(&repository, None)?);
        let text = if found.is_empty() { LEAST.to_owned() } else { conventions::ottofile(&found) };
        let names: Vec<&str> = found.iter().map(|convention| convention.name).collect();
        if self.print {
            let page = json!({ "ottofile": text, "conventions": names });
            context.screen.data(if context.json { format!("{page}\n") } else { text })?;
            return Ok(Exit::Done);
        }
        let path = repository.root.join(OTTOFILE);
        let place = path.display().to_string();
        write(&path, &text, self.force).map_err(|error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                Fault::usage(Id::AlreadyThere, "there is an Ottofile already").at(&place).help(
                    "`otto init --force` overwrites it, `otto init --print` only shows the new one",
                )
            } else {
                Fault::infrastructure(Id::Unreadable, format!("cannot write: {error}")).at(&place)
            }
        })?;
        if context.json {
            let page = json!({ "written": place, "conventions": names });
            context.screen.data(format!("{page}\n"))?;
        }
        context.screen.tell(format!("wrote {OTTOFILE}: {}", summary(&found)));
        context.screen.tell("next: otto explain, otto run");
        Ok(Exit::Done)
    }
}

fn write(path: &std::path::Path, text: &str, force: bool) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(path)?.write_all(text.as_bytes())
}

/// What was recognised, in a line.
pub(super) fn summary(found: &[Convention]) -> String {
    if found.is_empty() {
        return "nothing was recognised here, so it says hello".to_owned();
    }
    let lines: Vec<String> = found.iter().map(Convention::headline).collect();
    format!("found {}", lines.join("; "))
}
