//! The cluster's own actors: nodes come, vote, drain and leave, though actors die and leadership
//! moves.

use crate::memory::journal::MemoryJournal;
use crate::memory::{Act, Saboteur, Seeded, TokioClock};
use async_trait::async_trait;
use otto_actors::cluster::{ClusterSide, Denial, Ports};
use otto_actors::ports::membership::{Membership, NotYet};
use otto_core::cluster::Cluster;
use otto_core::cluster::command::{Newcomer, Refusal, Wish};
use otto_core::cluster::duty::Duty;
use otto_core::cluster::state::{By, JoinRole, Levels, Standing};
use otto_core::ids::{ClusterId, KeyId, NodeId, TokenHash};
use otto_core::time::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Groups that do what they are told, the second time.
#[derive(Debug, Default)]
struct Groups {
    asked: Mutex<BTreeMap<Duty, u32>>,
}

#[async_trait]
impl Membership for Groups {
    async fn perform(&self, duty: Duty, _: &Cluster) -> Result<Option<Wish>, NotYet> {
        tokio::time::sleep(Span(20).to_duration()).await;
        let asked = {
            let mut asked = self.asked.lock().unwrap();
            let asked = asked.entry(duty).or_default();
            *asked += 1;
            *asked
        };
        if asked == 1 {
            return Err(NotYet("catch up".to_owned()));
        }
        Ok(Some(match duty {
            Duty::AddLearner { node } => Wish::BecameLearner { node },
            Duty::Promote { node } => Wish::BecameVoter { node },
            Duty::MoveLeaders { node } => Wish::Emptied { node },
            Duty::Part { node } => Wish::Parted { node },
        }))
    }
}

struct Meta {
    side: ClusterSide,
    journal: Arc<MemoryJournal>,
    sabotage: Arc<Saboteur>,
}

impl Meta {
    async fn over(journal: Arc<MemoryJournal>, sabotage: Saboteur) -> Self {
        let sabotage = Arc::new(sabotage);
        let ports = Ports {
            clock: Arc::new(TokioClock::new()),
            chance: Arc::new(Seeded(7.into())),
            sabotage: sabotage.clone(),
            membership: Arc::new(Groups::default()),
        };
        let side = ClusterSide::start(ports).await.unwrap();
        side.lead(journal.clone());
        Self { side, journal, sabotage }
    }

    async fn until(&self, what: &str, holds: impl Fn(&Cluster) -> bool) -> Arc<Cluster> {
        for _ in 0..2_000 {
            if let Ok(cluster) = self.side.view().await
                && holds(&cluster)
            {
                return cluster;
            }
            tokio::time::sleep(Span(50).to_duration()).await;
        }
        panic!("waited in vain until {what}");
    }
}

fn newcomer(number: u8) -> Newcomer {
    Newcomer {
        name: format!("machine {number}"),
        addresses: vec![format!("10.0.0.{number}:7301")],
        key: KeyId([number; 32]),
        levels: Levels { oldest: 0, newest: 0 },
    }
}

fn admin() -> By {
    By::owner("ada")
}

fn found() -> Wish {
    let (cluster, authority) = (ClusterId([1; 16]), KeyId([9; 32]));
    Wish::Found { cluster, shards: 2, authority, node: newcomer(1) }
}

fn votes(cluster: &Cluster, node: u64) -> bool {
    cluster.node(NodeId(node)).is_some_and(|member| member.standing == Standing::Voter)
}

/// A cluster grows to three nodes, and one leaves. Answers who votes then, in whose name.
async fn story(sabotage: Saboteur) -> (BTreeSet<NodeId>, BTreeMap<Act, u32>, bool) {
    let meta = Meta::over(Arc::default(), sabotage).await;
    meta.side.wish(found()).await.unwrap();
    let (token, role) = (TokenHash([7; 32]), JoinRole::Control);
    let lifetime = Span::seconds(3000);
    let token_wish = Wish::CreateToken { token, role, lifetime, uses: 2, by: admin() };
    meta.side.wish(token_wish).await.unwrap();
    for number in [2, 3] {
        let join = Wish::Join { token, role, newcomer: newcomer(number) };
        meta.side.wish(join.clone()).await.unwrap();
        let again = meta.side.wish(join).await.unwrap();
        assert_eq!(again.nodes().count(), usize::from(number), "a repeat is the same join");
    }
    let refused = meta.side.wish(Wish::Join { token, role, newcomer: newcomer(4) }).await;
    assert_eq!(refused.err(), Some(Denial::Refused(Refusal::TokenUsedUp { used: 2 })));
    meta.until("three vote", |cluster| (1..=3).all(|node| votes(cluster, node))).await;
    meta.side.wish(Wish::Remove { node: NodeId(2), by: admin() }).await.unwrap();
    let left = meta.until("one has left", |cluster| cluster.node(NodeId(2)).is_none()).await;
    let seen = meta.sabotage.seen.lock().unwrap().clone();
    meta.side.stop().await;
    (left.voters().collect(), seen, meta.sabotage.struck())
}

#[tokio::test(start_paused = true)]
async fn a_cluster_grows_and_shrinks_as_if_no_actor_had_died() {
    let (undisturbed, seen, _) = story(Saboteur::default()).await;
    assert_eq!(undisturbed, [NodeId(1), NodeId(3)].into());
    for (act, count) in &seen {
        for nth in BTreeSet::from([1, count.div_ceil(2), *count]) {
            let (voters, _, struck) = story(Saboteur::at(*act, nth)).await;
            assert_eq!(voters, undisturbed, "{act:?} {nth}");
            assert!(struck || nth > 1, "{act:?} {nth} was never handled");
        }
    }
    let actors: BTreeSet<&str> = seen.keys().map(|(actor, _)| *actor).collect();
    assert_eq!(actors, ["chore", "heart"].into());
}

#[tokio::test(start_paused = true)]
async fn who_leads_next_owes_what_the_last_one_owed() {
    let first = Meta::over(Arc::default(), Saboteur::default()).await;
    first.side.wish(found()).await.unwrap();
    let (token, role) = (TokenHash([7; 32]), JoinRole::Control);
    let lifetime = Span::seconds(3000);
    let wish = Wish::CreateToken { token, role, lifetime, uses: 1, by: admin() };
    first.side.wish(wish).await.unwrap();
    let join = Wish::Join { token, role, newcomer: newcomer(2) };
    first.side.wish(join.clone()).await.unwrap();
    first.side.resign();
    assert_eq!(first.side.wish(join.clone()).await.err(), Some(Denial::NotHere));
    assert_eq!(first.side.view().await.err(), Some(Denial::NotHere));
    let second = Meta::over(first.journal.clone(), Saboteur::default()).await;
    second.until("the second node votes", |cluster| votes(cluster, 2)).await;
    assert_eq!(second.side.wish(join).await.unwrap().nodes().count(), 2);
}
