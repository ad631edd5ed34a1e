//! `otto replay`: the exact state of a run at any time, from its journal.

use super::fault::{Exit, Fault, Id};
use super::view::stage_line;
use super::{Context, clock, session};
use clap::Args;
use otto_core::ids::StageId;
use otto_core::run::Run;
use otto_core::run::duty::{Duty, EndReason};
use otto_core::run::event::Entry;
use otto_core::run::state::Phase;
use otto_core::time::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "\
The run is replayed here, by the same code that decides on the node.

Examples:
  otto replay 2                 as it is now
  otto replay 2 --at 14:03:07   as it was then
  otto replay 2 --entries 5     after the first five entries of its journal")]
pub(super) struct Replay {
    /// The run's number [default: the latest]
    #[arg(value_parser = session::run_number)]
    run: Option<u64>,
    /// The time: 14:03, 2026-11-22 14:03:07, or with a zone
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Only so many entries of the journal
    #[arg(long, value_name = "NUMBER", conflicts_with = "at")]
    entries: Option<usize>,
}

impl Replay {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let until = self.at.as_deref().map(read_time).transpose()?;
        let (whole, mut entries) = session::block_on(async {
            let client = session::connect(context).await?;
            let listed = session::find_run(context, &client, self.run).await?;
            session::replay(&client, &listed).await
        })?;
        let all = entries.len();
        if let Some(until) = until {
            entries.retain(|entry| entry.at <= until);
        }
        entries.truncate(self.entries.unwrap_or(all));
        let run = Run::replay(whole.id(), Arc::clone(whole.plan()), &entries);
        let last = entries.last().map_or_else(Timestamp::default, |entry| entry.at);
        let now = until.unwrap_or(last);
        if context.json {
            context.screen.data(format!("{}\n", page(&run, now, all)))?;
        } else {
            context.screen.data(text(context, &run, &entries, now, all))?;
        }
        Ok(Exit::Done)
    }
}

fn read_time(text: &str) -> Result<Timestamp, Fault> {
    clock::parse(text, clock::now()).ok_or_else(|| {
        Fault::usage(Id::BadArgument, format!("'{text}' is no time"))
            .at("--at")
            .help("write 14:03:07, or 2026-11-22 14:03:07, or 2026-11-22T13:03:07Z")
    })
}

fn text(context: &Context, run: &Run, entries: &[Entry], now: Timestamp, all: usize) -> String {
    let paint = context.screen.out;
    let mut lines = vec![format!(
        "run {} at {}, after {} of {all} entries",
        run.id().number,
        clock::date_and_time(now),
        entries.len(),
    )];
    let mut depths: Vec<usize> = Vec::with_capacity(run.plan().stages.len());
    for (id, stage, _) in run.stages() {
        if id == StageId::ROOT && run.plan().stages.len() > 1 {
            depths.push(0);
            continue;
        }
        depths.push(match stage.parent {
            None | Some(StageId::ROOT) => 0,
            Some(parent) => depths[parent.index()] + 1,
        });
        let depth = depths[id.index()];
        lines.push(format!("{}{}", "  ".repeat(depth), stage_line(paint, run, id, now, "▸")));
    }
    lines.push(match run.outcome() {
        Some(outcome) if run.cause().is_empty() => format!("outcome: {outcome}"),
        Some(outcome) => format!("outcome: {outcome}: {}", run.cause()),
        None => "outcome: none yet".to_owned(),
    });
    let owed: Vec<String> = run.owed().iter().map(|duty| in_words(run, duty)).collect();
    lines.push(if owed.is_empty() { "owes nothing".to_owned() } else { "owes".to_owned() });
    lines.extend(owed.iter().map(|duty| format!("  {duty}")));
    lines.push(String::new());
    lines.join("\n")
}

/// A duty for people.
fn in_words(run: &Run, duty: &Duty) -> String {
    let path = |stage: &StageId| run.plan().path(*stage);
    match duty {
        Duty::Offer { stage, attempt, since } => {
            let since = clock::date_and_time(*since);
            format!("an agent for {}, attempt {attempt}, since {since}", path(stage))
        }
        Duty::Attend { stage, attempt, epoch, agent } => {
            format!("attention to {}, attempt {attempt}, epoch {epoch}, on {agent}", path(stage))
        }
        Duty::End { stage, attempt, epoch, agent, reason } => {
            let why = match reason {
                EndReason::Cancelled => "it is cancelled",
                EndReason::TimedOut => "its time is up",
            };
            let path = path(stage);
            format!("the end of {path}, attempt {attempt}, epoch {epoch}, on {agent}: {why}")
        }
        Duty::Alarm { at } => format!("an alarm at {}", clock::date_and_time(*at)),
    }
}

fn page(run: &Run, now: Timestamp, all: usize) -> Value {
    let stages: Vec<Value> = run
        .stages()
        .map(|(id, stage, state)| {
            json!({
                "id": id.0,
                "stage": stage.path,
                "phase": phase(&state.phase),
                "outcome": state.outcome(),
                "attempts": state.attempts.len(),
                "why": run.why(id).map(|why| why.to_string()),
            })
        })
        .collect();
    let owed: Vec<Value> = run.owed().iter().map(|duty| json!(duty)).collect();
    json!({
        "run": run.id().number,
        "at": clock::for_programs(now),
        "entries": run.version(),
        "of": all,
        "outcome": run.outcome(),
        "cause": run.cause(),
        "stages": stages,
        "owed": owed,
    })
}

fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Pending => "pending",
        Phase::Open => "open",
        Phase::Offered { .. } => "offered",
        Phase::Leased { .. } => "leased",
        Phase::Ended { .. } => "ended",
        Phase::Paused { .. } => "paused",
        Phase::Settled { .. } => "settled",
        Phase::Skipped { .. } => "skipped",
    }
}
