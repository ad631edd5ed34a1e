//! Planted bugs of replication: each breaks one property on purpose, at a port, so that its checker
//! is seen failing.

use super::history::{Fact, History};
use crate::plant::{self, Planted};
use async_trait::async_trait;
use otto_actors::ports::journal::{Journal, JournalError, SharedJournal};
use otto_core::journal::{EntityId, EntityKind, Proposal, StoredHead, Verdict};
use otto_core::time::Timestamp;
use otto_nodes::replica::{PeerAnswer, PeerCall, Peers, SharedPeers, Unreached};
use otto_nodes::rpc::peer_link::PeerLinks;
use otto_nodes::wire::codec::{decode, encode};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What can be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "`ALL` says what each is")]
pub enum Bug {
    AcknowledgeEarly,
    SyncsForgotten,
    ProposeTwice,
    EntriesAltered,
    ReadsStale,
    MemberForgotten,
    IdentityForged,
    LeadersDoubled,
}

/// All of them.
pub const ALL: &[Planted<Bug>] = &[
    Planted::new(Bug::AcknowledgeEarly, "acknowledge-early", "I1", "said before it is applied", 20),
    Planted::new(Bug::SyncsForgotten, "syncs-forgotten", "L2", "logs are not synced", 60)
        .found_by(56),
    Planted::new(Bug::ProposeTwice, "propose-twice", "I1", "a proposal is applied twice", 60)
        .found_by(52),
    Planted::new(Bug::EntriesAltered, "entries-altered", "I7", "a node gets altered entries", 60)
        .found_by(22),
    Planted::new(Bug::ReadsStale, "reads-stale", "I8", "a reader is shown what was before", 60)
        .found_by(52),
    Planted::new(Bug::MemberForgotten, "member-forgotten", "L2", "a node is sent no entries", 60)
        .found_by(22),
    Planted::new(Bug::IdentityForged, "identity-forged", "I24", "a wiped node is who it was", 60)
        .found_by(54),
    Planted::new(Bug::LeadersDoubled, "leaders-doubled", "I5", "two nodes lead in one term", 60)
        .found_by(52),
];

/// The bug of this name.
#[must_use]
pub fn named(name: &str) -> Option<Bug> {
    plant::named(ALL, name)
}

/// The name of a bug.
#[must_use]
pub fn name_of(bug: Bug) -> &'static str {
    ALL.iter().find(|planted| planted.bug == bug).map_or("", |planted| planted.name)
}

/// Writes down who grants whom a vote.
#[derive(Debug)]
pub struct Watched {
    /// Whose calls they are.
    pub node: u64,
    /// What happened.
    pub history: History,
    /// What carries them.
    pub peers: PeerLinks,
}

#[async_trait]
impl Peers for Watched {
    async fn call(
        &self,
        address: &str,
        call: PeerCall,
        allowed: Duration,
    ) -> Result<PeerAnswer, Unreached> {
        let (voter, candidacy) = (call.to().0, call.candidacy());
        let answer = self.peers.call(address, call, allowed).await?;
        if let (Some((shard, term)), true) = (candidacy, answer.grants()) {
            let candidate = self.node;
            self.history.add(Fact::Grants { voter, candidate, shard, term });
        }
        Ok(answer)
    }
}

/// The signs that nodes had before they lost their memory, as they are in frames.
#[derive(Clone, Debug, Default)]
pub struct Signs(Arc<Mutex<BTreeMap<u64, Vec<u8>>>>);

