//! What is left when a simulation has ended, and what that comes to.

use super::{Simulated, World};
use crate::audit;
use crate::determinism;
use crate::ending::{EndedRun, Ending};
use crate::growth::stored;
use crate::history::{Answer, Fact, Moment};
use crate::hosts::{ControlHost, Machines};
use crate::invariants;
use crate::planted::{self, Bug};
use crate::report::{Cost, Report, marks};
use crate::sabotage::unwanted_panics;
use crate::setup::Setup;
use crate::{clients, traffic, workload};
use futures::FutureExt;
use otto_core::cluster::state::{Standing, Wanted};
use otto_core::ids::RunId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use turmoil::Sim;

/// How long replicas have to become equal, when all is over.
const CONVERGE_MS: u64 = 60_000;
/// How often that is looked at.
const LOOK_EVERY_MS: u64 = 500;

impl World {
    /// Gives followers time to catch up, which they must within a bound.
    fn converge(&mut self) -> Result<(), String> {
        let until = self.now_ms() + CONVERGE_MS;
        while self.setup.is_cluster() && self.now_ms() < until && !self.behind().is_empty() {
            let next = self.now_ms() + LOOK_EVERY_MS;
            while self.now_ms() < next {
                self.tick()?;
            }
        }
        Ok(())
    }

    /// What keeps the cluster from being whole: machines that are down or differ, and nodes that
    /// are still on their way in or out.
    pub(super) fn behind(&self) -> Vec<String> {
        let Some(cluster) = self.cluster() else { return vec!["nothing was founded".to_owned()] };
        let mut behind = Vec::new();
        for (node, member) in cluster.nodes() {
            if member.standing != Standing::Voter {
                behind.push(format!("{node} does not vote yet"));
            }
            if matches!(member.wanted, Wanted::Leave { .. }) {
                behind.push(format!("{node} has not left yet"));
            }
        }
        let members = self.members();
        if members.len() != cluster.nodes().count() {
            behind.push("a node has no machine".to_owned());
        }
        let mut digests: BTreeMap<String, u8> = BTreeMap::new();
        for machine in members {
            let replicas = self.control(machine).replicas();
            // A store that has failed is about to be opened anew.
            match audit::live(&replicas).map(|runs| audit::state_digest(&runs)) {
                Ok(digest) if !replicas.is_empty() => {
                    digests.insert(digest, machine);
                }
                Ok(_) | Err(_) => behind.push(format!("control-{} is down", machine + 1)),
            }
        }
        if digests.len() > 1 {
            behind.push(format!("the machines hold different states: {digests:?}"));
        }
        behind
    }

    /// The machines that lack some of what was stored.
    fn short_of_stored(&self, members: &BTreeSet<u8>) -> Vec<String> {
        let wanted = self.setup.scale.stored;
        let alone = BTreeSet::from([0]);
        let all = if self.setup.is_cluster() { members } else { &alone };
        let counted = all.iter().filter(|_| wanted > 0).map(|machine| {
            // A replica answers at once.
            let replicas = self.control(*machine).replicas();
            (machine, stored::count(&replicas).now_or_never().and_then(Result::ok))
        });
        let short = counted.filter(|(_, count)| *count != Some(wanted));
        let told = short.map(|(machine, count)| {
            format!("I1: control-{} has {count:?} of {wanted} stored runs", machine + 1)
        });
        told.collect()
    }

