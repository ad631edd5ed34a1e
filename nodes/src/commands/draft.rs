//! From a repository to a plan: its Ottofile, a named pipeline, or what its contents suggest.

use super::fault::{Exit, Fault, Id};
use super::repository::{EXTENSION, OTTOFILE, PIPELINES, Repository};
use super::snapshot;
use super::{Context, check};
use otto_core::plan::{Origin, Plan};
use otto_core::step::Library;
use otto_lang::conventions::{self, Broken, Convention, Listing, NAMES};
use otto_lang::{Diagnostic, Request, Severity, Source, Surroundings};
use otto_stdlib::Problems;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// A plan that was not submitted yet.
pub(super) struct Draft {
    /// The plan.
    pub(super) plan: Plan,
    /// What it was inferred from; empty where an Ottofile says it.
    pub(super) inferred: Vec<Convention>,
    /// There is a file, and it leaves the pipeline to the conventions.
    pub(super) asked_for: bool,
    /// The text that it was made of.
    pub(super) source: Source,
    /// What is not wrong, but worth a look.
    pub(super) warnings: Vec<Diagnostic>,
}

/// Values for parameters, as text.
pub(super) type Values = BTreeMap<String, String>;

/// A file that was read, and how to plan it.
pub(super) struct Reading {
    /// Its text.
    pub(super) source: Source,
    /// What was inferred, where the file or its absence leaves it to the conventions.
    pub(super) inferred: Vec<Convention>,
    /// There is a file.
    pub(super) there: bool,
}

/// Makes the plan of a pipeline, and prints what is wrong with it.
///
/// # Errors
/// When there is nothing to plan, or it is wrong.
pub(super) fn draft(
    context: &Context,
    repository: &Repository,
    pipeline: Option<&str>,
    values: &Values,
) -> Result<Draft, Fault> {
    let reading = read(repository, pipeline)?;
    let parsed = otto_lang::parse(&reading.source);
    let libraries = libraries(context, repository, &parsed)?;
    let name = match pipeline {
        Some(name) => name.to_owned(),
        None => "default".to_owned(),
    };
    let surroundings = Surroundings {
        pipeline: name,
        revision: repository.revision(),
        parameters: values.clone(),
        libraries: &libraries,
        planned_steps: otto_stdlib::PLANNED,
        repository: &Files(repository),
    };
    match otto_lang::plan(&parsed, &surroundings) {
        Ok((mut plan, warnings)) => {
            if !reading.inferred.is_empty() {
                plan.origin = Origin::Convention {
                    names: reading.inferred.iter().map(|found| found.name.to_owned()).collect(),
                    reasons: conventions::reasons(&reading.inferred),
                };
            }
            let asked_for = reading.there && !reading.inferred.is_empty();
            let Reading { source, inferred, .. } = reading;
            Ok(Draft { plan, inferred, asked_for, source, warnings })
        }
        Err(problems) => {
            show(context, &problems, &reading.source);
            let what = count(&problems, &reading.source.name);
            context.screen.tell(&what);
            if context.json {
                let mut page = check::page(&reading.source, &problems);
                page["error"] = json!({ "what": what, "exit": Exit::Usage as u8 });
                context.screen.data(format!("{page}\n"))?;
            }
            Err(Fault::Silent(Exit::Usage))
        }
    }
}

/// Finds and reads a pipeline's text.
///
/// # Errors
/// When there is no such pipeline, or nothing that suggests one.
pub(super) fn read(repository: &Repository, pipeline: Option<&str>) -> Result<Reading, Fault> {
    let name = Repository::file(pipeline);
    if let Some(pipeline) = pipeline.filter(|pipeline| !is_name(pipeline)) {
        return Err(unknown_pipeline(repository, pipeline, &name));
    }
    let Some(text) = repository.text(&name)? else {
        return match pipeline {
            None => infer(repository, None, OTTOFILE, false),
            Some(pipeline) => Err(unknown_pipeline(repository, pipeline, &name)),
        };
    };
    let source = Source { name: name.clone(), text };
    match otto_lang::request(&otto_lang::parse(&source)) {
        Request::Written => Ok(Reading { source, inferred: Vec::new(), there: true }),
        Request::Inferred { convention, .. } => {
            infer(repository, convention.as_deref(), &name, true)
        }
    }
}

