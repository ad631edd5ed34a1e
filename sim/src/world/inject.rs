//! What goes wrong, and when it is over.

use super::{CLIENT, World};
use crate::determinism::random;
use crate::disk::Crash;
use crate::faults::{FaultKind, PlannedFault};
use crate::history::Fact;
use crate::setup::SAFETY_PHASE_MS;
use otto_nodes::replica::Standing;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The longest time that a packet takes on a healthy link.
pub(super) const LATENCY_MS: u64 = 4;
/// How long a supervisor waits before it starts a process again.
pub(super) const RESTART_MS: u64 = 150;
/// At most how much longer a control process of a cluster is down.
const DOWN_MS: u64 = 8_000;
/// How long a lease holds, with the margin that the control side gives.
pub(super) const LEASE_MS: u64 = 17_000;
/// How long until a fault that must not happen now is tried again, and how often.
const PUT_OFF: (u64, u32) = (400, 40);
/// How often a clock that strobes jumps.
const STROBE_EVERY_MS: u64 = 50;

/// What is to be undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Repair {
    StartControl(u8),
    StartAgent(u8),
    GoOnControl(u8),
    GoOnAgent(u8),
    Release(String, String),
    Mend(String, String),
    Latency(String, String),
    Loss(String, String),
    Empty(u8),
    Speed(u8),
    Drift(u8),
}

/// A clock that jumps to and fro.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strobe {
    pub(super) control: u8,
    pub(super) by_ms: i64,
    pub(super) until_ms: u64,
    pub(super) ahead: bool,
}

/// Copies of disks, by machine.
pub(super) type Copies = BTreeMap<u8, Copy>;

/// A copy of a disk: the log, the state, and what is kept beside them, where that is copied too.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) log: Vec<u8>,
    pub(super) state: Vec<u8>,
    pub(super) applied: Option<u64>,
}

impl World {
    pub(super) fn later(&mut self, at_ms: u64, repair: Repair) {
        self.repairs.push((at_ms, repair));
    }

    /// What was broken for a while works again.
    pub(super) fn repair(&mut self, now: u64) {
        self.strobe(now);
        let (due, later) =
            std::mem::take(&mut self.repairs).into_iter().partition(|(at, _)| *at <= now);
        self.repairs = later;
        let due: Vec<(u64, Repair)> = due;
        for (_, repair) in due {
            match repair {
                Repair::StartControl(control) => self.start_control(control, now),
                Repair::StartAgent(agent) => self.sim.bounce(self.agent(agent).name),
                Repair::GoOnControl(control) => {
                    let control = self.control(control);
                    control.brake.go_on(now);
                    self.let_go(&control.name);
                }
                Repair::GoOnAgent(agent) => {
                    let agent = self.agent(agent);
                    agent.brake.go_on(now);
                    self.let_go(&agent.name);
                }
                Repair::Release(a, b) => self.links.release(&self.sim, &a, &b),
                Repair::Mend(from, to) => self.links.mend(&self.sim, &from, &to),
                Repair::Latency(a, b) => {
                    let healthy = Duration::from_millis(LATENCY_MS);
                    self.sim.set_link_max_message_latency(a, b, healthy);
                }
                Repair::Loss(a, b) => self.sim.set_link_fail_rate(a, b, 0.0),
                Repair::Empty(control) => self.control(control).disk.set_full(false),
                Repair::Speed(control) => {
                    self.control(control).slower_ms.store(0, Ordering::Relaxed);
                }
                Repair::Drift(control) => self.control(control).clock.drift(0, now),
            }
        }
    }

    fn start_control(&mut self, index: u8, now: u64) {
        let control = self.control(index);
        control.disk.repair();
        if let Some(after) = self.crash_again.remove(&index) {
            control.disk.fail_after(after);
            self.history().mark("world", "power cut while recovering");
        }
        control.ended.store(false, Ordering::Relaxed);
        self.up_since_ms.insert(index, now);
        if control.clock.is_set_wrong() {
            self.history().mark("world", "a clock was off when a process started");
        }
        self.sim.bounce(control.name);
    }

    fn strobe(&mut self, now: u64) {
        if !now.is_multiple_of(STROBE_EVERY_MS) {
            return;
        }
        let clocks: Vec<_> =
            self.machines.controls.iter().map(|control| control.clock.clone()).collect();
        self.strobes.retain_mut(|strobe| {
            let ends = strobe.until_ms <= now;
            if !ends || strobe.ahead {
                let by = if strobe.ahead { -strobe.by_ms } else { strobe.by_ms };
                clocks[usize::from(strobe.control)].jump(by);
                strobe.ahead = !strobe.ahead;
            }
            !ends
        });
    }

