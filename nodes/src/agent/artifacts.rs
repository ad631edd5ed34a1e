//! Blobs on the agent: snapshots that stages start with, artifacts that they keep and fetch.
//!
//! A blob's file has its digest as its name and is only there whole. After a start each one is
//! verified before its first use, since what was written before may not have reached the disk.

use otto_actors::ports::control::{BlobPart, LinkError, SharedControl};
use otto_core::ids::{AgentRef, Digest};
use otto_core::lease::LeaseId;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What is asked for or sent at once: it fits into a frame with room to spare.
const PART_BYTES: u32 = 512 * 1024;
/// How much is kept here; beyond it the blobs go that were not used for longest.
const KEPT_BYTES: u64 = 4 << 30;
/// The first pause before the control side is asked again; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// A blob that is not to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum BlobError {
    /// The control side does not have it, or will not take it.
    #[error("{0}")]
    Refused(String),
    /// This machine is at fault.
    #[error("{0}")]
    Machine(#[from] io::Error),
}

/// The blobs in the agent's folder.
#[derive(Debug)]
pub(super) struct Blobs {
    folder: PathBuf,
    control: SharedControl,
    agent: AgentRef,
    verified: Mutex<BTreeSet<Digest>>,
    /// Who fetches a blob now; others wait for it.
    fetching: Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    fresh: AtomicU64,
}

impl Blobs {
    /// Opens the folder, and removes what an earlier agent had half written.
    pub(super) fn open(
        folder: PathBuf,
        control: SharedControl,
        agent: AgentRef,
    ) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_str().and_then(Digest::parse).is_none() {
                fs::remove_file(entry.path())?;
            }
        }
        let blobs = Self {
            folder,
            control,
            agent,
            verified: Mutex::default(),
            fetching: Mutex::default(),
            fresh: AtomicU64::default(),
        };
        blobs.make_room()?;
        Ok(blobs)
    }

    /// Opens a blob, fetched first where it is not here.
    pub(super) async fn fetch(&self, lease: LeaseId, digest: Digest) -> Result<File, BlobError> {
        let turn = {
            let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(fetching.entry(digest).or_default())
        };
        let fetched = {
            let _turn = turn.lock().await;
            match self.kept(digest).await? {
                Some(file) => Ok(file),
                None => self.download(lease, digest).await,
            }
        };
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the list's: nobody else waits.
        if Arc::strong_count(&turn) <= 2 {
            fetching.remove(&digest);
        }
        fetched
    }

    /// The blob's file, where it is here and whole.
    async fn kept(&self, digest: Digest) -> io::Result<Option<File>> {
        let path = self.path(digest);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        if !self.verified().contains(&digest) {
            let mut hasher = blake3::Hasher::new();
            let mut buffer = vec![0; PART_BYTES as usize];
            loop {
                let read = file.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
                tokio::task::yield_now().await;
            }
            if Digest(*hasher.finalize().as_bytes()) != digest {
                fs::remove_file(&path)?;
                return Ok(None);
            }
            self.verified().insert(digest);
            file.rewind()?;
        }
        // The time of the last use is what decides who goes first; it need not be exact.
        filetime::set_file_mtime(&path, filetime::FileTime::now()).ok();
        Ok(Some(file))
    }

    async fn download(&self, lease: LeaseId, digest: Digest) -> Result<File, BlobError> {
        let mut blob = self.begin()?;
        let mut pause = FIRST_PAUSE;
        loop {
            let read = self.control.blob(self.agent, lease, digest, blob.length, PART_BYTES);
            match read.await {
                Ok(part) if part.is_empty() => break,
                Ok(part) => {
                    blob.write(&part)?;
                    pause = FIRST_PAUSE;
                }
                Err(LinkError::Refused(cause)) => return Err(BlobError::Refused(cause)),
                Err(LinkError::Unreachable(_) | LinkError::NotHere { .. }) => {
                    wait(&mut pause).await;
                }
            }
        }
        let (found, file) = self.finish(blob)?;
        if found == digest {
            return Ok(file);
        }
        fs::remove_file(self.path(found))?;
        Err(BlobError::Refused(format!("what came for {} is {}", digest.short(), found.short())))
    }

    /// Begins a blob whose digest is not known yet.
    pub(super) fn begin(&self) -> io::Result<Growing> {
        let path = self.folder.join(format!("part-{}", self.fresh.fetch_add(1, Ordering::Relaxed)));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Growing { file, path, hasher: blake3::Hasher::new(), length: 0, whole: false })
    }

    /// Gives a blob that is whole its name.
    pub(super) fn finish(&self, mut blob: Growing) -> io::Result<(Digest, File)> {
        let digest = Digest(*blob.hasher.finalize().as_bytes());
        fs::rename(&blob.path, self.path(digest))?;
        blob.whole = true;
        self.verified().insert(digest);
        self.make_room()?;
        let mut file = blob.file.try_clone()?;
        file.rewind()?;
        Ok((digest, file))
    }

    /// Delivers a blob to the control side.
    pub(super) async fn deliver(
        &self,
        lease: LeaseId,
        digest: Digest,
        file: &mut File,
    ) -> Result<(), BlobError> {
        let length = file.metadata()?.len();
        let mut offset = 0;
        loop {
            let mut bytes = Vec::new();
            Read::by_ref(file).take(PART_BYTES.into()).read_to_end(&mut bytes)?;
            let next = offset + bytes.len() as u64;
            let part = BlobPart { digest, offset, bytes, last: next >= length };
            let mut pause = FIRST_PAUSE;
            while let Err(error) = self.control.keep(self.agent, lease, part.clone()).await {
                match error {
                    LinkError::Refused(cause) => return Err(BlobError::Refused(cause)),
                    LinkError::Unreachable(_) | LinkError::NotHere { .. } => wait(&mut pause).await,
                }
            }
            offset = next;
            if part.last {
                return Ok(());
            }
        }
    }

    /// Removes the blobs that were not used for longest, until the rest is within the limit.
    fn make_room(&self) -> io::Result<()> {
        let mut blobs = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Some(digest) = entry.file_name().to_str().and_then(Digest::parse) else { continue };
            let about = entry.metadata()?;
            blobs.push((about.modified()?, digest, about.len()));
        }
        let mut all: u64 = blobs.iter().map(|(_, _, length)| length).sum();
        blobs.sort_unstable();
        // The newest stays however large it is: somebody needs it now.
        blobs.pop();
        for (_, digest, length) in blobs {
            if all <= KEPT_BYTES {
                break;
            }
            fs::remove_file(self.path(digest))?;
            self.verified().remove(&digest);
            all -= length;
        }
        Ok(())
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, BTreeSet<Digest>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }
}

async fn wait(pause: &mut Duration) {
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(LAST_PAUSE);
}

/// A blob that is being written. Dropped before it is whole, it leaves nothing.
#[derive(Debug)]
pub(super) struct Growing {
    file: File,
    path: PathBuf,
    hasher: blake3::Hasher,
    length: u64,
    whole: bool,
}

impl Growing {
    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        if !self.whole {
            remove_quietly(&self.path);
        }
    }
}

fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "half a blob stays until the agent starts again");
    }
}