fn infer(
    repository: &Repository,
    convention: Option<&str>,
    name: &str,
    there: bool,
) -> Result<Reading, Fault> {
    let listing = readable(repository, convention)?;
    let inferred = match convention {
        None => conventions::recognise(&listing),
        Some(named) => conventions::named(named, &listing).into_iter().collect(),
    };
    if inferred.is_empty() {
        let fault = nothing_to_run(repository, convention, there.then_some(name));
        return Err(conventions::passed_over(&listing).into_iter().fold(fault, Fault::help));
    }
    let text = conventions::ottofile(&inferred);
    Ok(Reading { source: Source { name: name.to_owned(), text }, inferred, there })
}

/// What lies at the repository's top, where the conventions, or the named one, can read all that
/// they look into.
///
/// # Errors
/// The first file that is not what its name promises: what follows from it would be a guess.
pub(super) fn readable(
    repository: &Repository,
    convention: Option<&str>,
) -> Result<Listing, Fault> {
    let listing = repository.listing()?;
    let mut broken = conventions::broken(&listing).into_iter();
    let asked = |broken: &Broken| convention.is_none_or(|named| named == broken.convention);
    let Some(first) = broken.find(asked) else { return Ok(listing) };
    let path = repository.root.join(first.file).display().to_string();
    let place = first.line.map_or(path.clone(), |line| format!("{path}:{line}"));
    let what = format!("cannot read {}: {}", first.file, first.what);
    Err(Fault::usage(Id::BrokenManifest, what)
        .at(place)
        .help("put it right: its own tool could not read it either")
        .help("or write the stages down in an Ottofile, which needs no such file"))
}

fn nothing_to_run(repository: &Repository, convention: Option<&str>, file: Option<&str>) -> Fault {
    let what = match (convention, file) {
        (None, Some(file)) => {
            format!("{file} leaves the pipeline to the repository, and nothing here suggests one")
        }
        (None, None) => {
            "there is no Ottofile, and nothing here that suggests a pipeline".to_owned()
        }
        (Some(named), _) => format!("this repository does not follow the convention '{named}'"),
    };
    let fault = Fault::usage(Id::NoPipeline, what).at(repository.root.display().to_string());
    let fault = match convention.filter(|named| !NAMES.contains(named)) {
        None => fault,
        Some(unknown) => match otto_lang::nearest(unknown, NAMES) {
            Some(near) => fault.help(format!("did you mean '{near}'?")),
            None => fault.help(format!("conventions are: {}", NAMES.join(", "))),
        },
    };
    let fault = fault.help("write the smallest Ottofile: pipeline { steps { sh 'echo hello' } }");
    match repository.pipelines().as_slice() {
        [] => fault,
        names => fault.help(format!("or run one of: {}", names.join(", "))),
    }
}

/// Whether a pipeline can have this name: its file lies in the folder of pipelines.
fn is_name(pipeline: &str) -> bool {
    Path::new(pipeline).components().all(|part| matches!(part, Component::Normal(_)))
}

fn unknown_pipeline(repository: &Repository, pipeline: &str, file: &str) -> Fault {
    let fault = Fault::usage(Id::UnknownPipeline, format!("there is no pipeline '{pipeline}'"))
        .at(repository.root.join(file).display().to_string());
    let names = repository.pipelines();
    let default = if repository.root.join(OTTOFILE).exists() {
        format!("without a name, {OTTOFILE} is meant")
    } else {
        "without a name, what this repository suggests is meant".to_owned()
    };
    let stem = pipeline.strip_prefix(&format!("{PIPELINES}/")).unwrap_or(pipeline);
    let stem = stem.strip_suffix(&format!(".{EXTENSION}")).unwrap_or(stem);
    if stem != pipeline && names.iter().any(|name| name == stem) {
        return fault.help(format!("the pipeline in that file is called '{stem}'"));
    }
    match otto_lang::nearest(pipeline, names.iter().map(String::as_str)) {
        Some(near) => fault.help(format!("did you mean '{near}'?")),
        None if names.is_empty() => {
            fault.help(format!("the folder {PIPELINES} has no pipelines; {default}"))
        }
        None => fault.help(format!("there are: {}; {default}", names.join(", "))),
    }
}

