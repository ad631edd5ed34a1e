//! `otto logs`: what the steps of a run printed.
//!
//! Stages that print at the same time are followed together, line by line, each line behind the
//! name of its stage; what one stage prints alone is printed as it is.

use super::ansi::harmless;
use super::fault::{Exit, Fault, Id};
use super::view::tail;
use super::{Context, session};
use crate::client::{Client, ClientError, LogFollow};
use crate::rpc::api::{LogEnd, ReadLog};
use crate::wire::frame::MAX_LOG_PART;
use clap::Args;
use futures::stream::{self, LocalBoxStream, SelectAll, StreamExt};
use otto_core::ids::{Attempt, StageId};
use otto_core::run::Run;
use otto_core::run::event::{Entry, Event};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{IsTerminal, stdout};
use std::sync::Arc;

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  otto logs             all of the latest run
  otto logs test        one stage of the latest run
  otto logs test -n 50  its last fifty lines
  otto logs 2 test -f   one stage of run 2, as it goes on")]
pub(super) struct Logs {
    #[command(flatten)]
    target: session::Target,
    /// Go on until the run ends
    #[arg(long, short)]
    follow: bool,
    /// Print only the last lines of each log
    #[arg(long, short = 'n', value_name = "LINES", conflicts_with = "follow")]
    tail: Option<usize>,
    /// Which attempt at the stage [default: the last]
    #[arg(long, value_name = "NUMBER", conflicts_with = "follow")]
    attempt: Option<u32>,
}

impl Logs {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let (number, named) = self.target.read()?;
        if self.attempt.is_some() && named.is_none() {
            return Err(Fault::usage(Id::BadArgument, "an attempt is one at a stage")
                .at("--attempt")
                .help("name the stage too: otto logs 2 test --attempt 1"));
        }
        session::block_on(async {
            let client = session::connect(context).await?;
            let listed = session::find_run(context, &client, number).await?;
            if self.follow {
                let plan = Arc::new(session::plan(&client, &listed).await?);
                let run = Run::new(listed.run, plan);
                let only = only(&run, named.as_deref())?;
                let client = client.patience(session::FOLLOWING);
                let mut printer = Printer::new(context, &client, only.is_none());
                printer.follow(run, only).await?;
                return Ok(Exit::Done);
            }
            let (run, _) = session::replay(&client, &listed).await?;
            let only = only(&run, named.as_deref())?;
            let logs = wanted(&run, only, self.attempt)?;
            let mut printer = Printer::new(context, &client, logs.len() > 1);
            for log in logs {
                let from = match self.tail {
                    Some(lines) => tail::start_of_last(&client, &run, log, lines).await,
                    None => Ok(0),
                };
                printer.print(&run, log, from.map_err(session::fault)?).await?;
            }
            Ok(Exit::Done)
        })
    }
}

fn only(run: &Run, named: Option<&str>) -> Result<Option<StageId>, Fault> {
    named.map(|stage| session::find_stage(run.plan(), stage)).transpose()
}

/// The logs that are there: the last attempt of each stage, or the one that is named.
fn wanted(run: &Run, only: Option<StageId>, attempt: Option<u32>) -> Result<Vec<Key>, Fault> {
    if let (Some(stage), Some(number)) = (only, attempt) {
        let there = run
            .stage(stage)
            .is_some_and(|state| state.attempts.iter().any(|attempt| attempt.attempt.0 == number));
        if !there {
            return Err(Fault::usage(Id::BadArgument, format!("there is no attempt {number}"))
                .at(run.plan().path(stage)));
        }
        return Ok(vec![(stage, Attempt(number))]);
    }
    let within = |id: &StageId| only.is_none_or(|only| run.plan().is_within(*id, only));
    let logs: Vec<Key> = run
        .stages()
        .filter(|(id, ..)| within(id))
        .filter_map(|(id, _, state)| Some((id, state.attempts.last()?.attempt)))
        .collect();
    Ok(logs)
}

/// An attempt's log.
type Key = (StageId, Attempt);

/// What comes of a log that is followed.
type Piece = (Key, Result<Part, ClientError>);

/// A part of a log.
enum Part {
    Bytes(Vec<u8>),
    /// Nothing more will come, and why.
    End(Option<LogEnd>),
}

