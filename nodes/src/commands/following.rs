//! Watching a run to its end, as `run`, `retry` and `watch` do.
//!
//! The run does not depend on being watched: Ctrl-C and `--timeout` only leave it.

use super::fault::{Exit, Fault};
use super::view::{Names, View, farewell, tail};
use super::waiting::{Reasons, reasons, waiting};
use super::{Context, clock, session};
use crate::client::{Client, ClientError, RunFollow};
use clap::Args;
use futures::future::{Fuse, FutureExt};
use futures::{StreamExt, stream};
use otto_core::ids::{RunId, StageId};
use otto_core::plan::Plan;
use otto_core::run::Run;
use otto_core::run::event::{Entry, Event};
use otto_core::run::outcome::Outcome;
use otto_core::time::Span;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

/// How long a second Ctrl-C may follow the first.
const SECOND_THOUGHT: Duration = Duration::from_secs(2);
/// How often a live view is drawn.
const PICTURE: Duration = Duration::from_millis(100);
/// How often the node is asked about stages that nobody takes.
const QUESTION: Duration = Duration::from_secs(2);
/// A day that never comes, for timers that are not set.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// Arguments of all commands that watch a run.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Watching {
    /// End with code 1 also when the run is unstable
    #[arg(long)]
    pub(super) strict: bool,
    /// Stop waiting after this time, such as 20m; the run goes on, and the exit code is 8
    #[arg(long, value_name = "TIME", value_parser = Span::parse)]
    pub(super) timeout: Option<Span>,
    /// With --json: print an object for each change, one a line
    #[arg(long)]
    pub(super) watch: bool,
}

impl Watching {
    /// What these flags say of the settings.
    pub(super) fn limits(&self) -> (bool, Option<Span>) {
        (self.strict, self.timeout)
    }
}

/// A run that is watched.
pub(super) struct Watched {
    pub(super) client: Client,
    pub(super) run: RunId,
    pub(super) plan: Arc<Plan>,
    pub(super) names: Names,
    /// What to type next when it failed, beside retrying it.
    pub(super) hint: Option<&'static str>,
}

/// Why watching ended.
enum End {
    Settled,
    Detached,
    TimedOut,
}

/// Shows a run until it is over, or the person leaves. One that has its outcome is not over while
/// agents still end what they do for it: `finally` steps of a cancelled run count.
///
/// # Errors
/// When the node cannot be reached for too long, or standard output is closed.
pub(super) async fn follow(
    context: &Context,
    watched: Watched,
    watching: &Watching,
) -> Result<Exit, Fault> {
    let stream = context.json && watching.watch;
    let mut following = Following {
        context,
        run: Run::new(watched.run, watched.plan.clone()),
        view: View::new(&context.screen, stream),
        reasons: Reasons::new(),
        watched,
        interrupts: 0,
        cancelled: false,
    };
    match following.until_it_ends().await? {
        End::Settled => following.finish(),
        End::Detached => {
            following.goes_on("detached");
            Ok(Exit::Interrupted)
        }
        End::TimedOut => {
            following.goes_on("still waiting");
            Ok(Exit::StillWaiting)
        }
    }
}

struct Following<'a> {
    context: &'a Context,
    watched: Watched,
    run: Run,
    view: View,
    /// Why stages wait that no agent can serve, as it was shown last.
    reasons: Reasons,
    /// How often Ctrl-C was pressed.
    interrupts: u32,
    cancelled: bool,
}

