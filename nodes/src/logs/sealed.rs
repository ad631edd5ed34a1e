//! Logs of which a shared store keeps what was sealed: live bytes lie with the node that takes
//! them, and a log that is whole is everybody's.
//!
//! An agent keeps its own copy until a log is sealed here, so a node that was lost takes nothing
//! with it: the next one is sent what is not in the shared store.

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use otto_actors::ports::logs::{LogError, LogId, Logs, SharedLogs};
use std::sync::Arc;

/// Live logs of this node, and sealed logs of all.
#[derive(Debug)]
pub struct SealedLogs {
    live: SharedLogs,
    sealed: Arc<dyn ObjectStore>,
}

/// How much of a log travels at once: object services refuse smaller parts, the last one excepted.
const PART: usize = 8 << 20;

impl SealedLogs {
    /// Logs that go to `live` first, and to the shared store when they are sealed.
    #[must_use]
    pub fn new(live: SharedLogs, sealed: Arc<dyn ObjectStore>) -> Self {
        Self { live, sealed }
    }

    /// The length of a sealed log; `None` where it is not sealed.
    async fn sealed_length(&self, log: LogId) -> Result<Option<u64>, LogError> {
        match self.sealed.head(&path(log)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Sends a log that is whole here to the shared store, where it becomes visible at once.
    async fn send(&self, log: LogId, length: u64) -> Result<(), LogError> {
        let path = path(log);
        if length <= PART as u64 {
            let bytes = self.live.read(log, 0, PART).await?;
            self.sealed.put(&path, bytes.into()).await.map_err(|error| failed(&error))?;
            return Ok(());
        }
        let upload = self.sealed.put_multipart(&path).await;
        let mut upload = upload.map_err(|error| failed(&error))?;
        let sent = self.send_parts(log, length, upload.as_mut()).await;
        if sent.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(%error, "a log that could not be sealed may have left parts behind");
        }
        sent
    }

    async fn send_parts(
        &self,
        log: LogId,
        length: u64,
        upload: &mut dyn MultipartUpload,
    ) -> Result<(), LogError> {
        let mut offset = 0;
        while offset < length {
            let bytes = self.live.read(log, offset, PART).await?;
            if bytes.is_empty() {
                return Err(LogError(format!("its bytes from {offset} on are gone")));
            }
            offset += bytes.len() as u64;
            upload.put_part(bytes.into()).await.map_err(|error| failed(&error))?;
        }
        upload.complete().await.map_err(|error| failed(&error))?;
        Ok(())
    }
}

#[async_trait]
impl Logs for SealedLogs {
    async fn append(&self, log: LogId, offset: u64, bytes: &[u8]) -> Result<u64, LogError> {
        self.live.append(log, offset, bytes).await
    }

    async fn seal(&self, log: LogId, length: u64) -> Result<bool, LogError> {
        if self.sealed_length(log).await? == Some(length) {
            return Ok(true);
        }
        if !self.live.seal(log, length).await? {
            return Ok(false);
        }
        self.send(log, length).await?;
        Ok(true)
    }

    async fn read(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError> {
        let here = self.live.read(log, offset, limit).await?;
        if !here.is_empty() {
            return Ok(here);
        }
        let Some(length) = self.sealed_length(log).await? else { return Ok(here) };
        let end = length.min(offset.saturating_add(limit as u64));
        if offset >= end {
            return Ok(here);
        }
        let bytes = self.sealed.get_range(&path(log), offset..end).await;
        bytes.map(Into::into).map_err(|error| failed(&error))
    }

    async fn length(&self, log: LogId) -> Result<u64, LogError> {
        let here = self.live.length(log).await?;
        Ok(self.sealed_length(log).await?.map_or(here, |sealed| sealed.max(here)))
    }

    async fn lines_before(&self, log: LogId, offset: u64) -> Result<Option<u64>, LogError> {
        self.live.lines_before(log, offset).await
    }
}

/// Where a sealed log lies.
fn path(log: LogId) -> Path {
    let name = format!("{}.{}.log", log.stage.0, log.attempt);
    Path::from_iter([log.run.project.to_string(), log.run.number.to_string(), name])
}

fn failed(error: &object_store::Error) -> LogError {
    LogError(error.to_string())
}
