//! Several control nodes over the journals of several shards, with agents that stand by at all of
//! them. Leadership moves as the test says; the journals hold who leads, as consensus would.

use crate::house::{Hand, SETTINGS, outcomes, request};
use crate::memory::ground::{Ground, OnGround};
use crate::memory::journal::{Fault, Led, MemoryJournal};
use crate::memory::stores::{MemoryBlobs, MemoryLogs, Sealed};
use crate::memory::{Saboteur, Seeded, TokioClock};
use crate::wire::Wire;
use otto_actors::agent::roads::Roads;
use otto_actors::agent::{self, AgentSide};
use otto_actors::control::answers::{Denial, LogEnd, LogPiece, SubmitRequest};
use otto_actors::control::{self, ControlSide};
use otto_actors::ports::control::SharedControl;
use otto_actors::ports::logs::LogId;
use otto_actors::ports::routes::{Controls, Leader, Routes};
use otto_core::capability::Capabilities;
use otto_core::ids::{AgentId, AgentRef, Attempt, NodeId, ProjectId, RunId, ShardId, StageId};
use otto_core::plan::Plan;
use otto_core::run::Run;
use otto_core::run::outcome::Outcome;
use otto_core::time::Span;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

/// How many shards there are.
const SHARDS: u16 = 2;

/// A control node.
pub(crate) struct Node {
    pub(crate) side: ControlSide,
    pub(crate) wire: Arc<Wire>,
    pub(crate) logs: Arc<MemoryLogs>,
}

/// Everything together.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) journals: Vec<Arc<MemoryJournal>>,
    pub(crate) sabotage: Arc<Saboteur>,
    routes: Mutex<Routes>,
    clock: Arc<TokioClock>,
    chance: Arc<Seeded>,
}

/// The links of an agent: by the number in a node's address.
#[derive(Debug)]
struct Links(Vec<Arc<Wire>>);

impl Controls for Links {
    fn first(&self) -> Vec<SharedControl> {
        vec![self.0[0].clone()]
    }

    fn link(&self, _: NodeId, address: &str) -> SharedControl {
        self.0[address.parse::<usize>().unwrap()].clone()
    }
}

impl Cluster {
    /// So many control nodes; the first leads all shards.
    pub(crate) async fn new(nodes: usize) -> Self {
        let clock = Arc::new(TokioClock::new());
        let chance = Arc::new(Seeded(AtomicU64::new(11)));
        let sabotage = Arc::new(Saboteur::default());
        let blobs = Arc::new(MemoryBlobs::default());
        let sealed = Sealed::default();
        let mut all = Vec::new();
        for _ in 0..nodes {
            let logs = Arc::new(MemoryLogs::sharing(&sealed));
            let ports = control::Ports {
                clock: clock.clone(),
                logs: logs.clone(),
                blobs: blobs.clone(),
                chance: chance.clone(),
                sabotage: sabotage.clone(),
            };
            let settings = control::Settings { shards: SHARDS, ..SETTINGS };
            let side = ControlSide::start(settings, ports).await.unwrap();
            all.push(Node { wire: Arc::new(Wire::to(side.clone())), side, logs });
        }
        let addresses = (0..nodes).map(|index| (NodeId(index as u64), index.to_string()));
        let routes = Routes {
            shards: SHARDS,
            nodes: addresses.collect(),
            nodes_version: 1,
            leaders: BTreeMap::new(),
        };
        let journals = (0..SHARDS).map(|_| Arc::new(MemoryJournal::default())).collect();
        let routes = Mutex::new(routes);
        let cluster = Self { nodes: all, journals, sabotage, routes, clock, chance };
        for shard in (0..SHARDS).map(ShardId) {
            cluster.elect(shard, 0).await;
        }
        cluster
    }

    /// Consensus elects another leader; the old one does not know it yet, and agents neither.
    pub(crate) async fn elect(&self, shard: ShardId, node: usize) {
        let journal = &self.journals[usize::from(shard.0)];
        let led: Arc<Led> = journal.elect();
        let leader = Leader { term: led.term(), node: NodeId(node as u64) };
        self.routes.lock().unwrap().leaders.insert(shard, leader);
        self.nodes[node].side.lead(shard, led, 0).await;
        let routes = self.routes.lock().unwrap().clone();
        self.nodes[node].side.route(routes);
    }

    /// A node learns what consensus holds: it leads what it leads, and tells agents the routes.
    pub(crate) fn learn(&self, node: usize) {
        let routes = self.routes.lock().unwrap().clone();
        let side = &self.nodes[node].side;
        for shard in side.leads() {
            if routes.leaders[&shard].node != NodeId(node as u64) {
                side.resign(shard);
            }
        }
        side.route(routes);
    }

    /// Leadership moves, and all learn it at once.
    pub(crate) async fn shift(&self, shard: ShardId, node: usize) {
        self.elect(shard, node).await;
        for node in 0..self.nodes.len() {
            self.learn(node);
        }
    }

