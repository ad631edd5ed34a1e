//! What a person looks at first after a failure: the step that failed, and its last lines.
//!
//! What `finally` printed behind it is passed over: the log's length at the end of each step says
//! which lines are whose.

use super::words::{step, title};
use crate::client::{Client, ClientError};
use crate::commands::ansi::harmless;
use crate::commands::screen::Paint;
use crate::rpc::api::{LogMeasure, ReadLog};
use crate::wire::frame::MAX_LOG_PART;
use otto_core::ids::{Attempt, StageId};
use otto_core::run::Run;
use otto_core::run::outcome::{Outcome, Section, StepPlace};
use otto_core::run::state::AttemptState;
use otto_core::time::Timestamp;

/// How many bytes from the end are looked at.
const BYTES: u64 = 8 << 10;
/// How many lines are shown at most.
const LINES: usize = 12;
/// The longest log whose lines are counted here, where the node does not know them.
const COUNTED_BYTES: u64 = 16 << 20;

/// How a stage failed, and the last lines of the step that did.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Tail {
    /// When the attempt ended.
    pub(super) at: Timestamp,
    path: String,
    outcome: Outcome,
    cause: String,
    /// The step that failed, where one did.
    pub(in crate::commands) step: Option<FailedStep>,
    /// The attempt's whole log, or the part of it that is the failed step's.
    pub(in crate::commands) part: Part,
    lines: Vec<String>,
    /// Whether that part has more lines in front.
    more: bool,
}

/// A step that failed.
#[derive(Clone, Debug)]
pub(in crate::commands) struct FailedStep {
    /// Its call.
    pub(in crate::commands) title: String,
    /// Where it stands.
    pub(in crate::commands) place: StepPlace,
    /// How many steps stand there.
    of: usize,
    /// What its process said: `exit code 1`.
    pub(in crate::commands) detail: String,
}

/// A part of an attempt's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::commands) struct Part {
    stage: StageId,
    attempt: Attempt,
    /// The offset of its first byte.
    pub(in crate::commands) from: u64,
    /// The offset behind its last byte.
    pub(in crate::commands) until: u64,
}

/// Reads the end of what the failed step printed; `None` for a stage that ran no attempt.
pub(in crate::commands) async fn of(
    client: &Client,
    run: &Run,
    stage: StageId,
) -> Result<Option<Tail>, ClientError> {
    let Some(last) = run.stage(stage).and_then(|state| state.attempts.last()) else {
        return Ok(None);
    };
    let Some(ended) = &last.ended else { return Ok(None) };
    let step = failed_step(run, stage, last);
    let whole = ended.log_bytes.unwrap_or(0);
    let part = match &step {
        Some(step) => part_of(stage, last, step.place, whole),
        None => Part { stage, attempt: last.attempt, from: 0, until: whole },
    };
    let offset = part.until.saturating_sub(BYTES).max(part.from);
    let bytes = read(client, run, Part { from: offset, ..part }).await?;
    let (lines, more) = last_lines(&String::from_utf8_lossy(&bytes), offset > part.from);
    Ok(Some(Tail {
        at: ended.at,
        path: run.plan().path(stage).to_owned(),
        outcome: ended.outcome,
        cause: ended.cause.to_string(),
        step,
        part,
        lines,
        more,
    }))
}

/// The numbers of the first and the last line of a part; `None` where it has none, or so much is in
/// front of them that nobody wants to count.
pub(in crate::commands) async fn line_numbers(
    client: &Client,
    run: &Run,
    part: Part,
) -> Result<Option<(usize, usize)>, ClientError> {
    if part.from >= part.until {
        return Ok(None);
    }
    let (Some(before), Some(until)) = (
        lines_before(client, run, part, part.from).await?,
        lines_before(client, run, part, part.until).await?,
    ) else {
        return Ok(None);
    };
    let last = read(client, run, Part { from: part.until - 1, ..part }).await?;
    let unfinished = usize::from(last != b"\n");
    Ok(Some((before + 1, until + unfinished)))
}

/// How many line ends are in front of a byte of a log; `None` where nobody wants to count.
async fn lines_before(
    client: &Client,
    run: &Run,
    part: Part,
    offset: u64,
) -> Result<Option<usize>, ClientError> {
    let measure = measure(client, run, (part.stage, part.attempt), offset).await?;
    if let Some(lines) = measure.lines {
        return Ok(usize::try_from(lines).ok());
    }
    if offset > COUNTED_BYTES {
        return Ok(None);
    }
    let bytes = read(client, run, Part { from: 0, until: offset, ..part }).await?;
    Ok(Some(memchr::memchr_iter(b'\n', &bytes).count()))
}

