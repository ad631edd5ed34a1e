//! Which shards should be led elsewhere: policy, on plain data.
//!
//! Leaders are spread evenly over the voters that are fit to lead. One move at a time is proposed
//! for each node that gives and each that takes, so that a cluster never stands still.

use otto_core::ids::{NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// A node whose clock differs from the median by more leads nothing, in milliseconds.
pub const MOST_OFF_MS: u64 = 1_000;

/// A node, as far as leading is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fitness {
    /// It is not to lead any more: it is about to leave.
    pub drains: bool,
    /// It was heard of lately.
    pub there: bool,
    /// How far its clock is ahead of this node's, in milliseconds; `None` where nobody knows.
    pub clock_ahead_ms: Option<i64>,
}

/// Who leads a shard, and who could.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Led {
    /// Which shard.
    pub shard: ShardId,
    /// Who leads it.
    pub leader: NodeId,
    /// Its voters that have caught up.
    pub voters: BTreeSet<NodeId>,
}

/// A move that should be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// Which shard.
    pub shard: ShardId,
    /// Who leads it now.
    pub from: NodeId,
    /// Who should.
    pub to: NodeId,
}

/// The nodes that may lead: there, not about to leave, with a clock like the others'.
#[must_use]
pub fn fit(nodes: &BTreeMap<NodeId, Fitness>) -> BTreeSet<NodeId> {
    let median = median_clock(nodes);
    let fit = |node: &Fitness| node.there && !node.drains && is_on_time(node, median);
    nodes.iter().filter(|(_, node)| fit(node)).map(|(id, _)| *id).collect()
}

/// Whether a node's clock is like the others', as far as anybody can tell.
#[must_use]
pub fn keeps_time(nodes: &BTreeMap<NodeId, Fitness>, node: NodeId) -> bool {
    let median = median_clock(nodes);
    nodes.get(&node).is_none_or(|node| is_on_time(node, median))
}

/// The clock in the middle; `None` of two, for nobody can tell which of them is wrong.
fn median_clock(nodes: &BTreeMap<NodeId, Fitness>) -> Option<i64> {
    let mut clocks: Vec<i64> = nodes.values().filter_map(|node| node.clock_ahead_ms).collect();
    clocks.sort_unstable();
    // Of an even number the earlier middle one, whoever computes it.
    clocks.get(clocks.len().saturating_sub(1) / 2).copied().filter(|_| clocks.len() > 2)
}

fn is_on_time(node: &Fitness, median: Option<i64>) -> bool {
    let (Some(ahead), Some(median)) = (node.clock_ahead_ms, median) else { return true };
    ahead.abs_diff(median) <= MOST_OFF_MS
}

/// The moves that should be made now.
#[must_use]
pub fn moves(nodes: &BTreeMap<NodeId, Fitness>, groups: &[Led]) -> Vec<Move> {
    let fit = fit(nodes);
    let mut led: BTreeMap<NodeId, usize> = fit.iter().map(|node| (*node, 0)).collect();
    for group in groups {
        *led.entry(group.leader).or_default() += 1;
    }
    let mut moves = Vec::new();
    let mut busy = BTreeSet::new();
    // Who must not lead gives away first; then whoever leads more than it should.
    let mut sorted: Vec<&Led> = groups.iter().collect();
    sorted.sort_by_key(|group| (fit.contains(&group.leader), group.shard));
    for group in sorted {
        let (shard, from) = (group.shard, group.leader);
        let heirs = group.voters.intersection(&fit).filter(|heir| **heir != from);
        let heir = heirs.min_by_key(|heir| (led.get(heir).copied().unwrap_or(0), **heir));
        let Some(to) = heir.copied() else { continue };
        let count = |node: &NodeId| led.get(node).copied().unwrap_or(0);
        let must = !fit.contains(&from);
        let helps = count(&from) > count(&to) + 1;
        if (must || helps) && !busy.contains(&from) && !busy.contains(&to) {
            busy.extend([from, to]);
            *led.entry(from).or_default() -= 1;
            *led.entry(to).or_default() += 1;
            moves.push(Move { shard, from, to });
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::{Fitness, Led, Move, moves};
    use otto_core::ids::{NodeId, ShardId};
    use std::collections::{BTreeMap, BTreeSet};

    const WELL: Fitness = Fitness { drains: false, there: true, clock_ahead_ms: Some(0) };

    fn nodes(nodes: &[(u64, Fitness)]) -> BTreeMap<NodeId, Fitness> {
        nodes.iter().map(|(node, fitness)| (NodeId(*node), *fitness)).collect()
    }

    /// Shards from 0 on, by leader; all three nodes vote in each.
    fn groups(leaders: &[u64]) -> Vec<Led> {
        let voters: BTreeSet<NodeId> = [1, 2, 3].map(NodeId).into();
        let leaders = leaders.iter().zip(0..);
        let led = |(leader, shard): (&u64, u16)| Led {
            shard: ShardId(shard),
            leader: NodeId(*leader),
            voters: voters.clone(),
        };
        leaders.map(led).collect()
    }

    /// What it is called, the nodes, the leaders of the shards, and the moves that are expected.
    type Case =
        (&'static str, BTreeMap<NodeId, Fitness>, &'static [u64], &'static [(u16, u64, u64)]);

    #[test]
    fn leaders_are_spread_over_who_is_fit() {
        let drains = Fitness { drains: true, ..WELL };
        let gone = Fitness { there: false, ..WELL };
        let fast = Fitness { clock_ahead_ms: Some(1_001), ..WELL };
        let slow = Fitness { clock_ahead_ms: Some(-1_000), ..WELL };
        let all = |third| nodes(&[(1, WELL), (2, WELL), (3, third)]);
        let cases: [Case; 9] = [
            ("even", all(WELL), &[1, 2, 3], &[]),
            ("nearly even", all(WELL), &[1, 2, 3, 1], &[]),
            ("one leads all", all(WELL), &[1, 1, 1], &[(0, 1, 2)]),
            ("two could give", all(WELL), &[1, 1, 1, 2, 2, 2], &[(0, 1, 3)]),
            ("one drains", all(drains), &[3, 1, 2], &[(0, 3, 1)]),
            ("a drained one gets none", all(drains), &[1, 1, 2], &[]),
            ("one is gone", all(gone), &[1, 1, 1], &[(0, 1, 2)]),
            ("a clock is off", all(fast), &[3, 1, 2, 1], &[(0, 3, 2)]),
            ("a clock is just right", all(slow), &[3, 1, 2], &[]),
        ];
        for (case, nodes, leaders, expected) in cases {
            let expected = expected.iter().map(|(shard, from, to)| Move {
                shard: ShardId(*shard),
                from: NodeId(*from),
                to: NodeId(*to),
            });
            let expected: Vec<Move> = expected.collect();
            assert_eq!(moves(&nodes, &groups(leaders)), expected, "{case}");
        }
        let untold = Fitness { clock_ahead_ms: None, ..WELL };
        let two = nodes(&[(1, WELL), (2, fast), (3, untold)]);
        assert_eq!(
            moves(&two, &groups(&[1, 2, 3])),
            [],
            "of two clocks nobody knows the right one"
        );
    }
}
