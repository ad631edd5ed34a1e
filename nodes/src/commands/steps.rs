//! `otto steps`: step libraries: what there is, how to call it, and how to make one.

use super::ansi::on_one_line;
use super::fault::{Exit, Fault, Id};
use super::repository::Repository;
use super::{Context, draft, session};
use clap::{Args, Subcommand, ValueEnum};
use otto_core::step::{Library, Signature};
use otto_core::value::{Decimal, Value, ValueType};
use otto_lang::Source;
use otto_stdlib::{docs, library, package, scaffold, trial};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The command's arguments.
#[derive(Args, Debug)]
pub(super) struct Steps {
    #[command(subcommand)]
    command: StepsCommand,
}

#[derive(Subcommand, Debug)]
enum StepsCommand {
    /// List the steps that pipelines here can call
    List,
    /// Explain a step, or a library with all its steps
    Docs {
        /// The step's word, or the library's name or folder
        name: String,
    },
    /// Begin a step library that works
    New {
        /// Its folder in this repository, from the working folder, such as ci/greet
        folder: String,
        /// The language of its step
        #[arg(long, value_enum, default_value_t = Language::Shell)]
        language: Language,
    },
    /// Run a step of a library here, without a node
    Test {
        /// The library's folder
        folder: String,
        /// The step, where the library has several
        #[arg(long)]
        step: Option<String>,
        /// The step's arguments
        #[arg(value_name = "NAME=VALUE", value_parser = draft::value)]
        values: Vec<(String, String)>,
    },
    /// Pack a library, always into the same bytes, and print its digest
    Pack {
        /// The library's folder
        folder: String,
        /// The file to write [default: NAME.tar]
        #[arg(long, short, value_name = "FILE")]
        output: Option<String>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Language {
    Shell,
    Python,
    Rust,
}

impl Steps {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let repository = context.repository()?;
        match self.command {
            StepsCommand::List => list(context, &repository),
            StepsCommand::Docs { name } => explain(context, &repository, &name),
            StepsCommand::New { folder, language } => {
                let folder = repository.folder(&folder)?;
                new(context, &repository, &folder, language)
            }
            StepsCommand::Test { folder, step, values } => {
                let folder = repository.folder(&folder)?;
                test(context, &repository, &folder, step.as_deref(), &values)
            }
            StepsCommand::Pack { folder, output } => {
                let folder = repository.folder(&folder)?;
                pack(context, &repository, &folder, output.as_deref())
            }
        }
    }
}

/// The library that comes with Otto, and those that pipelines of this repository use.
fn all(context: &Context, repository: &Repository) -> Result<Vec<Library>, Fault> {
    let mut folders = BTreeSet::new();
    let named = repository.pipelines();
    let files = std::iter::once(None).chain(named.iter().map(|name| Some(name.as_str())));
    for name in files.map(Repository::file) {
        let Some(text) = repository.text(&name)? else { continue };
        let parsed = otto_lang::parse(&Source { name, text });
        let used = otto_lang::uses(&parsed);
        folders.extend(used.iter().filter_map(|used| used.folder().map(str::to_owned)));
    }
    let mut libraries = vec![otto_stdlib::builtin().clone()];
    for folder in folders {
        libraries.push(load(context, repository, &folder)?);
    }
    Ok(libraries)
}

fn load(context: &Context, repository: &Repository, folder: &str) -> Result<Library, Fault> {
    let top = repository.git.as_deref().unwrap_or(&repository.root);
    library::load_folder_from(top, &repository.root, folder)
        .map_err(|problems| draft::wrong_libraries(context, &[problems]))
}

fn list(context: &Context, repository: &Repository) -> Result<Exit, Fault> {
    let libraries = all(context, repository)?;
    if context.json {
        let steps = libraries.iter().flat_map(|library| {
            library.steps.values().map(|step| {
                json!({
                    "step": step.symbol,
                    "library": library.name,
                    "digest": library.digest.to_string(),
                    "description": step.description,
                })
            })
        });
        context.screen.data(format!("{}\n", steps.collect::<serde_json::Value>()))?;
        return Ok(Exit::Done);
    }
    for library in &libraries {
        context.screen.data(docs::list(library))?;
    }
    context.screen.tell("more about one: otto steps docs NAME");
    Ok(Exit::Done)
}

fn explain(context: &Context, repository: &Repository, name: &str) -> Result<Exit, Fault> {
    let mut libraries = all(context, repository)?;
    // What names no folder of the repository may still name a step.
    let folder = repository.folder(name).unwrap_or_else(|_| name.to_owned());
    if repository.root.join(&folder).is_dir() {
        libraries.push(load(context, repository, &folder)?);
    }
    let library = libraries.iter().rev().find(|library| match &library.source {
        otto_core::step::LibrarySource::Repository { path } => {
            *path == folder || library.name == name
        }
        otto_core::step::LibrarySource::Builtin => library.name == name,
    });
    if let Some(library) = library {
        let text =
            if context.json { format!("{}\n", json!(library)) } else { docs::library(library) };
        context.screen.data(text)?;
        return Ok(Exit::Done);
    }
    let steps: Vec<&Signature> =
        libraries.iter().filter_map(|library| library.steps.get(name)).collect();
    if steps.is_empty() {
        let known: Vec<&str> =
            libraries.iter().flat_map(|library| library.steps.keys().map(String::as_str)).collect();
        return Err(Fault::usage(Id::BadLibrary, format!("there is no step or library '{name}'"))
            .help(format!("steps are: {}", known.join(", "))));
    }
    if context.json {
        context.screen.data(format!("{}\n", json!(steps)))?;
        return Ok(Exit::Done);
    }
    for step in steps {
        context.screen.data(docs::step(step))?;
    }
    Ok(Exit::Done)
}

fn new(
    context: &Context,
    repository: &Repository,
    folder: &str,
    language: Language,
) -> Result<Exit, Fault> {
    let name = folder.rsplit('/').next().unwrap_or(folder);
    let language = match language {
        Language::Shell => scaffold::Language::Shell,
        Language::Python => scaffold::Language::Python,
        Language::Rust => scaffold::Language::Rust,
    };
    let path = repository.root.join(folder);
    let written = scaffold::new(name, language)
        .and_then(|files| scaffold::write(&path, &files).map(|()| files))
        .map_err(|error| {
            Fault::usage(Id::BadLibrary, format!("failed to {error}"))
                .at(path.display().to_string())
        })?;
    if context.json {
        let files: Vec<&String> = written.keys().collect();
        let page = json!({ "written": path.display().to_string(), "files": files });
        context.screen.data(format!("{page}\n"))?;
    }
    // Elsewhere than at the root, a path from there would be looked for in the wrong folder.
    let at_root = std::env::current_dir().is_ok_and(|here| here == repository.root);
    let shown = if at_root { folder.to_owned() } else { on_one_line(&path.display().to_string()) };
    for file in written.keys() {
        context.screen.tell(format!("wrote {shown}/{file}"));
    }
    let library = load(context, repository, folder)?;
    let required: Vec<String> = library
        .steps
        .values()
        .flat_map(|step| &step.parameters)
        .filter(|parameter| parameter.default.is_none() && !parameter.optional)
        .map(|parameter| format!(" {}=…", parameter.name))
        .collect();
    context.screen.tell(format!("try it: otto steps test {folder}{}", required.concat()));
    context.screen.tell(format!("use it: in the Ottofile, use {{ './{folder}' }}"));
    Ok(Exit::Done)
}

fn test(
    context: &Context,
    repository: &Repository,
    folder: &str,
    step: Option<&str>,
    values: &[(String, String)],
) -> Result<Exit, Fault> {
    let library = load(context, repository, folder)?;
    let symbols: Vec<&str> = library.steps.keys().map(String::as_str).collect();
    let symbol = match (step, symbols.as_slice()) {
        (Some(step), _) => step,
        (None, [one]) => one,
        (None, several) => {
            return Err(Fault::usage(Id::BadArgument, "the library has several steps")
                .at(folder)
                .help(format!("name one with --step: {}", several.join(", "))));
        }
    };
    let unusable = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| {
            Fault::infrastructure(Id::Unreadable, format!("cannot {what}: {error}"))
        }
    };
    let image = std::env::current_exe().map_err(unusable("find otto's own program"))?;
    let make = || tempfile::Builder::new().prefix("otto-step").tempdir();
    let workspace = make().map_err(unusable("make a folder for the step"))?;
    let scratch = make().map_err(unusable("make a folder for the step"))?;
    let (one, other) = (session::identity()?.0, session::identity()?.0);
    let mut random = [0; 32];
    random[..16].copy_from_slice(&one);
    random[16..].copy_from_slice(&other);
    let setup = trial::Setup {
        symbol,
        repository: &repository.root,
        arguments: arguments(library.steps.get(symbol), values)?,
        configuration: BTreeMap::new(),
        settings: BTreeMap::new(),
        workspace: workspace.path(),
        scratch: scratch.path(),
        image: &image,
        artifacts: BTreeMap::new(),
        random: &random,
        library: &library,
    };
    let tried = trial::run(&setup)
        .map_err(|error| Fault::usage(Id::BadLibrary, format!("failed to {error}")).at(folder))?;
    let screen = &context.screen;
    if tried.code == 0 {
        screen.tell(format!("{} {symbol}", screen.err.good("✔")));
        Ok(Exit::Done)
    } else {
        screen.tell(format!("{} {symbol}: {}", screen.err.error("✘"), tried.detail));
        Ok(Exit::RunFailed)
    }
}

