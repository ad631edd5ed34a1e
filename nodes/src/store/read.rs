//! Reading journals, heads and the wake index, each call from one consistent picture.

use super::apply::{head_key, read_head};
use super::base::{damaged, unseal};
use super::fault::Fault;
use super::state::{HEADS, JOURNALS, State, WAKES, standing};
use otto_core::ids::ShardId;
use otto_core::journal::{EntityId, EntityKind, StoredHead};
use otto_core::time::Timestamp;
use redb::ReadTransaction;

/// An entity with its head.
type Listed = (EntityId, StoredHead);
/// A wake-up with its entity.
type Due = (Timestamp, EntityId);

impl State {
    /// The head of an entity; `None` where it has no entries.
    pub(crate) fn head(
        &self,
        shard: ShardId,
        entity: EntityId,
    ) -> Result<Option<StoredHead>, Fault> {
        self.in_space(shard, |read, space| {
            let heads = read.open_table(HEADS)?;
            let found = heads.get(head_key(space, entity))?;
            found.map(|value| read_head(value.value())).transpose()
        })
    }

    /// The entries of an entity behind the first `after`.
    pub(crate) fn entries(
        &self,
        shard: ShardId,
        entity: EntityId,
        after: u64,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        self.in_space(shard, |read, space| {
            let journals = read.open_table(JOURNALS)?;
            let key = |version| (space, entity.kind as u8, entity.id, version);
            let mut entries = Vec::new();
            for row in journals.range(key(after.saturating_add(1))..=key(u64::MAX))? {
                let (key, entry) = row?;
                let expected = after + 1 + entries.len() as u64;
                if key.value().3 != expected {
                    return Err(damaged(format!("entry {expected} of {entity} is missing")));
                }
                entries.push(unseal(entry.value())?.to_vec());
            }
            let head = read.open_table(HEADS)?.get(head_key(space, entity))?;
            let version = match head {
                Some(head) => read_head(head.value())?.version,
                None => 0,
            };
            if version > after + entries.len() as u64 {
                return Err(damaged(format!("entry {version} of {entity} is missing")));
            }
            Ok(entries)
        })
    }

    /// Heads of one kind below `before`, last first.
    pub(crate) fn heads(
        &self,
        shard: ShardId,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<Listed>, Fault> {
        self.in_space(shard, |read, space| {
            let heads = read.open_table(HEADS)?;
            let from = (space, kind as u8, 0);
            // What is asked for may lie before or behind the whole kind.
            let below = before.unwrap_or(EntityId { kind, id: u128::MAX });
            let to = match below.kind.cmp(&kind) {
                std::cmp::Ordering::Less => return Ok(Vec::new()),
                std::cmp::Ordering::Equal => (space, kind as u8, below.id),
                std::cmp::Ordering::Greater => (space, kind as u8, u128::MAX),
            };
            let whole = before.is_none() || below.kind > kind;
            let rows = heads.range(from..=to)?.rev();
            rows.filter(|row| whole || !matches!(row, Ok((key, _)) if key.value() == to))
                .take(limit)
                .map(|row| {
                    let (key, head) = row?;
                    Ok((EntityId { kind, id: key.value().2 }, read_head(head.value())?))
                })
                .collect()
        })
    }

    /// The entities whose wake-up is due, earliest first, behind `after`.
    pub(crate) fn due(
        &self,
        shard: ShardId,
        until: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, Fault> {
        self.in_space(shard, |read, space| {
            let wakes = read.open_table(WAKES)?;
            let from = match after {
                Some((Timestamp(at), EntityId { kind, id })) => (space, at, kind as u8, id),
                None => (space, 0, 0, 0),
            };
            let to = (space, until.0, u8::MAX, u128::MAX);
            if from > to {
                return Ok(Vec::new());
            }
            let rows = wakes.range(from..=to)?;
            rows.filter(
                |row| !matches!(row, Ok((key, _)) if after.is_some() && key.value() == from),
            )
            .take(limit)
            .map(|row| {
                let (key, _) = row?;
                let (_, at, kind, id) = key.value();
                let kind = EntityKind::from_number(kind)
                    .ok_or_else(|| damaged(format!("there is no kind of entity {kind}")))?;
                Ok((Timestamp(at), EntityId { kind, id }))
            })
            .collect()
        })
    }

    /// Reads in a shard's space; a shard to which nothing was applied is empty.
    fn in_space<T: Default>(
        &self,
        shard: ShardId,
        read: impl FnOnce(&ReadTransaction, u32) -> Result<T, redb::Error>,
    ) -> Result<T, Fault> {
        self.base.read(|transaction| match standing(transaction, shard)? {
            Some(standing) => read(transaction, standing.space),
            None => Ok(T::default()),
        })
    }
}
