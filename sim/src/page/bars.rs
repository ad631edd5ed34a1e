//! What lasts: processes that are up, shards that are led, stages that are held, and what ails a
//! host; each as a bar in the lane of its host.

use crate::history::{Fact, Moment};
use otto_core::ids::ShardId;
use otto_core::lease::LeaseId;
use serde::Serialize;
use std::collections::BTreeMap;

/// One bar.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Bar {
    /// The lane.
    pub(super) host: usize,
    /// The row within it; 0 is the host's own.
    pub(super) row: usize,
    pub(super) kind: &'static str,
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    pub(super) what: String,
}

/// A bar whose end is not known yet.
struct Open {
    row: usize,
    from_ms: u64,
    what: String,
}

/// All bars of a history; `lane` says where a host is.
pub(super) fn bars(history: &[Moment], lane: impl Fn(&str) -> usize) -> Vec<Bar> {
    let mut drawing = Drawing {
        lane,
        end_ms: history.last().map_or(0, |moment| moment.at_ms),
        bars: Vec::new(),
        up: BTreeMap::new(),
        down: BTreeMap::new(),
        led: BTreeMap::new(),
        leases: BTreeMap::new(),
    };
    for moment in history {
        drawing.see(moment);
    }
    drawing.end()
}

struct Drawing<L> {
    lane: L,
    end_ms: u64,
    bars: Vec<Bar>,
    up: BTreeMap<String, Open>,
    down: BTreeMap<String, Open>,
    led: BTreeMap<(String, ShardId), Open>,
    leases: BTreeMap<LeaseId, (String, Open)>,
}

impl<L: Fn(&str) -> usize> Drawing<L> {
    fn see(&mut self, moment: &Moment) {
        let Moment { at_ms, host, fact } = moment;
        match fact {
            Fact::Serves => self.serves(host, *at_ms),
            Fact::Fault { what } if host == "world" => self.struck(what, *at_ms),
            Fact::Fault { what } => self.falls(host, *at_ms, what),
            Fact::Leads { shard, term, .. } => {
                let row = if *shard == ShardId::META { 1 } else { usize::from(shard.0) + 2 };
                let what = format!("shard {shard}, term {term}");
                let open = Open { row, from_ms: *at_ms, what };
                if let Some(before) = self.led.insert((host.clone(), *shard), open) {
                    self.close(host, "leads", before, *at_ms);
                }
            }
            Fact::Resigns { shard } => {
                if let Some(open) = self.led.remove(&(host.clone(), *shard)) {
                    self.close(host, "leads", open, *at_ms);
                }
            }
            Fact::StageBegan { lease, path } => {
                let at_host = self.leases.values().filter(|(other, _)| other == host);
                let taken: Vec<usize> = at_host.map(|(_, open)| open.row).collect();
                let row = (1..=taken.len() + 1).find(|row| !taken.contains(row)).unwrap_or(1);
                let what = format!("run {} {path}", lease.run.number);
                let open = Open { row, from_ms: *at_ms, what };
                self.leases.insert(*lease, (host.clone(), open));
            }
            Fact::StageEnded { lease } => {
                if let Some((host, open)) = self.leases.remove(lease) {
                    self.close(&host, "lease", open, *at_ms);
                }
            }
            Fact::Submits { .. }
            | Fact::Submitted { .. }
            | Fact::Cancels { .. }
            | Fact::Cancelled { .. }
            | Fact::Read { .. }
            | Fact::Listed { .. }
            | Fact::Wishes { .. }
            | Fact::Wished { .. }
            | Fact::TokenMade { .. }
            | Fact::Joined { .. }
            | Fact::Granted { .. }
            | Fact::Forfeits { .. }
            | Fact::Damaged { .. }
            | Fact::OffTime { .. }
            | Fact::LogRead { .. }
            | Fact::StepBegan { .. }
            | Fact::StepPrinted { .. }
            | Fact::StepEnded { .. }
            | Fact::Mark { .. } => {}
        }
    }

    fn close(&mut self, host: &str, kind: &'static str, open: Open, to_ms: u64) {
        let Open { row, from_ms, what } = open;
        self.bars.push(Bar { host: (self.lane)(host), row, kind, from_ms, to_ms, what });
    }

    /// A process serves from now on. What its host led before, it does not lead any more.
    fn serves(&mut self, host: &str, at_ms: u64) {
        self.falls(host, at_ms, "");
        if let Some(down) = self.down.remove(host).filter(|down| down.from_ms < at_ms) {
            self.close(host, "down", down, at_ms);
        }
        let up = Open { row: 0, from_ms: at_ms, what: "is up".to_owned() };
        self.up.insert(host.to_owned(), up);
    }

    /// A process is not up any more.
    fn falls(&mut self, host: &str, at_ms: u64, why: &str) {
        if let Some(up) = self.up.remove(host) {
            self.close(host, "up", up, at_ms);
        }
        let led: Vec<ShardId> =
            self.led.keys().filter(|(leader, _)| leader == host).map(|it| it.1).collect();
        for shard in led {
            let key = (host.to_owned(), shard);
            // A process may lead before it says that it serves.
            let open = self.led.remove(&key);
            match open {
                Some(open) if why.is_empty() && open.from_ms == at_ms => {
                    self.led.insert(key, open);
                }
                Some(open) => self.close(host, "leads", open, at_ms),
                None => {}
            }
        }
        if !why.is_empty() {
            let down = Open { row: 0, from_ms: at_ms, what: format!("is down: {why}") };
            self.down.entry(host.to_owned()).or_insert(down);
        }
    }

    /// The world did something to a host.
    fn struck(&mut self, what: &str, at_ms: u64) {
        let number = |field: &str| -> Option<u64> {
            let (_, rest) = what.split_once(&format!(" {field}: "))?;
            rest.split([',', ' ']).next()?.parse().ok()
        };
        let control = number("control").map(|index| format!("control-{}", index + 1));
        let agent = number("agent").map(|index| format!("agent-{}", index + 1));
        if what == "CutAllPower" {
            let up: Vec<String> =
                self.up.keys().filter(|host| host.starts_with("control")).cloned().collect();
            for host in up {
                self.falls(&host, at_ms, what);
            }
        }
        let Some(host) = agent.or(control) else { return };
        if KILLING.iter().any(|kind| what.starts_with(kind)) {
            self.falls(&host, at_ms, what);
        } else if let Some(for_ms) = number("for_ms") {
            let open = Open { row: 0, from_ms: at_ms, what: what.to_owned() };
            self.close(&host, "ail", open, (at_ms + for_ms).min(self.end_ms));
        }
    }

    /// What is still open goes on to the end.
    fn end(mut self) -> Vec<Bar> {
        let end_ms = self.end_ms;
        for (host, open) in std::mem::take(&mut self.up) {
            self.close(&host, "up", open, end_ms);
        }
        for (host, open) in std::mem::take(&mut self.down) {
            self.close(&host, "down", open, end_ms);
        }
        for ((host, _), open) in std::mem::take(&mut self.led) {
            self.close(&host, "leads", open, end_ms);
        }
        for (host, open) in std::mem::take(&mut self.leases).into_values() {
            self.close(&host, "lease", open, end_ms);
        }
        self.bars
    }
}

/// The faults that end a process at once.
const KILLING: [&str; 8] = [
    "KillControl",
    "CutPower",
    "CrashWhileOpening",
    "KillAgent",
    "DamageSector",
    "TakeBackDisk",
    "WipeDisk",
    "LoseMachine",
];
