//! One simulation: hosts, clients and faults, from a setup to a judged history.
//!
//! ```text
//!   mod.rs       the hosts and their time, tick by tick
//!   inject.rs    what goes wrong, and when it is over
//!   ailments.rs  of links, disks, clocks and members, kind by kind
//!   verdict.rs   what is left in the end, and what that comes to
//! ```

mod ailments;
mod inject;
mod verdict;

use crate::clients::{self, Progress};
use crate::determinism;
use crate::faults::PlannedFault;
use crate::history::{History, Moment};
use crate::hosts::{AgentHost, ControlHost, Machines};
use crate::links::Links;
use crate::operator::{Act, Errand, Operator};
use crate::report::Report;
use crate::sabotage::{unwanted_panics, watch_panics};
use crate::setup::{SAFETY_PHASE_MS, Setup};
use crate::traffic::{self, Message};
use crate::{planted, workload};
use inject::{Copies, Repair, Strobe};
use otto_core::cluster::Cluster;
use otto_core::cluster::state::{Member, Standing};
use otto_core::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use turmoil::Sim;

/// The client's host.
pub const CLIENT: &str = "client";
/// The operator's host.
pub const OPERATOR: &str = "operator";
/// Rare things that a search of many seeds wants to reach.
pub const MARKS: &[&str] = &[
    "control killed with a stage leased",
    "agent killed with a step running",
    "a leader died with an award in flight",
    "power cut",
    "power cut while recovering",
    "disk failed",
    "disk full",
    "an actor panicked",
    "agent link held beyond a lease",
    "control stopped beyond a lease",
    "agent stopped beyond a lease",
    "a launcher ended what was not renewed",
    "a frame was cut",
    "a clock was off when a process started",
    "submitted twice at once",
    "cancelled while running",
];
/// The same, of clusters.
pub const CLUSTER_MARKS: &[&str] = &[
    "control processes cut off",
    "a leader was cut off one way",
    "all machines lost power",
    "a leader was stopped",
    "a node joined while runs went on",
    "a node was removed",
    "a node was cast out",
    "a disk was wiped",
    "a disk was taken back",
    "a node was taken back to when it was alone",
    "a disk was damaged",
    "a machine was lost",
    "a node drained",
];
/// When everything must have ended, in simulated milliseconds.
const END_MS: u64 = SAFETY_PHASE_MS + 500_000;
/// How much simulated time all hosts get in turn.
const TICK: Duration = Duration::from_millis(2);
/// How often it is looked at what the clocks show.
const WATCH_EVERY_MS: u64 = 500;
/// A process that ends so often, each time soon after its start, will not come back by itself.
const GIVEN_UP: u32 = 4;
/// Whoever was up for longer was well.
const WELL_MS: u64 = 6_000;

/// What a simulation came to.
#[derive(Debug)]
pub struct Simulated {
    /// The summary.
    pub report: Report,
    /// Everything that happened.
    pub history: Vec<Moment>,
    /// What hosts said to each other, where that was written down.
    pub traffic: Vec<Message>,
}

/// Runs a simulation on a thread of its own. One process should run only one.
///
/// # Errors
/// When the simulation itself breaks: that is a bug, and no property was judged.
pub fn simulate(setup: &Setup) -> Result<Simulated, String> {
    simulated(setup, false)
}

/// As [`simulate`], and writes down what hosts say to each other.
///
/// # Errors
/// As [`simulate`].
pub fn overhear(setup: &Setup) -> Result<Simulated, String> {
    simulated(setup, true)
}

fn simulated(setup: &Setup, overheard: bool) -> Result<Simulated, String> {
    let setup = setup.clone();
    let thread = std::thread::Builder::new().stack_size(64 << 20);
    let running = thread.spawn(move || {
        watch_panics();
        determinism::enter(setup.seed);
        if overheard {
            traffic::write_down();
        }
        let simulated = World::new(setup).and_then(World::run);
        determinism::leave();
        simulated
    });
    let joined = running.map_err(|error| error.to_string())?.join();
    joined.unwrap_or_else(|_| Err(format!("the simulation panicked: {:?}", unwanted_panics())))
}

