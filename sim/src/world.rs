//! One simulation: hosts, clients and faults, from a setup to a judged history.

use crate::clients::{self, Progress};
use crate::determinism::{self, random};
use crate::disk::Crash;
use crate::ending::Ending;
use crate::history::{Answer, Fact, Moment};
use crate::hosts::{AGENT, CONTROL, Machines};
use crate::invariants;
use crate::report::{Report, marks};
use crate::sabotage::{unwanted_panics, watch_panics};
use crate::setup::{FaultKind, PlannedFault, SAFETY_PHASE_MS, Setup};
use crate::{audit, planted, workload};
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
/// When everything must have ended, in simulated milliseconds.
const END_MS: u64 = SAFETY_PHASE_MS + 400_000;
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repair {
    Start(&'static str),
    Release,
    Mend,
    Empty,
}

impl World {
    fn new(setup: Setup) -> Result<Self, String> {
        let bug = setup.planted.as_deref().and_then(planted::named);
        let machines = Machines::new(setup.seed, bug);
        if let Some(operation) = setup.crash_at {
            machines.disk.fail_after(operation.saturating_sub(1));
        }
        let mut sim = turmoil::Builder::new()
            .rng_seed(setup.seed)
            .simulation_duration(Duration::from_millis(2 * END_MS))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(4))
            .tcp_capacity(65_536)
            .build();
        let (control, agent) = (machines.clone(), machines.clone());
        sim.host(CONTROL, move || control.clone().control());
        sim.host(AGENT, move || agent.clone().agent());
        let plans = workload::plans(&setup)?;
        let progress = Progress::default();
        let work = clients::Work {
            submissions: setup.submissions.clone(),
            plans,
            bug,
            history: machines.history.clone(),
            progress: progress.clone(),
        };
        sim.client(CLIENT, work.run());
        let faults = setup.faults.clone();
        let started = determinism::machine_time();
        Ok(Self { setup, machines, progress, sim, started, faults, repairs: Vec::new() })
    }

    fn run(mut self) -> Result<Simulated, String> {
        loop {
            let finished = self.sim.step().map_err(|error| error.to_string())?;
            let now = self.now_ms();
            self.machines.history.set_time(now);
            self.repair(now);
            self.supervise(now);
            while self.faults.first().is_some_and(|fault| fault.at_ms <= now) {
                let planned = self.faults.remove(0);
                self.inject(planned.fault, now);
            }
            if finished || now >= END_MS {
                return self.judge();
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What was broken for a while works again.
    fn repair(&mut self, now: u64) {
        let (due, later) =
            std::mem::take(&mut self.repairs).into_iter().partition(|(at, _)| *at <= now);
        self.repairs = later;
        let due: Vec<(u64, Repair)> = due;
        for (_, repair) in due {
            match repair {
                Repair::Start(host) => {
                    if host == CONTROL {
                        self.machines.disk.repair();
                        self.machines.control_ended.store(false, Ordering::Relaxed);
                    }
                    self.sim.bounce(host);
                }
                Repair::Release => self.sim.release(AGENT, CONTROL),
                Repair::Mend => self.sim.repair(CLIENT, CONTROL),
                Repair::Empty => self.machines.disk.set_full(false),
            }
        }
    }

    /// A control process that ended by itself is started again.
    fn supervise(&mut self, now: u64) {
        let failed = self.machines.disk.failed();
        let ended = self.machines.control_ended.swap(false, Ordering::Relaxed);
        if (ended || failed) && !self.starts(CONTROL) {
            if failed {
                self.machines.history.mark("world", "disk failed");
            }
            // Where each operation is tried, the machine loses power at it; elsewhere it may.
            let power = failed && (self.setup.crash_at.is_some() || random().is_multiple_of(2));
            self.stop_control(now, power);
        }
    }

    fn starts(&self, host: &str) -> bool {
        self.repairs.iter().any(|(_, repair)| matches!(repair, Repair::Start(it) if *it == host))
    }

    fn stop_control(&mut self, now: u64, power: bool) {
        if power {
            let crash = Crash::ALL[usize::try_from(random()).unwrap_or(0) % Crash::ALL.len()];
            self.machines.disk.crash(crash);
            self.machines.logs.cut_power(random);
        } else {
            self.machines.disk.kill();
        }
        self.sim.crash(CONTROL);
        self.repairs.push((now + RESTART_MS, Repair::Start(CONTROL)));
    }

    fn inject(&mut self, fault: FaultKind, now: u64) {
        let history = self.machines.history.clone();
        history.add("world", Fact::Fault { what: format!("{fault:?}") });
        let leased = self.machines.leases() > 0;
        match fault {
            FaultKind::KillControl | FaultKind::CutPower => {
                if self.starts(CONTROL) {
                    return;
                }
                if leased {
                    history.mark("world", "control killed with a stage leased");
                }
                let power = fault == FaultKind::CutPower;
                if power {
                    history.mark("world", "power cut");
                }
                self.stop_control(now, power);
            }
            FaultKind::KillAgent => {
                if self.starts(AGENT) {
                    return;
                }
                if leased {
                    history.mark("world", "agent killed with a step running");
                }
                self.machines.kill_processes();
                self.sim.crash(AGENT);
                self.repairs.push((now + RESTART_MS, Repair::Start(AGENT)));
            }
            FaultKind::HoldAgentLink { for_ms } => {
                if for_ms > 17_000 && leased {
                    history.mark("world", "agent link held beyond a lease");
                }
                self.sim.hold(AGENT, CONTROL);
                self.repairs.push((now + for_ms, Repair::Release));
            }
            FaultKind::CutClientLink { for_ms } => {
                self.sim.partition(CLIENT, CONTROL);
                self.repairs.push((now + for_ms, Repair::Mend));
            }
            FaultKind::FailDisk { after } => self.machines.disk.fail_after(after),
            FaultKind::PanicControl { at } => self.machines.control_saboteur.set(at),
            FaultKind::PanicAgent { at } => self.machines.agent_saboteur.set(at),
            FaultKind::FillDisk { for_ms } => {
                history.mark("world", "disk full");
                self.machines.disk.set_full(true);
                self.repairs.push((now + for_ms, Repair::Empty));
            }
        }
    }

    /// Ends all hosts, reads the disks twice, and judges.
    fn judge(self) -> Result<Simulated, String> {
        let simulated_ms = self.now_ms();
        let Self { setup, machines, progress, sim, started, .. } = self;
        let history = machines.history.moments();
        let history_hash = machines.history.hash();
        let disk_operations = machines.disk.counts().operations;
        machines.disk.kill();
        drop(sim);
        machines.disk.repair();
        machines.disk.set_full(false);
        let first = audit::runs(&machines.disk)?;
        let mut second = audit::runs(&machines.disk)?;
        if setup.planted.as_deref().and_then(planted::named) == Some(planted::Bug::ReplicasDiffer) {
            for run in second.values_mut() {
                run.entries.pop();
            }
        }
        let state_digests = vec![audit::state_digest(&first), audit::state_digest(&second)];
        let mut ending = Ending { runs: first, logs: machines.logs.all(), state_digests };
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
