//! A live tree of stages: drawn again in place while the run goes on, left whole when it ends.

use super::words::stage_line;
use crate::commands::screen::Paint;
use crate::commands::waiting::Reasons;
use otto_core::ids::StageId;
use otto_core::run::Run;
use otto_core::run::outcome::Outcome;
use otto_core::run::state::Phase;
use otto_core::time::Timestamp;
use std::io::{self, Write};
use unicode_width::UnicodeWidthChar;

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// How long a picture of the spinner stays, in milliseconds.
const PICTURE_MS: u64 = 100;
/// The most lines that are left in the scroll-back for stages that went well.
const LEFT_BEHIND: usize = 200;

/// The part of the terminal that is drawn again.
#[derive(Debug, Default)]
pub(in crate::commands) struct Tree {
    /// How many lines of it are on the terminal now.
    drawn: usize,
}

impl Tree {
    /// Takes away what was drawn, so that something can be written above.
    pub(super) fn clear(&mut self) {
        write(&self.erasing());
        self.drawn = 0;
    }

    /// Draws the run as it is now, in as many lines as the terminal has.
    pub(super) fn draw(&mut self, paint: Paint, run: &Run, reasons: &Reasons, now: Timestamp) {
        let (rows, columns) = size();
        let place = Place { most: rows.saturating_sub(2).max(3), columns };
        let lines = lines(paint, run, reasons, now, place);
        let mut text = self.erasing();
        for line in &lines {
            text.push_str(&cut(line, columns));
            text.push('\n');
        }
        write(&text);
        self.drawn = lines.len();
    }

    /// Draws the run as it ended, and forgets about the terminal.
    pub(super) fn leave(&mut self, paint: Paint, run: &Run, reasons: &Reasons, now: Timestamp) {
        let mut text = self.erasing();
        let place = Place { most: LEFT_BEHIND, columns: size().1 };
        for line in lines(paint, run, reasons, now, place) {
            text.push_str(&line);
            text.push('\n');
        }
        write(&text);
        self.drawn = 0;
    }

