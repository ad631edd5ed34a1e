//! Comparing replicas: what this node holds, without asking the others whether it is the latest.

use super::Shards;
use super::record::Mark;
use crate::store::{Fault, StoreFile, Taken};
use otto_core::ids::{Digest, ShardId};
use otto_core::journal::EntityId;

/// What a replica holds, in short. Equal replicas that have applied as much have the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// Up to where the log is applied.
    pub applied: u64,
    /// Of everything that is in the state.
    pub digest: Digest,
}

impl Shards {
    /// What this replica holds of a shard, in short; it reads all of it. `None` where it holds
    /// nothing.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn fingerprint(&self, shard: ShardId) -> Result<Option<Fingerprint>, Fault> {
        let Some(picture) = self.store.state.picture(shard)? else { return Ok(None) };
        let mark = Mark::from_bytes(&picture.mark);
        let mark = mark.map_err(|error| Fault::unreadable(StoreFile::State, &error))?;
        let mut content = blake3::Hasher::new();
        let mut taken = Taken::default();
        while let Some(rows) = picture.rows(&mut taken)? {
            rows.hash(&mut content);
        }
        let applied = mark.applied.map_or(0, |id| id.index);
        Ok(Some(Fingerprint { applied, digest: Digest(*content.finalize().as_bytes()) }))
    }

    /// The entries that this replica holds of an entity, which may be fewer than there are.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn held(&self, shard: ShardId, entity: EntityId) -> Result<Vec<Vec<u8>>, Fault> {
        self.store.state.entries(shard, entity, 0)
    }
}
