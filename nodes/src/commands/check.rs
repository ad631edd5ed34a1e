//! `otto check`: everything that is wrong with the repository's pipelines, at once.

use super::fault::{Exit, Fault, Id};
use super::repository::{OTTOFILE, Repository};
use super::{Context, draft};
use clap::Args;
use otto_lang::{Diagnostic, Severity, Source};
use serde_json::{Value, json};

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  otto check    the Ottofile and every pipeline in ci/")]
pub(super) struct Check {
    /// Files to check [default: the Ottofile and ci/*.otto]
    files: Vec<String>,
}

impl Check {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let repository = context.repository()?;
        let files = if self.files.is_empty() { all(&repository) } else { self.files };
        if files.is_empty() {
            // Without a file, the conventions must give a pipeline.
            let reading = draft::read(&repository, None)?;
            let names: Vec<&str> = reading.inferred.iter().map(|found| found.name).collect();
            context.screen.tell(format!("no Ottofile; the conventions give: {}", names.join(", ")));
            return Ok(Exit::Done);
        }
        let mut pages = Vec::new();
        let mut wrong = false;
        for name in files {
            let Some(text) = repository.text(&name)? else {
                return Err(Fault::usage(Id::UnknownPipeline, "there is no such file")
                    .at(repository.root.join(name).display().to_string()));
            };
            let source = Source { name, text };
            let problems = draft::check(context, &repository, &source)?;
            wrong |= problems.iter().any(|problem| problem.severity == Severity::Error);
            if context.json {
                pages.push(page(&source, &problems));
            } else {
                tell(context, &source, &problems);
            }
        }
        if context.json {
            context.screen.data(format!("{}\n", Value::Array(pages)))?;
        }
        Ok(if wrong { Exit::Usage } else { Exit::Done })
    }
}

/// The Ottofile, where there is one, and all named pipelines.
fn all(repository: &Repository) -> Vec<String> {
    let ottofile = repository.root.join(OTTOFILE).is_file().then(|| OTTOFILE.to_owned());
    let named = repository.pipelines();
    ottofile.into_iter().chain(named.iter().map(|name| Repository::file(Some(name)))).collect()
}

fn tell(context: &Context, source: &Source, problems: &[Diagnostic]) {
    draft::show(context, problems, source);
    let errors = problems.iter().any(|problem| problem.severity == Severity::Error);
    let line = if errors {
        draft::count(problems, &source.name)
    } else {
        format!("{} {} is fine", context.screen.err.good("✔"), source.name)
    };
    context.screen.tell(line);
}

fn page(source: &Source, problems: &[Diagnostic]) -> Value {
    let problems: Vec<Value> = problems
        .iter()
        .map(|problem| {
            let (line, column) = problem.place().map_or((0, 0), |place| {
                let before = &source.text[..source.text.floor_char_boundary(place.start)];
                let start = before.rfind('\n').map_or(0, |end| end + 1);
                (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
            });
            json!({
                "id": problem.id.code(), "severity": problem.severity, "message": problem.message,
                "line": line, "column": column, "help": problem.help,
            })
        })
        .collect();
    json!({ "file": source.name, "problems": problems })
}