/// Where the last lines of a log begin. It is read from its end, as far as they reach.
pub(in crate::commands) async fn start_of_last(
    client: &Client,
    run: &Run,
    (stage, attempt): (StageId, Attempt),
    lines: usize,
) -> Result<u64, ClientError> {
    let length = measure(client, run, (stage, attempt), 0).await?.length;
    let (mut until, mut left) = (length, lines);
    while until > 0 && left > 0 {
        let from = until.saturating_sub(MAX_LOG_PART as u64);
        let bytes = read(client, run, Part { stage, attempt, from, until }).await?;
        // The end of the last line begins no other one.
        let body = if until == length { bytes.strip_suffix(b"\n") } else { None };
        let body = body.unwrap_or(&bytes);
        for index in memchr::memrchr_iter(b'\n', body) {
            left -= 1;
            if left == 0 {
                return Ok(from + index as u64 + 1);
            }
        }
        until = from;
    }
    Ok(until)
}

/// How long a log is now, and how many line ends are in front of one of its bytes.
async fn measure(
    client: &Client,
    run: &Run,
    (stage, attempt): (StageId, Attempt),
    offset: u64,
) -> Result<LogMeasure, ClientError> {
    let read =
        ReadLog { run: run.id(), stage, attempt, offset, limit: 1, wait_ms: 0, measure: true };
    Ok(client.log_part(read).await?.measure.unwrap_or_default())
}

async fn read(client: &Client, run: &Run, part: Part) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    let mut offset = part.from;
    while offset < part.until {
        let most = MAX_LOG_PART as u64;
        let limit = u32::try_from((part.until - offset).min(most)).unwrap_or(u32::MAX);
        let Part { stage, attempt, .. } = part;
        let wait_ms = 0;
        let read =
            ReadLog { run: run.id(), stage, attempt, offset, limit, wait_ms, measure: false };
        let piece = client.log_part(read).await?.bytes;
        if piece.is_empty() {
            break;
        }
        offset += piece.len() as u64;
        bytes.extend(piece);
    }
    Ok(bytes)
}

fn failed_step(run: &Run, stage: StageId, attempt: &AttemptState) -> Option<FailedStep> {
    let (place, ended) = attempt.steps.iter().find_map(|(place, step)| {
        let ended = step.ended.as_ref()?;
        (!ended.outcome.goes_on()).then_some((*place, ended))
    })?;
    let planned = run.plan().stage(stage);
    let of = match place.section {
        Section::Steps => planned.work.steps().len(),
        Section::Finally => planned.finally.len(),
    };
    let title = title(run.plan(), step(run.plan(), stage, place)?);
    Some(FailedStep { title, place, of, detail: ended.detail.to_string() })
}

/// What a step printed: from the end of the one before it to its own.
fn part_of(stage: StageId, attempt: &AttemptState, place: StepPlace, whole: u64) -> Part {
    let end = |place: &StepPlace| attempt.steps.get(place)?.ended.as_ref()?.log_bytes;
    let before = attempt.steps.keys().filter(|other| **other < place).filter_map(end).max();
    let until = end(&place).unwrap_or(whole).min(whole);
    Part { stage, attempt: attempt.attempt, from: before.unwrap_or(0).min(until), until }
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

impl FailedStep {
    /// Which one it is: `step 2 of 3`.
    pub(in crate::commands) fn number(&self) -> String {
        let list = match self.place.section {
            Section::Steps => "step",
            Section::Finally => "finally, step",
        };
        format!("{list} {} of {}", self.place.index + 1, self.of)
    }
}

impl Tail {
    /// How it is printed: what failed, then the last lines of its log.
    pub(in crate::commands) fn rendered(&self, paint: Paint) -> String {
        let word = self.outcome.word();
        let cause = if self.cause.is_empty() { String::new() } else { format!(": {}", self.cause) };
        let mut lines = vec![paint.error(&format!("✘ {} {word}{cause}", self.path))];
        let title = self.step.as_ref().map(|step| &step.title);
        lines.extend(title.map(|title| format!("  {} {title}", paint.faint("›"))));
        lines.extend(self.excerpt(paint));
        lines.join("\n")
    }

    /// The last lines alone.
    pub(in crate::commands) fn excerpt(&self, paint: Paint) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.more.then(|| format!("  {}", paint.faint("…"))));
        let bar = paint.faint("│");
        lines.extend(
            self.lines.iter().map(|line| format!("  {bar} {}", harmless(line, paint.colored))),
        );
        lines
    }
}
