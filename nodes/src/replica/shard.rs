//! One shard on this node: its group, and whether it may serve.

use super::caller::Caller;
use super::gather::{Waiting, gather};
use super::hold::Holds;
use super::log::ShardLog;
use super::machine::Machine;
use super::presence::Presence;
use super::reading::{Asking, confirm};
use super::types::{Batch, Raft, Vote};
use super::way::Ways;
use crate::store::{Fault, Health, State, Store};
use openraft::error::Fatal;
use openraft::metrics::RaftServerMetrics;
use openraft::{BasicNode, Config, ServerState};
use otto_actors::ports::journal::JournalError;
use otto_core::ids::{NodeId, ShardId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};

/// What a shard does on this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It follows, and serves nobody.
    Following {
        /// Who leads, where that is known.
        leader: Option<NodeId>,
    },
    /// It leads, and does not serve yet, or not at the moment: no entry that this process proposed,
    /// since it leads, is applied; or it hears no majority; or it is handed over.
    Opening,
    /// It serves.
    Serving {
        /// In which term: it grows whenever leadership moves.
        term: u64,
    },
    /// Not any more: the store failed or was closed.
    Ended,
}

/// Why a shard that leads must not serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Halted {
    /// It is handed over to another node.
    pub(super) moving: bool,
    /// It hears no majority, so that another may lead by now.
    pub(super) cut_off: bool,
    /// This node's clock is not like the others', so that timers would ring at the wrong time.
    pub(super) off_time: bool,
    /// The others will not have this node any more.
    pub(super) cast_out: bool,
}

/// How many proposals may wait for the next entry before askers wait to ask.
const WAITING_PROPOSALS: usize = 4096;
/// How many readers may wait for the next confirmation before askers wait to ask.
const WAITING_READERS: usize = 4096;

/// One shard on this node.
pub(super) struct Shard {
    pub(super) id: ShardId,
    pub(super) node: u64,
    pub(super) raft: Raft,
    pub(super) log: ShardLog,
    pub(super) state: State,
    pub(super) health: Health,
    pub(super) caller: Caller,
    pub(super) proposals: mpsc::Sender<Waiting>,
    pub(super) readers: mpsc::Sender<Asking>,
    pub(super) halted: watch::Sender<Halted>,
    /// Whether no signs of life are sent, so that another can be elected.
    pub(super) silent: AtomicBool,
    /// Held by whoever changes who belongs to the group, or who leads it.
    pub(super) changing: tokio::sync::Mutex<()>,
    pub(super) holds: Holds,
    standing: watch::Sender<Standing>,
    presence: Mutex<Presence>,
    /// Up to which index the leader says that nobody needs entries from this node.
    floor: AtomicU64,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shard").field(&self.id).finish()
    }
}

/// What decides about serving, of what openraft says of itself.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Led {
    vote: Vote,
    here: bool,
    leader: Option<u64>,
}

impl Led {
    fn of(seen: &RaftServerMetrics<u64, BasicNode>) -> Self {
        let here = seen.state == ServerState::Leader;
        Self { vote: seen.vote, here, leader: seen.current_leader }
    }
}

impl Shard {
    /// Starts the shard's group; where it is new and this node founds it, makes it, with this node
    /// as its one voter.
    pub(super) async fn start(
        id: ShardId,
        node: u64,
        founds: bool,
        config: Arc<Config>,
        store: &Store,
        caller: Caller,
    ) -> Result<Arc<Self>, Fatal<u64>> {
        let machine = Machine::new(id, store.state.clone());
        let log = ShardLog::new(id, store.log.clone(), machine.settled(), store.health.clone());
        let holds = Holds::default();
        let ways = Ways { shard: id, caller: caller.clone(), holds: holds.clone() };
        let raft = Raft::new(node, config, ways, log.clone(), machine).await?;
        let halted = Halted { cast_out: caller.roll().belongs().is_err(), ..Halted::default() };
        let (proposals, inbox) = mpsc::channel(WAITING_PROPOSALS);
        let (readers, asking) = mpsc::channel(WAITING_READERS);
        let shard = Arc::new(Self {
            id,
            node,
            raft: raft.clone(),
            log,
            state: store.state.clone(),
            health: store.health.clone(),
            caller,
            proposals,
            readers,
            halted: watch::Sender::new(halted),
            silent: AtomicBool::new(false),
            changing: tokio::sync::Mutex::new(()),
            holds,
            standing: watch::Sender::new(Standing::Opening),
            presence: Mutex::new(Presence::new()),
            floor: AtomicU64::new(0),
        });
        let standing = shard.standing();
        tokio::spawn(gather(raft.clone(), store.health.clone(), standing, inbox));
        tokio::spawn(confirm(raft, asking));
        tokio::spawn(Arc::clone(&shard).attend(founds));
        Ok(shard)
    }