impl Signs {
    /// A frame in which a node without memory says that it is who it was. The frame begins with who
    /// speaks, up to this key.
    fn forge(&self, node: u64, forfeited: bool, mut frame: Vec<u8>, key: &[u8]) -> Vec<u8> {
        const BEFORE: usize = 6;
        let Some(end) = find(&frame, key) else { return frame };
        let sign = frame[BEFORE..end].to_vec();
        let mut signs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !forfeited {
            signs.insert(node, sign);
            return frame;
        }
        let Some(had) = signs.get(&node) else { return frame };
        let mut forged = Vec::new();
        while let Some(at) = find(&frame, &sign) {
            forged.extend_from_slice(&frame[..at]);
            forged.extend_from_slice(had);
            frame.drain(..at + sign.len());
        }
        forged.extend_from_slice(&frame);
        forged
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// A node that lost its memory, or one that calls it, and neither notices.
#[derive(Debug)]
struct Forgers {
    signs: Signs,
    lost: Lost,
    peers: SharedPeers,
}

#[async_trait]
impl Peers for Forgers {
    async fn call(
        &self,
        address: &str,
        call: PeerCall,
        allowed: Duration,
    ) -> Result<PeerAnswer, Unreached> {
        let (from, to) = (call.from().0, call.to());
        let failed = |error: io::Error| {
            let cause = error.to_string();
            Unreached { node: to, address: address.to_owned(), cause }
        };
        let frame = encode(&call).map_err(failed)?;
        let frame = self.signs.forge(from, self.lost.contains(from), frame, b"\xa2to");
        let call = decode(&frame).map_err(failed)?;
        let answer = self.peers.call(address, call, allowed).await?;
        let frame = encode(&answer).map_err(failed)?;
        let frame = self.signs.forge(to.0, self.lost.contains(to.0), frame, b"\xa5reply");
        decode(&frame).map_err(failed)
    }
}

/// The nodes that lost what they had promised to keep.
#[derive(Clone, Debug, Default)]
pub struct Lost(Arc<Mutex<BTreeSet<u64>>>);

impl Lost {
    /// A node lost its memory.
    pub fn insert(&self, node: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
    }

    /// Whether a node did.
    #[must_use]
    pub fn contains(&self, node: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&node)
    }
}

/// Peers with a bug in them, where the bug is one of peers.
#[must_use]
pub fn spoil_peers(
    bug: Option<Bug>,
    node: u64,
    (signs, lost): (&Signs, &Lost),
    peers: SharedPeers,
) -> SharedPeers {
    match bug {
        Some(Bug::IdentityForged) => {
            Arc::new(Forgers { signs: signs.clone(), lost: lost.clone(), peers })
        }
        Some(bug @ (Bug::EntriesAltered | Bug::MemberForgotten)) => {
            Arc::new(SpoiltPeers { bug, node, peers })
        }
        _ => peers,
    }
}

#[derive(Debug)]
struct SpoiltPeers {
    bug: Bug,
    node: u64,
    peers: SharedPeers,
}

/// The node that the bugs of peers strike.
const VICTIM: u64 = 2;

#[async_trait]
impl Peers for SpoiltPeers {
    async fn call(
        &self,
        address: &str,
        call: PeerCall,
        allowed: Duration,
    ) -> Result<PeerAnswer, Unreached> {
        let node = call.to();
        let failed = |cause: String| Unreached { node, address: address.to_owned(), cause };
        let mut bytes = encode(&call).map_err(|error| failed(error.to_string()))?;
        let found = find(&bytes, b"payload-");
        if node.0 != VICTIM || self.node == VICTIM {
            return self.peers.call(address, call, allowed).await;
        }
        match (self.bug, found) {
            (Bug::MemberForgotten, Some(_)) => Err(failed("it is forgotten".to_owned())),
            (Bug::EntriesAltered, Some(at)) => {
                bytes[at] = b'P';
                let altered = decode(&bytes).map_err(|error| failed(error.to_string()))?;
                self.peers.call(address, altered, allowed).await
            }
            _ => self.peers.call(address, call, allowed).await,
        }
    }
}

/// A journal with a bug in it, where the bug is one of journals.
#[must_use]
pub fn spoil_journal(bug: Option<Bug>, journal: SharedJournal) -> SharedJournal {
    match bug {
        Some(bug @ (Bug::AcknowledgeEarly | Bug::ProposeTwice | Bug::ReadsStale)) => {
            Arc::new(SpoiltJournal { bug, journal })
        }
        _ => journal,
    }
}

#[derive(Debug)]
struct SpoiltJournal {
    bug: Bug,
    journal: SharedJournal,
}

#[async_trait]
impl Journal for SpoiltJournal {
    async fn propose(&self, mut proposal: Proposal) -> Result<Verdict, JournalError> {
        match self.bug {
            Bug::AcknowledgeEarly => {
                let answer = self.journal.propose(proposal);
                let early = tokio::time::timeout(Duration::from_millis(5), answer).await;
                early.unwrap_or(Ok(Verdict::Applied))
            }
            Bug::ProposeTwice => {
                let first = self.journal.propose(proposal.clone()).await;
                for item in &mut proposal.items {
                    item.expected += 1;
                }
                self.journal.propose(proposal).await.ok();
                first
            }
            _ => self.journal.propose(proposal).await,
        }
    }

    async fn confirm(&self) -> Result<(), JournalError> {
        self.journal.confirm().await
    }

    async fn entries(&self, entity: EntityId, after: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        self.journal.entries(entity, after).await
    }

    async fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, JournalError> {
        let head = self.journal.head(entity).await?;
        Ok(head.map(|head| match self.bug {
            Bug::ReadsStale => StoredHead { version: head.version.saturating_sub(3), ..head },
            _ => head,
        }))
    }

    async fn heads(
        &self,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, StoredHead)>, JournalError> {
        self.journal.heads(kind, before, limit).await
    }

    async fn due(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, EntityId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EntityId)>, JournalError> {
        self.journal.due(until, after, limit).await
    }
}