    /// Whether a process is down already, and about to start.
    pub(super) fn starts(&self, start: &Repair) -> bool {
        self.repairs.iter().any(|(_, repair)| repair == start)
    }

    /// Ends a process, or its machine, which start again after a while.
    pub(super) fn stop_control(&mut self, index: u8, now: u64, power: bool) {
        let control = self.control(index);
        if power {
            let crash = Crash::ALL[usize::try_from(random()).unwrap_or(0) % Crash::ALL.len()];
            control.disk.crash(crash);
            control.logs.cut_power(random);
        }
        self.end_process(index, now);
        // Where there are others, they have time to notice.
        let longer = if self.setup.is_cluster() { random() % DOWN_MS } else { 0 };
        self.later(now + RESTART_MS + longer, Repair::StartControl(index));
    }

    /// Ends a process; its disk keeps what was written.
    pub(super) fn end_process(&mut self, index: u8, now: u64) {
        let control = self.control(index);
        control.disk.kill();
        control.forget();
        self.sim.crash(control.name.clone());
        control.brake.release();
        if self.starts(&Repair::GoOnControl(index)) {
            self.repairs.retain(|(_, repair)| *repair != Repair::GoOnControl(index));
            self.let_go(&control.name);
        }
        self.up_since_ms.insert(index, now);
    }

    /// Every host but one.
    pub(super) fn others(&self, name: &str) -> Vec<String> {
        let controls = self.machines.controls.iter().map(|control| control.name.clone());
        let agents = self.machines.agents.iter().map(|agent| agent.name.clone());
        let all = controls.chain(agents).chain([CLIENT.to_owned()]);
        all.filter(|other| other != name).collect()
    }

    /// Holds up what a stopped host sends and is sent.
    pub(super) fn hold_all(&mut self, name: &str) {
        for other in self.others(name) {
            self.links.hold(&self.sim, name, &other);
        }
    }

    pub(super) fn let_go(&mut self, name: &str) {
        for other in self.others(name) {
            self.links.release(&self.sim, name, &other);
        }
    }

    pub(super) fn cut(&mut self, from: &str, to: &str, until_ms: u64) {
        self.links.cut(&self.sim, from, to);
        self.later(until_ms, Repair::Mend(from.to_owned(), to.to_owned()));
    }

    pub(super) fn cut_both(&mut self, a: &str, b: &str, until_ms: u64) {
        self.cut(a, b, until_ms);
        self.cut(b, a, until_ms);
    }

    pub(super) fn name(&self, control: u8) -> String {
        self.control(control).name
    }

    /// Whether a machine leads any shard now.
    pub(super) fn leads(&self, control: u8) -> bool {
        let shards = self.control(control).shards();
        let views = shards.map(|shards| shards.views()).unwrap_or_default();
        views.iter().any(|view| matches!(view.standing, Standing::Serving { .. }))
    }

    pub(super) fn mark_if(&self, holds: bool, name: &str) {
        if holds {
            self.history().mark("world", name);
        }
    }

    pub(super) fn inject(&mut self, fault: FaultKind, now: u64) {
        if self.is_put_off(fault, now) {
            return;
        }
        self.history().add("world", Fact::Fault { what: format!("{fault:?}") });
        match fault {
            FaultKind::KillControl { control } => self.kill_control(control, now, false),
            FaultKind::CutPower { control } => self.kill_control(control, now, true),
            FaultKind::CrashWhileOpening { control, after } => {
                self.crash_again.insert(control, after);
                self.kill_control(control, now, true);
            }
            FaultKind::CutAllPower => {
                self.history().mark("world", "all machines lost power");
                for control in 0..self.machine_count() {
                    self.kill_control(control, now, true);
                }
            }
            FaultKind::KillAtAward { control } => self.control(control).trap.set(),
            FaultKind::KillAgent { agent } => self.kill_agent(agent, now),
            FaultKind::StopControl { control, for_ms } => {
                self.stop_and_go_on(control, now, for_ms);
            }
            FaultKind::StopAgent { agent, for_ms } => self.stop_agent(agent, now, for_ms),
            FaultKind::PanicControl { control, at } => self.control(control).saboteur.set(at),
            FaultKind::PanicAgent { agent, at } => self.agent(agent).saboteur.set(at),
            of_links @ (FaultKind::HoldAgentLink { .. }
            | FaultKind::CutAgentOneWay { .. }
            | FaultKind::CutClientLink { .. }
            | FaultKind::LoseAnswers { .. }
            | FaultKind::CutControls { .. }
            | FaultKind::CutOneWay { .. }
            | FaultKind::Isolate { .. }
            | FaultKind::SlowLink { .. }
            | FaultKind::LosePackets { .. }
            | FaultKind::CutFrame { .. }) => self.ail_link(of_links, now),
            of_disks @ (FaultKind::FailDisk { .. }
            | FaultKind::FillDisk { .. }
            | FaultKind::SlowDisk { .. }
            | FaultKind::DamageSector { .. }
            | FaultKind::CopyDisk { .. }
            | FaultKind::TakeBackDisk { .. }
            | FaultKind::WipeDisk { .. }
            | FaultKind::LoseMachine { .. }) => self.ail_disk(of_disks, now),
            of_clocks @ (FaultKind::JumpClock { .. }
            | FaultKind::DriftClock { .. }
            | FaultKind::StrobeClock { .. }) => self.ail_clock(of_clocks, now),
            of_members @ (FaultKind::Join
            | FaultKind::Drain { .. }
            | FaultKind::Resume { .. }
            | FaultKind::Remove { .. }) => self.change_members(of_members),
        }
    }