    /// Watches over the group: brings it to lead where it is alone, and lets it serve when an empty
    /// entry of this process is applied, for openraft resumes a restarted leader at what was
    /// durable in the state, not at what was acknowledged.
    async fn attend(self: Arc<Self>, founds: bool) {
        let mut metrics = self.raft.server_metrics();
        let mut halted = self.halted.subscribe();
        let mut served = None;
        if let Err(fatal) = self.begin(founds).await {
            return self.end(&fatal);
        }
        loop {
            let led = Led::of(&metrics.borrow_and_update());
            let halt = *halted.borrow_and_update();
            if !led.here || halt != Halted::default() {
                served = None;
            }
            let standing = match (led.here, served) {
                (false, _) => Standing::Following { leader: led.leader.map(NodeId) },
                (true, Some(vote)) if vote == led.vote => {
                    Standing::Serving { term: led.vote.leader_id().term }
                }
                (true, None | Some(_)) => Standing::Opening,
            };
            self.standing.send_if_modified(|known| {
                let changes = *known != standing;
                *known = standing;
                changes
            });
            let opens = led.here && halt == Halted::default() && standing == Standing::Opening;
            tokio::select! {
                biased;
                opened = self.open(led.vote), if opens => match opened {
                    Ok(()) => served = Some(led.vote),
                    Err(fatal) => return self.end(&fatal),
                },
                changed = metrics.wait_for(|seen| Led::of(seen) != led) => if changed.is_err() {
                    return self.end(&Fatal::Stopped);
                },
                // Its sender is in here.
                _ = halted.wait_for(|halted| *halted != halt) => {}
            }
        }
    }

    /// Makes the group where it is new, and has its one voter lead at once where it does not.
    async fn begin(&self, founds: bool) -> Result<(), Fatal<u64>> {
        if founds && !self.raft.is_initialized().await? {
            let members = BTreeMap::from([(self.node, BasicNode::default())]);
            // It fails only where the group was made already, which is as good.
            self.raft.initialize(members).await.ok();
        }
        let leads = self.raft.with_raft_state(|state| state.server_state).await?;
        if leads != ServerState::Leader && self.is_alone() {
            self.raft.trigger().elect().await?;
        }
        Ok(())
    }

    /// Returns when an empty entry that was proposed under this vote is applied. Where another
    /// leads meanwhile, it does not return: the metrics say so.
    async fn open(&self, vote: Vote) -> Result<(), Fatal<u64>> {
        match self.raft.client_write(Batch::default()).await {
            Ok(written) if written.log_id.leader_id == *vote.leader_id() => return Ok(()),
            Ok(_applied_by_a_later_leader) => {}
            Err(error) => {
                if let Some(fatal) = error.fatal() {
                    return Err(fatal.clone());
                }
            }
        }
        std::future::pending().await
    }

    /// Ends serving for good, and says why unless that was said already or is no fault.
    fn end(&self, fatal: &Fatal<u64>) {
        match fatal {
            Fatal::Stopped => {}
            Fatal::StorageError(error) => self.health.raise(&Fault::Stopped(error.to_string())),
            Fatal::Panicked => {
                self.health.raise(&Fault::Stopped(format!("shard {} panicked", self.id)));
            }
        }
        self.standing.send_replace(Standing::Ended);
    }

    /// Whether this node is the group's only voter. It then needs nobody's word that it leads: it
    /// can only be deposed after it let others vote, which it would see here first.
    pub(super) fn is_alone(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let seen = metrics.borrow();
        seen.membership_config.voter_ids().eq([self.node])
    }

    /// Whether this replica never learnt who belongs to the group.
    pub(super) fn knows_nobody(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let seen = metrics.borrow();
        seen.membership_config.membership().nodes().next().is_none()
    }

    /// What the shard does here, and whatever it does next.
    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Waits until the shard serves here, or it is known that it does not.
    pub(super) async fn ready(&self) -> Result<u64, JournalError> {
        let mut standing = self.standing.subscribe();
        let unclear = Standing::Following { leader: None };
        let clear = |standing: &Standing| *standing != Standing::Opening && *standing != unclear;
        // The sender is here, so there is always an answer.
        standing.wait_for(clear).await.ok();
        self.serves()
    }

    /// The term in which the shard serves.
    pub(super) fn serves(&self) -> Result<u64, JournalError> {
        let elsewhere = |what: String| JournalError::NotLeader(format!("shard {} {what}", self.id));
        match *self.standing.borrow() {
            Standing::Serving { term } => Ok(term),
            Standing::Opening => Err(elsewhere("is not ready on this node yet".to_owned())),
            Standing::Following { leader: Some(leader) } => {
                Err(elsewhere(format!("is led by node {leader}")))
            }
            Standing::Following { leader: None } => {
                Err(elsewhere("has no leader that this node knows of".to_owned()))
            }
            Standing::Ended => Err(self.health.check().err().unwrap_or(Fault::Closed).into()),
        }
    }

    /// Who was heard of, and how fast the log grows.
    pub(super) fn presence(&self) -> MutexGuard<'_, Presence> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to which index nobody needs entries from this node, as far as the leader said.
    pub(super) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Relaxed)
    }

    /// Takes in what the leader says about it.
    pub(super) fn set_floor(&self, floor: u64) {
        self.floor.store(floor, Ordering::Relaxed);
    }

    /// Changes why a shard that leads must not serve.
    pub(super) fn halt(&self, change: impl FnOnce(&mut Halted)) {
        self.halted.send_if_modified(|halted| {
            let before = *halted;
            change(halted);
            *halted != before
        });
    }

    /// Ends the group. Proposals on their way have an unknown outcome.
    pub(super) async fn stop(&self) {
        // It fails only where the group's task was already ended by a panic, which it reported.
        self.raft.shutdown().await.ok();
        self.standing.send_replace(Standing::Ended);
    }
}

impl From<Fault> for JournalError {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.to_string())
    }
}
