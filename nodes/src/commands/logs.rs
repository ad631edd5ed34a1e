//! `otto logs`: what the steps of a run printed.

use super::ansi::harmless;
use super::fault::{Exit, Fault, Id};
use super::{Context, session};
use crate::client::{Client, LogFollow};
use crate::rpc::api::ReadLog;
use crate::wire::frame::MAX_LOG_PART;
use clap::Args;
use otto_core::ids::{Attempt, StageId};
use otto_core::run::Run;
use otto_core::run::event::{Entry, Event};
use serde_json::json;
use std::collections::VecDeque;
use std::io::{IsTerminal, stdout};
use std::sync::Arc;

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  otto logs             all of the latest run
  otto logs 2 test -f   one stage of run 2, as it goes on")]
pub(super) struct Logs {
    /// The run's number [default: the latest]
    run: Option<u64>,
    /// The stage: its path, or its last name [default: all]
    stage: Option<String>,
    /// Go on until the run ends
    #[arg(long, short)]
    follow: bool,
    /// Which attempt at the stage [default: the last]
    #[arg(long, value_name = "NUMBER", requires = "stage", conflicts_with = "follow")]
    attempt: Option<u32>,
}

impl Logs {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        session::block_on(async {
            let client = session::connect().await?;
            let listed = session::find_run(context, &client, self.run).await?;
            if self.follow {
                let plan = Arc::new(session::plan(&client, &listed).await?);
                let run = Run::new(listed.run, plan);
                let only = self.only(&run)?;
                return Printer::new(context, &client, only.is_none()).follow(run, only).await;
            }
            let (run, _) = session::replay(&client, &listed).await?;
            let only = self.only(&run)?;
            let logs = self.wanted(&run, only)?;
            let mut printer = Printer::new(context, &client, logs.len() > 1);
            for (stage, attempt) in logs {
                printer.print(&run, stage, attempt).await?;
            }
            Ok(Exit::Done)
        })
    }

    fn only(&self, run: &Run) -> Result<Option<StageId>, Fault> {
        self.stage.as_deref().map(|stage| session::find_stage(run.plan(), stage)).transpose()
    }

    /// The logs that are there: the last attempt of each stage, or the one that is named.
    fn wanted(&self, run: &Run, only: Option<StageId>) -> Result<Vec<(StageId, Attempt)>, Fault> {
        if let (Some(stage), Some(number)) = (only, self.attempt) {
            let there = run.stage(stage).is_some_and(|state| {
                state.attempts.iter().any(|attempt| attempt.attempt.0 == number)
            });
            if !there {
                return Err(Fault::usage(Id::BadArgument, format!("there is no attempt {number}"))
                    .at(run.plan().stage(stage).path.clone()));
            }
            return Ok(vec![(stage, Attempt(number))]);
        }
        let within = |id: &StageId| only.is_none_or(|only| is_within(run, *id, only));
        let logs: Vec<(StageId, Attempt)> = run
            .stages()
            .filter(|(id, ..)| within(id))
            .filter_map(|(id, _, state)| Some((id, state.attempts.last()?.attempt)))
            .collect();
        Ok(logs)
    }
}

/// Whether a stage is another one or inside of it.
fn is_within(run: &Run, id: StageId, outer: StageId) -> bool {
    let mut at = Some(id);
    while let Some(stage) = at {
        if stage == outer {
            return true;
        }
        at = run.plan().stage(stage).parent;
    }
    false
}

/// Prints logs one after another.
struct Printer<'a> {
    context: &'a Context,
    client: &'a Client,
    /// Whether each log gets a title, on standard error.
    titles: bool,
}

impl<'a> Printer<'a> {
    fn new(context: &'a Context, client: &'a Client, titles: bool) -> Self {
        Self { context, client, titles }
    }

    /// Prints a log as far as it goes now.
    async fn print(&mut self, run: &Run, stage: StageId, attempt: Attempt) -> Result<(), Fault> {
        self.title(run, stage, attempt);
        let limit = u32::try_from(MAX_LOG_PART).unwrap_or(u32::MAX);
        let mut read = ReadLog { run: run.id(), stage, attempt, offset: 0, limit, wait_ms: 0 };
        let mut lines = Lines::default();
        loop {
            let part = self.client.log_part(read).await.map_err(session::fault)?;
            if part.bytes.is_empty() {
                return self.put(run, stage, attempt, &lines.rest());
            }
            read.offset += part.bytes.len() as u64;
            self.put(run, stage, attempt, &lines.whole(&part.bytes))?;
        }
    }

    /// Prints the logs of attempts as they start, until the run has ended.
    async fn follow(&mut self, mut run: Run, only: Option<StageId>) -> Result<Exit, Fault> {
        let mut entries = self.client.follow(run.id(), 0);
        let mut coming: VecDeque<(StageId, Attempt)> = VecDeque::new();
        loop {
            while let Some((stage, attempt)) = coming.pop_front() {
                self.title(&run, stage, attempt);
                let mut log: LogFollow = self.client.log(run.id(), stage, attempt, 0);
                let mut lines = Lines::default();
                while let Some(bytes) = log.next().await.map_err(session::fault)? {
                    self.put(&run, stage, attempt, &lines.whole(&bytes))?;
                }
                self.put(&run, stage, attempt, &lines.rest())?;
            }
            if run.outcome().is_some() {
                return Ok(Exit::Done);
            }
            let batch = entries.next().await.map_err(session::fault)?;
            for entry in batch.unwrap_or_default() {
                run.apply(&entry);
                coming
                    .extend(awarded(&entry).filter(|(stage, _)| {
                        only.is_none_or(|only| is_within(&run, *stage, only))
                    }));
            }
        }
    }

    fn title(&self, run: &Run, stage: StageId, attempt: Attempt) {
        if self.titles && !self.context.json {
            let path = &run.plan().stage(stage).path;
            let again = if attempt == Attempt::FIRST {
                String::new()
            } else {
                format!(", attempt {attempt}")
            };
            let title = self.context.screen.err.strong(&format!("── {path}{again}"));
            self.context.screen.tell(title);
        }
    }

    fn put(&self, run: &Run, stage: StageId, attempt: Attempt, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Ok(());
        }
        let screen = &self.context.screen;
        if self.context.json {
            let path = &run.plan().stage(stage).path;
            for line in String::from_utf8_lossy(bytes).lines() {
                let object = json!({ "stage": path, "attempt": attempt.0, "line": line });
                screen.data(format!("{object}\n"))?;
            }
            return Ok(());
        }
        if stdout().is_terminal() {
            let text = String::from_utf8_lossy(bytes);
            return screen.data(harmless(&text, screen.out.colored));
        }
        screen.data(bytes)
    }
}

/// The attempts that an entry awarded.
fn awarded(entry: &Entry) -> impl Iterator<Item = (StageId, Attempt)> {
    entry.events.iter().filter_map(|event| match event {
        Event::StageAwarded { stage, attempt, .. } => Some((*stage, *attempt)),
        _ => None,
    })
}

/// Cuts a stream into whole lines, so that no character and no colour is cut in two.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// The lines that are whole now.
    fn whole(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            self.begun.extend_from_slice(bytes);
            return Vec::new();
        };
        let mut lines = std::mem::take(&mut self.begun);
        lines.extend_from_slice(&bytes[..=end]);
        self.begun.extend_from_slice(&bytes[end + 1..]);
        lines
    }

    /// What is left of a last line without an end.
    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.begun)
    }
}
