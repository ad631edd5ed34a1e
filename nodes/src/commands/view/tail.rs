//! The end of a failed stage's log: what a person looks at first.

use super::words::{path, step, title};
use crate::client::{Client, ClientError};
use crate::commands::ansi::harmless;
use crate::commands::screen::Paint;
use crate::rpc::api::ReadLog;
use otto_core::ids::StageId;
use otto_core::run::Run;
use otto_core::run::outcome::Outcome;
use otto_core::run::state::AttemptState;

/// How many bytes from the end are looked at.
const BYTES: u64 = 8 << 10;
/// How many lines are shown at most.
const LINES: usize = 12;

/// How a stage failed, and the last lines that it printed.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Tail {
    path: String,
    outcome: Outcome,
    cause: String,
    /// The call of the step that failed.
    step: Option<String>,
    lines: Vec<String>,
    /// Whether the log has more lines in front.
    more: bool,
}

/// Reads the end of the last attempt's log; `None` for a stage that ran no attempt.
pub(in crate::commands) async fn of(
    client: &Client,
    run: &Run,
    stage: StageId,
) -> Result<Option<Tail>, ClientError> {
    let Some(state) = run.stage(stage) else { return Ok(None) };
    let Some(last) = state.attempts.last() else { return Ok(None) };
    let Some(ended) = &last.ended else { return Ok(None) };
    let length = ended.log_bytes.unwrap_or(0);
    let offset = length.saturating_sub(BYTES);
    let limit = u32::try_from(length - offset).unwrap_or(0);
    let read = ReadLog { run: run.id(), stage, attempt: last.attempt, offset, limit, wait_ms: 0 };
    let bytes = if limit == 0 { Vec::new() } else { client.log_part(read).await?.bytes };
    let (lines, more) = last_lines(&String::from_utf8_lossy(&bytes), offset > 0);
    Ok(Some(Tail {
        path: path(run.plan(), stage),
        outcome: ended.outcome,
        cause: ended.cause.to_string(),
        step: failed_step(run, stage, last),
        lines,
        more,
    }))
}

fn failed_step(run: &Run, stage: StageId, attempt: &AttemptState) -> Option<String> {
    let (place, _) = attempt
        .steps
        .iter()
        .find(|(_, step)| step.ended.as_ref().is_some_and(|ended| !ended.outcome.goes_on()))?;
    Some(title(run.plan(), step(run.plan(), stage, *place)?))
}

/// The last lines of a text, and whether there are more in front. A line that was cut in the middle
/// is left out.
fn last_lines(text: &str, cut: bool) -> (Vec<String>, bool) {
    let mut lines: Vec<&str> = text.lines().skip(usize::from(cut)).collect();
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    let first = lines.len().saturating_sub(LINES);
    (lines[first..].iter().map(|line| (*line).to_owned()).collect(), cut || first > 0)
}

impl Tail {
    /// How it is printed: what failed, then the last lines of its log.
    pub(in crate::commands) fn rendered(&self, paint: Paint) -> String {
        let word = self.outcome.word();
        let cause = if self.cause.is_empty() { String::new() } else { format!(": {}", self.cause) };
        let mut lines = vec![paint.error(&format!("✘ {} {word}{cause}", self.path))];
        lines.extend(self.step.iter().map(|step| format!("  {} {}", paint.faint("›"), step)));
        lines.extend(self.more.then(|| format!("  {}", paint.faint("…"))));
        let bar = paint.faint("│");
        lines.extend(
            self.lines.iter().map(|line| format!("  {bar} {}", harmless(line, paint.colored))),
        );
        lines.join("\n")
    }
}