    /// What moves the cursor to the first drawn line and erases everything below.
    fn erasing(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\x1b[{}F\x1b[J", self.drawn) }
    }
}

/// A stage that is shown, and how deep it is indented.
struct Row {
    stage: StageId,
    depth: usize,
    /// Rows of a higher rank go first where there are too many.
    rank: Rank,
}

/// How easily a row can be done without.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It goes on, waits or failed.
    Needed,
    /// It went well.
    Done,
    /// Its turn has not come, or it was skipped.
    Idle,
}

/// How much room there is.
#[derive(Clone, Copy)]
struct Place {
    /// In lines.
    most: usize,
    /// In characters.
    columns: usize,
}

/// The run in as many lines as there is room for.
fn lines(
    paint: Paint,
    run: &Run,
    reasons: &Reasons,
    now: Timestamp,
    Place { most, columns }: Place,
) -> Vec<String> {
    let mut rows = rows(run);
    let all = rows.len();
    for rank in [Rank::Idle, Rank::Done] {
        if rows.len() > most {
            rows.retain(|row| row.rank != rank);
        }
    }
    // One line is kept for what is left out.
    let shown = if all > most { most.saturating_sub(1) } else { most };
    rows.truncate(shown);
    let spinner = SPINNER[usize::try_from(now.0 / PICTURE_MS % 10).unwrap_or(0)];
    let mut spare = shown.saturating_sub(rows.len());
    let mut lines = Vec::with_capacity(most);
    for row in &rows {
        let indent = "  ".repeat(row.depth);
        let line = stage_line(paint, run, row.stage, now, spinner);
        lines.push(format!("{indent}{line}"));
        let phase = run.stage(row.stage).map(|stage| &stage.phase);
        let reason = reasons.get(&row.stage);
        let reason = reason.filter(|_| matches!(phase, Some(Phase::Offered { .. })));
        let reason = reason.map(|reason| below(reason, columns.saturating_sub(indent.len() + 3)));
        for part in reason.unwrap_or_default().iter().take(spare) {
            lines.push(format!("{indent}  {}", paint.faint(part)));
            spare -= 1;
        }
    }
    if all > rows.len() {
        lines.push(paint.faint(&left_out(run, all - rows.len())));
    }
    lines
}

/// What a reason adds to the stage's own line, which has the need, in lines of at most so many
/// characters where words allow.
fn below(reason: &str, columns: usize) -> Vec<String> {
    let added = reason.split_once("; ").map_or(reason, |(_, added)| added);
    let mut lines: Vec<String> = Vec::new();
    for word in added.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn left_out(run: &Run, hidden: usize) -> String {
    let counts = run.counts();
    let (done, coming) = (counts.settled(), counts.waiting + counts.offered);
    format!("… {hidden} more; of all, {done} are done and {coming} to come")
}

/// All stages that have a line, in the plan's order: groups are shown by what they hold.
fn rows(run: &Run) -> Vec<Row> {
    let plan = run.plan();
    let mut depths: Vec<usize> = Vec::with_capacity(plan.stages.len());
    let mut rows = Vec::new();
    for (id, stage, state) in run.stages() {
        let depth = match stage.parent {
            None | Some(StageId::ROOT) => 0,
            Some(parent) if plan.is_group(parent) => depths[parent.index()],
            Some(parent) => depths[parent.index()] + 1,
        };
        depths.push(depth);
        let alone = plan.stages.len() == 1;
        if (id == StageId::ROOT && !alone) || plan.is_group(id) {
            continue;
        }
        rows.push(Row { stage: id, depth, rank: rank(&state.phase) });
    }
    rows
}

fn rank(phase: &Phase) -> Rank {
    match phase {
        Phase::Pending | Phase::Skipped { .. } => Rank::Idle,
        Phase::Settled { outcome: Outcome::Success | Outcome::Skipped, .. } => Rank::Done,
        Phase::Settled { .. }
        | Phase::Open
        | Phase::Offered { .. }
        | Phase::Leased { .. }
        | Phase::Ended { .. }
        | Phase::Paused { .. } => Rank::Needed,
    }
}

/// Cuts a line to the terminal's width: a wrapped one could not be taken back. Colours have no
/// width, and some characters that of two.
fn cut(line: &str, columns: usize) -> String {
    let mut cut = String::with_capacity(line.len());
    let mut width = 0;
    let mut in_color = false;
    for character in line.chars() {
        match (in_color, character) {
            (false, '\x1b') => in_color = true,
            (true, 'm') => in_color = false,
            (true, _) => {}
            (false, _) => {
                width += character.width().unwrap_or(0);
                if width >= columns {
                    cut.push_str("…\x1b[0m");
                    return cut;
                }
            }
        }
        cut.push(character);
    }
    cut
}

/// The terminal's rows and columns.
fn size() -> (usize, usize) {
    rustix::termios::tcgetwinsize(io::stderr())
        .ok()
        .filter(|size| size.ws_row > 0 && size.ws_col > 0)
        .map_or((24, 80), |size| (usize::from(size.ws_row), usize::from(size.ws_col)))
}

/// A terminal that is gone has nobody before it.
fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::{below, cut};

    #[test]
    fn a_line_is_cut_to_the_width_without_its_colours() {
        assert_eq!(cut("short", 80), "short");
        assert_eq!(cut("0123456789", 5), "0123…\x1b[0m");
        assert_eq!(cut("\x1b[32m✔\x1b[0m ok", 6), "\x1b[32m✔\x1b[0m ok");
        assert_eq!(cut("日本語", 7), "日本語");
        assert_eq!(cut("日本語の", 7), "日本語…\x1b[0m");
    }

    #[test]
    fn a_reason_is_wrapped_and_leaves_out_what_the_stage_says() {
        let reason = "waits for an agent with docker (0 of 1 have it); vm comes closest and lacks \
                      docker";
        assert_eq!(below(reason, 80), ["vm comes closest and lacks docker"]);
        assert_eq!(below(reason, 17), ["vm comes closest", "and lacks docker"]);
        assert_eq!(below("none is connected", 2), ["none", "is", "connected"]);
    }
}
