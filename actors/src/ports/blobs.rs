//! Blobs, as a port: snapshots, artifacts and libraries, named by the hash of their content.

use super::control::BlobPart;
use async_trait::async_trait;
use otto_core::ids::Digest;
use std::fmt;
use std::sync::Arc;

/// Why a blob could not be written or read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlobError {
    /// No blob of this digest is complete and verified.
    #[error("find blob {0}")]
    Absent(Digest),
    /// The content has another digest, or the part leaves a gap: begin again at offset zero.
    #[error("keep the blob: {0}")]
    Unfit(String),
    /// The store did not do it: try again.
    #[error("use the blob store: {0}")]
    Store(String),
}

/// The shared store of blobs. A blob is visible when it is complete and verified, not before.
#[async_trait]
pub trait Blobs: fmt::Debug + Send + Sync + 'static {
    /// Whether a blob is there, complete and verified.
    async fn has(&self, digest: Digest) -> Result<bool, BlobError>;

    /// Writes a part. Parts may be repeated; with `last`, the whole is verified and made visible.
    async fn put(&self, part: BlobPart) -> Result<(), BlobError>;

    /// Reads a part; empty at the end.
    async fn get(&self, digest: Digest, offset: u64, limit: u32) -> Result<Vec<u8>, BlobError>;
}

/// Blobs that several actors use.
pub type SharedBlobs = Arc<dyn Blobs>;
