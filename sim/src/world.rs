//! One simulation: hosts, clients and faults, from a setup to a judged history.

use crate::clients::{self, Progress};
use crate::determinism::{self, random};
use crate::disk::Crash;
use crate::ending::{EndedRun, Ending};
use crate::history::{Answer, Fact, Moment};
use crate::hosts::{AgentHost, ControlHost, Machines};
use crate::invariants;
use crate::report::{Report, marks};
use crate::sabotage::{unwanted_panics, watch_panics};
use crate::setup::{FaultKind, PlannedFault, SAFETY_PHASE_MS, Setup};
use crate::{audit, planted, workload};
use otto_core::ids::RunId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;
use turmoil::Sim;

/// How many shards the simulated node has.
pub const SHARDS: u16 = 2;
/// The client's host.
pub const CLIENT: &str = "client";
/// Rare things that a search of many seeds wants to reach.
pub const MARKS: &[&str] = &[
    "control killed with a stage leased",
    "agent killed with a step running",
    "power cut",
    "disk failed",
    "disk full",
    "an actor panicked",
    "agent link held beyond a lease",
    "submitted twice at once",
    "cancelled while running",
];
/// The same, of clusters.
pub const CLUSTER_MARKS: &[&str] = &["another node came to lead", "control processes cut off"];
/// When everything must have ended, in simulated milliseconds.
const END_MS: u64 = SAFETY_PHASE_MS + 400_000;
/// How long replicas have to become equal, when all is over.
const CONVERGE_MS: u64 = 60_000;
/// At most how much longer a control process of a cluster is down.
const DOWN_MS: u64 = 8_000;
/// How long a supervisor waits before it starts a process again.
const RESTART_MS: u64 = 150;

/// What a simulation came to.
#[derive(Debug)]
pub struct Simulated {
    /// The summary.
    pub report: Report,
    /// Everything that happened.
    pub history: Vec<Moment>,
}