/// Prints logs: one after another, or those that grow at the same time side by side.
struct Printer<'a> {
    context: &'a Context,
    client: &'a Client,
    /// Whether each log gets a title, on standard error.
    titles: bool,
    /// The logs that are followed now, with what is left of their last lines.
    live: BTreeMap<Key, Lines>,
    /// The log whose title is the last one that was printed.
    titled: Option<Key>,
}

impl<'a> Printer<'a> {
    fn new(context: &'a Context, client: &'a Client, titles: bool) -> Self {
        Self { context, client, titles, live: BTreeMap::new(), titled: None }
    }

    /// Prints a log from a byte on, as far as it goes now.
    async fn print(&mut self, run: &Run, log: Key, from: u64) -> Result<(), Fault> {
        self.title(run, log);
        let (stage, attempt) = log;
        let limit = u32::try_from(MAX_LOG_PART).unwrap_or(u32::MAX);
        let (offset, wait_ms) = (from, 0);
        let mut read =
            ReadLog { run: run.id(), stage, attempt, offset, limit, wait_ms, measure: false };
        let mut lines = Lines::default();
        loop {
            let part = self.client.log_part(read).await.map_err(session::fault)?;
            if part.bytes.is_empty() {
                self.put(run, log, &lines.rest())?;
                return self.say_how_it_ends(run, log, part.end);
            }
            read.offset += part.bytes.len() as u64;
            self.put(run, log, &lines.whole(&part.bytes))?;
        }
    }

    /// Prints the logs of attempts as they start, until the run has ended.
    async fn follow(&mut self, mut run: Run, only: Option<StageId>) -> Result<(), Fault> {
        let entries = self.client.follow(run.id(), 0);
        let batches = stream::unfold(entries, |mut entries| async {
            let batch = entries.next().await;
            Some((batch, entries))
        });
        tokio::pin!(batches);
        let mut trouble = self.client.trouble();
        let mut logs: SelectAll<LocalBoxStream<'_, Piece>> = SelectAll::new();
        let mut goes_on = true;
        while goes_on || !logs.is_empty() {
            tokio::select! {
                biased;
                Ok(()) = trouble.changed() => {
                    let told = session::waits(trouble.borrow_and_update().as_deref());
                    self.context.screen.tell(told);
                }
                Some(batch) = batches.next(), if goes_on => {
                    let lost = |error| session::lost(self.context, run.id().number, error);
                    let batch = batch.map_err(lost)?;
                    goes_on = batch.is_some();
                    let batch = batch.unwrap_or_default();
                    for entry in &batch {
                        run.apply(entry);
                    }
                    for (stage, attempt) in batch.iter().flat_map(awarded) {
                        if only.is_some_and(|only| !run.plan().is_within(stage, only)) {
                            continue;
                        }
                        if has_ended(&run, stage, attempt) {
                            self.print(&run, (stage, attempt), 0).await?;
                            continue;
                        }
                        let log = self.client.log(run.id(), stage, attempt, 0);
                        logs.push(pieces((stage, attempt), log));
                        self.live.insert((stage, attempt), Lines::default());
                    }
                    goes_on &= run.outcome().is_none();
                }
                piece = logs.next(), if !logs.is_empty() => {
                    // A log that has ended is let go of only when the next one is asked for.
                    let Some((log, piece)) = piece else { continue };
                    let piece = piece.map_err(session::fault)?;
                    self.piece(&run, log, &piece)?;
                }
            }
        }
        Ok(())
    }

    /// Prints what came of a log that is followed.
    fn piece(&mut self, run: &Run, log: Key, part: &Part) -> Result<(), Fault> {
        let Some(lines) = self.live.get_mut(&log) else { return Ok(()) };
        let ready = match part {
            Part::Bytes(bytes) => lines.whole(bytes),
            Part::End(_) => lines.rest(),
        };
        if !ready.is_empty() && self.live.len() == 1 {
            self.title(run, log);
        }
        self.put(run, log, &ready)?;
        if let Part::End(end) = part {
            self.live.remove(&log);
            self.say_how_it_ends(run, log, *end)?;
        }
        Ok(())
    }

