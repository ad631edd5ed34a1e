//! A simulation as one page: time runs down, every host has a lane.
//!
//! Stages are bars in the lane of the agent that holds them, faults are red, what clients learn is
//! told in their lane. The page needs nothing else: no script, no network, no font.

use crate::history::{Answer, Fact, Moment};
use crate::report::Report;
use otto_core::lease::LeaseId;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How wide a lane is, in pixels.
const LANE: usize = 330;
/// How wide the times at the left are.
const TIMES: usize = 70;
/// How high a line of text is.
const LINE: usize = 15;
/// Where the lanes begin.
const TOP: usize = 40;
/// How many letters fit into a lane.
const LETTERS: usize = 50;

/// One line of the page.
struct Row<'h> {
    moment: &'h Moment,
    lane: usize,
    y: usize,
}

/// The page of a simulation.
#[must_use]
pub fn page(report: &Report, history: &[Moment]) -> String {
    let lanes = lanes(history);
    let rows = rows(history, &lanes);
    let width = TIMES + lanes.len() * LANE;
    let height = rows.last().map_or(TOP, |row| row.y) + 2 * LINE;
    let mut svg = String::new();
    for (name, lane) in &lanes {
        let x = TIMES + lane * LANE;
        let _ = writeln!(svg, "<text class=\"host\" x=\"{x}\" y=\"20\">{}</text>", escape(name));
        let _ = writeln!(svg, "<path class=\"lane\" d=\"M{x} {TOP}V{height}\"/>");
    }
    leases(&mut svg, &rows);
    let mut told = String::new();
    for row in &rows {
        let time = format!("{}.{:03}", row.moment.at_ms / 1000, row.moment.at_ms % 1000);
        if time != told {
            let _ = writeln!(svg, "<text class=\"time\" x=\"4\" y=\"{}\">{time}</text>", row.y);
            told = time;
        }
        let x = TIMES + row.lane * LANE + 24;
        let text = row.moment.fact.to_string();
        let _ = writeln!(
            svg,
            "<text class=\"{}\" x=\"{x}\" y=\"{}\">{}<title>{}</title></text>",
            class(&row.moment.fact),
            row.y,
            escape(&text.chars().take(LETTERS).collect::<String>()),
            escape(&text)
        );
    }
    let found = report.violations.iter().fold(String::new(), |mut list, violation| {
        let _ = writeln!(list, "<li>{}</li>", escape(violation));
        list
    });
    format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>seed {seed}</title>\n\
         <style>{STYLE}</style>\n\
         <h1>seed {seed}: {runs} runs, {seconds} simulated seconds, history {hash}</h1>\n\
         <p><code>{replay}</code></p>\n<ul>{found}</ul>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"what happened at which host\">\n{svg}</svg>\n",
        seed = report.seed,
        runs = report.runs,
        seconds = report.simulated_ms / 1000,
        hash = escape(&report.history_hash),
        replay = escape(&report.replay_command()),
    )
}