/// The step libraries that a file uses, and the one that comes with Otto.
fn libraries(
    context: &Context,
    repository: &Repository,
    parsed: &otto_lang::Parsed,
) -> Result<BTreeMap<String, Library>, Fault> {
    let mut libraries =
        BTreeMap::from([(otto_stdlib::NAME.to_owned(), otto_stdlib::builtin().clone())]);
    let mut wrong = Vec::new();
    for used in otto_lang::uses(parsed) {
        let Some(folder) = used.folder() else { continue };
        // What is not there is told by the language, with the line that asks for it.
        if !repository.root.join(folder).is_dir() {
            continue;
        }
        let top = repository.git.as_deref().unwrap_or(&repository.root);
        match otto_stdlib::library::load_folder_from(top, &repository.root, folder) {
            Ok(library) => {
                libraries.insert(used.target, library);
            }
            Err(problems) => wrong.push(problems),
        }
    }
    if wrong.is_empty() { Ok(libraries) } else { Err(wrong_libraries(context, &wrong)) }
}

/// Tells what is wrong with step libraries: their mistakes have places of their own.
pub(super) fn wrong_libraries(context: &Context, wrong: &[Problems]) -> Fault {
    let told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    for problems in &told {
        context.screen.tell(problems);
    }
    if context.json {
        let error = json!({
            "id": Id::BadLibrary.code(), "what": told.join("\n"), "exit": Exit::Usage as u8,
        });
        context.screen.data(format!("{}\n", json!({ "error": error }))).ok();
    }
    Fault::Silent(Exit::Usage)
}

/// Prints diagnostics as rustc would.
pub(super) fn show(context: &Context, problems: &[Diagnostic], source: &Source) {
    for problem in problems {
        let text = otto_lang::render(problem, source, context.screen.err.colored);
        context.screen.tell(format!("{}\n", text.trim_end()));
    }
}

/// How many things are wrong, and where more is told about the first kind.
pub(super) fn count(problems: &[Diagnostic], file: &str) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let number = errors.clone().count();
    let more = errors.clone().any(|problem| problem.id == otto_lang::Id::MoreProblems);
    let mistakes = match number {
        1 => "one mistake".to_owned(),
        _ if more => format!("more than {} mistakes", number - 1),
        _ => format!("{number} mistakes"),
    };
    let first = errors
        .clone()
        .next()
        .map(|first| format!("; `otto explain {}` tells more about the first", first.id.code()));
    format!("{mistakes} in {file}{}", first.unwrap_or_default())
}

/// Everything that is wrong with a file. Its parameters need no values; those that are given and
/// are its own are checked.
///
/// # Errors
/// When a step library that it uses is wrong, or it leaves the pipeline to conventions that the
/// repository does not follow.
pub(super) fn check(
    context: &Context,
    repository: &Repository,
    source: &Source,
    values: &Values,
) -> Result<Vec<Diagnostic>, Fault> {
    let parsed = otto_lang::parse(source);
    if let Request::Inferred { convention, .. } = otto_lang::request(&parsed) {
        infer(repository, convention.as_deref(), &source.name, true)?;
    }
    let declared = otto_lang::parameters(&parsed);
    let mut values = values.clone();
    values.retain(|name, _| declared.contains(name));
    let libraries = libraries(context, repository, &parsed)?;
    let surroundings = Surroundings {
        pipeline: source.pipeline().to_owned(),
        revision: repository.revision(),
        parameters: values,
        libraries: &libraries,
        planned_steps: otto_stdlib::PLANNED,
        repository: &Files(repository),
    };
    Ok(otto_lang::check(&parsed, &surroundings))
}

/// The repository's files, as the language asks for them.
struct Files<'a>(&'a Repository);

impl otto_lang::Repository for Files<'_> {
    fn files(&self, patterns: &[String]) -> Result<String, String> {
        snapshot::digest_of(self.0, patterns)
    }

    fn changed(&self) -> Option<Vec<String>> {
        // Against what a local run would be compared, nobody has said.
        None
    }
}

/// Reads `NAME=VALUE`.
///
/// # Errors
/// What was expected.
pub(super) fn value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("write NAME=VALUE, such as --param target=preprod".to_owned()),
    }
}
