//! What ails links, disks, clocks and the cluster's members, kind by kind.

use super::inject::{Copy, LATENCY_MS, LEASE_MS, Repair, Strobe};
use super::{CLIENT, World};
use crate::faults::FaultKind;
use crate::history::Fact;
use crate::operator::Errand;
use crate::traffic;
use otto_nodes::store::StoreFile;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The bytes of a sector.
const SECTOR: usize = crate::disk::SECTOR_BYTES;

impl World {
    pub(super) fn ail_link(&mut self, fault: FaultKind, now: u64) {
        match fault {
            FaultKind::HoldAgentLink { agent, control, for_ms } => {
                let (host, control) = (self.agent(agent), self.name(control));
                let beyond = for_ms > LEASE_MS && host.leases() > 0;
                self.mark_if(beyond, "agent link held beyond a lease");
                self.links.hold(&self.sim, &host.name, &control);
                self.later(now + for_ms, Repair::Release(host.name, control));
            }
            FaultKind::CutAgentOneWay { agent, control, from_agent, for_ms } => {
                let (agent, control) = (self.agent(agent).name, self.name(control));
                let (from, to) = if from_agent { (agent, control) } else { (control, agent) };
                self.cut(&from, &to, now + for_ms);
            }
            FaultKind::CutClientLink { control, for_ms } => {
                self.cut_both(CLIENT, &self.name(control), now + for_ms);
            }
            FaultKind::LoseAnswers { control, for_ms } => {
                self.cut(&self.name(control), CLIENT, now + for_ms);
            }
            FaultKind::CutControls { control, other, for_ms } => {
                self.history().mark("world", "control processes cut off");
                self.cut_both(&self.name(control), &self.name(other), now + for_ms);
            }
            FaultKind::CutOneWay { control, other, for_ms } => {
                self.mark_if(self.leads(control), "a leader was cut off one way");
                self.cut(&self.name(control), &self.name(other), now + for_ms);
            }
            FaultKind::Isolate { control, for_ms } => {
                let name = self.name(control);
                for other in 0..self.machine_count() {
                    if other != control {
                        self.cut_both(&name, &self.name(other), now + for_ms);
                    }
                }
            }
            FaultKind::SlowLink { control, other, by_ms, for_ms } => {
                let (a, b) = (self.name(control), self.name(other));
                let slow = Duration::from_millis(LATENCY_MS + by_ms);
                self.sim.set_link_max_message_latency(a.as_str(), b.as_str(), slow);
                self.later(now + for_ms, Repair::Latency(a, b));
            }
            FaultKind::LosePackets { control, other, percent, for_ms } => {
                let (a, b) = (self.name(control), self.name(other));
                let rate = f64::from(percent) / 100.0;
                self.sim.set_link_fail_rate(a.as_str(), b.as_str(), rate);
                self.later(now + for_ms, Repair::Loss(a, b));
            }
            FaultKind::CutFrame { control } => {
                self.history().mark("world", "a frame was cut");
                traffic::cut_next_frame(&self.name(control));
            }
            _of_no_link => {}
        }
    }