/// The arguments as values of their parameters' types.
fn arguments(
    signature: Option<&Signature>,
    values: &[(String, String)],
) -> Result<BTreeMap<String, Value>, Fault> {
    let mut arguments = BTreeMap::new();
    for (name, text) in values {
        // Names that the step does not have are told by the trial itself.
        let parameter = signature.and_then(|signature| signature.parameter(name));
        let value = match parameter {
            None => Value::Text(text.clone()),
            Some(parameter) => typed(text, &parameter.value_type).ok_or_else(|| {
                let what = format!("'{text}' is no {}", parameter.value_type);
                Fault::usage(Id::BadArgument, what).at(name.clone())
            })?,
        };
        arguments.insert(name.clone(), value);
    }
    Ok(arguments)
}

fn typed(text: &str, value_type: &ValueType) -> Option<Value> {
    match value_type {
        ValueType::Number => Decimal::parse(text).map(Value::Number),
        ValueType::Boolean => text.parse().ok().map(Value::Boolean),
        ValueType::List(item) => text
            .split(',')
            .map(|part| typed(part.trim(), item))
            .collect::<Option<_>>()
            .map(Value::List),
        ValueType::Text
        | ValueType::Script
        | ValueType::Enumeration(_)
        | ValueType::Environment(_)
        | ValueType::Duration
        | ValueType::Size
        | ValueType::Path => Some(Value::Text(text.to_owned())),
    }
}

fn pack(
    context: &Context,
    repository: &Repository,
    folder: &str,
    output: Option<&str>,
) -> Result<Exit, Fault> {
    let top = repository.git.as_deref().unwrap_or(&repository.root);
    let packed = package::pack(top, &repository.root, folder)
        .map_err(|problems| draft::wrong_libraries(context, &[problems]))?;
    let file = match output {
        Some(file) => file.to_owned(),
        None => format!("{}.tar", packed.library.name),
    };
    std::fs::write(Path::new(&file), &packed.bytes).map_err(|error| {
        Fault::infrastructure(Id::Unreadable, format!("cannot write: {error}")).at(&file)
    })?;
    let digest = packed.digest();
    if context.json {
        let page = json!({ "file": file, "digest": digest.to_string() });
        context.screen.data(format!("{page}\n"))?;
    } else {
        context.screen.data(format!("{digest}\n"))?;
        context.screen.tell(format!("wrote {file}"));
    }
    Ok(Exit::Done)
}
