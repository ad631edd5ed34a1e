//! The shards of an open store: this process leads each for as long as replication says so.

use super::forward::Forward;
use crate::replica::{Archive, PeerSide, Shards, Standing};
use crate::store::Fault;
use async_trait::async_trait;
use futures::future::join_all;
use otto_actors::control::ControlSide;
use otto_actors::ports::journal::{Journal, JournalError, SharedJournal};
use otto_core::ids::{NodeId, ShardId};
use otto_core::journal::{EntityId, EntityKind, Proposal, StoredHead, Verdict};
use otto_core::time::Timestamp;
use std::sync::Arc;
use tokio::sync::watch;

/// An open store, as the control process needs it.
#[derive(Debug)]
pub struct OpenStore {
    /// All shards, in the order of their numbers.
    pub shards: Vec<OpenShard>,
    /// The cluster's incarnation.
    pub incarnation: u32,
    /// What copies all shards; `None` where nothing is on disk.
    pub archive: Option<Archive>,
    /// What answers other nodes' replicas; `None` where there are none.
    pub peers: Option<PeerSide>,
    /// What makes the store unusable, as soon as something does.
    pub health: watch::Receiver<Option<Fault>>,
}

/// A shard on this node.
#[derive(Clone, Debug)]
pub struct OpenShard {
    /// Which.
    pub shard: ShardId,
    /// Its journal, which answers while this node leads the shard.
    pub journal: SharedJournal,
    /// What it does here.
    pub standing: watch::Receiver<Standing>,
}

impl OpenStore {
    /// The store of these shards; whoever tries faults wraps the journals.
    #[must_use]
    pub fn of(shards: &Shards, wrap: impl Fn(SharedJournal) -> SharedJournal) -> Self {
        let open = |shard| {
            let (journal, standing) = (shards.journal(shard)?, shards.standing(shard)?);
            Some(OpenShard { shard, journal: wrap(journal), standing })
        };
        Self {
            shards: (0..shards.count()).map(ShardId).filter_map(open).collect(),
            incarnation: shards.incarnation(),
            archive: Some(shards.archive()),
            peers: Some(shards.peer_side()),
            health: shards.health(),
        }
    }

    /// The cluster's own shard.
    #[must_use]
    pub fn meta(shards: &Shards) -> Option<OpenShard> {
        let shard = ShardId::META;
        let (journal, standing) = (shards.journal(shard)?, shards.standing(shard)?);
        Some(OpenShard { shard, journal, standing })
    }

    /// Returns when each shard is served here, or is known not to be.
    pub async fn settled(&self) {
        join_all(self.shards.iter().map(|open| async {
            let mut standing = open.standing.clone();
            standing.wait_for(|standing| *standing != Standing::Opening).await.ok();
        }))
        .await;
    }
}

/// Leads and resigns one shard as its standing says.
#[derive(Debug)]
pub(super) struct Leading {
    pub(super) open: OpenShard,
    pub(super) incarnation: u32,
    pub(super) side: ControlSide,
    term: Option<u64>,
}

impl Leading {
    /// The shard is not led yet.
    pub(super) fn of(open: OpenShard, incarnation: u32, side: ControlSide) -> Self {
        Self { open, incarnation, side, term: None }
    }

    /// Does what the standing says now; answers whether anything came of it.
    pub(super) async fn catch_up(&mut self) -> bool {
        let standing = *self.open.standing.borrow_and_update();
        let term = match standing {
            Standing::Serving { term } => Some(term),
            Standing::Following { .. } | Standing::Opening | Standing::Ended => None,
        };
        if term == self.term {
            return false;
        }
        let shard = self.open.shard;
        if let Some(term) = term {
            tracing::info!(%shard, term, "this node leads the shard");
            let journal = TermJournal::shared(self.open.clone(), term);
            self.side.lead(shard, journal, self.incarnation).await;
        } else {
            tracing::info!(%shard, ?standing, "this node leads the shard no longer");
            self.side.resign(shard);
        }
        self.term = term;
        true
    }

    /// Goes on doing so, as long as there are standings.
    pub(super) async fn follow(mut self, changed: impl Fn()) {
        while self.open.standing.changed().await.is_ok() {
            if self.catch_up().await {
                changed();
            }
        }
    }
}

/// All shards of this process, each led and resigned as its standing says.
#[derive(Debug)]
pub(super) struct Reign {
    leading: Vec<Leading>,
    forward: Forward,
}

impl Reign {
    /// Leads what is to be led now.
    pub(super) async fn begin(
        side: &ControlSide,
        open: &[OpenShard],
        incarnation: u32,
        forward: Forward,
    ) -> Self {
        let leading = open.iter().map(|open| Leading::of(open.clone(), incarnation, side.clone()));
        let mut reign = Self { leading: leading.collect(), forward };
        for leading in &mut reign.leading {
            leading.catch_up().await;
        }
        reign.forward.tell_routes();
        reign
    }

    /// Goes on doing so for ever, and tells agents of what changes.
    pub(super) async fn follow(self) {
        let Self { leading, forward } = self;
        let told = forward.clone();
        let led = join_all(leading.into_iter().map(|one| one.follow(|| forward.tell_routes())));
        let moved = async {
            let Some(neighbours) = &told.neighbours else { return };
            let mut directory = neighbours.directory.clone();
            while directory.changed().await.is_ok() {
                told.tell_routes();
            }
        };
        futures::future::join(led, moved).await;
        // Where nothing changes any more, somebody else says that it is over.
        std::future::pending::<()>().await;
    }
}

/// Who leads a shard, where this node follows.
pub(super) fn leader(open: &OpenShard) -> Option<NodeId> {
    match *open.standing.borrow() {
        Standing::Following { leader } => leader,
        Standing::Opening | Standing::Serving { .. } | Standing::Ended => None,
    }
}

/// A shard's journal in one term. Leadership that was lost and won again is another term: what was
/// known before is not all there is.
#[derive(Debug)]
pub(super) struct TermJournal {
    open: OpenShard,
    term: u64,
}

impl TermJournal {
    /// The journal of a shard that is led here in this term.
    pub(super) fn shared(open: OpenShard, term: u64) -> SharedJournal {
        Arc::new(Self { open, term })
    }

    fn check(&self) -> Result<(), JournalError> {
        if *self.open.standing.borrow() == (Standing::Serving { term: self.term }) {
            return Ok(());
        }
        let (shard, term) = (self.open.shard, self.term);
        Err(JournalError::NotLeader(format!("term {term} of shard {shard} is over here")))
    }

    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, JournalError>>,
    ) -> Result<T, JournalError> {
        self.check()?;
        let answer = answer.await?;
        self.check()?;
        Ok(answer)
    }
}

#[async_trait]
impl Journal for TermJournal {
    async fn propose(&self, proposal: Proposal) -> Result<Verdict, JournalError> {
        self.check()?;
        // What was applied stays applied, whoever leads by then.
        self.open.journal.propose(proposal).await
    }

    async fn confirm(&self) -> Result<(), JournalError> {
        self.within(self.open.journal.confirm()).await
    }

    async fn entries(&self, entity: EntityId, after: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        self.within(self.open.journal.entries(entity, after)).await
    }

    async fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, JournalError> {
        self.within(self.open.journal.head(entity)).await
    }

    async fn heads(
        &self,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, StoredHead)>, JournalError> {
        self.within(self.open.journal.heads(kind, before, limit)).await
    }

    async fn due(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, EntityId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EntityId)>, JournalError> {
        self.within(self.open.journal.due(until, after, limit)).await
    }
}