    /// Starts an agent.
    pub(crate) async fn hire(&self, name: &str, slots: u32) -> Hand {
        let ground = Arc::new(Ground::default());
        let settings = agent::Settings {
            agent: AgentRef { agent: AgentId::of(name.as_bytes()), incarnation: 1 },
            name: name.to_owned(),
            capabilities: Capabilities::default(),
            slots,
        };
        let links = Links(self.nodes.iter().map(|node| node.wire.clone()).collect());
        let ports = agent::Ports {
            clock: self.clock.clone(),
            roads: Roads::new(Arc::new(links)),
            stages: Arc::new(OnGround(Arc::clone(&ground))),
            tools: Arc::new(OnGround(Arc::clone(&ground))),
            spool: Arc::new(OnGround(Arc::clone(&ground))),
            chance: self.chance.clone(),
            sabotage: self.sabotage.clone(),
        };
        let side = AgentSide::start(settings.clone(), ports).await.unwrap();
        Hand { side, ground, settings }
    }

    /// Does something at whichever node leads, as a client that asks around.
    pub(crate) async fn anywhere<T, F>(&self, ask: impl Fn(ControlSide) -> F) -> Result<T, Denial>
    where
        F: Future<Output = Result<T, Denial>>,
    {
        for _ in 0..2000 {
            for node in &self.nodes {
                match ask(node.side.clone()).await {
                    Err(Denial::NotHere { .. } | Denial::Unanswered(_)) => {}
                    answer => return answer,
                }
            }
            tokio::time::sleep(Span(50).to_duration()).await;
        }
        panic!("nobody answers")
    }

    /// Submits a plan in a project of this shard.
    pub(crate) async fn run(&self, shard: ShardId, key: &str, plan: &Plan) -> RunId {
        let wish = SubmitRequest { project: project(shard), ..request(key, plan) };
        let submit = |side: ControlSide| {
            let wish = wish.clone();
            async move { side.submit(wish).await }
        };
        self.anywhere(submit).await.unwrap().run
    }

    pub(crate) async fn view(&self, run: RunId) -> Run {
        self.anywhere(|side| async move { side.view(run).await }).await.unwrap()
    }

    /// Follows a run to its end by version, wherever it is led; answers how it ended.
    pub(crate) async fn retired(&self, run: RunId) -> Run {
        let following = async {
            let mut version = 0;
            loop {
                let follow = |side: ControlSide| async move {
                    side.follow(run, version, Span::seconds(5)).await
                };
                let followed = self.anywhere(follow).await.unwrap();
                version += followed.entries.len() as u64;
                if followed.retired {
                    break version;
                }
            }
        };
        let hour = Span::hours(1).to_duration();
        let version = tokio::time::timeout(hour, following).await.expect("the run ends");
        let view = self.view(run).await;
        assert_eq!(view.version(), version, "a follow has each entry once");
        view
    }

    /// Follows a log to its end by offset, wherever it is led.
    pub(crate) async fn log(&self, run: RunId, stage: u32, attempt: u32) -> String {
        let log = LogId { run, stage: StageId(stage), attempt: Attempt(attempt) };
        let mut text = Vec::new();
        loop {
            let offset = text.len() as u64;
            let read = |side: ControlSide| async move {
                side.log_read(log, offset, 7, Span::seconds(5)).await
            };
            let LogPiece { bytes, end, .. } = self.anywhere(read).await.unwrap();
            text.extend(bytes);
            if let Some(end) = end {
                assert_eq!(end, LogEnd::Whole);
                return String::from_utf8(text).unwrap();
            }
        }
    }

    /// Waits for success with so many attempts at each stage, and that agents are at rest.
    pub(crate) async fn succeeds(&self, run: RunId, attempts: &[usize], hands: &[&Hand]) {
        let view = self.retired(run).await;
        assert_eq!(view.outcome(), Some(Outcome::Success), "{:?}", outcomes(&view));
        let found = view.stages().filter(|(_, stage, _)| !stage.work.steps().is_empty());
        let found: Vec<usize> = found.map(|(_, _, state)| state.attempts.len()).collect();
        assert_eq!(found, attempts);
        for hand in hands {
            assert_eq!(hand.ground.sins(), Vec::<String>::new());
            for _ in 0..600 {
                if hand.side.busy() == 0 && hand.ground.is_still() {
                    break;
                }
                tokio::time::sleep(Span(100).to_duration()).await;
            }
            assert!(hand.side.busy() == 0 && hand.ground.is_still(), "the agent is not at rest");
        }
    }
}

/// A project that belongs to a shard.
fn project(shard: ShardId) -> String {
    let names = (0..).map(|n| format!("project {n}"));
    let of_shard = |name: &String| ProjectId::of(name).home(SHARDS) == shard;
    names.into_iter().find(of_shard).unwrap()
}

/// A journal that forgets to answer where it is told to.
pub(crate) fn faults(cluster: &Cluster, shard: ShardId, faults: &[Fault]) {
    let journal = &cluster.journals[usize::from(shard.0)];
    journal.faults.lock().unwrap().extend(faults.iter().copied());
}
