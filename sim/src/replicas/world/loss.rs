//! Memories that are lost: disks wiped or taken back to a copy, and members that are replaced.

use super::World;
use crate::replicas::history::Fact;
use crate::replicas::setup::{FAULTS_UNTIL_MS, Fault, Planned};
use otto_core::ids::ShardId;
use otto_nodes::store::StoreFile;

/// How long until a loss that can't happen now is tried again, in milliseconds.
const RETRY_MS: u64 = 10;

impl World {
    /// Keeps a copy of every disk, as it would be after a power cut now.
    pub(super) fn copy(&mut self) {
        let copies = self.machines.iter().map(|(node, machine)| {
            let content = |file| machine.disk.content(file);
            (*node, (content(StoreFile::Log), content(StoreFile::State)))
        });
        self.copies = copies.collect();
    }

    /// A member leaves, with its memory or without, and a spare takes its place. Only where all
    /// others have everything may a memory be lost: a majority must never lose it.
    pub(super) fn replace(&mut self, fault: Fault, node: u64, now: u64) {
        let mut members = self.wanted.wanted();
        if members.len() < 3 || self.spares.is_empty() {
            return;
        }
        if !self.wanted.settled() || !self.all_have_all() || !self.all_have_heard() {
            if now < FAULTS_UNTIL_MS {
                self.faults.insert(0, Planned { at_ms: now + RETRY_MS, fault });
                self.faults.sort_by_key(|planned| planned.at_ms);
            }
            return;
        }
        self.history.add(Fact::Fault(format!("{fault:?} n{node}")));
        let copy = self.copies.get(&node).cloned();
        let disk = self.machines[&node].disk.clone();
        match fault {
            Fault::Wipe => {
                self.stop(node, true, now);
                disk.replace(StoreFile::Log, &[]);
                disk.replace(StoreFile::State, &[]);
                self.mark("a node was wiped");
            }
            Fault::RollBack => {
                let Some((log, state)) = copy else { return };
                if log == disk.content(StoreFile::Log) || log.is_empty() {
                    return;
                }
                self.stop(node, true, now);
                disk.replace(StoreFile::Log, &log);
                disk.replace(StoreFile::State, &state);
                self.unheard.insert(node);
                self.mark("a node was taken back");
            }
            _replaced_as_it_is => self.mark("a member was replaced"),
        }
        if fault != Fault::Replace {
            self.lost.insert(node);
            self.history.add(Fact::Forfeits { node });
        }
        let Some(spare) = self.spares.pop() else { return };
        members.remove(&node);
        members.insert(spare);
        self.wanted.members(members);
    }

    /// Whether each node that was taken back has heard that it is out. Members of an earlier group
    /// that all believe in it still are a majority that lost its memory.
    fn all_have_heard(&mut self) -> bool {
        let up = self.running.all();
        self.unheard.retain(|node| {
            let Some(up) = up.get(node) else { return true };
            let heard = up.shards.outcast().borrow().is_some();
            let believes = up.shards.views().iter().any(|view| !view.members.is_empty());
            believes && !heard
        });
        self.unheard.is_empty()
    }

    /// Whether each member has in its log all that is in its leader's.
    fn all_have_all(&self) -> bool {
        let up = self.running.all();
        let last = |node: u64, shard: ShardId| {
            let views = up.get(&node).map(|up| up.shards.views())?;
            Some(views.into_iter().find(|view| view.shard == shard)?.last)
        };
        self.writers.shards.iter().all(|shard| {
            let Some((leader, _)) = self.running.leader(*shard) else { return false };
            let led = last(leader, *shard);
            self.wanted.wanted().into_iter().all(|node| last(node, *shard) >= led)
        })
    }
}
