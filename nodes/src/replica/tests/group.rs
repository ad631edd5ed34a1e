//! Several nodes in one process, over calls in memory: what they agree on, and how they change.

use super::{SHARD, entity, item, proposal};
use crate::replica::{
    ChangeError, LogBounds, PeerAnswer, PeerCall, PeerSide, Peers, Shards, ShardsConfig, Standing,
    Unreached,
};
use crate::store::{Folder, Threads};
use async_trait::async_trait;
use otto_actors::ports::journal::JournalError;
use otto_core::ids::{NodeId, ShardId};
use otto_core::journal::Verdict;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Calls in memory. The address of a node is its number.
#[derive(Debug, Default)]
struct Wires {
    nodes: Mutex<BTreeMap<u64, PeerSide>>,
    cut: Mutex<BTreeSet<u64>>,
}

impl Wires {
    fn cut(&self, node: u64) {
        self.cut.lock().expect("nobody panicked").insert(node);
    }

    fn mend(&self) {
        self.cut.lock().expect("nobody panicked").clear();
    }
}

/// One node's end of them.
#[derive(Debug)]
struct End(Arc<Wires>);

#[async_trait]
impl Peers for End {
    async fn call(
        &self,
        address: &str,
        call: PeerCall,
        allowed: Duration,
    ) -> Result<PeerAnswer, Unreached> {
        let (from, to) = (call.from(), call.to());
        let there = {
            let cut = self.0.cut.lock().expect("nobody panicked");
            let nodes = self.0.nodes.lock().expect("nobody panicked");
            let there = nodes.get(&address.parse().expect("a number")).cloned();
            there.filter(|_| !cut.contains(&from.0) && !cut.contains(&to.0))
        };
        let lost = || Unreached { node: to, address: address.to_owned(), cause: "cut".to_owned() };
        let Some(side) = there else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Err(lost());
        };
        // What travels is bytes.
        let bytes = crate::wire::codec::encode(&call).expect("it is plain data");
        let call = crate::wire::codec::decode(&bytes).expect("it reads what it writes");
        let answer = tokio::time::timeout(allowed, side.answer(from, call)).await;
        let bytes = crate::wire::codec::encode(&answer.map_err(|_| lost())?).expect("plain data");
        Ok(crate::wire::codec::decode(&bytes).expect("it reads what it writes"))
    }
}

const SMALL: LogBounds =
    LogBounds { trimmed_from_bytes: 1, kept_for_absent_bytes: 1, kept_at_most_bytes: 64 << 20 };

async fn start(wires: &Arc<Wires>, folder: &Path, node: u64, seed: u64) -> Shards {
    let disk = Box::new(Folder::lock(folder).expect("nobody else uses it"));
    let founds = node == 1;
    let bounds = ShardsConfig { logs: SMALL, ..ShardsConfig::default() };
    let config = ShardsConfig { node, shards: 4, seed, founds, ..bounds };
    let peers = Arc::new(End(Arc::clone(wires)));
    let shards = Shards::open(disk, &Threads, config, peers).await.expect("the folder is whole");
    wires.nodes.lock().expect("nobody panicked").insert(node, shards.peer_side());
    shards
}