    /// Whether a fault must not happen now: it would cost a majority its memory. It is tried again.
    fn is_put_off(&mut self, fault: FaultKind, now: u64) -> bool {
        let control = match fault {
            FaultKind::DamageSector { control, .. }
            | FaultKind::TakeBackDisk { control }
            | FaultKind::WipeDisk { control }
            | FaultKind::LoseMachine { control } => control,
            _costs_no_memory => return false,
        };
        // What is beside the store is written a moment after others vote.
        let unwritten = self.copies.get(&control).is_some_and(|copy| copy.applied.is_none())
            && self.control(control).applied() == 0;
        let unwritten = unwritten && matches!(fault, FaultKind::TakeBackDisk { .. });
        if self.may_forget(control) && !unwritten {
            return false;
        }
        if self.put_off < PUT_OFF.1 && now + PUT_OFF.0 < SAFETY_PHASE_MS {
            self.put_off += 1;
            self.faults.insert(0, PlannedFault { at_ms: now + PUT_OFF.0, fault });
            self.faults.sort_by_key(|planned| planned.at_ms);
        }
        true
    }

    /// Whether a machine may lose its memory: where three or more vote, nobody else has lost his,
    /// and all hold the same.
    fn may_forget(&self, control: u8) -> bool {
        let Some(cluster) = self.cluster() else { return false };
        let node = self.control(control).node();
        let votes = node.is_some_and(|node| cluster.voters().any(|voter| voter == node));
        let down = self.repairs.iter().any(|(_, it)| matches!(it, Repair::StartControl(_)));
        let others_are_whole = self.forgetful.is_empty() && self.leaving.is_empty() && !down;
        votes && cluster.voters().count() > 2 && others_are_whole && self.behind().is_empty()
    }

    pub(super) fn kill_control(&mut self, control: u8, now: u64, power: bool) {
        if self.starts(&Repair::StartControl(control)) || !self.control(control).is_in_use() {
            return;
        }
        if self.machines.leases() > 0 {
            self.history().mark("world", "control killed with a stage leased");
        }
        self.mark_if(power, "power cut");
        self.stop_control(control, now, power);
    }

    fn kill_agent(&mut self, agent: u8, now: u64) {
        if self.starts(&Repair::StartAgent(agent)) {
            return;
        }
        let host = self.agent(agent);
        self.mark_if(host.leases() > 0, "agent killed with a step running");
        self.sim.crash(host.name.clone());
        host.kill_processes();
        if self.starts(&Repair::GoOnAgent(agent)) {
            self.repairs.retain(|(_, repair)| *repair != Repair::GoOnAgent(agent));
            self.let_go(&host.name);
        }
        self.later(now + RESTART_MS, Repair::StartAgent(agent));
    }

    fn stop_and_go_on(&mut self, index: u8, now: u64, for_ms: u64) {
        let control = self.control(index);
        if control.brake.is_on() || self.starts(&Repair::StartControl(index)) {
            return;
        }
        self.mark_if(self.leads(index) && self.setup.is_cluster(), "a leader was stopped");
        let beyond = for_ms > LEASE_MS && self.machines.leases() > 0;
        self.mark_if(beyond, "control stopped beyond a lease");
        control.brake.stop();
        self.hold_all(&control.name);
        self.later(now + for_ms, Repair::GoOnControl(index));
    }

    fn stop_agent(&mut self, index: u8, now: u64, for_ms: u64) {
        let agent = self.agent(index);
        if agent.brake.is_on() || self.starts(&Repair::StartAgent(index)) {
            return;
        }
        let beyond = for_ms > LEASE_MS && agent.leases() > 0;
        self.mark_if(beyond, "agent stopped beyond a lease");
        agent.brake.stop();
        self.hold_all(&agent.name);
        self.later(now + for_ms, Repair::GoOnAgent(index));
    }
}