/// Runs a simulation on a thread of its own. One process should run only one.
///
/// # Errors
/// When the simulation itself breaks: that is a bug, and no property was judged.
pub fn simulate(setup: &Setup) -> Result<Simulated, String> {
    let setup = setup.clone();
    let thread = std::thread::Builder::new().stack_size(64 << 20);
    let running = thread.spawn(move || {
        watch_panics();
        determinism::enter(setup.seed);
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
    sim: Sim<'static>,
    started: Duration,
    faults: Vec<PlannedFault>,
    /// What is to be undone, and when.
    repairs: Vec<(u64, Repair)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Repair {
    StartControl(u8),
    StartAgent(u8),
    Release { agent: u8, control: u8 },
    Mend { control: u8 },
    Rejoin { control: u8, other: u8 },
    Empty { control: u8 },
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
            .simulation_duration(Duration::from_millis(2 * END_MS))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(4))
            .tcp_capacity(65_536)
            .build();
        for control in machines.controls.clone() {
            sim.host(control.name.clone(), move || control.clone().run());
        }
        for agent in machines.agents.clone() {
            sim.host(agent.name.clone(), move || agent.clone().run());
        }
        let plans = workload::plans(&setup)?;
        let progress = Progress::default();
        let work = clients::Work {
            submissions: setup.submissions.clone(),
            plans,
            controls: setup.controls,
            bug,
            history: machines.common.history.clone(),
            progress: progress.clone(),
        };
        sim.client(CLIENT, work.run());
        let faults = setup.faults.clone();
        let started = determinism::machine_time();
        Ok(Self { setup, machines, progress, sim, started, faults, repairs: Vec::new() })
    }

    fn run(mut self) -> Result<Simulated, String> {
        loop {
            let finished = self.tick()?;
            let now = self.now_ms();
            while self.faults.first().is_some_and(|fault| fault.at_ms <= now) {
                let planned = self.faults.remove(0);
                self.inject(planned.fault, now);
            }
            if finished || now >= END_MS {
                return self.judge();
            }
        }
    }

    /// One step of all hosts, and what follows from it; true when the clients are done.
    fn tick(&mut self) -> Result<bool, String> {
        let finished = self.sim.step().map_err(|error| error.to_string())?;
        let now = self.now_ms();
        self.machines.common.history.set_time(now);
        self.repair(now);
        for control in 0..self.setup.controls {
            self.supervise(control, now);
        }
        Ok(finished)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn control(&self, index: u8) -> ControlHost {
        self.machines.controls[usize::from(index)].clone()
    }

    fn agent(&self, index: u8) -> AgentHost {
        self.machines.agents[usize::from(index)].clone()
    }

    /// What was broken for a while works again.
    fn repair(&mut self, now: u64) {
        let (due, later) =
            std::mem::take(&mut self.repairs).into_iter().partition(|(at, _)| *at <= now);
        self.repairs = later;
        let due: Vec<(u64, Repair)> = due;
        for (_, repair) in due {
            match repair {
                Repair::StartControl(control) => {
                    let control = self.control(control);
                    control.disk.repair();
                    control.ended.store(false, Ordering::Relaxed);
                    self.sim.bounce(control.name);
                }
                Repair::StartAgent(agent) => self.sim.bounce(self.agent(agent).name),
                Repair::Release { agent, control } => {
                    self.sim.release(self.agent(agent).name, self.control(control).name);
                }
                Repair::Mend { control } => self.sim.repair(CLIENT, self.control(control).name),
                Repair::Rejoin { control, other } => {
                    self.sim.repair(self.control(control).name, self.control(other).name);
                }
                Repair::Empty { control } => self.control(control).disk.set_full(false),
            }
        }
    }

    /// A control process that ended by itself is started again.
    fn supervise(&mut self, index: u8, now: u64) {
        let control = self.control(index);
        let failed = control.disk.failed();
        let ended = control.ended.swap(false, Ordering::Relaxed);
        if (ended || failed) && !self.starts(&Repair::StartControl(index)) {
            if failed {
                self.machines.common.history.mark("world", "disk failed");
            }
            // Where each operation is tried, the machine loses power at it; elsewhere it may.
            let power = failed && (self.setup.crash_at.is_some() || random().is_multiple_of(2));
            self.stop_control(index, now, power);
        }
    }

    /// Whether a process is down already, and about to start.
    fn starts(&self, start: &Repair) -> bool {
        self.repairs.iter().any(|(_, repair)| repair == start)
    }

    fn stop_control(&mut self, index: u8, now: u64, power: bool) {
        let control = self.control(index);
        if power {
            let crash = Crash::ALL[usize::try_from(random()).unwrap_or(0) % Crash::ALL.len()];
            control.disk.crash(crash);
            control.logs.cut_power(random);
        } else {
            control.disk.kill();
        }
        control.forget();
        self.sim.crash(control.name);
        // Where there are others, they have time to notice.
        let longer = if self.setup.controls > 1 { random() % DOWN_MS } else { 0 };
        self.repairs.push((now + RESTART_MS + longer, Repair::StartControl(index)));
    }

    fn inject(&mut self, fault: FaultKind, now: u64) {
        let history = self.machines.common.history.clone();
        history.add("world", Fact::Fault { what: format!("{fault:?}") });
        match fault {
            FaultKind::KillControl { control } => self.kill_control(control, now, false),
            FaultKind::CutPower { control } => self.kill_control(control, now, true),
            FaultKind::KillAgent { agent } => self.kill_agent(agent, now),
            FaultKind::HoldAgentLink { agent, control, for_ms } => {
                let host = self.agent(agent);
                if for_ms > 17_000 && host.leases() > 0 {
                    history.mark("world", "agent link held beyond a lease");
                }
                self.sim.hold(host.name, self.control(control).name);
                self.repairs.push((now + for_ms, Repair::Release { agent, control }));
            }
            FaultKind::CutClientLink { control, for_ms } => {
                self.sim.partition(CLIENT, self.control(control).name);
                self.repairs.push((now + for_ms, Repair::Mend { control }));
            }
            FaultKind::CutControls { control, other, for_ms } => {
                history.mark("world", "control processes cut off");
                self.sim.partition(self.control(control).name, self.control(other).name);
                self.repairs.push((now + for_ms, Repair::Rejoin { control, other }));
            }
            FaultKind::FailDisk { control, after } => self.control(control).disk.fail_after(after),
            FaultKind::PanicControl { control, at } => self.control(control).saboteur.set(at),
            FaultKind::PanicAgent { agent, at } => self.agent(agent).saboteur.set(at),
            FaultKind::FillDisk { control, for_ms } => {
                history.mark("world", "disk full");
                self.control(control).disk.set_full(true);
                self.repairs.push((now + for_ms, Repair::Empty { control }));
            }
        }
    }

    fn kill_control(&mut self, control: u8, now: u64, power: bool) {
        if self.starts(&Repair::StartControl(control)) {
            return;
        }
        let history = &self.machines.common.history;
        if self.machines.leases() > 0 {
            history.mark("world", "control killed with a stage leased");
        }
        if power {
            history.mark("world", "power cut");
        }
        self.stop_control(control, now, power);
    }

    fn kill_agent(&mut self, agent: u8, now: u64) {
        if self.starts(&Repair::StartAgent(agent)) {
            return;
        }
        let host = self.agent(agent);
        if host.leases() > 0 {
            self.machines.common.history.mark("world", "agent killed with a step running");
        }
        host.kill_processes();
        self.sim.crash(host.name);
        self.repairs.push((now + RESTART_MS, Repair::StartAgent(agent)));
    }

    /// Gives followers time to catch up, which they must within a bound.
    fn converge(&mut self) -> Result<(), String> {
        let until = self.now_ms() + CONVERGE_MS;
        while self.setup.controls > 1 && self.now_ms() < until && !self.are_equal() {
            let next = self.now_ms() + 500;
            while self.now_ms() < next {
                self.tick()?;
            }
        }
        Ok(())
    }

    /// Whether all control processes live, and hold the same.
    fn are_equal(&self) -> bool {
        let mut digests = BTreeSet::new();
        for control in &self.machines.controls {
            let replicas = control.replicas();
            if replicas.is_empty() {
                return false;
            }
            // A store that has failed is about to be opened anew.
            let Ok(runs) = audit::live(&replicas) else { return false };
            digests.insert(audit::state_digest(&runs));
        }
        digests.len() == 1
    }

    /// Reads what is left, and judges.
    fn judge(mut self) -> Result<Simulated, String> {
        let simulated_ms = self.now_ms();
        self.converge()?;
        let Self { setup, machines, progress, sim, started, .. } = self;
        let history = machines.common.history.moments();
        let history_hash = machines.common.history.hash();
        let disk_operations = machines.disk_operations();
        let mut ending = if setup.controls > 1 {
            gather(&setup, &machines)?
        } else {
            reread(&setup, &machines.controls[0], sim)?
        };
        judge_by_meant_plans(&setup, &history, &mut ending)?;
        let mut violations = invariants::judge(&history, &ending);
        let panics = unwanted_panics();
        violations.extend(panics.into_iter().map(|panic| format!("P5: nobody wanted: {panic}")));
        if !progress.finished() {
            violations.push(format!("L1: after {simulated_ms} ms clients still wait for answers"));
        }
        let took = determinism::machine_time().saturating_sub(started);
        let report = Report {
            seed: setup.seed,
            pipeline: setup.pipeline,
            planted: setup.planted,
            crash_at: setup.crash_at,
            controls: setup.controls,
            origin: setup.origin,
            history_hash,
            moments: history.len(),
            simulated_ms,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            disk_operations,
            runs: ending.runs.len(),
            marks: marks(&history),
            violations,
        };
        Ok(Simulated { report, history })
    }
}

/// Ends the one control process, and reads its disk twice.
fn reread(setup: &Setup, control: &ControlHost, sim: Sim<'static>) -> Result<Ending, String> {
    let ControlHost { disk, logs, .. } = control;
    disk.kill();
    drop(sim);
    disk.repair();
    disk.set_full(false);
    let first = audit::runs(disk)?;
    let mut second = audit::runs(disk)?;
    spoil_replica(setup, &mut second);
    let state_digests = vec![audit::state_digest(&first), audit::state_digest(&second)];
    Ok(Ending { runs: first, logs: logs.all(), state_digests })
}

/// Takes the last entries from one replica, where that is the bug.
fn spoil_replica(setup: &Setup, runs: &mut BTreeMap<RunId, EndedRun>) {
    if setup.planted.as_deref().and_then(planted::named) == Some(planted::Bug::ReplicasDiffer) {
        for run in runs.values_mut() {
            run.entries.pop();
        }
    }
}

/// Reads every control process' replicas, and the logs of all.
fn gather(setup: &Setup, machines: &Machines) -> Result<Ending, String> {
    let mut ending = Ending::default();
    for control in &machines.controls {
        let mut runs = audit::live(&control.replicas())?;
        if ending.state_digests.is_empty() {
            spoil_replica(setup, &mut runs);
        }
        ending.state_digests.push(audit::state_digest(&runs));
        ending.runs.extend(runs);
    }
    ending.logs = machines.logs();
    Ok(ending)
}

/// Judges each run by the plan that its client meant, whatever was stored.
fn judge_by_meant_plans(
    setup: &Setup,
    history: &[Moment],
    ending: &mut Ending,
) -> Result<(), String> {
    let plans = workload::plans(setup)?;
    for moment in history {
        let Fact::Submitted { key, answer: Answer::Ok(run) } = &moment.fact else { continue };
        let submission = setup.submissions.iter().find(|submission| submission.key == *key);
        let meant = submission.and_then(|submission| plans.get(&submission.plan));
        if let (Some(meant), Some(ended)) = (meant, ending.runs.get_mut(run)) {
            ended.plan = meant.clone();
        }
    }
    Ok(())
}
