//! One blob that is on its way in.

use super::failed;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use otto_actors::ports::blobs::BlobError;
use otto_actors::ports::control::BlobPart;
use otto_core::ids::Digest;
use std::mem;

/// What became of a part.
pub(super) enum Taken {
    /// It is staged; more is to come.
    Part,
    /// It was the last one, and the blob is visible.
    Whole,
}

/// The parts so far.
#[derive(Debug)]
pub(super) struct Staged {
    upload: Box<dyn MultipartUpload>,
    hasher: blake3::Hasher,
    length: u64,
    /// What was not handed on yet: stores want their parts large.
    pending: Vec<u8>,
    whole: bool,
}

/// The least that is handed on at once; object services refuse smaller parts, the last one
/// excepted.
const HANDED_ON: usize = 5 << 20;

impl Staged {
    pub(super) async fn begin(store: &dyn ObjectStore, path: &Path) -> Result<Self, BlobError> {
        let upload = store.put_multipart(path).await.map_err(failed)?;
        let hasher = blake3::Hasher::new();
        Ok(Self { upload, hasher, length: 0, pending: Vec::new(), whole: false })
    }

    /// Takes the next part; passes over one that is here already.
    pub(super) async fn take(&mut self, part: BlobPart) -> Result<Taken, BlobError> {
        if self.whole {
            return Ok(Taken::Whole);
        }
        let gap = || BlobError::Unfit(format!("a part before byte {} is missing", part.offset));
        let known = self.length.checked_sub(part.offset).ok_or_else(gap)?;
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(part.bytes.len());
        let fresh = &part.bytes[known..];
        self.hasher.update(fresh);
        self.length += fresh.len() as u64;
        self.pending.extend_from_slice(fresh);
        if !part.last {
            if self.pending.len() >= HANDED_ON {
                self.hand_on().await?;
            }
            return Ok(Taken::Part);
        }
        if Digest(*self.hasher.finalize().as_bytes()) != part.digest {
            return Err(other_content());
        }
        self.hand_on().await?;
        self.upload.complete().await.map_err(failed)?;
        self.whole = true;
        Ok(Taken::Whole)
    }

    /// Gives up: nothing of it stays. What was completed is not touched.
    pub(super) async fn abandon(&mut self) {
        if !self.whole
            && let Err(error) = self.upload.abort().await
        {
            tracing::warn!(%error, "a blob that was given up may have left its parts behind");
        }
    }

    async fn hand_on(&mut self) -> Result<(), BlobError> {
        let bytes = mem::take(&mut self.pending);
        self.upload.put_part(bytes.into()).await.map_err(failed)
    }
}

pub(super) fn other_content() -> BlobError {
    BlobError::Unfit("its content has another digest".to_owned())
}