impl Following<'_> {
    async fn until_it_ends(&mut self) -> Result<End, Fault> {
        let now = Instant::now();
        let limit = self.context.settings.timeout.value.map_or(NEVER, Span::to_duration);
        let deadline = now.checked_add(limit).unwrap_or(now + NEVER);
        let mut picture = now + PICTURE;
        let mut question = now + QUESTION;
        let mut leave = now + NEVER;
        let mut interrupt = interrupts()?;
        let patient = self.watched.client.clone().patience(session::FOLLOWING);
        let mut trouble = patient.trouble();
        let entries: RunFollow = patient.follow(self.watched.run, 0);
        // A stream, so that a picture does not cut off the question for the next entries.
        let batches = stream::unfold(entries, |mut entries| async {
            let batch = entries.next().await;
            Some((batch, entries))
        });
        // Not awaited where it is asked: a node that is away must not hold up Ctrl-C.
        let asked = Fuse::terminated();
        tokio::pin!(batches, asked);
        loop {
            tokio::select! {
                biased;
                _ = interrupt.recv() => match self.interrupted().await? {
                    Some(end) => return Ok(end),
                    None if self.cancelled => leave = now + NEVER,
                    None => leave = Instant::now() + SECOND_THOUGHT,
                },
                () = sleep_until(leave) => return Ok(End::Detached),
                () = sleep_until(deadline) => return Ok(End::TimedOut),
                Ok(()) = trouble.changed() => {
                    let told = session::waits(trouble.borrow_and_update().as_deref());
                    self.view.say(&self.context.screen, &told);
                }
                Some(batch) = batches.next() => {
                    let batch = batch.map_err(|error| self.lost(error))?;
                    let nothing_follows = batch.is_none();
                    self.take(batch.unwrap_or_default()).await?;
                    if self.run.retired_at().is_some() || nothing_follows {
                        return Ok(End::Settled);
                    }
                }
                answer = &mut asked => self.heard(answer),
                () = sleep_until(question) => {
                    question = Instant::now() + QUESTION;
                    let waiting = waiting(&self.run, clock::now());
                    if waiting.is_empty() {
                        self.reasons.clear();
                    } else {
                        let client = self.watched.client.clone();
                        asked.set(reasons(client, self.watched.run, waiting).fuse());
                    }
                }
                () = sleep_until(picture), if self.view.is_live() => {
                    self.view.draw(&self.context.screen, &self.run, &self.reasons, clock::now());
                    picture = Instant::now() + PICTURE;
                }
            }
        }
    }

    async fn take(&mut self, entries: Vec<Entry>) -> Result<(), Fault> {
        for entry in entries {
            self.run.apply(&entry);
            self.view.entry(&self.context.screen, &self.run, &entry)?;
            for stage in failed(&self.run, &entry) {
                let told = tail::of(&self.watched.client, &self.run, stage).await;
                if let Some(told) = told.map_err(|error| self.lost(error))? {
                    self.view.failure(&self.context.screen, &told);
                }
            }
        }
        Ok(())
    }

    /// What an error is, this run having been there.
    fn lost(&self, error: ClientError) -> Fault {
        session::lost(self.context, self.watched.names.number, error)
    }

    /// Shows what is new in an answer. Where there is none, the next question may get one.
    fn heard(&mut self, answer: Result<Reasons, ClientError>) {
        let Ok(reasons) = answer else { return };
        for (stage, reason) in &reasons {
            if self.reasons.get(stage) != Some(reason) {
                self.view.waits(&self.run, *stage, reason);
            }
        }
        self.reasons = reasons;
    }

    /// The first Ctrl-C announces that it will detach, the second cancels, the third leaves at
    /// once.
    async fn interrupted(&mut self) -> Result<Option<End>, Fault> {
        self.interrupts += 1;
        let screen = &self.context.screen;
        match self.interrupts {
            1 => {
                self.view.say(screen, "leaving; the run goes on (Ctrl-C again cancels it)");
                Ok(None)
            }
            2 => {
                let reason = Some("Ctrl-C".to_owned());
                let asked =
                    self.watched.client.cancel(self.watched.run, session::identity()?, reason);
                asked.await.map_err(session::fault)?;
                self.cancelled = true;
                self.view.say(screen, "cancelling … (Ctrl-C again leaves it to that)");
                Ok(None)
            }
            _ => Ok(Some(End::Detached)),
        }
    }

    fn goes_on(&mut self, how: &str) {
        let number = self.watched.names.number;
        let screen = &self.context.screen;
        self.view.leave(screen, &self.run, &self.reasons, clock::now());
        let now = if self.run.outcome().is_some() { "is being ended" } else { "goes on" };
        screen.tell(format!("{how}: run {number} {now}        otto watch {number}"));
        if self.context.json {
            let page =
                json!({ "run": number, "project": self.watched.names.project, "outcome": null });
            screen.data(format!("{page}\n")).ok();
        }
    }

    /// Says how it ended, and what to type next.
    fn finish(mut self) -> Result<Exit, Fault> {
        let screen = &self.context.screen;
        let Some(outcome) = self.run.outcome() else { return Ok(Exit::StillWaiting) };
        let at = self.run.settled_at().unwrap_or_default();
        self.view.leave(screen, &self.run, &Reasons::new(), at);
        if self.context.json {
            screen.data(format!("{}\n", result(&self.run)))?;
        } else {
            screen.tell(farewell(screen.err, &self.run, &self.watched.names));
            if !outcome.goes_on() {
                let more = self.watched.hint.map(|hint| format!("        {hint}"));
                let number = self.watched.names.number;
                let more = more.unwrap_or_default();
                let hint = screen.err.help("hint");
                screen.tell(format!("{hint}: otto retry {number} --failed{more}"));
            }
        }
        Ok(exit(outcome, self.context.settings.strict.value))
    }
}

fn interrupts() -> Result<Signal, Fault> {
    signal(SignalKind::interrupt()).map_err(|error| {
        Fault::infrastructure(
            super::fault::Id::Unreadable,
            format!("cannot watch for Ctrl-C: {error}"),
        )
    })
}

/// The stages with attempts that an entry settled as a failure.
fn failed(run: &Run, entry: &Entry) -> Vec<StageId> {
    let settled = entry.events.iter().filter_map(|event| match event {
        Event::StageSettled { stage, outcome, .. } => Some((*stage, *outcome)),
        _ => None,
    });
    settled
        .filter(|(stage, outcome)| {
            let failed = matches!(outcome, Outcome::Failed | Outcome::TimedOut | Outcome::Lost);
            failed && !run.plan().stage(*stage).work.steps().is_empty()
        })
        .map(|(stage, _)| stage)
        .collect()
}

/// The run's end for programs.
fn result(run: &Run) -> serde_json::Value {
    let submission = run.begun();
    let from = submission.map(|begun| begun.at).unwrap_or_default();
    let until = run.settled_at().unwrap_or_default();
    json!({
        "run": run.id().number,
        "project": submission.map(|begun| begun.submission.project.clone()),
        "plan": submission.map(|begun| begun.submission.plan.to_string()),
        "outcome": run.outcome(),
        "cause": run.cause(),
        "submitted": clock::for_programs(from),
        "settled": clock::for_programs(until),
        "duration_ms": until.since(from).0,
    })
}

/// The exit code that stands for an outcome.
pub(super) fn exit(outcome: Outcome, strict: bool) -> Exit {
    match outcome {
        Outcome::Unstable if strict => Exit::RunFailed,
        Outcome::Success | Outcome::Skipped | Outcome::Unstable => Exit::Done,
        Outcome::Cancelled => Exit::Cancelled,
        Outcome::Failed | Outcome::TimedOut | Outcome::Lost => Exit::RunFailed,
    }
}
