//! One simulation of replicas: machines, writers, operator and faults, to a judged history.

mod loss;

use super::checks::{self, Ending};
use super::history::{Fact, History, hash};
use super::host::{Machine, Running};
use super::operator::{Wanted, operate};
use super::planted::{Bug, Lost, Signs};
use super::report::{Report, Simulated};
use super::setup::{FAULTS_UNTIL_MS, Fault, NODES, Planned, Setup};
use super::writer::{Writers, entities, entity};
use crate::determinism::{self, random, random_below};
use crate::disk::Crash;
use crate::sabotage::unwanted_panics;
use otto_core::ids::ShardId;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use turmoil::Sim;

/// Rare things that a search of many seeds wants to reach.
pub const MARKS: &[&str] = &[
    "a leader was moved",
    "a node was wiped",
    "a node was taken back",
    "a member was replaced",
    "a node died while it opened",
    "all machines lost power",
    "a log was purged",
    "a snapshot travelled",
    "a leader was cut off",
];

/// When everything must be well again, in simulated milliseconds.
const END_MS: u64 = FAULTS_UNTIL_MS + 90_000;
/// How long a supervisor waits before it starts a process again.
const RESTART_MS: u64 = 150;
/// How often it is written down what replicas hold.
const LOOK_EVERY_MS: u64 = 1_000;

/// What is to be undone.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Repair {
    Start(u64),
    Join(u64, u64),
    JoinOneWay(u64, u64),
    Release(u64, u64),
    Speed(u64),
}

/// A simulation that goes on.
pub(super) struct World {
    setup: Arc<Setup>,
    bug: Option<Bug>,
    sim: Sim<'static>,
    started: Duration,
    machines: BTreeMap<u64, Machine>,
    running: Running,
    history: History,
    wanted: Wanted,
    lost: Lost,
    writers: Writers,
    probed: Arc<AtomicU64>,
    faults: Vec<Planned>,
    repairs: Vec<(u64, Repair)>,
    /// Which nodes are down until they are started again.
    down: BTreeSet<u64>,
    /// The latest copy of each disk.
    copies: BTreeMap<u64, (Vec<u8>, Vec<u8>)>,
    /// Those that were taken back and have not heard yet that they are out.
    unheard: BTreeSet<u64>,
    /// The spares that were never members.
    spares: Vec<u64>,
    looked_ms: u64,
    /// Up to where each replica's log was purged when it was looked at last, and applied.
    purged: BTreeMap<(ShardId, u64), (u64, u64)>,
}