const STYLE: &str = "
:root { color-scheme: light dark }
body { font: 14px system-ui, sans-serif; margin: 1em }
h1 { font-size: 1.1em } li { color: #c22 }
text { font: 11px ui-monospace, monospace; fill: currentColor }
.host { font-weight: bold; font-size: 14px } .time { fill: #888 }
.lane { stroke: #8886; fill: none }
.fault { fill: #d22; font-weight: bold } .mark { fill: #a60 } .lost { fill: #888 }
.lease { fill: #48f4; stroke: #48f } .client { fill: #285 }
@media (prefers-color-scheme: dark) {
  .client { fill: #6d9 } .fault, li { color: #f66; fill: #f66 }
}
";

/// The hosts, each with the number of its lane: the world first, then as their names are ordered.
fn lanes(history: &[Moment]) -> BTreeMap<&str, usize> {
    let mut lanes: BTreeMap<&str, usize> =
        history.iter().map(|moment| (moment.host.as_str(), 0)).collect();
    for (number, lane) in lanes.values_mut().enumerate() {
        *lane = number;
    }
    lanes
}

/// Every moment with its place: what happens later is further down, also in another lane.
fn rows<'h>(history: &'h [Moment], lanes: &BTreeMap<&str, usize>) -> Vec<Row<'h>> {
    let mut y = TOP;
    let mut before: Option<(u64, usize)> = None;
    history
        .iter()
        .map(|moment| {
            let lane = lanes.get(moment.host.as_str()).copied().unwrap_or_default();
            // What several hosts do at one moment stands side by side.
            if before.is_none_or(|(at, last)| at != moment.at_ms || lane <= last) {
                y += LINE;
            }
            before = Some((moment.at_ms, lane));
            Row { moment, lane, y }
        })
        .collect()
}

/// A bar for every stage that an agent held, from where it began to where it was gone.
fn leases(svg: &mut String, rows: &[Row<'_>]) {
    let mut open: BTreeMap<LeaseId, (&Row<'_>, usize)> = BTreeMap::new();
    let last = rows.last().map_or(TOP, |row| row.y);
    let bar = |svg: &mut String, from: &Row<'_>, slot: usize, to: usize| {
        let x = TIMES + from.lane * LANE + 3 + slot * 6;
        let (y, height) = (from.y - LINE / 2, to.saturating_sub(from.y) + LINE / 2);
        let said = escape(&from.moment.fact.to_string());
        let _ = writeln!(
            svg,
            "<rect class=\"lease\" x=\"{x}\" y=\"{y}\" width=\"4\" height=\"{height}\">\
             <title>{said}</title></rect>"
        );
    };
    for row in rows {
        match &row.moment.fact {
            Fact::StageBegan { lease, .. } => {
                let taken: Vec<usize> = open.values().map(|(_, slot)| *slot).collect();
                let slot = (0..=taken.len()).find(|slot| !taken.contains(slot));
                let slot = slot.unwrap_or_default();
                open.insert(*lease, (row, slot));
            }
            Fact::StageEnded { lease } => {
                if let Some((from, slot)) = open.remove(lease) {
                    bar(svg, from, slot, row.y);
                }
            }
            _ => {}
        }
    }
    for (from, slot) in open.into_values() {
        bar(svg, from, slot, last);
    }
}

/// How a fact is painted.
fn class(fact: &Fact) -> &'static str {
    match fact {
        Fact::Fault { .. } => "fault",
        Fact::Mark { .. } => "mark",
        Fact::Submitted { answer: Answer::Unknown, .. }
        | Fact::Cancelled { answer: Answer::Unknown, .. } => "lost",
        Fact::Submits { .. }
        | Fact::Submitted { .. }
        | Fact::Cancels { .. }
        | Fact::Cancelled { .. }
        | Fact::Read { .. }
        | Fact::LogRead { .. } => "client",
        Fact::StepBegan { .. }
        | Fact::StepPrinted { .. }
        | Fact::StepEnded { .. }
        | Fact::StageBegan { .. }
        | Fact::StageEnded { .. }
        | Fact::Serves => "process",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{lanes, page, rows};
    use crate::history::{Fact, Moment};
    use crate::report::Report;

    fn moment(at_ms: u64, host: &str, what: &str) -> Moment {
        Moment { at_ms, host: host.to_owned(), fact: Fact::Fault { what: what.to_owned() } }
    }

    #[test]
    fn hosts_have_lanes_and_time_runs_down() {
        let history = [moment(1, "b", "x"), moment(1, "a", "<y>"), moment(2, "b", "z")];
        let lanes = lanes(&history);
        assert_eq!(lanes, [("a", 0), ("b", 1)].into());
        let rows = rows(&history, &lanes);
        assert!(rows[0].y < rows[1].y && rows[1].y < rows[2].y);
        let report: Report = serde_json::from_value(serde_json::json!({
            "seed": 3, "pipeline": null, "planted": null, "crash_at": null, "history_hash": "h",
            "moments": 3, "simulated_ms": 2000, "took_ms": 1, "disk_operations": 0, "runs": 0,
            "marks": [], "controls": 1, "violations": ["I1: <lost>"],
        }))
        .unwrap();
        let page = page(&report, &history);
        assert!(page.contains("FAULT &lt;y&gt;") && page.contains("I1: &lt;lost&gt;"), "{page}");
        assert!(!page.contains("<y>") && !page.contains("<script"), "{page}");
    }
}
