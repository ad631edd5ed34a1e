//! Planted bugs: each breaks one property on purpose, at a port, so that its checker is seen
//! failing.
//!
//! `otto-sim planted` looks for all of them.

use crate::history::now_ms;
use crate::plant::{self, Planted};
use crate::replicas::planted::{self as replicas, Lost, Signs};
use async_trait::async_trait;
use otto_actors::ports::control::{
    Bid, BidAnswer, BlobPart, Control, LinkError, Report, ReportAnswer, SharedControl,
};
use otto_actors::ports::journal::{Journal, JournalError, SharedJournal};
use otto_actors::ports::logs::{LogError, LogId, Logs, SharedLogs};
use otto_core::ids::{AgentRef, Digest, Epoch, NodeId};
use otto_core::journal::{EntityId, EntityKind, Proposal, StoredHead, Verdict, decode, encode};
use otto_core::lease::LeaseId;
use otto_core::plan::{Plan, Work};
use otto_core::run::event::{Entry, Event};
use otto_core::run::outcome::Outcome;
use otto_core::time::{Span, Timestamp};
use otto_nodes::replica::{PeerAnswer, PeerCall, Peers, SharedPeers, Unreached};
use std::sync::Arc;
use std::time::Duration;

/// What can be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "`ALL` says what each is")]
pub enum Bug {
    AcknowledgeEarly,
    ForgetKeys,
    StartTwice,
    AcceptStale,
    EpochsStandStill,
    SettleTwice,
    ReplicasDiffer,
    OrderIgnored,
    CancelForgotten,
    TimersEarly,
    LogDoubled,
    LogCut,
    SuccessInvented,
    RetryForever,
    BidsForgotten,
    ReadsStale,
    ClocksUncompared,
    DamageHidden,
    IdentityForged,
    TokensUnlimited,
    ProcessesLeft,
    MemberForgotten,
    CopiesUnnoticed,
}

/// All of them.
pub const ALL: &[Planted<Bug>] = &[
    Planted::new(
        Bug::AcknowledgeEarly,
        "acknowledge-early",
        "I1",
        "a run is accepted, not journaled",
        20,
    ),
    Planted::new(Bug::ForgetKeys, "forget-keys", "I2", "idempotency keys are not kept", 40),
    Planted::new(Bug::StartTwice, "start-twice", "I3", "an agent opens each stage twice", 20),
    Planted::new(
        Bug::AcceptStale,
        "accept-stale",
        "I4",
        "an end under an old epoch is journaled",
        20,
    ),
    Planted::new(
        Bug::EpochsStandStill,
        "epochs-stand-still",
        "I5",
        "all awards have one epoch",
        20,
    ),
    Planted::new(Bug::SettleTwice, "settle-twice", "I6", "a settled run settles once more", 20),
    Planted::new(Bug::ReplicasDiffer, "replicas-differ", "I7", "a replica lacks an event", 20),
    Planted::new(Bug::OrderIgnored, "order-ignored", "I9", "a sequence is run side by side", 20),
    Planted::new(
        Bug::CancelForgotten,
        "cancel-forgotten",
        "I15",
        "a cancel is answered, not kept",
        40,
    ),
    Planted::new(Bug::TimersEarly, "timers-early", "I16", "time limits last a tenth", 40),
    Planted::new(Bug::LogDoubled, "log-doubled", "I17", "a log chunk is appended twice", 20),
    Planted::new(Bug::LogCut, "log-cut", "I18", "logs are sealed though bytes are missing", 20),
    Planted::new(
        Bug::SuccessInvented,
        "success-invented",
        "I19",
        "failures are journaled as success",
        20,
    ),
    Planted::new(Bug::RetryForever, "retry-forever", "I20", "attempts are not counted", 40),
    Planted::new(Bug::BidsForgotten, "bids-forgotten", "L1", "an agent's bids never arrive", 20),
    Planted::new(Bug::ReadsStale, "reads-stale", "I8", "lists lack the newest run", 20),
    Planted::new(Bug::ClocksUncompared, "clocks-uncompared", "I16", "clocks are not compared", 200)
        .among(3)
        .found_by(89),
    Planted::new(
        Bug::DamageHidden,
        "damage-hidden",
        "I23",
        "a damaged node goes on, and differs",
        200,
    )
    .among(3)
    .found_by(14),
    Planted::new(Bug::IdentityForged, "identity-forged", "I24", "a wiped node is who it was", 200)
        .among(3)
        .found_by(3),
    Planted::new(Bug::TokensUnlimited, "tokens-unlimited", "I25", "a token lets in too many", 100)
        .among(3)
        .found_by(3),
    Planted::new(Bug::ProcessesLeft, "processes-left", "I29", "stages leave processes behind", 20),
    Planted::new(Bug::MemberForgotten, "member-forgotten", "L2", "a node is sent no entries", 40)
        .among(3),
    Planted::new(Bug::CopiesUnnoticed, "copies-unnoticed", "I24", "an old copy leads alone", 300)
        .among(3)
        .found_by(276),
];