impl World {
    pub(super) fn new(setup: Setup, bug: Option<Bug>) -> Self {
        let setup = Arc::new(setup);
        let (running, history) = (Running::default(), History::default());
        let (wanted, lost, signs) = (Wanted::default(), Lost::default(), Signs::default());
        let mut sim = turmoil::Builder::new()
            .rng_seed(setup.seed)
            .simulation_duration(Duration::from_millis(2 * END_MS))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(setup.latency_ms))
            .tcp_capacity(65_536)
            .build();
        let mut machines = BTreeMap::new();
        for node in 1..=NODES {
            let machine = Machine::new(node, &setup, &running, &history, bug, (&lost, &signs));
            machine.disk.set_forgetful(bug == Some(Bug::SyncsForgotten));
            machines.insert(node, machine.clone());
            sim.host(format!("n{node}"), move || machine.clone().run());
        }
        let shards: Vec<ShardId> = (0..setup.shards).map(ShardId).chain([ShardId::META]).collect();
        let writers = Writers {
            running: running.clone(),
            history: history.clone(),
            shards: shards.clone(),
            pause_ms: setup.pause_ms,
            over: Arc::default(),
            applied: Arc::default(),
            bug,
        };
        for writer in 0..setup.writers {
            sim.client(format!("writer{writer}"), writers.clone().write());
        }
        wanted.members((1..=setup.members).collect());
        let operator = operate(wanted.clone(), running.clone(), shards, history.clone());
        sim.host("operator", {
            let operator = std::sync::Mutex::new(Some(operator));
            move || {
                let operator = operator.lock().map(|mut held| held.take()).ok().flatten();
                async move {
                    match operator {
                        Some(operator) => operator.await,
                        None => Ok(()),
                    }
                }
            }
        });
        Self {
            faults: setup.faults.clone(),
            spares: (setup.members + 1..=NODES).collect(),
            setup,
            bug,
            sim,
            started: determinism::machine_time(),
            machines,
            running,
            history,
            wanted,
            lost,
            writers,
            probed: Arc::default(),
            repairs: Vec::new(),
            down: BTreeSet::new(),
            copies: BTreeMap::new(),
            unheard: BTreeSet::new(),
            looked_ms: 0,
            purged: BTreeMap::new(),
        }
    }

    /// Runs to its end, and judges.
    pub(super) fn run(mut self) -> Result<Simulated, String> {
        let mut probing = false;
        loop {
            self.sim.step().map_err(|error| error.to_string())?;
            let now = self.now_ms();
            self.history.set_time(now);
            self.repair(now);
            self.supervise(now);
            while self.faults.first().is_some_and(|planned| planned.at_ms <= now) {
                let planned = self.faults.remove(0);
                self.inject(planned.fault, now);
            }
            if now >= self.looked_ms + LOOK_EVERY_MS {
                self.looked_ms = now;
                self.look();
            }
            let calm = now >= FAULTS_UNTIL_MS && self.repairs.is_empty();
            if calm && !probing && self.wanted.settled() {
                probing = true;
                self.writers.over.store(true, Ordering::Relaxed);
                let probe = self.writers.clone().probe(Arc::clone(&self.probed));
                self.sim.client("probe", probe);
            }
            let probed = self.probed.load(Ordering::Relaxed) == self.writers.shards.len() as u64;
            if now >= END_MS || (calm && probed && self.even()) {
                return self.judge();
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What was broken for a while works again.
    fn repair(&mut self, now: u64) {
        let repairs = std::mem::take(&mut self.repairs);
        let (due, later) = repairs.into_iter().partition(|(at, _)| *at <= now);
        self.repairs = later;
        let due: Vec<(u64, Repair)> = due;
        for (_, repair) in due {
            match repair {
                Repair::Start(node) => {
                    self.down.remove(&node);
                    self.machines[&node].ended.store(false, Ordering::Relaxed);
                    self.sim.bounce(format!("n{node}"));
                }
                Repair::Join(a, b) => self.sim.repair(format!("n{a}"), format!("n{b}")),
                Repair::JoinOneWay(a, b) => {
                    self.sim.repair_oneway(format!("n{a}"), format!("n{b}"));
                }
                Repair::Release(a, b) => self.sim.release(format!("n{a}"), format!("n{b}")),
                Repair::Speed(node) => self.machines[&node].slower_ms.store(0, Ordering::Relaxed),
            }
        }
    }

    /// A process that ended by itself is started again, with its disk as it is.
    fn supervise(&mut self, now: u64) {
        for node in 1..=NODES {
            let machine = &self.machines[&node];
            let ended = machine.ended.load(Ordering::Relaxed) || machine.disk.failed();
            if ended && !self.down.contains(&node) {
                let power = random_below(2) == 0;
                self.stop(node, power, now);
            }
        }
    }

    /// Ends a process, or its machine.
    fn stop(&mut self, node: u64, power: bool, now: u64) {
        let machine = &self.machines[&node];
        if power {
            let crash = Crash::ALL[usize::try_from(random()).unwrap_or(0) % Crash::ALL.len()];
            machine.disk.crash(crash);
        } else {
            machine.disk.kill();
            machine.disk.repair();
        }
        self.running.remove(node);
        self.sim.crash(format!("n{node}"));
        self.down.insert(node);
        self.repairs.push((now + RESTART_MS + random_below(1_000), Repair::Start(node)));
    }

    /// The nodes that take part and are up, the members among them first.
    fn up(&self) -> Vec<u64> {
        let members = self.wanted.wanted();
        members.into_iter().filter(|node| !self.down.contains(node)).collect()
    }

    fn choose(&self) -> Option<u64> {
        let up = self.up();
        let chosen = usize::try_from(random_below(up.len() as u64)).ok()?;
        up.get(chosen).copied()
    }

    fn mark(&self, name: &'static str) {
        self.history.add(Fact::Mark(name));
    }

    fn inject(&mut self, fault: Fault, now: u64) {
        let Some(node) = self.choose() else { return };
        if !matches!(fault, Fault::Wipe | Fault::RollBack | Fault::Replace) {
            self.history.add(Fact::Fault(format!("{fault:?} n{node}")));
        }
        match fault {
            Fault::Kill => self.stop(node, false, now),
            Fault::CutPower => self.stop(node, true, now),
            Fault::CutAllPower => {
                self.mark("all machines lost power");
                for node in self.up() {
                    self.stop(node, true, now);
                }
            }
            Fault::CrashWhileOpening { after } => {
                self.stop(node, true, now);
                self.machines[&node].disk.fail_after(after);
                self.mark("a node died while it opened");
            }
            Fault::Isolate { for_ms } => {
                for other in (1..=NODES).filter(|other| *other != node) {
                    self.sim.partition(format!("n{node}"), format!("n{other}"));
                    self.repairs.push((now + for_ms, Repair::Join(node, other)));
                }
                if self.writers.shards.iter().any(|shard| self.leads(*shard, node)) {
                    self.mark("a leader was cut off");
                }
            }
            Fault::CutOneWay { for_ms } => {
                if let Some(other) = self.choose().filter(|other| *other != node) {
                    self.sim.partition_oneway(format!("n{node}"), format!("n{other}"));
                    self.repairs.push((now + for_ms, Repair::JoinOneWay(node, other)));
                }
            }
            Fault::Hold { for_ms } => {
                if let Some(other) = self.choose().filter(|other| *other != node) {
                    self.sim.hold(format!("n{node}"), format!("n{other}"));
                    self.repairs.push((now + for_ms, Repair::Release(node, other)));
                }
            }
            Fault::SlowDisk { by_ms, for_ms } => {
                self.machines[&node].slower_ms.store(by_ms, Ordering::Relaxed);
                self.repairs.push((now + for_ms, Repair::Speed(node)));
            }
            Fault::FailDisk { after } => self.machines[&node].disk.fail_after(after),
            Fault::Copy => self.copy(),
            Fault::Wipe | Fault::RollBack | Fault::Replace => self.replace(fault, node, now),
            Fault::Move => {
                let chosen = usize::try_from(random_below(self.writers.shards.len() as u64));
                self.wanted.move_leader(self.writers.shards[chosen.unwrap_or(0)]);
            }
        }
    }

    fn leads(&self, shard: ShardId, node: u64) -> bool {
        self.running.leader(shard).is_some_and(|(leader, _)| leader == node)
    }

    /// Writes down what each replica holds.
    fn look(&mut self) {
        for (node, up) in self.running.all() {
            for view in up.shards.views() {
                let (shard, now) = (view.shard, (view.purged, view.applied));
                if let Some(before) = self.purged.insert((shard, node), now) {
                    if now.0 > before.0 {
                        self.mark("a log was purged");
                    }
                    if now.0 > before.1 {
                        self.mark("a snapshot travelled");
                    }
                }
                // A replica that can't be read any more says so itself.
                if let Ok(Some(held)) = up.shards.fingerprint(shard) {
                    let (applied, digest) = (held.applied, held.digest.short());
                    self.history.add(Fact::Holds { node, shard, applied, digest });
                }
            }
        }
    }

    /// Whether all members have applied as much as their leaders.
    fn even(&self) -> bool {
        self.uneven().is_empty()
    }

    /// What keeps the members from being as far as their leaders.
    fn uneven(&self) -> Vec<String> {
        let (up, members) = (self.running.all(), self.wanted.wanted());
        let mut uneven = Vec::new();
        for shard in &self.writers.shards {
            let Some((leader, _)) = self.running.leader(*shard) else {
                uneven.push(format!("nobody serves shard {shard}"));
                continue;
            };
            for node in &members {
                let views = [leader, *node].map(|node| {
                    let views = up.get(&node).map(|up| up.shards.views()).unwrap_or_default();
                    views.into_iter().find(|view| view.shard == *shard)
                });
                let [Some(led), Some(follows)] = views else {
                    uneven.push(format!("n{node} is down"));
                    continue;
                };
                if led.applied != led.last || follows.applied != led.applied {
                    uneven.push(format!(
                        "n{node} has applied {} of shard {shard}, its leader n{leader} {} of {}",
                        follows.applied, led.applied, led.last
                    ));
                }
            }
        }
        uneven
    }

    /// Reads what the members hold, ends all hosts, and judges.
    fn judge(mut self) -> Result<Simulated, String> {
        self.look();
        let simulated_ms = self.now_ms();
        let mut violations = Vec::new();
        let late = self.uneven();
        let probed = self.probed.load(Ordering::Relaxed);
        if !late.is_empty() || probed < self.writers.shards.len() as u64 {
            let settled = self.wanted.settled();
            violations.push(format!(
                "L2: after {simulated_ms} ms {probed} shards were served, settled: {settled}; \
                 {late:?}"
            ));
        }
        let ending = self.ending()?;
        let operations =
            self.machines.values().map(|machine| machine.disk.counts().operations).sum();
        for machine in self.machines.values() {
            machine.disk.kill();
        }
        for node in 1..=NODES {
            self.running.remove(node);
        }
        let history = self.history.moments();
        drop(self.sim);
        violations.extend(checks::judge(&history, &ending));
        let panics = unwanted_panics();
        violations.extend(panics.into_iter().map(|panic| format!("P5: nobody wanted: {panic}")));
        let took = determinism::machine_time().saturating_sub(self.started);
        let marks = history.iter().filter_map(|moment| match &moment.fact {
            Fact::Mark(name) => Some((*name).to_owned()),
            _ => None,
        });
        let report = Report {
            seed: self.setup.seed,
            planted: self.bug.map(super::planted::name_of).map(str::to_owned),
            history_hash: hash(&history),
            simulated_ms,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            disk_operations: operations,
            applied: self.writers.applied.load(Ordering::Relaxed),
            marks: marks.collect(),
            violations,
        };
        Ok(Simulated { report, history })
    }

    fn ending(&self) -> Result<Ending, String> {
        let mut ending = Ending::default();
        // Where they did not all get as far, that is said already, and what is missing is no loss.
        if !self.even() {
            return Ok(ending);
        }
        let up = self.running.all();
        for node in self.wanted.wanted() {
            let Some(up) = up.get(&node) else { continue };
            for shard in &self.writers.shards {
                let entries = entities().map(|number| {
                    let held = up.shards.held(*shard, entity(number));
                    Ok((number, held.map_err(|fault| fault.to_string())?))
                });
                let replica = entries.collect::<Result<_, String>>()?;
                ending.replicas.insert((*shard, node), replica);
            }
        }
        Ok(ending)
    }
}
