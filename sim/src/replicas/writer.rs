//! Writers and readers: each proposal names the version that it expects, and carries its number.

use super::history::{Fact, History, Outcome};
use super::host::Running;
use super::planted::{Bug, spoil_journal};
use crate::determinism::random_below;
use otto_actors::ports::journal::{JournalError, SharedJournal};
use otto_core::ids::ShardId;
use otto_core::journal::{EntityId, EntityKind, Head, Item, Proposal, Verdict};
use otto_core::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How many entities a shard has: few, so that writers meet.
const ENTITIES: u64 = 4;
/// How long a writer waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The entity of this number.
#[must_use]
pub fn entity(number: u64) -> EntityId {
    EntityId { kind: EntityKind::Run, id: u128::from(number) }
}

/// All entities of a shard.
pub fn entities() -> impl Iterator<Item = u64> {
    0..ENTITIES
}

/// The number of the proposal that an entry came with.
#[must_use]
pub fn number_of(entry: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(entry).ok()?.strip_prefix("payload-")?;
    number.split_once(' ')?.0.parse().ok()
}

/// What writers share.
#[derive(Clone, Debug)]
pub struct Writers {
    /// The nodes that are up.
    pub running: Running,
    /// What happened.
    pub history: History,
    /// The shards.
    pub shards: Vec<ShardId>,
    /// The longest pause between two proposals in milliseconds.
    pub pause_ms: u64,
    /// Set when writers are to stop.
    pub over: Arc<AtomicBool>,
    /// How many proposals were applied.
    pub applied: Arc<AtomicU64>,
    /// The bug that is planted, if any.
    pub bug: Option<Bug>,
}

impl Writers {
    /// One writer, until writers are to stop.
    ///
    /// # Errors
    /// None: turmoil wants the type.
    pub async fn write(self) -> turmoil::Result {
        let mut known: BTreeMap<(ShardId, u64), u64> = BTreeMap::new();
        while !self.over.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1 + random_below(self.pause_ms))).await;
            let shard = self.shards[usize::try_from(random_below(self.shards.len() as u64))?];
            let number = random_below(ENTITIES);
            let Some((node, journal)) = self.journal(shard) else { continue };
            if random_below(10) < 2 {
                if let Some(version) = self.read(node, &journal, shard, number).await {
                    known.insert((shard, number), version);
                }
                continue;
            }
            let expected = known.get(&(shard, number)).copied().unwrap_or(0);
            let outcome = self.propose(node, &journal, shard, number, expected).await;
            match outcome {
                Outcome::Applied => known.insert((shard, number), expected + 1),
                Outcome::Conflict(found) => known.insert((shard, number), found),
                Outcome::NotProposed => None,
                Outcome::Unknown => self
                    .read(node, &journal, shard, number)
                    .await
                    .and_then(|version| known.insert((shard, number), version)),
            };
        }
        Ok(())
    }

    /// Whom to ask about a shard: mostly its leader, sometimes anybody.
    fn journal(&self, shard: ShardId) -> Option<(u64, SharedJournal)> {
        let anybody = || {
            let all = self.running.all();
            let chosen = usize::try_from(random_below(all.len() as u64)).ok()?;
            all.into_iter().nth(chosen)
        };
        let leader = if random_below(10) == 0 { None } else { self.running.leader(shard) };
        let (node, up) = leader.or_else(anybody)?;
        Some((node, spoil_journal(self.bug, up.shards.journal(shard)?)))
    }

    async fn propose(
        &self,
        node: u64,
        journal: &SharedJournal,
        shard: ShardId,
        entity_number: u64,
        expected: u64,
    ) -> Outcome {
        let number = self.history.draw();
        let size = usize::try_from(random_below(2_000)).unwrap_or(0);
        let entry = format!("payload-{number} {}", "x".repeat(size)).into_bytes();
        let wake = (random_below(2) == 0).then_some(Timestamp(number));
        let head = Head { wake, summary: format!("head {number}").into_bytes() };
        let item = Item { entity: entity(entity_number), expected, entry, head };
        let fact = Fact::Proposes { number, shard, entity: entity_number, expected, node };
        self.history.add(fact);
        let answer = journal.propose(Proposal { items: vec![item] });
        let outcome = match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(Verdict::Applied)) => Outcome::Applied,
            Ok(Ok(Verdict::Conflict { found, .. })) => Outcome::Conflict(found),
            Ok(Err(JournalError::NotLeader(_))) => Outcome::NotProposed,
            Ok(Err(JournalError::Unknown(_) | JournalError::Store(_))) | Err(_) => Outcome::Unknown,
        };
        if outcome == Outcome::Applied {
            self.applied.fetch_add(1, Ordering::Relaxed);
        }
        self.history.add(Fact::Answered { number, outcome });
        outcome
    }

    async fn read(
        &self,
        node: u64,
        journal: &SharedJournal,
        shard: ShardId,
        entity_number: u64,
    ) -> Option<u64> {
        let number = self.history.draw();
        self.history.add(Fact::Asks { number, shard, entity: entity_number, node });
        let head = journal.head(entity(entity_number));
        let head = tokio::time::timeout(PATIENCE, head).await.ok()?.ok()?;
        let version = head.map_or(0, |head| head.version);
        self.history.add(Fact::Reads { number, version });
        Some(version)
    }

    /// Proposes to every shard until each has applied something: is it served?
    ///
    /// # Errors
    /// None: turmoil wants the type.
    pub async fn probe(self, probed: Arc<AtomicU64>) -> turmoil::Result {
        for shard in &self.shards {
            let mut expected = 0;
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let Some((node, up)) = self.running.leader(*shard) else { continue };
                let Some(journal) = up.shards.journal(*shard) else { continue };
                match self.propose(node, &journal, *shard, 0, expected).await {
                    Outcome::Applied => break,
                    Outcome::Conflict(found) => expected = found,
                    Outcome::NotProposed | Outcome::Unknown => {}
                }
            }
            probed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
