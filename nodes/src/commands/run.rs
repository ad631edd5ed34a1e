//! `otto run`: plans the repository's pipeline, submits it, and shows it until it ends.

use super::ansi::on_one_line;
use super::draft::{self, Draft, Values, draft};
use super::fault::{Exit, Fault, Id};
use super::following::{Watched, Watching, follow};
use super::repository::Repository;
use super::view::Names;
use super::{Context, sandbox, session, snapshot, tools};
use crate::client::Client;
use clap::Args;
use otto_core::ids::{Digest, RunId};
use otto_core::plan::Plan;
use serde_json::json;
use std::sync::Arc;

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  otto run                          the Ottofile, or what the repository suggests
  otto run deliver -p target=prod   the pipeline in ci/deliver.otto, with a parameter
  otto run --detach                 submit, and do not wait

Ctrl-C leaves the run, which goes on; a second one cancels it. Exit codes: otto help exit-codes")]
pub(super) struct RunCommand {
    /// The pipeline: ci/NAME.otto [default: the Ottofile]
    #[arg(value_name = "NAME")]
    pipeline: Option<String>,
    /// A value for one of the pipeline's parameters
    #[arg(long = "param", short = 'p', value_name = "NAME=VALUE", value_parser = draft::value)]
    values: Vec<(String, String)>,
    /// Submit the run, and do not wait for it
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    pub(super) watching: Watching,
}

impl RunCommand {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let repository = context.repository()?;
        let values: Values = self.values.iter().cloned().collect();
        let draft = draft(context, &repository, self.pipeline.as_deref(), &values)?;
        draft::show(context, &draft.warnings, &draft.source);
        announce(context, &draft);
        if context.is_local() {
            name_missing_tools(context, &draft)?;
        }
        let keep = !draft.inferred.is_empty() && !draft.asked_for;
        let plan = draft.plan;
        session::block_on(async {
            let client = session::connect(context).await?;
            let run = submit(context, &client, &repository, &plan).await?;
            if context.is_local() {
                sandbox::tell_once(context, &session::place()?);
            }
            let names = Names::of(&repository.project(), run.number);
            if self.detach {
                return detached(context, run, &plan);
            }
            let hint = keep.then_some("keep this plan: otto init");
            let watched = Watched { client, run, plan: Arc::new(plan), names, hint };
            follow(context, watched, &self.watching).await
        })
    }
}

/// Says what was recognised, what follows from it and why, before anything starts.
fn announce(context: &Context, draft: &Draft) {
    let Some((first, rest)) = draft.inferred.split_first() else { return };
    let screen = &context.screen;
    let note = screen.err.help("note");
    let why = if draft.asked_for {
        format!("{} leaves it to the conventions", draft.source.name)
    } else {
        "no Ottofile".to_owned()
    };
    screen.tell(format!("{note}: {why}; found {}", first.headline()));
    for convention in rest {
        screen.tell(format!("      found {}", convention.headline()));
    }
    for convention in &draft.inferred {
        for reason in &convention.reasons {
            screen.tell(screen.err.faint(&format!("      {reason}")));
        }
        let width = convention.stages.iter().map(|stage| stage.name.len()).max().unwrap_or(0);
        for stage in &convention.stages {
            let scripts = stage.scripts.join(" && ");
            screen.tell(format!("      {:width$}  {}", stage.name, screen.err.faint(&scripts)));
        }
    }
}

/// An inferred plan that cannot succeed here is not started; a written one may wait for a machine.
fn name_missing_tools(context: &Context, draft: &Draft) -> Result<(), Fault> {
    let missing = tools::missing(&draft.plan);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.keys().map(String::as_str).collect();
    let what = format!("this machine lacks {}", names.join(", "));
    let needs = missing.iter().map(|(tool, stages)| {
        let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
        format!("{tool} is needed by {}", stages.join(", "))
    });
    if draft.inferred.is_empty() {
        let screen = &context.screen;
        screen.tell(format!("{}: {what}", screen.err.warning("warning")));
        for need in needs {
            screen.tell(format!("  {need}, which waits until an agent has it"));
        }
        return Ok(());
    }
    let fault = Fault::infrastructure(Id::MissingTool, what)
        .at(needs.collect::<Vec<_>>().join("; "))
        .help("install what is missing and see that it is on your PATH")
        .help("or write the plan down with `otto init`, and take out what you do not need");
    Err(fault)
}

/// Sends the working tree, unless the node has it, and submits the plan.
async fn submit(
    context: &Context,
    client: &Client,
    repository: &Repository,
    plan: &Plan,
) -> Result<RunId, Fault> {
    let wanted = plan.stages.iter().any(|stage| stage.checkout && !stage.work.steps().is_empty());
    let snapshot = if wanted { Some(send(context, client, repository).await?) } else { None };
    let key = session::identity()?.to_string();
    let submitted = client.submit_plan(&repository.project(), &key, plan, snapshot).await;
    Ok(submitted.map_err(session::fault)?.run)
}

async fn send(
    context: &Context,
    client: &Client,
    repository: &Repository,
) -> Result<Digest, Fault> {
    let mut packed = snapshot::pack(repository)?;
    for note in &packed.notes {
        let word = context.screen.err.help("note");
        context.screen.tell(format!("{word}: {}", on_one_line(note)));
    }
    client.put(packed.digest, &mut packed.archive).await.map_err(session::fault)?;
    Ok(packed.digest)
}

/// Says that a run was submitted, to whoever does not wait for it.
pub(super) fn detached(context: &Context, run: RunId, plan: &Plan) -> Result<Exit, Fault> {
    let number = run.number;
    if context.json {
        let page = json!({ "run": number, "plan": plan.hash().to_string(), "outcome": null });
        context.screen.data(format!("{page}\n"))?;
    } else {
        context.screen.tell(format!("run {number} is submitted        otto watch {number}"));
    }
    Ok(Exit::Done)
}
