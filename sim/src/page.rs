//! A simulation as one page: time runs to the right, every host has a lane.
//!
//! The page holds what happened as data, and a small script that draws the part of it that is
//! looked at; it needs nothing else: no network, no font. `bars` says what lasts, and where.

mod bars;

use crate::history::{Answer, Fact, Moment};
use crate::report::Report;
use crate::traffic::Message;
use bars::Bar;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// What the script draws.
#[derive(Serialize)]
struct Data<'h> {
    /// When the last thing happened, in simulated milliseconds.
    end_ms: u64,
    /// The hosts from top to bottom, each with the highest row of its bars.
    hosts: Vec<(&'h str, usize)>,
    /// When, at which host, of what kind, and what happened.
    moments: Vec<(u64, usize, &'static str, String)>,
    bars: Vec<Bar>,
    /// From which host to which, sent and arrived when, what by its number, and whether it says
    /// nothing new.
    messages: Vec<(usize, usize, u64, Option<u64>, usize, bool)>,
    /// What messages say.
    words: Vec<&'h str>,
}

/// The page of a simulation.
#[must_use]
pub fn page(report: &Report, history: &[Moment], traffic: &[Message]) -> String {
    let data = serde_json::to_string(&data(history, traffic)).unwrap_or_default();
    let found = report.violations.iter().fold(String::new(), |mut list, violation| {
        let _ = writeln!(list, "<li>{}</li>", escape(violation));
        list
    });
    let verdict = match report.violations.len() {
        0 => "nothing contradicts a property".to_owned(),
        1 => "1 contradiction".to_owned(),
        many => format!("{many} contradictions"),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>seed {seed}: {verdict}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>seed {seed}: {verdict}</h1>\n\
         <p>{nodes} control nodes, {runs} runs, {seconds} simulated seconds, history {hash}; \
         <code>{replay}</code></p>\n<ul class=\"found\">\n{found}</ul>\n</header>\n{BODY}\
         <script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        seed = report.seed,
        nodes = report.controls,
        runs = report.runs,
        seconds = report.simulated_ms / 1000,
        hash = escape(&report.history_hash),
        replay = escape(&report.replay_command()),
        data = within_script(&data),
    )
}

const BODY: &str = r#"<nav>
<button id="nearer" title="nearer (+)">+</button>
<button id="farther" title="farther (-)">−</button>
<button id="all" title="all of it (0)">all</button>
<output id="range"></output>
<label><input type="checkbox" id="messages" checked> messages</label>
<label><input type="checkbox" id="idle"> signs of life and long polls, too</label>
<label>only what says
<input type="search" id="sought" placeholder="run 3, control-2, FAULT …"></label>
</nav>
<canvas id="overview" height="34" aria-label="all of it; what is shown below is framed"></canvas>
<canvas id="lanes" aria-label="what happened at which host"></canvas>
<p class="legend">
<span><i class="key up"></i>process is up</span> <span><i class="key down"></i>is down</span>
<span><i class="key leads"></i>leads a shard</span>
<span><i class="key lease"></i>holds a stage</span>
<span><i class="key ail"></i>is ailing</span> <span><i class="key fault"></i>fault</span>
<span><i class="key mark"></i>rare situation</span> <span><i class="key client"></i>client</span>
<span><i class="key message"></i>message</span> <span><i class="key gone"></i>lost message</span>
<br>
Wheel or + and − to zoom, drag or ← and → to move, hold the pointer over anything, click it to find
it in the list.
</p>
<table><thead><tr><th>s</th><th>host</th><th>what</th></tr></thead><tbody id="list"></tbody></table>
<p id="tip" role="tooltip" hidden></p>
<noscript><p>Without scripts nothing is drawn here; the command above prints it as text.</p>
</noscript>
"#;

fn data<'h>(history: &'h [Moment], traffic: &'h [Message]) -> Data<'h> {
    let lanes = lanes(history);
    let lane = |host: &str| lanes.get(host).map(|place| place.1);
    let bars = bars::bars(history, |host| lane(host).unwrap_or_default());
    let mut hosts: Vec<(&str, usize)> = lanes.keys().map(|host| (*host, 0)).collect();
    hosts.sort_by_key(|(host, _)| lane(host));
    for bar in &bars {
        hosts[bar.host].1 = hosts[bar.host].1.max(bar.row);
    }
    let moments = history.iter().map(|moment| {
        let host = lane(&moment.host).unwrap_or_default();
        (moment.at_ms, host, kind(&moment.fact), moment.fact.to_string())
    });
    let mut words: BTreeMap<&str, usize> = BTreeMap::new();
    let messages = traffic.iter().filter_map(|message| {
        let next = words.len();
        let what = *words.entry(message.what.as_str()).or_insert(next);
        let idle = IDLE.iter().any(|idle| message.what.starts_with(idle));
        let ends = (lane(&message.from)?, lane(&message.to)?);
        Some((ends.0, ends.1, message.sent_ms, message.arrived_ms, what, idle))
    });
    let messages = messages.collect();
    let mut said = vec![""; words.len()];
    for (word, number) in words {
        said[number] = word;
    }
    Data {
        end_ms: history.last().map_or(0, |moment| moment.at_ms),
        hosts,
        moments: moments.collect(),
        bars,
        messages,
        words: said,
    }
}

/// The hosts with the numbers of their lanes: what the world does first, then clients and the
/// operator, control nodes, and agents, each as they are numbered.
fn lanes(history: &[Moment]) -> BTreeMap<&str, ((usize, u32), usize)> {
    let mut lanes: BTreeMap<&str, ((usize, u32), usize)> = BTreeMap::new();
    for moment in history {
        let host = moment.host.as_str();
        lanes.entry(host).or_insert_with(|| (order(host), 0));
    }
    let mut places: Vec<_> = lanes.values_mut().collect();
    places.sort();
    for (number, place) in places.into_iter().enumerate() {
        place.1 = number;
    }
    lanes
}

fn order(host: &str) -> (usize, u32) {
    let (kind, number) = host.rsplit_once('-').unwrap_or((host, "0"));
    let kinds = ["world", "client", "operator", "control", "agent"];
    let place = kinds.iter().position(|known| *known == kind).unwrap_or(kinds.len());
    (place, number.parse().unwrap_or(0))
}

/// How what is said begins that says nothing new.
const IDLE: [&str; 8] =
    ["peer beat", "peer beaten", "bid", "renew", "clock", "log", "cancel", "error"];

/// How a fact is painted.
fn kind(fact: &Fact) -> &'static str {
    match fact {
        Fact::Mark { .. } => "mark",
        Fact::Submitted { answer: Answer::Unknown, .. }
        | Fact::Cancelled { answer: Answer::Unknown, .. } => "lost",
        Fact::Leads { .. } | Fact::Resigns { .. } => "leads",
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

/// JSON that no browser takes for the end of the script that holds it.
fn within_script(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests;
