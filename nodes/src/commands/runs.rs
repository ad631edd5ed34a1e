//! `otto runs`: the runs of a project, newest first.

use super::fault::{Exit, Fault};
use super::view::mark;
use super::{Context, clock, session};
use crate::rpc::api::{ListRuns, Listed};
use clap::Args;
use serde_json::{Value, json};

/// The command's arguments.
#[derive(Args, Debug)]
pub(super) struct Runs {
    /// Those of all projects
    #[arg(long, conflicts_with = "project")]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: u32,
}

impl Runs {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let project = if self.all { None } else { Some(context.project()?) };
        let list = ListRuns { project, before: None, limit: self.limit };
        let found = session::block_on(async {
            let client = session::connect(context).await?;
            client.runs(list).await.map_err(session::fault)
        })?;
        if context.json {
            let page: Vec<Value> = found.iter().map(page).collect();
            context.screen.data(format!("{}\n", Value::Array(page)))?;
            return Ok(Exit::Done);
        }
        if found.is_empty() {
            context.screen.tell("no runs yet        otto run");
            return Ok(Exit::Done);
        }
        for run in &found {
            context.screen.data(format!("{}\n", line(context, run, self.all)))?;
        }
        Ok(Exit::Done)
    }
}

fn line(context: &Context, run: &Listed, with_project: bool) -> String {
    let paint = context.screen.out;
    let summary = &run.summary;
    let until = summary.settled_at.unwrap_or_else(clock::now);
    let took = clock::lasting(until.since(summary.submitted_at));
    let (sign, word) = match summary.outcome {
        // Agents still end what they do for it.
        Some(_) if !summary.retired => (paint.mark("…"), "ending"),
        Some(outcome) => (mark(outcome, paint), outcome.word()),
        None => (paint.mark("…"), "goes on"),
    };
    let when = clock::date_and_time(summary.submitted_at);
    let branch = summary.revision.branch.as_deref().unwrap_or("-");
    let project = if with_project { format!("  {}", summary.project) } else { String::new() };
    let (number, pipeline) = (run.run.number, &summary.pipeline);
    let project = paint.faint(&project);
    format!("{sign} {number:>4}  {word:<10} {took:>7}  {when}  {pipeline}  {branch}{project}")
}

fn page(run: &Listed) -> Value {
    let summary = &run.summary;
    json!({
        "run": run.run.number,
        "project": summary.project,
        "pipeline": summary.pipeline,
        "plan": summary.plan.map(|plan| plan.to_string()),
        "by": summary.by,
        "branch": summary.revision.branch,
        "commit": summary.revision.commit,
        "continues": summary.continues,
        "submitted": clock::for_programs(summary.submitted_at),
        "settled": summary.settled_at.map(clock::for_programs),
        "outcome": summary.outcome,
        "cause": summary.cause,
    })
}
