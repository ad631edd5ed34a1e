//! Blobs over an object store: a local folder, memory, or a store that several nodes share.
//!
//! A blob is named by the hash of its content. Its parts are staged, hashed as they come, and
//! become visible at once when the last one is there and the hash is right. A store that says it
//! has taken a blob keeps it through a power loss.

mod shared;
mod staged;
#[cfg(test)]
mod tests;

pub use shared::SharedObjects;

use async_trait::async_trait;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use otto_actors::ports::blobs::{BlobError, Blobs};
use otto_actors::ports::control::BlobPart;
use otto_core::ids::Digest;
use staged::Staged;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Blobs in an object store.
#[derive(Debug)]
pub struct ObjectBlobs {
    store: Arc<dyn ObjectStore>,
    staging: Mutex<Staging>,
}

/// Blobs that are on their way in.
#[derive(Debug, Default)]
struct Staging {
    /// Counts stagings, so that the one that nobody went on with for longest is known.
    turn: u64,
    staged: BTreeMap<Digest, (u64, Arc<Mutex<Staged>>)>,
}

/// The most blobs that are on their way in at once; the one that was left alone for longest gives
/// way.
const MAX_STAGED: usize = 64;

impl ObjectBlobs {
    /// Blobs in any object store.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, staging: Mutex::default() }
    }

    /// Blobs in a folder, which must exist.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn in_folder(folder: &std::path::Path) -> Result<Self, BlobError> {
        let store = LocalFileSystem::new_with_prefix(folder).map_err(failed)?;
        Ok(Self::new(Arc::new(store.with_fsync(true))))
    }

    /// Blobs in memory, for simulation and tests.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Arc::new(InMemory::new()))
    }

    /// The staging of a blob; begun by its first part.
    async fn staged(&self, part: &BlobPart) -> Result<Option<Arc<Mutex<Staged>>>, BlobError> {
        let mut staging = self.staging.lock().await;
        staging.turn += 1;
        let turn = staging.turn;
        if let Some((last, staged)) = staging.staged.get_mut(&part.digest) {
            *last = turn;
            return Ok(Some(staged.clone()));
        }
        if part.offset > 0 {
            return Ok(None);
        }
        if staging.staged.len() >= MAX_STAGED {
            let idle = staging.staged.iter().min_by_key(|(_, (turn, _))| *turn);
            if let Some((_, staged)) =
                idle.map(|(digest, _)| *digest).and_then(|digest| staging.staged.remove(&digest))
            {
                staged.lock().await.abandon().await;
            }
        }
        let staged = Staged::begin(self.store.as_ref(), &path(part.digest)).await?;
        let staged = Arc::new(Mutex::new(staged));
        staging.staged.insert(part.digest, (turn, staged.clone()));
        Ok(Some(staged))
    }

    async fn forget(&self, digest: Digest) {
        self.staging.lock().await.staged.remove(&digest);
    }
}

#[async_trait]
impl Blobs for ObjectBlobs {
    async fn has(&self, digest: Digest) -> Result<bool, BlobError> {
        match self.store.head(&path(digest)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    async fn put(&self, part: BlobPart) -> Result<(), BlobError> {
        if part.offset == 0 && part.last {
            return put_whole(self.store.as_ref(), part).await;
        }
        let Some(staged) = self.staged(&part).await? else {
            // Somebody else who sends the same content may have been first.
            if self.has(part.digest).await? {
                return Ok(());
            }
            return Err(BlobError::Unfit("its first part is not here".to_owned()));
        };
        let digest = part.digest;
        let taken = staged.lock().await.take(part).await;
        match taken {
            Ok(staged::Taken::Part) => Ok(()),
            Ok(staged::Taken::Whole) => {
                self.forget(digest).await;
                Ok(())
            }
            Err(error) => {
                staged.lock().await.abandon().await;
                self.forget(digest).await;
                Err(error)
            }
        }
    }

    async fn get(&self, digest: Digest, offset: u64, limit: u32) -> Result<Vec<u8>, BlobError> {
        let absent_or_failed = |error| match error {
            object_store::Error::NotFound { .. } => BlobError::Absent(digest),
            error => failed(error),
        };
        let path = path(digest);
        let size = self.store.head(&path).await.map_err(absent_or_failed)?.size;
        let end = size.min(offset.saturating_add(u64::from(limit)));
        if offset >= end {
            return Ok(Vec::new());
        }
        let bytes = self.store.get_range(&path, offset..end).await.map_err(absent_or_failed)?;
        Ok(bytes.into())
    }
}

async fn put_whole(store: &dyn ObjectStore, part: BlobPart) -> Result<(), BlobError> {
    if Digest::of(&part.bytes) != part.digest {
        return Err(staged::other_content());
    }
    store.put(&path(part.digest), part.bytes.into()).await.map_err(failed)?;
    Ok(())
}

/// Where a blob lies: spread over folders, so that none grows too large to list.
fn path(digest: Digest) -> Path {
    let name = digest.to_string();
    Path::from_iter([&name[..2], &name[2..]])
}

#[expect(clippy::needless_pass_by_value, reason = "it stands behind `map_err`")]
fn failed(error: object_store::Error) -> BlobError {
    BlobError::Store(error.to_string())
}