    /// Reads what is left, and judges.
    pub(super) fn judge(mut self) -> Result<Simulated, String> {
        let simulated_ms = self.now_ms();
        let simulated = determinism::processor_time();
        self.converge()?;
        let behind = if self.setup.is_cluster() { self.behind() } else { Vec::new() };
        let members = self.members();
        let short = self.short_of_stored(&members);
        let Self { setup, machines, progress, sim, started, .. } = self;
        let history = machines.common.history.moments();
        let history_hash = machines.common.history.hash();
        let disk_operations = machines.disk_operations();
        let mut ending = if setup.is_cluster() {
            gather(&setup, &machines, &members, &history)
        } else {
            reread(&setup, &machines.controls[0], sim)?
        };
        ending.behind = behind;
        judge_by_meant_plans(&setup, &history, &mut ending)?;
        let mut violations = invariants::judge(&history, &ending);
        violations.extend(short);
        let panics = unwanted_panics();
        violations.extend(panics.into_iter().map(|panic| format!("P5: nobody wanted: {panic}")));
        if !progress.finished() {
            violations.push(format!("L1: after {simulated_ms} ms clients still wait for answers"));
        }
        let took = determinism::machine_time().saturating_sub(started);
        let judged = determinism::processor_time();
        let (stored_ms, stored) = progress.stored.get().copied().unwrap_or_default();
        let cost = Cost {
            stored_ms,
            storing_ms: whole_ms(stored),
            simulating_ms: whole_ms(simulated.saturating_sub(stored)),
            judging_ms: whole_ms(judged.saturating_sub(simulated)),
            memory: most_memory(),
        };
        let report = Report {
            seed: setup.seed,
            pipeline: setup.pipeline,
            planted: setup.planted,
            crash_at: setup.crash_at,
            controls: setup.controls,
            asked_controls: setup.asked_controls,
            origin: setup.origin,
            history_hash,
            moments: history.len(),
            simulated_ms,
            took_ms: whole_ms(took),
            cost,
            disk_operations,
            runs: ending.runs.len(),
            marks: marks(&history),
            violations,
        };
        Ok(Simulated { report, history, traffic: traffic::written_down() })
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The most memory that was resident of this process, in bytes; 0 where the kernel does not say.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Ends the one control process, and reads its disk twice.
fn reread(setup: &Setup, control: &ControlHost, sim: Sim<'static>) -> Result<Ending, String> {
    let ControlHost { disk, logs, .. } = control;
    disk.kill();
    drop(sim);
    disk.repair();
    disk.set_full(false);
    let first = audit::runs(disk, setup.scale.shards)?;
    let mut second = audit::runs(disk, setup.scale.shards)?;
    if is_planted(setup, Bug::ReplicasDiffer) {
        spoil_replica(&mut second);
    }
    let state_digests = vec![audit::state_digest(&first), audit::state_digest(&second)];
    Ok(Ending { runs: first, logs: logs.all(), state_digests, ..Ending::default() })
}

fn is_planted(setup: &Setup, bug: Bug) -> bool {
    setup.planted.as_deref().and_then(planted::named) == Some(bug)
}

/// Takes the last entries from one replica.
fn spoil_replica(runs: &mut BTreeMap<RunId, EndedRun>) {
    for run in runs.values_mut() {
        run.entries.pop();
    }
}

/// Reads the replicas of all members, and the logs of all machines.
fn gather(
    setup: &Setup,
    machines: &Machines,
    members: &BTreeSet<u8>,
    history: &[Moment],
) -> Ending {
    let mut ending = Ending::default();
    for (control, index) in machines.controls.iter().zip(0_u8..) {
        let replicas = control.replicas();
        if !members.contains(&index) || replicas.is_empty() {
            continue;
        }
        // What cannot be read does not serve; that is told as being behind.
        let Ok(mut runs) = audit::live(&replicas) else { continue };
        let damaged = |moment: &Moment| moment.fact == Fact::Damaged { control: index };
        let differs = ending.state_digests.is_empty() && is_planted(setup, Bug::ReplicasDiffer);
        let hides = is_planted(setup, Bug::DamageHidden) && history.iter().any(damaged);
        if differs || hides {
            spoil_replica(&mut runs);
        }
        let digest = audit::state_digest(&runs);
        ending.replicas.insert(index, digest.clone());
        if !hides {
            ending.state_digests.push(digest);
            ending.runs.extend(runs);
        }
        if let Some(meta) = control.meta() {
            let entries = audit::cluster(&meta).unwrap_or_default();
            if entries.len() > ending.cluster.len() {
                ending.cluster = entries;
            }
        }
    }
    ending.logs = machines.logs();
    ending
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
        let name = match submission {
            Some(submission) => submission.plan.as_str(),
            None if key.starts_with(clients::PROBE) => clients::PROBED,
            None => continue,
        };
        if let (Some(meant), Some(ended)) = (plans.get(name), ending.runs.get_mut(run)) {
            ended.plan = meant.clone();
        }
    }
    Ok(())
}
