//! A simulation as one page: time runs down, every host has a lane.
//!
//! Leases are bars in the lane of the agent that holds a stage, shards that are led are bars in the
//! lane of their leader, faults are red, what clients learn is told in their lane, and messages are
//! lines from lane to lane. The page needs nothing else: no script, no network, no font.

use crate::history::{Answer, Fact, Moment};
use crate::report::Report;
use crate::traffic::Message;
use otto_core::ids::ShardId;
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
pub fn page(report: &Report, history: &[Moment], traffic: &[Message]) -> String {
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
    messages(&mut svg, &rows, &lanes, traffic);
    leases(&mut svg, &rows);
    leaders(&mut svg, &rows);
    let mut told = String::new();
    for row in &rows {
        let time = Milliseconds(row.moment.at_ms).to_string();
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
         <p>{LEGEND}</p>\n\
         <input type=\"checkbox\" id=\"messages\" checked>\
         <label for=\"messages\">messages</label>\n\
         <input type=\"checkbox\" id=\"idle\">\
         <label for=\"idle\">signs of life and long polls, too</label>\n\
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
.leads { fill: #e904; stroke: #e90 } .leader { fill: #b60 }
.message { stroke: #888a; fill: none } .message.gone { stroke: #d22 } .message.idle { opacity: .4 }
.message:hover { stroke-width: 3 }
#messages:not(:checked) ~ svg .message, #idle:not(:checked) ~ svg .message.idle { display: none }
@media (prefers-color-scheme: dark) {
  .client { fill: #6d9 } .fault, li { color: #f66; fill: #f66 }
}
";

const LEGEND: &str = "Time runs down. Blue bars are leases, orange ones shards that are led; lines \
                      are messages, red ones never arrived. Hold the pointer over anything.";

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

/// Where a bar stands: so many pixels from the left of its lane.
fn slot_x(lane: usize, slot: usize) -> usize {
    TIMES + lane * LANE + 3 + slot * 6
}

fn bar(svg: &mut String, class: &str, x: usize, from: &Row<'_>, to_y: usize) {
    let (y, height) = (from.y - LINE / 2, to_y.saturating_sub(from.y) + LINE / 2);
    let said = escape(&from.moment.fact.to_string());
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"4\" height=\"{height}\">\
         <title>{said}</title></rect>"
    );
}

/// A bar for every stage that an agent held, from where it began to where it was gone.
fn leases(svg: &mut String, rows: &[Row<'_>]) {
    let mut open: BTreeMap<LeaseId, (&Row<'_>, usize)> = BTreeMap::new();
    let last = rows.last().map_or(TOP, |row| row.y);
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
                    bar(svg, "lease", slot_x(from.lane, slot), from, row.y);
                }
            }
            _ => {}
        }
    }
    for (from, slot) in open.into_values() {
        bar(svg, "lease", slot_x(from.lane, slot), from, last);
    }
}

/// A bar for every shard that a node led, from where it began to serve to where it served no more,
/// or where its process ended.
fn leaders(svg: &mut String, rows: &[Row<'_>]) {
    let mut open: BTreeMap<(usize, ShardId), &Row<'_>> = BTreeMap::new();
    let last = rows.last().map_or(TOP, |row| row.y);
    let place = |shard: ShardId| if shard == ShardId::META { 0 } else { usize::from(shard.0) + 1 };
    let end = |svg: &mut String, lane: usize, shard: ShardId, from: &Row<'_>, y: usize| {
        bar(svg, "leads", slot_x(lane, place(shard)), from, y);
    };
    for row in rows {
        match &row.moment.fact {
            Fact::Leads { shard, .. } => {
                open.insert((row.lane, *shard), row);
            }
            Fact::Resigns { shard } => {
                if let Some(from) = open.remove(&(row.lane, *shard)) {
                    end(svg, row.lane, *shard, from, row.y);
                }
            }
            // What its process led before it was started anew, it did not resign.
            Fact::Serves => {
                let before: Vec<ShardId> =
                    open.keys().filter(|(lane, _)| *lane == row.lane).map(|it| it.1).collect();
                for shard in before {
                    let begun_now = |from: &Row<'_>| from.moment.at_ms == row.moment.at_ms;
                    if open.get(&(row.lane, shard)).is_some_and(|from| begun_now(from)) {
                        continue;
                    }
                    if let Some(from) = open.remove(&(row.lane, shard)) {
                        end(svg, row.lane, shard, from, row.y);
                    }
                }
            }
            _ => {}
        }
    }
    for ((lane, shard), from) in open {
        end(svg, lane, shard, from, last);
    }
}

/// Lines from lane to lane, from where a message was sent to where it arrived; short ones where it
/// never did.
fn messages(
    svg: &mut String,
    rows: &[Row<'_>],
    lanes: &BTreeMap<&str, usize>,
    traffic: &[Message],
) {
    for message in traffic {
        let lane = |host: &str| lanes.get(host).map(|lane| TIMES + lane * LANE + 18);
        let (Some(from), Some(to)) = (lane(&message.from), lane(&message.to)) else { continue };
        let (begun, arrived) = (height(rows, message.sent_ms), message.arrived_ms);
        let idle = IDLE.iter().any(|idle| message.what.starts_with(idle));
        let class = match (arrived, idle) {
            (None, _) => "message gone",
            (Some(_), true) => "message idle",
            (Some(_), false) => "message",
        };
        let (x, y) = match arrived {
            Some(arrived) => (to, height(rows, arrived).max(begun + 1)),
            None if to > from => (from + 30, begun + 3),
            None => (from - 30, begun + 3),
        };
        let said = escape(&format!(
            "{} to {} at {}: {}{}",
            message.from,
            message.to,
            Milliseconds(message.sent_ms),
            message.what,
            if arrived.is_none() { ", which never arrived" } else { "" }
        ));
        let _ = writeln!(
            svg,
            "<path class=\"{class}\" d=\"M{from} {begun}L{x} {y}\"><title>{said}</title></path>"
        );
    }
}

/// How what is said begins that says nothing new.
const IDLE: [&str; 8] =
    ["peer beat", "peer beaten", "bid", "renew", "clock", "log", "cancel", "error"];

/// How far down a moment is.
fn height(rows: &[Row<'_>], at_ms: u64) -> usize {
    let next = rows.partition_point(|row| row.moment.at_ms < at_ms);
    let Some(after) = rows.get(next) else { return rows.last().map_or(TOP, |row| row.y) };
    let Some(before) = next.checked_sub(1).and_then(|before| rows.get(before)) else {
        return after.y;
    };
    let (from_ms, to_ms) = (before.moment.at_ms, after.moment.at_ms);
    let passed = usize::try_from(at_ms.saturating_sub(from_ms)).unwrap_or(0);
    let span = usize::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0).max(1);
    before.y + after.y.saturating_sub(before.y) * passed.min(span) / span
}

/// Simulated time for people.
struct Milliseconds(u64);

impl std::fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// How a fact is painted.
fn class(fact: &Fact) -> &'static str {
    match fact {
        Fact::Mark { .. } => "mark",
        Fact::Submitted { answer: Answer::Unknown, .. }
        | Fact::Cancelled { answer: Answer::Unknown, .. } => "lost",
        Fact::Leads { .. } | Fact::Resigns { .. } => "leader",
        Fact::Fault { .. }
        | Fact::Forfeits { .. }
        | Fact::Damaged { .. }
        | Fact::OffTime { .. } => "fault",
        Fact::Submits { .. }
        | Fact::Listed { .. }
        | Fact::Wishes { .. }
        | Fact::Wished { .. }
        | Fact::TokenMade { .. }
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
        | Fact::Joined { .. }
        | Fact::Granted { .. }
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
    use crate::traffic::Message;

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
        let message = |what: &str, arrived_ms| Message {
            from: "a".to_owned(),
            to: "b".to_owned(),
            sent_ms: 1,
            arrived_ms,
            what: what.to_owned(),
        };
        let traffic = [message("bid", Some(2)), message("submit <x>", None)];
        let page = page(&report, &history, &traffic);
        assert!(page.contains("FAULT &lt;y&gt;") && page.contains("I1: &lt;lost&gt;"), "{page}");
        assert!(page.contains("a to b at 0.001: submit &lt;x&gt;, which never arrived"), "{page}");
        assert!(page.contains("class=\"message idle\"") && page.contains("message gone"));
        assert!(!page.contains("<y>") && !page.contains("<script"), "{page}");
    }
}
