//! `otto check`: everything that is wrong with the repository's pipelines, at once.

use super::Context;
use super::draft::{self, Values};
use super::fault::{Exit, Fault, Id};
use super::repository::{OTTOFILE, Repository};
use clap::Args;
use otto_lang::{Diagnostic, Severity, Source};
use serde_json::{Value, json};

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  otto check                           the Ottofile and every pipeline in ci/
  otto check deliver -p target=prod    ci/deliver.otto, with a value for its parameter

Parameters need no values here; one that is given is checked, too.")]
pub(super) struct Check {
    /// Files or pipelines to check [default: the Ottofile and ci/*.otto]
    files: Vec<String>,
    /// A value for a parameter of theirs
    #[arg(long = "param", short = 'p', value_name = "NAME=VALUE", value_parser = draft::value)]
    values: Vec<(String, String)>,
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
            if context.json {
                context.screen.data("[]\n")?;
            }
            return Ok(Exit::Done);
        }
        let values: Values = self.values.into_iter().collect();
        let sources: Vec<Source> =
            files.into_iter().map(|name| read(&repository, name)).collect::<Result<_, _>>()?;
        declared_somewhere(&sources, &values)?;
        let mut pages = Vec::new();
        let mut wrong = false;
        for source in sources {
            let problems = draft::check(context, &repository, &source, &values)?;
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
    let ottofile =
        repository.root.join(OTTOFILE).symlink_metadata().is_ok().then(|| OTTOFILE.to_owned());
    let named = repository.pipelines();
    ottofile.into_iter().chain(named.iter().map(|name| Repository::file(Some(name)))).collect()
}

/// Reads a file, or the pipeline of that name.
fn read(repository: &Repository, name: String) -> Result<Source, Fault> {
    if let Some(text) = repository.text(&name)? {
        return Ok(Source { name, text });
    }
    let file = Repository::file(Some(&name));
    match repository.text(&file)? {
        Some(text) => Ok(Source { name: file, text }),
        None => Err(Fault::usage(Id::UnknownPipeline, "there is no such file or pipeline")
            .at(repository.root.join(name).display().to_string())),
    }
}

/// Refuses a value for a parameter that none of the files declares.
fn declared_somewhere(sources: &[Source], values: &Values) -> Result<(), Fault> {
    if values.is_empty() {
        return Ok(());
    }
    let declared: Vec<String> = sources
        .iter()
        .flat_map(|source| otto_lang::parameters(&otto_lang::parse(source)))
        .collect();
    let Some(unknown) = values.keys().find(|name| !declared.contains(name)) else { return Ok(()) };
    let fault = Fault::usage(Id::BadArgument, format!("no pipeline has a parameter `{unknown}`"));
    Err(match otto_lang::nearest(unknown, declared.iter().map(String::as_str)) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None if declared.is_empty() => fault.help("declare it: parameters { … }"),
        None => fault.help(format!("there are: {}", declared.join(", "))),
    })
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

/// The problems of a file for programs.
pub(super) fn page(source: &Source, problems: &[Diagnostic]) -> Value {
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
