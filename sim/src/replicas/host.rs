//! A simulated node: shards on a simulated disk, answering peers, and doing what it is told.

use super::history::{Fact, History};
use super::planted::{Bug, Lost, Signs, Watched, spoil_peers};
use super::setup::{NODES, Setup};
use crate::determinism::random;
use crate::disk::SimulatedDisk;
use crate::network::{HostNames, Passports, PeerListener, SimulatedClock};
use otto_core::ids::{NodeId, ShardId};
use otto_nodes::replica::{GroupView, LogBounds, Shards, ShardsConfig, Standing};
use otto_nodes::rpc::peer_link::PeerLinks;
use otto_nodes::rpc::porter::Porter;
use otto_nodes::rpc::server::serve_peers;
use otto_nodes::store::{Executor, Writer};
use otto_nodes::wire::hello::{Build, Hello, Role};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const PORT: u16 = 7400;

/// The shards of the nodes that are up, for whoever talks to them out of band.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<Mutex<BTreeMap<u64, Up>>>);

/// A node that is up.
#[derive(Clone, Debug)]
pub struct Up {
    /// Its shards.
    pub shards: Arc<Shards>,
    asked: mpsc::UnboundedSender<Asked>,
}

/// What a node is asked out of band. It answers by its own clock, which is not the asker's.
#[derive(Debug)]
enum Asked {
    Do(Order, oneshot::Sender<Result<(), String>>),
    Show(oneshot::Sender<Vec<GroupView>>),
}

/// What a node is told to do. It does so in its own name: what it sends, it sends itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Add a member, or say where it is.
    Add(ShardId, u64),
    /// Let a member vote.
    Promote(ShardId, u64),
    /// Remove a member.
    Remove(ShardId, u64),
    /// Let another lead.
    Move(ShardId, u64),
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Up>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes that are up.
    #[must_use]
    pub fn all(&self) -> BTreeMap<u64, Up> {
        self.lock().clone()
    }

    /// A node is down.
    pub fn remove(&self, node: u64) {
        // What it held is dropped behind the lock.
        let removed = self.lock().remove(&node);
        drop(removed);
    }

    /// A node that serves a shard.
    #[must_use]
    pub fn leader(&self, shard: ShardId) -> Option<(u64, Up)> {
        self.all().into_iter().find(|(_, up)| {
            let standing = up.shards.standing(shard).map(|standing| *standing.borrow());
            matches!(standing, Some(Standing::Serving { .. }))
        })
    }
}

impl Up {
    /// Lets the node do something; what became of it, where it lives to tell.
    ///
    /// # Errors
    /// What the node says, or that it died.
    pub async fn order(&self, order: Order) -> Result<(), String> {
        let (answer, done) = oneshot::channel();
        self.asked.send(Asked::Do(order, answer)).map_err(|_| "it is down".to_owned())?;
        done.await.unwrap_or_else(|_| Err("it died".to_owned()))
    }

    /// All groups, as the node sees them; none where it died.
    pub async fn views(&self) -> Vec<GroupView> {
        let (answer, views) = oneshot::channel();
        if self.asked.send(Asked::Show(answer)).is_err() {
            return Vec::new();
        }
        views.await.unwrap_or_default()
    }
}

/// The address of a node.
#[must_use]
pub fn address(node: u64) -> String {
    format!("n{node}")
}

/// Runs writers as tasks; each commit takes as long as the disk does just now.
#[derive(Clone, Debug)]
struct DiskTime(Arc<AtomicU64>);

/// About what a sync takes.
const COMMIT: Duration = Duration::from_micros(300);

impl Executor for DiskTime {
    fn run(&self, _name: &'static str, mut writer: Box<dyn Writer>) -> io::Result<()> {
        let slower = Arc::clone(&self.0);
        tokio::spawn(async move {
            while writer.ready().await {
                let slower = Duration::from_millis(slower.load(Ordering::Relaxed));
                tokio::time::sleep(COMMIT + slower).await;
                if !writer.work() {
                    break;
                }
            }
        });
        Ok(())
    }
}

/// The machine of a node. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The node's number.
    pub node: u64,
    /// Its disk.
    pub disk: SimulatedDisk,
    /// By how many milliseconds a commit is slower now.
    pub slower_ms: Arc<AtomicU64>,
    /// Its process ended by itself, and waits to be started again.
    pub ended: Arc<AtomicBool>,
    setup: Arc<Setup>,
    running: Running,
    history: History,
    bug: Option<Bug>,
    lost: Lost,
    signs: Signs,
}

impl Machine {
    /// A blank machine.
    #[must_use]
    pub fn new(
        node: u64,
        setup: &Arc<Setup>,
        running: &Running,
        history: &History,
        bug: Option<Bug>,
        (lost, signs): (&Lost, &Signs),
    ) -> Self {
        Self {
            node,
            disk: SimulatedDisk::new(setup.seed.wrapping_add(node << 48)),
            slower_ms: Arc::default(),
            ended: Arc::default(),
            setup: Arc::clone(setup),
            running: running.clone(),
            history: history.clone(),
            bug,
            lost: lost.clone(),
            signs: signs.clone(),
        }
    }

