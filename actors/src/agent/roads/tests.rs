//! Which way calls go.

use super::*;
use crate::ports::routes::{Controls, Leader};
use otto_core::ids::{Attempt, Epoch, RunId, StageId};
use std::sync::Mutex;

/// A control node that leads nothing or all, and counts who came.
#[derive(Debug)]
struct Node {
    name: String,
    leads: bool,
    calls: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Control for Node {
    async fn bid(&self, _: Bid) -> Result<BidAnswer, LinkError> {
        Ok(BidAnswer::default())
    }
    async fn renew(&self, _: AgentRef, leases: Vec<LeaseId>) -> Result<Vec<LeaseId>, LinkError> {
        self.calls.lock().unwrap().push(self.name.clone());
        if self.name == "silent" {
            std::future::pending::<()>().await;
        }
        let not_here = LinkError::NotHere { shard: ShardId(0) };
        if self.leads { Ok(leases) } else { Err(not_here) }
    }
    async fn report(&self, _: AgentRef, _: Vec<Report>) -> Result<Vec<ReportAnswer>, LinkError> {
        Ok(Vec::new())
    }
    async fn log(&self, _: AgentRef, _: LeaseId, _: u64, _: Vec<u8>) -> Result<u64, LinkError> {
        Ok(0)
    }
    async fn seal(&self, _: AgentRef, _: LeaseId, _: u64) -> Result<bool, LinkError> {
        Ok(true)
    }
    async fn blob(
        &self,
        _: AgentRef,
        _: LeaseId,
        _: Digest,
        _: u64,
        _: u32,
    ) -> Result<Vec<u8>, LinkError> {
        Ok(Vec::new())
    }
    async fn keep(&self, _: AgentRef, _: LeaseId, _: BlobPart) -> Result<(), LinkError> {
        Ok(())
    }
}

/// Nodes whose address is their name; those that begin with `lead` do.
#[derive(Debug, Default)]
struct Nodes(Arc<Mutex<Vec<String>>>);

impl Nodes {
    fn node(&self, name: &str) -> SharedControl {
        let calls = Arc::clone(&self.0);
        Arc::new(Node { name: name.to_owned(), leads: name.starts_with("lead"), calls })
    }
}

impl Controls for Nodes {
    fn first(&self) -> Vec<SharedControl> {
        vec![self.node("seed")]
    }
    fn link(&self, _: NodeId, address: &str) -> SharedControl {
        self.node(address)
    }
}

const AGENT: AgentRef = AgentRef { agent: otto_core::ids::AgentId([1; 16]), incarnation: 1 };

fn lease() -> LeaseId {
    let run = RunId { project: ProjectId::of("shop"), number: 1 };
    let epoch = Epoch { incarnation: 0, counter: 1 };
    LeaseId { run, stage: StageId(1), attempt: Attempt::FIRST, epoch }
}

fn routes(nodes: &[&str], leader: Option<(u64, u64)>) -> Routes {
    let numbered = nodes.iter().zip(1..).map(|(name, n)| (NodeId(n), (*name).to_owned()));
    let leader = leader.map(|(term, node)| (ShardId(0), Leader { term, node: NodeId(node) }));
    Routes {
        shards: 1,
        nodes: numbered.collect(),
        nodes_version: 1,
        leaders: leader.into_iter().collect(),
    }
}

/// Renews until it succeeds; answers who was asked, in order.
async fn asked(nodes: &[&str], leader: Option<(u64, u64)>) -> Vec<String> {
    let controls = Arc::new(Nodes::default());
    let calls = Arc::clone(&controls.0);
    let roads = Roads::new(controls);
    roads.learn(&routes(nodes, leader));
    for _ in 0..=nodes.len() {
        let second = std::time::Duration::from_secs(1);
        let renewed = tokio::time::timeout(second, roads.renew(AGENT, vec![lease()])).await;
        if renewed.is_ok_and(|renewed| renewed.is_ok()) {
            break;
        }
    }
    std::mem::take(&mut *calls.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_to_the_leader_and_turns_to_the_next_where_that_is_wrong() {
    assert_eq!(asked(&["a", "b", "lead"], Some((1, 3))).await, ["lead"]);
    assert_eq!(asked(&["a", "lead", "b"], Some((1, 3))).await, ["b", "a", "lead"]);
    assert_eq!(asked(&["silent", "lead"], Some((1, 1))).await, ["silent", "lead"]);
    assert_eq!(asked(&["a", "lead"], None).await, ["a", "lead"]);
    assert_eq!(asked(&["a", "lead"], Some((1, 9))).await, ["a", "lead"]);
}

#[tokio::test]
async fn a_newer_leader_ends_a_detour_and_an_older_one_does_not() {
    let controls = Arc::new(Nodes::default());
    let calls = Arc::clone(&controls.0);
    let roads = Roads::new(controls);
    roads.learn(&routes(&["a", "lead", "b"], Some((4, 1))));
    assert!(roads.renew(AGENT, vec![lease()]).await.is_err());
    assert!(!roads.learn(&routes(&["a", "lead", "b"], Some((3, 3)))));
    assert!(roads.renew(AGENT, vec![lease()]).await.is_ok());
    assert!(roads.learn(&routes(&["a", "lead", "b"], Some((5, 3)))));
    assert!(roads.renew(AGENT, vec![lease()]).await.is_err());
    assert_eq!(*calls.lock().unwrap(), ["a", "lead", "b"]);
}

#[test]
fn bids_stand_at_all_nodes_and_where_the_agent_began_only_before_and_when_none_answers() {
    let roads = Roads::new(Arc::new(Nodes::default()));
    let places = |roads: &Roads| roads.stands().into_keys().collect::<Vec<_>>();
    assert_eq!(places(&roads), [Place::First(0)]);
    roads.learn(&routes(&["a", "b"], None));
    assert_eq!(places(&roads), [Place::Node(NodeId(1)), Place::Node(NodeId(2))]);
    assert!(roads.stranded(true) && !roads.stranded(true));
    assert_eq!(places(&roads).len(), 3);
    roads.stranded(false);
    let moved = Routes { nodes_version: 2, ..routes(&["c"], None) };
    assert!(roads.learn(&moved));
    assert_eq!(places(&roads), [Place::Node(NodeId(1))]);
}
