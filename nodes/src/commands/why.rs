//! `otto why`: why a run or a stage is where it is. Of what failed it tells the step, what its
//! process said, and where in the log its lines are.

use super::fault::{Exit, Fault};
use super::screen::Paint;
use super::view::tail::{self, Tail};
use super::{Context, session};
use crate::client::{Client, ClientError};
use crate::rpc::api;
use clap::Args;
use otto_core::ids::StageId;
use otto_core::run::Run;
use otto_core::run::outcome::Outcome;
use serde_json::{Value, json};

/// How many failures are told in full.
const SHOWN: usize = 5;

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  otto why          what the latest run waits for, or what failed
  otto why test     a stage of the latest run
  otto why 2 test   a stage of run 2")]
pub(super) struct Why {
    #[command(flatten)]
    target: session::Target,
}

impl Why {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let (number, named) = self.target.read()?;
        session::block_on(async {
            let client = session::connect(context).await?;
            let listed = session::find_run(context, &client, number).await?;
            let stage = match named.as_deref() {
                None => None,
                Some(named) => {
                    let plan = session::plan(&client, &listed).await?;
                    Some(session::find_stage(&plan, named)?)
                }
            };
            let why = api::Why { run: listed.run, stage };
            let reasons = client.why(why).await.map_err(session::fault)?;
            let (run, _) = session::replay(&client, &listed).await?;
            let failures = failures(&client, &run, stage).await.map_err(session::fault)?;
            if context.json {
                context.screen.data(format!("{}\n", page(&run, &reasons, &failures)))?;
                return Ok(Exit::Done);
            }
            let paint = context.screen.out;
            for reason in reasons.iter().filter(|reason| !failures.iter().any(|it| it.is(reason))) {
                let name = if reason.path.is_empty() {
                    format!("run {}", listed.run.number)
                } else {
                    reason.path.clone()
                };
                context.screen.data(format!("{}: {}\n", paint.strong(&name), reason.text))?;
            }
            for failure in failures.iter().take(SHOWN) {
                context.screen.data(failure.text(paint, &run))?;
            }
            if failures.len() > SHOWN {
                let more = failures.len() - SHOWN;
                context.screen.data(format!("and {more} more that failed\n"))?;
            }
            Ok(Exit::Done)
        })
    }
}

/// A stage that failed by its steps.
struct Failure {
    stage: StageId,
    tail: Tail,
    /// The first and the last line of the failed step in the log.
    lines: Option<(usize, usize)>,
}

/// The stages that failed by their steps: all, or those inside of one.
async fn failures(
    client: &Client,
    run: &Run,
    within: Option<StageId>,
) -> Result<Vec<Failure>, ClientError> {
    let mut failures = Vec::new();
    for (stage, _, state) in run.stages() {
        let failed = match state.outcome() {
            Some(Outcome::Failed | Outcome::TimedOut | Outcome::Lost) => true,
            Some(Outcome::Success | Outcome::Unstable | Outcome::Skipped | Outcome::Cancelled)
            | None => false,
        };
        if !failed || within.is_some_and(|outer| !run.plan().is_within(stage, outer)) {
            continue;
        }
        if let Some(tail) = tail::of(client, run, stage).await? {
            let lines = tail::line_numbers(client, run, tail.part).await?;
            failures.push(Failure { stage, tail, lines });
        }
    }
    Ok(failures)
}

impl Failure {
    /// Whether a reason says no more than this.
    fn is(&self, reason: &api::Reason) -> bool {
        reason.stage == self.stage
    }

    /// Where the lines are: the command that prints them.
    fn place(&self, run: &Run) -> String {
        let lines = match self.lines {
            Some((first, last)) if first == last => format!("line {first} of "),
            Some((first, last)) => format!("lines {first} to {last} of "),
            None => String::new(),
        };
        format!("{lines}otto logs {} {}", run.id().number, quoted(run.plan().path(self.stage)))
    }

    fn text(&self, paint: Paint, run: &Run) -> String {
        let name = paint.strong(run.plan().path(self.stage));
        let why = run.why(self.stage).map(|why| why.to_string()).unwrap_or_default();
        let mut text = vec![format!("{name}: {why}")];
        if let Some(step) = &self.tail.step {
            text.push(format!("  {}: {}", step.number(), step.title));
            text.push(format!("  {}", paint.error(&step.detail)));
        }
        text.extend(self.tail.excerpt(paint));
        text.push(format!("  {}", paint.faint(&self.place(run))));
        text.push(String::new());
        text.join("\n")
    }
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}

/// For programs: the reasons, and what else is known of those that failed.
fn page(run: &Run, reasons: &[api::Reason], failures: &[Failure]) -> Value {
    let of_reason = |reason: &api::Reason| json!({ "stage": reason.path, "reason": reason.text });
    let mut all: Vec<Value> = reasons
        .iter()
        .filter(|reason| !failures.iter().any(|failure| failure.is(reason)))
        .map(of_reason)
        .collect();
    all.extend(failures.iter().map(|failure| {
        let why = run.why(failure.stage).map(|why| why.to_string());
        let step = failure.tail.step.as_ref();
        json!({
            "stage": run.plan().path(failure.stage),
            "reason": why,
            "step": step.map(|step| &step.title),
            "section": step.map(|step| step.place.section),
            "index": step.map(|step| step.place.index),
            "detail": step.map(|step| &step.detail),
            "log": { "from": failure.tail.part.from, "until": failure.tail.part.until },
            "lines": failure.lines.map(|(first, last)| [first, last]),
        })
    }));
    Value::Array(all)
}
