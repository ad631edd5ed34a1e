//! What a node does before it ends: it lets others lead what it leads, so that nobody has to find
//! out first that it is gone.

use crate::replica::{GroupView, Member, Shards, Standing};
use crate::rpc::peer_link::PeerLinks;
use futures::future::join_all;
use otto_core::cluster::Cluster;
use otto_core::cluster::state::Wanted;
use otto_core::ids::{NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long that may take. Whoever ends the node does not wait for ever.
const ALLOWED: Duration = Duration::from_secs(4);
/// So many entries behind is close enough to lead in a moment.
const CLOSE: u64 = 1000;

/// How long another node has to say that it is there.
const ASKED: Duration = Duration::from_millis(500);

/// Lets others lead all that this node leads, all at once; what nobody takes goes without a leader
/// for a moment.
pub async fn part(me: NodeId, shards: &Shards, cluster: &Cluster, links: &PeerLinks) {
    let others = cluster.nodes().filter(|(node, _)| *node != me);
    let asked = others.filter_map(|(node, member)| {
        let address = member.addresses.first()?;
        Some(async move { links.clock(address, ASKED).await.is_ok().then_some(node) })
    });
    let there: BTreeSet<NodeId> = join_all(asked).await.into_iter().flatten().chain([me]).collect();
    if cluster.survival(&there).losses.is_none() {
        tracing::info!(?there, "too few of the others are there to lead in this node's place");
        return;
    }
    let heirs = heirs(me, &shards.views(), cluster, &there);
    let moves = heirs.into_iter().map(|(shard, to)| async move {
        match shards.lead_elsewhere(shard, to).await {
            Ok(()) => tracing::info!(%shard, %to, "handed over before the end"),
            Err(error) => tracing::info!(%error, "the others find a leader by themselves"),
        }
    });
    if tokio::time::timeout(ALLOWED, join_all(moves)).await.is_err() {
        tracing::info!("the others find leaders for the rest by themselves");
    }
}

/// Who is to lead what this node leads: each gets about as much as the others.
fn heirs(
    me: NodeId,
    views: &[GroupView],
    cluster: &Cluster,
    there: &BTreeSet<NodeId>,
) -> Vec<(ShardId, NodeId)> {
    let serves = |node: NodeId| cluster.node(node).is_some_and(|it| it.wanted == Wanted::Serve);
    let is_fit = |member: &&Member| {
        let close = member.lag.is_none_or(|lag| lag < CLOSE);
        let answers = member.node != me && there.contains(&member.node);
        answers && member.votes && close && serves(member.node)
    };
    let mut given: BTreeMap<NodeId, u32> = BTreeMap::new();
    let mut heirs = Vec::new();
    for group in views.iter().filter(|it| matches!(it.standing, Standing::Serving { .. })) {
        let fit = group.members.iter().filter(is_fit).map(|member| member.node);
        let fewest = fit.min_by_key(|node| (given.get(node).copied().unwrap_or(0), *node));
        if let Some(heir) = fewest {
            *given.entry(heir).or_default() += 1;
            heirs.push((group.shard, heir));
        }
    }
    heirs
}

#[cfg(test)]
mod tests {
    use super::heirs;
    use crate::replica::{GroupView, Member, Standing};
    use otto_core::cluster::Cluster;
    use otto_core::cluster::command::{Newcomer, Wish};
    use otto_core::cluster::event::Entry;
    use otto_core::cluster::state::{By, JoinRole, Levels};
    use otto_core::ids::{ClusterId, KeyId, NodeId, ShardId, TokenHash};
    use otto_core::time::{Span, Timestamp};

    /// Four nodes, of which the last one drains.
    fn cluster() -> Cluster {
        let newcomer = |number: u8| Newcomer {
            name: "m".to_owned(),
            addresses: Vec::new(),
            key: KeyId([number; 32]),
            levels: Levels { oldest: 1, newest: 1 },
        };
        let (role, token, by) = (JoinRole::Control, TokenHash([1; 32]), By::owner("root"));
        let (id, authority, lifetime) = (ClusterId([1; 16]), KeyId([9; 32]), Span::hours(1));
        let join = |number| Wish::Join { token, role, newcomer: newcomer(number) };
        let mut cluster = Cluster::default();
        for wish in [
            Wish::Found { cluster: id, shards: 1, authority, node: newcomer(1) },
            Wish::CreateToken { token, role, lifetime, uses: 9, by: by.clone() },
            join(2),
            join(3),
            join(4),
            Wish::Drain { node: NodeId(4), by },
        ] {
            let events = cluster.decide(&wish, Timestamp(1)).unwrap();
            cluster.apply(&Entry { at: Timestamp(1), events });
        }
        cluster
    }

    #[test]
    fn what_a_node_leads_goes_to_those_who_are_fit_in_equal_parts() {
        let group = |shard: u16, leads: bool, behind: Option<u64>| {
            let member = |node: u64| Member {
                node: NodeId(node),
                address: String::new(),
                votes: true,
                lag: Some(if behind == Some(node) { 5_000 } else { 0 }),
                there: true,
            };
            let leader = Some(NodeId(2));
            let follows = Standing::Following { leader };
            GroupView {
                shard: ShardId(shard),
                standing: if leads { Standing::Serving { term: 1 } } else { follows },
                leader,
                term: 1,
                last: 1,
                applied: 1,
                purged: 0,
                members: [1, 2, 3, 4].map(member).to_vec(),
            }
        };
        let views = [
            group(0, true, None),
            group(1, true, None),
            group(2, false, None),
            group(3, true, Some(2)),
            group(4, true, None),
        ];
        let found = |there: &[u64]| -> Vec<(u16, u64)> {
            let there = there.iter().copied().map(NodeId).collect();
            let found = heirs(NodeId(1), &views, &cluster(), &there);
            found.into_iter().map(|(it, to)| (it.0, to.0)).collect()
        };
        assert_eq!(found(&[1, 2, 3, 4]), [(0, 2), (1, 3), (3, 3), (4, 2)]);
        assert_eq!(found(&[1, 2]), [(0, 2), (1, 2), (4, 2)]);
        assert_eq!(found(&[1, 4]), []);
    }
}