    pub(super) fn ail_disk(&mut self, fault: FaultKind, now: u64) {
        match fault {
            FaultKind::FailDisk { control, after } => self.control(control).disk.fail_after(after),
            FaultKind::FillDisk { control, for_ms } => {
                self.history().mark("world", "disk full");
                self.control(control).disk.set_full(true);
                self.later(now + for_ms, Repair::Empty(control));
            }
            FaultKind::SlowDisk { control, by_ms, for_ms } => {
                self.control(control).slower_ms.store(by_ms, Ordering::Relaxed);
                self.later(now + for_ms, Repair::Speed(control));
            }
            FaultKind::DamageSector { control, of_state, at_permille } => {
                self.kill_control(control, now, true);
                let disk = self.control(control).disk;
                let file = if of_state { StoreFile::State } else { StoreFile::Log };
                let sectors = disk.content(file).len() / SECTOR;
                if disk.corrupt(file, sectors * usize::from(at_permille) / 1000) {
                    self.history().mark("world", "a disk was damaged");
                    self.history().add("world", Fact::Damaged { control });
                    self.forgetful.insert(control);
                }
            }
            FaultKind::CopyDisk { control } => {
                let host = self.control(control);
                let voters = self.cluster().map_or(0, |cluster| cluster.voters().count());
                // A node that was alone then knows of the others by what is beside the store, or
                // not at all: nobody can notice that all of the machine is as it was.
                let applied = match voters {
                    1 => None,
                    3.. => Some(host.applied()),
                    _ => return,
                };
                let content = |file| host.disk.content(file);
                let (log, state) = (content(StoreFile::Log), content(StoreFile::State));
                self.copies.insert(control, Copy { log, state, applied });
            }
            FaultKind::TakeBackDisk { control } => {
                let host = self.control(control);
                let Some(Copy { log, state, applied }) = self.copies.remove(&control) else {
                    return;
                };
                if log.is_empty() || log == host.disk.content(StoreFile::Log) {
                    return;
                }
                self.mark_if(applied.is_none(), "a node was taken back to when it was alone");
                self.lose_memory(control, now, "a disk was taken back");
                host.disk.replace(StoreFile::Log, &log);
                host.disk.replace(StoreFile::State, &state);
                if let Some(applied) = applied {
                    host.keep_applied(applied);
                }
            }
            FaultKind::WipeDisk { control } => {
                self.lose_memory(control, now, "a disk was wiped");
                self.control(control).disk.wipe();
                self.control(control).keep_applied(0);
            }
            FaultKind::LoseMachine { control } => {
                let Some(node) = self.control(control).node() else { return };
                self.lose_memory(control, now, "a machine was lost");
                self.repairs.retain(|(_, repair)| *repair != Repair::StartControl(control));
                self.control(control).begin_anew(None);
                self.leaving.insert(control);
                let machine = control;
                self.operator.ask(Errand::Remove { node, machine, again: true });
            }
            _of_no_disk => {}
        }
    }

    /// A node loses what it had promised to keep.
    fn lose_memory(&mut self, control: u8, now: u64, mark: &str) {
        self.kill_control(control, now, true);
        self.history().mark("world", mark);
        self.forgetful.insert(control);
        self.copies.remove(&control);
        if let Some(node) = self.control(control).node() {
            self.history().add("world", Fact::Forfeits { node });
            self.machines.common.forgery.lost.insert(node.0);
        }
    }

    pub(super) fn ail_clock(&mut self, fault: FaultKind, now: u64) {
        match fault {
            FaultKind::JumpClock { control, by_ms, restart } => {
                self.control(control).clock.jump(by_ms);
                if restart {
                    self.kill_control(control, now, false);
                }
            }
            FaultKind::DriftClock { control, ppm, for_ms } => {
                self.control(control).clock.drift(ppm, now);
                self.later(now + for_ms, Repair::Drift(control));
            }
            FaultKind::StrobeClock { control, by_ms, for_ms } => {
                let strobe = Strobe { control, by_ms, until_ms: now + for_ms, ahead: false };
                self.strobes.push(strobe);
            }
            _of_no_clock => {}
        }
    }

    pub(super) fn change_members(&mut self, fault: FaultKind) {
        let node = |world: &Self, control: u8| {
            let node = world.control(control).node();
            node.filter(|node| world.is_member(*node) && !world.leaving.contains(&control))
        };
        match fault {
            FaultKind::Join => {
                let empty = |machine: &u8| {
                    !self.control(*machine).is_in_use() && !self.leaving.contains(machine)
                };
                if let Some(machine) = (0..self.machine_count()).find(empty) {
                    // Until it has started nobody else is to take it.
                    self.leaving.insert(machine);
                    self.operator.ask(Errand::Admit { machine });
                }
            }
            FaultKind::Drain { control } => {
                if let Some(node) = node(self, control) {
                    self.history().mark("world", "a node drained");
                    self.operator.ask(Errand::Drain(node));
                }
            }
            FaultKind::Resume { control } => {
                if let Some(node) = node(self, control) {
                    self.operator.ask(Errand::Resume(node));
                }
            }
            FaultKind::Remove { control } => {
                if let Some(node) = node(self, control).filter(|_| self.members().len() > 2) {
                    self.leaving.insert(control);
                    let machine = control;
                    self.operator.ask(Errand::Remove { node, machine, again: false });
                }
            }
            _of_no_member => {}
        }
    }
}