/// Repeats a change until it is made.
async fn changed<F>(mut change: impl FnMut() -> F)
where
    F: Future<Output = Result<(), ChangeError>>,
{
    while let Err(error) = change().await {
        let passing = matches!(error, ChangeError::Behind { .. } | ChangeError::Unknown(..));
        assert!(passing, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets a node vote in a shard.
async fn join(leader: &Shards, shard: ShardId, node: u64) {
    changed(|| leader.add_learner(shard, NodeId(1), "1")).await;
    let address = node.to_string();
    changed(|| leader.add_learner(shard, NodeId(node), &address)).await;
    changed(|| leader.promote(shard, NodeId(node))).await;
}

async fn serves(shards: &Shards, shard: ShardId) -> u64 {
    let mut standing = shards.standing(shard).expect("there is such a shard");
    let found = standing.wait_for(|now| matches!(now, Standing::Serving { .. })).await;
    let Standing::Serving { term } = *found.expect("it goes on") else { unreachable!() };
    term
}

/// Appends to one entity until it has so many entries.
async fn append(shards: &Shards, upto: u64) {
    let journal = shards.journal(SHARD).expect("there is such a shard");
    let head = journal.head(entity(1)).await.expect("it serves");
    for version in head.map_or(0, |head| head.version)..upto {
        let applied = journal.propose(proposal([item(1, version, None)])).await;
        assert_eq!(applied, Ok(Verdict::Applied));
    }
}

/// Waits until a replica has applied so many entries of the one entity.
async fn follows(shards: &Shards, version: u64) {
    let found = || {
        let head = shards.store.state.head(SHARD, entity(1)).expect("it can be read");
        head.map_or(0, |head| head.version)
    };
    while found() < version {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct Cluster {
    wires: Arc<Wires>,
    folders: Vec<tempfile::TempDir>,
    nodes: BTreeMap<u64, Shards>,
}

impl Cluster {
    /// Three nodes, of which all vote in the one shard that these tests use.
    async fn of_three() -> Self {
        let wires = Arc::new(Wires::default());
        let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a folder")).collect();
        let mut nodes = BTreeMap::new();
        for (node, folder) in (1..).zip(&folders) {
            nodes.insert(node, start(&wires, folder.path(), node, node * 100).await);
        }
        serves(&nodes[&1], SHARD).await;
        append(&nodes[&1], 5).await;
        for node in [2, 3] {
            join(&nodes[&1], SHARD, node).await;
        }
        Self { wires, folders, nodes }
    }

    async fn close(self) {
        for shards in self.nodes.into_values() {
            shards.close().await.expect("the disk is well");
        }
    }
}

#[tokio::test]
async fn three_nodes_agree_and_lead_in_turn() {
    let cluster = Cluster::of_three().await;
    let nodes = &cluster.nodes;
    append(&nodes[&1], 10).await;
    for node in nodes.values() {
        follows(node, 10).await;
    }
    let journal = nodes[&2].journal(SHARD).expect("there is such a shard");
    let refused = journal.propose(proposal([item(1, 10, None)])).await;
    assert!(matches!(refused, Err(JournalError::NotLeader(_))), "{refused:?}");
    nodes[&1].lead_elsewhere(SHARD, NodeId(2)).await.expect("it is there and has caught up");
    serves(&nodes[&2], SHARD).await;
    append(&nodes[&2], 15).await;
    assert_eq!(journal.entries(entity(1), 0).await.map(|entries| entries.len()), Ok(15));
    for node in nodes.values() {
        follows(node, 15).await;
    }
    changed(|| nodes[&2].remove(SHARD, NodeId(1))).await;
    changed(|| nodes[&2].remove(SHARD, NodeId(1))).await;
    append(&nodes[&2], 20).await;
    follows(&nodes[&3], 20).await;
    cluster.close().await;
}

#[tokio::test]
async fn a_leader_that_hears_nobody_serves_nobody() {
    let cluster = Cluster::of_three().await;
    let nodes = &cluster.nodes;
    cluster.wires.cut(1);
    let journal = nodes[&1].journal(SHARD).expect("there is such a shard");
    let lost = journal.propose(proposal([item(1, 5, None)])).await;
    assert!(matches!(lost, Err(JournalError::Unknown(_))), "{lost:?}");
    let term = tokio::select! {
        biased;
        term = serves(&nodes[&2], SHARD) => term,
        term = serves(&nodes[&3], SHARD) => term,
    };
    assert!(term > 1);
    let mut standing = nodes[&1].standing(SHARD).expect("there is such a shard");
    let still = standing.wait_for(|now| !matches!(now, Standing::Serving { .. })).await;
    assert_eq!(*still.expect("it goes on"), Standing::Opening);
    cluster.wires.mend();
    let follows = |now: &Standing| matches!(now, Standing::Following { leader: Some(_) });
    standing.wait_for(follows).await.expect("it goes on");
    cluster.close().await;
}

#[tokio::test]
async fn a_member_that_was_away_too_long_gets_a_snapshot() {
    let mut cluster = Cluster::of_three().await;
    let away = cluster.nodes.remove(&3).expect("it is there");
    away.close().await.expect("the disk is well");
    append(&cluster.nodes[&1], 60).await;
    // It is not there any more, and nothing is kept for the absent.
    let purged = |shards: &Shards| {
        let view = shards.views().into_iter().find(|view| view.shard == SHARD);
        view.expect("there is such a shard").purged
    };
    while purged(&cluster.nodes[&1]) < 50 {
        append(&cluster.nodes[&1], 60).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let back = start(&cluster.wires, cluster.folders[2].path(), 3, 301).await;
    follows(&back, 60).await;
    while purged(&back) < 50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    append(&cluster.nodes[&1], 70).await;
    follows(&back, 70).await;
    cluster.nodes.insert(3, back);
    cluster.close().await;
}

#[tokio::test]
async fn a_disk_that_was_wiped_or_taken_back_is_no_member_any_more() {
    let mut cluster = Cluster::of_three().await;
    append(&cluster.nodes[&1], 6).await;
    let cases = [("a copy of an earlier start", true), ("nothing", false)];
    let files = ["log.redb", "state.redb"];
    let away = cluster.nodes.remove(&3).expect("it is there");
    away.close().await.expect("the disk is well");
    let copies: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(cluster.folders[2].path().join(file)).expect("it is there"))
        .collect();
    // One more start, which the copy knows nothing of.
    let again = start(&cluster.wires, cluster.folders[2].path(), 3, 302).await;
    append(&cluster.nodes[&1], 7).await;
    follows(&again, 7).await;
    again.close().await.expect("the disk is well");
    for (case, copied) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        if copied {
            for (file, content) in files.iter().zip(&copies) {
                std::fs::write(folder.path().join(file), content).expect("it can be written");
            }
        }
        let back = start(&cluster.wires, folder.path(), 3, 303).await;
        let mut outcast = back.outcast();
        if copied {
            // It has members to call, and learns from them.
            let said = outcast.wait_for(Option::is_some).await.expect("it goes on").clone();
            assert!(said.is_some_and(|said| said.contains("taken back")), "{case}");
        }
        append(&cluster.nodes[&1], 9).await;
        let head = back.store.state.head(SHARD, entity(1)).expect("it can be read");
        assert!(head.map_or(0, |head| head.version) < 9, "{case}");
        back.close().await.expect("the disk is well");
    }
    cluster.close().await;
}