/// The bug of this name.
#[must_use]
pub fn named(name: &str) -> Option<Bug> {
    plant::named(ALL, name)
}

/// What a client really submits where it means a plan: the checkers judge by what it means.
#[must_use]
pub fn spoil_plan(bug: Option<Bug>, mut plan: Plan) -> Plan {
    for stage in &mut plan.stages {
        match (bug, &mut stage.work) {
            (Some(Bug::OrderIgnored), Work::Sequence(children)) => {
                stage.work = Work::Parallel(std::mem::take(children));
            }
            (Some(Bug::TimersEarly), _) => {
                stage.timeout = stage.timeout.map(|limit| Span(limit.0 / 10));
            }
            (Some(Bug::RetryForever), _) => {
                if let Some(retry) = &mut stage.retry {
                    retry.attempts += 3;
                }
            }
            _ => {}
        }
    }
    plan
}

/// A journal with a bug in it, where the bug is one of journals.
#[must_use]
pub fn spoil_journal(bug: Option<Bug>, journal: SharedJournal) -> SharedJournal {
    match bug {
        Some(bug) => Arc::new(SpoiltJournal { bug, journal }),
        None => journal,
    }
}

#[derive(Debug)]
struct SpoiltJournal {
    bug: Bug,
    journal: SharedJournal,
}

impl SpoiltJournal {
    fn spoil(&self, event: &mut Event) {
        match (self.bug, event) {
            (Bug::EpochsStandStill, Event::StageAwarded { epoch, .. }) => {
                *epoch = Epoch { incarnation: 0, counter: 1 };
            }
            (Bug::AcceptStale, Event::AttemptEnded { epoch, .. }) => {
                epoch.counter = epoch.counter.saturating_sub(1);
            }
            (Bug::SuccessInvented, Event::AttemptEnded { outcome, .. }) => {
                *outcome = Outcome::Success;
            }
            _ => {}
        }
    }

    fn spoil_entry(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut entry: Entry = decode("entry", bytes).ok()?;
        for event in &mut entry.events {
            self.spoil(event);
        }
        let settled = |event: &Event| matches!(event, Event::RunSettled { .. });
        match self.bug {
            Bug::SettleTwice => {
                let again: Vec<Event> =
                    entry.events.iter().filter(|e| settled(e)).cloned().collect();
                entry.events.extend(again);
            }
            Bug::CancelForgotten => {
                let cancels =
                    entry.events.iter().any(|e| matches!(e, Event::CancelRequested { .. }));
                let kept = |event: &Event| {
                    !cancels
                        || !matches!(
                            event,
                            Event::RunSettled { .. } | Event::CancelRequested { .. }
                        )
                };
                entry.events.retain(kept);
            }
            _ => {}
        }
        Some(encode(&entry))
    }
}