struct World {
    setup: Setup,
    machines: Machines,
    progress: Progress,
    operator: Operator,
    sim: Sim<'static>,
    started: Duration,
    faults: Vec<PlannedFault>,
    /// How often faults were put off because they would have cost a majority its memory.
    put_off: u32,
    /// What is to be undone, and when.
    repairs: Vec<(u64, Repair)>,
    links: Links,
    strobes: Vec<Strobe>,
    copies: Copies,
    /// After how many operations of its next start a machine loses power again.
    crash_again: BTreeMap<u8, u64>,
    /// Since when each control process is up.
    up_since_ms: BTreeMap<u8, u64>,
    /// How often in a row each ended soon after its start.
    failures: BTreeMap<u8, u32>,
    /// The machines that lost their memory, and are members still.
    forgetful: BTreeSet<u8>,
    /// Those that the operator is to take away.
    leaving: BTreeSet<u8>,
    /// When something other than a clock was wrong last.
    disturbed_ms: u64,
}

impl World {
    fn new(setup: Setup) -> Result<Self, String> {
        let bug = setup.planted.as_deref().and_then(planted::named);
        let machines = Machines::new(&setup, bug);
        if let Some(operation) = setup.crash_at {
            machines.controls[0].disk.fail_after(operation.saturating_sub(1));
        }
        let mut sim = turmoil::Builder::new()
            .rng_seed(setup.seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_millis(2 * END_MS))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(inject::LATENCY_MS))
            .tcp_capacity(65_536)
            .build();
        for control in machines.controls.clone() {
            sim.host(control.name.clone(), move || control.clone().run());
        }
        for crowd in machines.agents.chunks(usize::from(setup.scale.crowd.max(1))) {
            let (name, crowd) = (crowd[0].name.clone(), crowd.to_vec());
            sim.host(name, move || AgentHost::run_all(crowd.clone()));
        }
        let plans = workload::plans(&setup)?;
        let (progress, operator) = (Progress::default(), Operator::default());
        let work = clients::Work {
            submissions: setup.submissions.clone(),
            stored: setup.scale.stored,
            plans,
            machines: setup.controls + setup.spares,
            bug,
            history: machines.common.history.clone(),
            progress: progress.clone(),
        };
        sim.client(CLIENT, work.run());
        let (hired, history) = (operator.clone(), machines.common.history.clone());
        let count = setup.controls + setup.spares;
        sim.host(OPERATOR, move || hired.clone().work(count, history.clone()));
        let faults = setup.faults.clone();
        Ok(Self {
            setup,
            machines,
            progress,
            operator,
            sim,
            started: determinism::machine_time(),
            faults,
            put_off: 0,
            repairs: Vec::new(),
            links: Links::default(),
            strobes: Vec::new(),
            copies: Copies::default(),
            crash_again: BTreeMap::new(),
            up_since_ms: BTreeMap::new(),
            failures: BTreeMap::new(),
            forgetful: BTreeSet::new(),
            leaving: BTreeSet::new(),
            disturbed_ms: 0,
        })
    }

    fn run(mut self) -> Result<Simulated, String> {
        loop {
            let finished = self.tick()?;
            let now = self.now_ms();
            while self.faults.first().is_some_and(|fault| fault.at_ms <= now) {
                let planned = self.faults.remove(0);
                self.inject(planned.fault, now);
            }
            if self.is_over() && !self.progress.calm.swap(true, Ordering::Relaxed) {
                self.heal(now);
            }
            if finished || now >= END_MS {
                return self.judge();
            }
        }
    }

    /// One step of all hosts, and what follows from it; true when the clients are done.
    fn tick(&mut self) -> Result<bool, String> {
        let before = self.now_ms();
        for control in &self.machines.controls {
            control.brake.tick(before);
        }
        for agent in &self.machines.agents {
            agent.brake.tick(before);
        }
        let finished = self.sim.step().map_err(|error| error.to_string())?;
        let now = self.now_ms();
        self.history().set_time(now);
        self.repair(now);
        for agent in &self.machines.agents {
            agent.end_overdue(now);
        }
        for control in 0..self.machine_count() {
            self.supervise(control, now);
        }
        self.obey_operator(now);
        self.watch(now);
        Ok(finished)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn history(&self) -> &History {
        &self.machines.common.history
    }

    fn control(&self, index: u8) -> ControlHost {
        self.machines.controls[usize::from(index)].clone()
    }

    fn agent(&self, index: u8) -> AgentHost {
        self.machines.agents[usize::from(index)].clone()
    }

    /// How many machines there are that are or may become control nodes.
    fn machine_count(&self) -> u8 {
        self.setup.controls + self.setup.spares
    }

    /// Whether nothing goes wrong any more.
    fn is_over(&self) -> bool {
        let idle = self.repairs.is_empty() && self.strobes.is_empty() && self.operator.is_idle();
        self.faults.is_empty() && idle && self.leaving.is_empty()
    }

    /// What was wrong in silence is put right.
    fn heal(&mut self, now: u64) {
        for control in &self.machines.controls {
            control.clock.put_right(now);
        }
    }

    /// A control process that ended by itself is started again; one that cannot is given up.
    fn supervise(&mut self, index: u8, now: u64) {
        let control = &self.machines.controls[usize::from(index)];
        if control.trap.is_sprung() {
            self.history().mark("world", "a leader died with an award in flight");
            self.kill_control(index, now, determinism::random().is_multiple_of(2));
            return;
        }
        let failed = control.disk.failed();
        let ended = control.ended.swap(false, Ordering::Relaxed);
        if !(ended || failed) || self.starts(&Repair::StartControl(index)) {
            return;
        }
        if failed {
            self.history().mark("world", "disk failed");
        }
        let up_for = now.saturating_sub(self.up_since_ms.get(&index).copied().unwrap_or(0));
        let failures = self.failures.entry(index).or_default();
        *failures = if up_for < WELL_MS { *failures + 1 } else { 1 };
        // Again at each failure, until it is seen to: there may be no cluster at the moment.
        if *failures >= GIVEN_UP {
            self.give_up(index);
        }
        // Where each operation is tried, the machine loses power at it; elsewhere it may.
        let random = determinism::random();
        let power = failed && (self.setup.crash_at.is_some() || random.is_multiple_of(2));
        self.stop_control(index, now, power);
    }

    /// The operator sees that a node will not come back: it is removed, and its machine joins anew.
    fn give_up(&mut self, machine: u8) {
        let node = self.control(machine).node().filter(|node| self.is_member(*node));
        let others = self.members().len() > 1;
        if let Some(node) = node.filter(|_| others && self.leaving.insert(machine)) {
            self.operator.ask(Errand::Remove { node, machine, again: true });
        }
    }

    /// Does to machines what the operator says.
    fn obey_operator(&mut self, now: u64) {
        for act in self.operator.acts() {
            let (machine, token) = match act {
                Act::Start(machine, token) => (machine, Some(token)),
                Act::Retire(machine) => (machine, None),
                Act::Keep(machine) => {
                    self.leaving.remove(&machine);
                    continue;
                }
            };
            self.forgetful.remove(&machine);
            self.leaving.remove(&machine);
            self.failures.remove(&machine);
            self.end_process(machine, now);
            self.repairs.retain(|(_, repair)| *repair != Repair::StartControl(machine));
            self.control(machine).begin_anew(token);
            if token.is_some() {
                self.repairs.push((now + inject::RESTART_MS, Repair::StartControl(machine)));
                if self.machines.leases() > 0 {
                    self.history().mark("world", "a node joined while runs went on");
                }
            }
        }
    }

    /// Takes note of what the clocks show, and of whether anything else is wrong.
    fn watch(&mut self, now: u64) {
        if !now.is_multiple_of(WATCH_EVERY_MS) || !self.setup.is_cluster() {
            return;
        }
        let quiet = |(_, repair): &(u64, Repair)| matches!(repair, Repair::Drift(_));
        if !self.repairs.iter().all(quiet) || !self.leaving.is_empty() {
            self.disturbed_ms = now;
        }
        let members = self.members();
        let ahead = members.iter().map(|machine| (*machine, self.control(*machine).ahead_ms(now)));
        let ahead_ms: BTreeMap<u8, i64> = ahead.collect();
        let votes = |member: &Member| member.standing == Standing::Voter;
        if self.cluster().is_none_or(|cluster| !cluster.nodes().all(|(_, member)| votes(member))) {
            // Who votes says what time it is.
            self.disturbed_ms = now;
        }
        let watch = &self.machines.common.watch;
        let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.ahead_ms = ahead_ms;
        watch.calm_since_ms = self.disturbed_ms;
    }

    /// The cluster as the node knows it that knows most; `None` before it was founded.
    fn cluster(&self) -> Option<Cluster> {
        let known = self.machines.controls.iter().filter_map(ControlHost::cluster);
        known.max_by_key(Cluster::version)
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.cluster().is_some_and(|cluster| cluster.node(node).is_some())
    }

    /// The machines that belong to the cluster.
    fn members(&self) -> BTreeSet<u8> {
        let Some(cluster) = self.cluster() else { return BTreeSet::new() };
        let machine = |node: NodeId| {
            (0..self.machine_count()).find(|machine| self.control(*machine).node() == Some(node))
        };
        cluster.nodes().filter_map(|(node, _)| machine(node)).collect()
    }
}