    /// The process: runs until its host is crashed. Where the real one would end with an error,
    /// this one says so and stays pending, until the world starts it anew.
    ///
    /// # Errors
    /// None: turmoil wants the type.
    pub async fn run(self) -> turmoil::Result {
        if let Err(error) = self.serve().await {
            self.history.add(Fact::Fault(format!("n{} ends: {error}", self.node)));
        }
        self.running.remove(self.node);
        self.ended.store(true, Ordering::Relaxed);
        std::future::pending().await
    }

    async fn serve(&self) -> Result<(), String> {
        let passports = Passports::numbered("n", NODES);
        let listener = PeerListener::bind(PORT, &passports).await;
        let listener = listener.map_err(|error| error.to_string())?;
        let build = Build { version: "0.0.0".to_owned(), made_ns: 0, size: 0 };
        let links = PeerLinks::new(Arc::new(HostNames(PORT)), build.clone());
        let watched = Watched { node: self.node, history: self.history.clone(), peers: links };
        let peers = spoil_peers(self.bug, self.node, (&self.signs, &self.lost), Arc::new(watched));
        let trimmed = self.setup.trim_bytes;
        let config = ShardsConfig {
            node: self.node,
            shards: self.setup.shards,
            seed: random(),
            founds: self.node == 1 && !self.lost.contains(1),
            logs: LogBounds {
                trimmed_from_bytes: trimmed,
                kept_for_absent_bytes: trimmed * 4,
                kept_at_most_bytes: 1 << 20,
            },
            ..ShardsConfig::default()
        };
        let executor = DiskTime(Arc::clone(&self.slower_ms));
        let disk = Box::new(self.disk.mount());
        let opened = Shards::open(disk, &executor, config, peers).await;
        let shards = Arc::new(opened.map_err(|error| error.to_string())?);
        for view in shards.views() {
            tokio::spawn(self.clone().tell(Arc::clone(&shards), view.shard));
        }
        tokio::spawn(self.clone().tell_when_cast_out(Arc::clone(&shards)));
        let (asked, inbox) = mpsc::unbounded_channel();
        tokio::spawn(obey(Arc::clone(&shards), inbox));
        let up = Up { shards: Arc::clone(&shards), asked };
        self.running.lock().insert(self.node, up);
        let hello = Hello::new(Role::Control, build);
        let porter = Porter::alone(Arc::new(SimulatedClock));
        let mut health = shards.health();
        tokio::select! {
            biased;
            fault = health.wait_for(Option::is_some) => {
                let fault = fault.ok().and_then(|fault| fault.clone());
                Err(fault.map_or_else(|| "it was closed".to_owned(), |fault| fault.to_string()))
            }
            () = serve_peers(Arc::new(listener), hello, porter, shards.peer_side()) => Ok(()),
        }
    }

    /// Tells when the others will not have this node any more.
    async fn tell_when_cast_out(self, shards: Arc<Shards>) {
        let mut outcast = shards.outcast();
        drop(shards);
        let why = outcast.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        if let Some(why) = why {
            self.history.add(Fact::CastOut { node: self.node, why });
        }
    }

    /// Tells whenever a shard begins to serve here.
    async fn tell(self, shards: Arc<Shards>, shard: ShardId) {
        let Some(mut standing) = shards.standing(shard) else { return };
        loop {
            let now = *standing.borrow_and_update();
            let follows = matches!(now, Standing::Following { leader: Some(_) });
            let serves = matches!(now, Standing::Serving { .. });
            if serves || (follows && self.bug == Some(Bug::LeadersDoubled)) {
                let Some(view) = shards.views().into_iter().find(|view| view.shard == shard) else {
                    return;
                };
                let voters = view.members.iter().filter(|member| member.votes);
                let voters = voters.map(|member| member.node.0).collect();
                let (node, term) = (self.node, view.term);
                self.history.add(Fact::Serves { node, shard, term, voters });
            }
            if standing.changed().await.is_err() {
                return;
            }
        }
    }
}

async fn obey(shards: Arc<Shards>, mut inbox: mpsc::UnboundedReceiver<Asked>) {
    while let Some(asked) = inbox.recv().await {
        let (order, answer) = match asked {
            Asked::Do(order, answer) => (order, answer),
            Asked::Show(answer) => {
                answer.send(shards.views()).ok();
                continue;
            }
        };
        let shards = Arc::clone(&shards);
        tokio::spawn(async move {
            let outcome = match order {
                Order::Add(shard, node) => shards
                    .add_learner(shard, NodeId(node), &address(node))
                    .await
                    .map_err(|error| error.to_string()),
                Order::Promote(shard, node) => {
                    shards.promote(shard, NodeId(node)).await.map_err(|error| error.to_string())
                }
                Order::Remove(shard, node) => {
                    shards.remove(shard, NodeId(node)).await.map_err(|error| error.to_string())
                }
                Order::Move(shard, node) => shards
                    .lead_elsewhere(shard, NodeId(node))
                    .await
                    .map_err(|error| error.to_string()),
            };
            answer.send(outcome).ok();
        });
    }
}