    /// Says so where a log does not have all that its steps printed.
    fn say_how_it_ends(&mut self, run: &Run, log: Key, end: Option<LogEnd>) -> Result<(), Fault> {
        let (missing, text) = match end {
            None | Some(LogEnd::Whole) => return Ok(()),
            Some(LogEnd::Torn) => {
                let text = "its agent was lost, and there may have been more".to_owned();
                (None, text)
            }
            Some(LogEnd::Cut { missing_bytes }) => {
                let text = format!("{missing_bytes} bytes of it are on no node that answers");
                (Some(missing_bytes), text)
            }
        };
        let screen = &self.context.screen;
        if self.context.json {
            let (stage, attempt) = (&run.plan().stage(log.0).path, log.1.0);
            let cut = json!({ "missing_bytes": missing });
            let object = json!({ "stage": stage, "attempt": attempt, "cut_off": cut });
            return screen.data(format!("{object}\n"));
        }
        let text = format!("the log of {} is cut off: {text}", name(run, log));
        screen.tell(format!("{} {text}", screen.err.warning("warning:")));
        Ok(())
    }

    /// Says whose log follows, unless that was the last thing said.
    fn title(&mut self, run: &Run, log: Key) {
        if !self.titles || self.context.json || self.titled == Some(log) {
            return;
        }
        self.titled = Some(log);
        let title = self.context.screen.err.strong(&format!("── {}", name(run, log)));
        self.context.screen.tell(title);
    }

    /// Prints whole lines of a log.
    fn put(&mut self, run: &Run, log: Key, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (stage, attempt) = log;
        let screen = &self.context.screen;
        if self.context.json {
            let path = &run.plan().stage(stage).path;
            for line in String::from_utf8_lossy(bytes).lines() {
                let object = json!({ "stage": path, "attempt": attempt.0, "line": line });
                screen.data(format!("{object}\n"))?;
            }
            return Ok(());
        }
        let bytes = if self.live.len() > 1 {
            // A title that was printed before says nothing of the lines to come.
            self.titled = None;
            let width = self.live.keys().map(|log| name(run, *log).chars().count()).max();
            let name = format!("{:width$} │", name(run, log), width = width.unwrap_or(0));
            prefixed(&screen.out.mark(&name), bytes)
        } else {
            bytes.to_vec()
        };
        if stdout().is_terminal() {
            let text = String::from_utf8_lossy(&bytes);
            return screen.data(harmless(&text, screen.out.colored));
        }
        screen.data(bytes)
    }
}

/// The pieces of a log, its end included.
fn pieces<'a>(log: Key, follow: LogFollow) -> LocalBoxStream<'a, Piece> {
    stream::unfold(Some(follow), move |follow| async move {
        let mut follow = follow?;
        let piece = match follow.next().await {
            Ok(Some(bytes)) => Ok(Part::Bytes(bytes)),
            Ok(None) => Ok(Part::End(follow.end())),
            Err(error) => Err(error),
        };
        let more = matches!(piece, Ok(Part::Bytes(_)));
        Some(((log, piece), more.then_some(follow)))
    })
    .boxed_local()
}

/// The name of a log, for people.
fn name(run: &Run, (stage, attempt): Key) -> String {
    let path = run.plan().path(stage);
    if attempt == Attempt::FIRST { path.to_owned() } else { format!("{path}, attempt {attempt}") }
}

/// Lines, each behind a name.
fn prefixed(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(bytes.len() * 2);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        lines.extend_from_slice(name.as_bytes());
        lines.push(b' ');
        lines.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            lines.push(b'\n');
        }
    }
    lines
}

/// Whether an attempt is over, and its log whole.
fn has_ended(run: &Run, stage: StageId, attempt: Attempt) -> bool {
    let attempts = run.stage(stage).map(|state| state.attempts.as_slice()).unwrap_or_default();
    attempts.iter().any(|it| it.attempt == attempt && it.ended.is_some())
}

/// The attempts that an entry awarded.
fn awarded(entry: &Entry) -> impl Iterator<Item = Key> {
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

#[cfg(test)]
mod tests {
    use super::{Lines, prefixed};

    #[test]
    fn lines_are_cut_at_their_ends_and_stand_behind_a_name() {
        let mut lines = Lines::default();
        assert_eq!(lines.whole(b"one\ntw"), b"one\n");
        assert_eq!(lines.whole(b"o"), b"");
        assert_eq!(lines.whole(b"\nthree\nfo"), b"two\nthree\n");
        assert_eq!(lines.rest(), b"fo");
        assert_eq!(prefixed("A |", b"one\ntwo"), b"A | one\nA | two\n");
    }
}
