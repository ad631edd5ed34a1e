//! `otto explain`: the whole plan before anything runs, or the page about an error.

use super::Context;
use super::draft::{self, Values, draft};
use super::fault::{self, Exit, Fault, Id};
use clap::{Args, ValueEnum};
use serde_json::json;

/// How to print a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum Form {
    /// A tree to read
    #[default]
    Text,
    /// For programs, with the plan's hash
    Json,
    /// A flow chart that forges and wikis draw
    Mermaid,
    /// For Graphviz
    Dot,
    /// The plan's own bytes, as programs submit them
    Msgpack,
}

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  otto explain                            what `otto run` would do
  otto explain deliver --format mermaid   ci/deliver.otto as a picture
  otto explain OTTO0201                   what an error means

What is explained is what runs: the same hash.")]
pub(super) struct Explain {
    /// The pipeline: ci/NAME.otto [default: the Ottofile]; or the id of an error
    #[arg(value_name = "NAME")]
    what: Option<String>,
    /// How to print it
    #[arg(long, value_name = "FORM", default_value = "text")]
    format: Form,
    /// A value for one of the pipeline's parameters
    #[arg(long = "param", short = 'p', value_name = "NAME=VALUE", value_parser = draft::value)]
    values: Vec<(String, String)>,
}

impl Explain {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        if let Some(code) = self.what.as_deref().filter(|what| is_error(what)) {
            return explain_error(context, &code.to_uppercase());
        }
        let repository = context.repository()?;
        let values: Values = self.values.iter().cloned().collect();
        let draft = draft(context, &repository, self.what.as_deref(), &values)?;
        draft::show(context, &draft.warnings, &draft.source);
        let plan = &draft.plan;
        let bytes = match if context.json { Form::Json } else { self.format } {
            Form::Text => otto_lang::explain::text(plan).into_bytes(),
            Form::Json => otto_lang::explain::json(plan).into_bytes(),
            Form::Mermaid => otto_lang::explain::mermaid(plan).into_bytes(),
            Form::Dot => otto_lang::explain::dot(plan).into_bytes(),
            Form::Msgpack => plan.to_bytes(),
        };
        context.screen.data(bytes)?;
        Ok(Exit::Done)
    }
}

fn is_error(what: &str) -> bool {
    let upper = what.to_uppercase();
    upper
        .strip_prefix("OTTO")
        .is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn explain_error(context: &Context, code: &str) -> Result<Exit, Fault> {
    let page = otto_lang::explain_id(code).or_else(|| fault::page(code));
    let Some(page) = page else {
        return Err(Fault::usage(Id::BadArgument, format!("there is no error {code}"))
            .help("the id stands in brackets behind `error`"));
    };
    let page = page.trim_end();
    let text = if context.json {
        json!({ "id": code, "page": page }).to_string()
    } else {
        page.to_owned()
    };
    context.screen.data(format!("{text}\n"))?;
    Ok(Exit::Done)
}