#[async_trait]
impl Journal for SpoiltJournal {
    async fn propose(&self, mut proposal: Proposal) -> Result<Verdict, JournalError> {
        let begins_run = |p: &Proposal| {
            p.items.iter().any(|item| item.entity.kind == EntityKind::Run && item.expected == 0)
        };
        if self.bug == Bug::AcknowledgeEarly && begins_run(&proposal) {
            return Ok(Verdict::Applied);
        }
        if self.bug == Bug::ForgetKeys {
            proposal.items.retain(|item| item.entity.kind != EntityKind::Key);
        }
        for item in proposal.items.iter_mut().filter(|item| item.entity.kind == EntityKind::Run) {
            if let Some(spoilt) = self.spoil_entry(&item.entry) {
                item.entry = spoilt;
            }
        }
        self.journal.propose(proposal).await
    }

    async fn confirm(&self) -> Result<(), JournalError> {
        self.journal.confirm().await
    }

    async fn entries(&self, entity: EntityId, after: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        self.journal.entries(entity, after).await
    }

    async fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, JournalError> {
        self.journal.head(entity).await
    }

    async fn heads(
        &self,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, StoredHead)>, JournalError> {
        let mut heads = self.journal.heads(kind, before, limit).await?;
        if self.bug == Bug::ReadsStale && kind == EntityKind::Run {
            heads.drain(..heads.len().min(1));
        }
        Ok(heads)
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

/// What bugs that forge identities go by: which nodes lost their memory, and who they were before.
#[derive(Clone, Debug, Default)]
pub struct Forgery {
    /// The nodes that lost their memory.
    pub lost: Lost,
    signs: Signs,
}

/// Peers with a bug in them, where the bug is one of peers.
#[must_use]
pub fn spoil_peers(
    bug: Option<Bug>,
    node: NodeId,
    forgery: &Forgery,
    peers: SharedPeers,
) -> SharedPeers {
    match bug {
        Some(Bug::IdentityForged) => {
            let forged = Some(replicas::Bug::IdentityForged);
            replicas::spoil_peers(forged, node.0, (&forgery.signs, &forgery.lost), peers)
        }
        Some(Bug::MemberForgotten) => Arc::new(Forgetful(peers)),
        _ => peers,
    }
}

/// The node that is forgotten, and from when on, in simulated milliseconds.
const FORGOTTEN: (NodeId, u64) = (NodeId(2), 3_000);

/// Peers that forget one node.
#[derive(Debug)]
struct Forgetful(SharedPeers);

#[async_trait]
impl Peers for Forgetful {
    async fn call(
        &self,
        address: &str,
        call: PeerCall,
        allowed: Duration,
    ) -> Result<PeerAnswer, Unreached> {
        let (node, from_ms) = FORGOTTEN;
        if call.to() == node && now_ms() > from_ms {
            let cause = "it is forgotten".to_owned();
            return Err(Unreached { node, address: address.to_owned(), cause });
        }
        self.0.call(address, call, allowed).await
    }
}

/// Logs with a bug in them, where the bug is one of logs.
#[must_use]
pub fn spoil_logs(bug: Option<Bug>, logs: SharedLogs) -> SharedLogs {
    match bug {
        Some(bug @ (Bug::LogDoubled | Bug::LogCut)) => Arc::new(SpoiltLogs { bug, logs }),
        _ => logs,
    }
}

#[derive(Debug)]
struct SpoiltLogs {
    bug: Bug,
    logs: SharedLogs,
}

#[async_trait]
impl Logs for SpoiltLogs {
    async fn append(&self, log: LogId, offset: u64, bytes: &[u8]) -> Result<u64, LogError> {
        if self.bug == Bug::LogCut {
            let cut = &bytes[..bytes.len().saturating_sub(1)];
            self.logs.append(log, offset, cut).await?;
            return Ok(offset + bytes.len() as u64);
        }
        let length = self.logs.append(log, offset, bytes).await?;
        self.logs.append(log, length, bytes).await?;
        Ok(length)
    }

    async fn seal(&self, log: LogId, length: u64) -> Result<bool, LogError> {
        let there = self.logs.length(log).await?;
        self.logs.seal(log, there).await?;
        Ok(there > 0 || length == 0)
    }

    async fn read(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError> {
        self.logs.read(log, offset, limit).await
    }

    async fn lines_before(&self, log: LogId, offset: u64) -> Result<Option<u64>, LogError> {
        self.logs.lines_before(log, offset).await
    }

    async fn length(&self, log: LogId) -> Result<u64, LogError> {
        self.logs.length(log).await
    }
}

/// A control side that an agent with a bug sees, where the bug is one of agents.
#[must_use]
pub fn spoil_control(bug: Option<Bug>, control: SharedControl) -> SharedControl {
    match bug {
        Some(Bug::BidsForgotten) => Arc::new(SpoiltControl(control)),
        _ => control,
    }
}

#[derive(Debug)]
struct SpoiltControl(SharedControl);

#[async_trait]
impl Control for SpoiltControl {
    async fn bid(&self, bid: Bid) -> Result<BidAnswer, LinkError> {
        drop(bid);
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(BidAnswer::default())
    }

    async fn renew(
        &self,
        agent: AgentRef,
        leases: Vec<LeaseId>,
    ) -> Result<Vec<LeaseId>, LinkError> {
        self.0.renew(agent, leases).await
    }

    async fn report(
        &self,
        agent: AgentRef,
        reports: Vec<Report>,
    ) -> Result<Vec<ReportAnswer>, LinkError> {
        self.0.report(agent, reports).await
    }

    async fn log(
        &self,
        agent: AgentRef,
        lease: LeaseId,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<u64, LinkError> {
        self.0.log(agent, lease, offset, bytes).await
    }

    async fn seal(&self, agent: AgentRef, lease: LeaseId, length: u64) -> Result<bool, LinkError> {
        self.0.seal(agent, lease, length).await
    }

    async fn blob(
        &self,
        agent: AgentRef,
        lease: LeaseId,
        digest: Digest,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<u8>, LinkError> {
        self.0.blob(agent, lease, digest, offset, limit).await
    }

    async fn keep(&self, agent: AgentRef, lease: LeaseId, part: BlobPart) -> Result<(), LinkError> {
        self.0.keep(agent, lease, part).await
    }
}

#[cfg(test)]
mod tests {
    use super::ALL;
    use crate::invariants;

    /// The table of the book: what holds, and how each bug is found.
    fn table() -> String {
        let head = "| | holds | planted bug | what is wrong | control processes | found with seed \
                    | within |\n| --- | --- | --- | --- | --- | --- | --- |\n";
        let rows = invariants::ALL.iter().flat_map(|invariant| {
            ALL.iter().filter(|bug| bug.breaks == invariant.id).map(|bug| {
                format!(
                    "| {} | {} | {} | {} | {} | {} | {} |\n",
                    bug.breaks,
                    invariant.holds,
                    bug.name,
                    bug.what,
                    bug.controls,
                    bug.found_by,
                    bug.within_seeds
                )
            })
        });
        [head.to_owned()].into_iter().chain(rows).collect()
    }

    #[test]
    fn the_book_tells_how_each_bug_is_found() {
        let book = include_str!("../../docs/src/simulation.md");
        assert!(book.contains(&table()), "docs/src/simulation.md lacks:\n{}", table());
    }

    #[test]
    fn each_property_has_a_bug_that_is_found_within_its_seeds() {
        for invariant in invariants::ALL {
            let bugs = ALL.iter().filter(|bug| bug.breaks == invariant.id);
            assert_ne!(bugs.count(), 0, "no planted bug breaks {}", invariant.id);
        }
        for bug in ALL {
            assert!(bug.found_by <= bug.within_seeds, "{}", bug.name);
            let known = invariants::ALL.iter().any(|invariant| invariant.id == bug.breaks);
            assert!(known, "{} breaks {}, which nobody checks", bug.name, bug.breaks);
        }
    }
}
