//! Opens stages: makes the workspace, and the stage process that confines and starts its steps.

use super::artifacts::{BlobError, Blobs};
use super::host::Host;
use super::link::Link;
use super::spool::DiskSpool;
use super::stage::OpenStage;
use super::workspace::{Grounds, remove_tree};
use crate::launcher::messages::{Confinement, FromStage, ToStage, UnpackFault};
use crate::launcher::{Level, boot_time_ms};
use async_trait::async_trait;
use otto_actors::ports::control::{Assignment, SharedControl};
use otto_actors::ports::stages::{Stage, StageError, Stages};
use otto_core::ids::{AgentRef, Digest};
use otto_core::lease::LeaseId;
use otto_core::step::LibrarySource;
use otto_core::time::Span;
use otto_stdlib::invocation::Secret;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The image of this process, whatever its file is called by now.
const OWN_IMAGE: &str = "/proc/self/exe";
/// Processes and threads that the steps of one stage may have, for each core.
const PROCESSES_PER_CORE: u64 = 1024;
/// The fewest processes that a stage may have, however few cores there are.
const MIN_PROCESSES: u64 = 8192;

/// What an agent's stages are made with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The agent process.
    pub agent: AgentRef,
    /// The agent's folder: workspaces and blobs lie in it.
    pub folder: PathBuf,
    /// The folders that steps must not see: the node's data and its sockets. Those that are
    /// missing are passed over.
    pub hidden: Vec<PathBuf>,
    /// What steps are told of the machine.
    pub host: Host,
    /// Whether to confine stages in namespaces where the kernel lets us.
    pub namespaces: bool,
    /// How long a step may take to end when it is asked to.
    pub grace: Span,
}

/// How long a step may take to end when it is asked to, unless the agent is told otherwise.
pub const GRACE: Span = Span::seconds(5);

/// Stages of a real kernel.
#[derive(Debug)]
pub struct NodeStages {
    shared: Arc<Shared>,
}

/// What all stages of an agent share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) host: Host,
    pub(super) spool: Arc<DiskSpool>,
    pub(super) blobs: Blobs,
    pub(super) link: Link,
    pub(super) grace: Span,
    work: PathBuf,
    /// The file of this image, for what calls it by another name.
    image: PathBuf,
    /// Where randomness comes from.
    random: File,
    open: Mutex<BTreeMap<LeaseId, Span>>,
}

impl NodeStages {
    /// Starts the launcher, and removes the workspaces that an earlier agent left in the folder.
    ///
    /// # Errors
    /// When the folder cannot be used or the launcher not be started.
    pub async fn open(
        settings: Settings,
        spool: Arc<DiskSpool>,
        control: SharedControl,
    ) -> io::Result<Self> {
        fs::create_dir_all(&settings.folder)?;
        // Mounts know resolved paths only, so that all of ours are.
        let folder = settings.folder.canonicalize()?;
        let work = folder.join("work");
        let confinement = Confinement {
            hidden: outermost(&settings.hidden),
            commons: commons(&settings.host.home),
            workspaces: work.clone(),
            namespaces: settings.namespaces,
            processes: process_limit(),
        };
        clear(&folder, &work)?;
        let link = Link::start(PathBuf::from(OWN_IMAGE), confinement).await?;
        let blobs = Blobs::open(folder.join("blobs"), control, settings.agent)?;
        let open = Mutex::default();
        let image = fs::read_link(OWN_IMAGE)?;
        let random = File::open("/dev/urandom")?;
        let shared = Shared {
            host: settings.host,
            spool,
            blobs,
            link,
            grace: settings.grace,
            work,
            image,
            random,
            open,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How well steps are confined here, and why not better; `None` while the launcher is gone.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.shared.link.level()
    }

    async fn prepare(&self, assignment: &Assignment, held: Held) -> Result<OpenStage, StageError> {
        let shared = &self.shared;
        let lease = assignment.lease;
        let machine = |error: io::Error| StageError::Machine(error.to_string());
        let grounds = Grounds::make(&shared.work, &shared.image, lease).await.map_err(machine)?;
        let opened = shared.link.open(lease, grounds.folder(), assignment.lease_span).await;
        let process = match opened {
            Ok(process) => process,
            Err(error) => {
                grounds.remove().await.map_err(machine)?;
                return Err(machine(error));
            }
        };
        let log =
            shared.spool.log(lease).map_err(|error| StageError::Machine(error.to_string()))?;
        let stage =
            OpenStage::new(assignment.clone(), Arc::clone(shared), grounds, process, log, held)
                .map_err(machine)?;
        let prepared = match assignment.snapshot {
            Some(digest) => self.check_out(&stage, lease, digest).await,
            None => Ok(()),
        };
        match prepared.and_then(|()| put_libraries(&stage)) {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.close().await;
                Err(error)
            }
        }
    }

    /// Fills the workspace with the repository's files.
    async fn check_out(
        &self,
        stage: &OpenStage,
        lease: LeaseId,
        digest: Digest,
    ) -> Result<(), StageError> {
        let unfit = |why: &dyn std::fmt::Display| {
            StageError::Unfit(format!("get the repository's files ({}): {why}", digest.short()))
        };
        let fetched = self.shared.blobs.fetch(lease, digest).await;
        let archive = fetched.map_err(|error| match error {
            BlobError::Refused(_) => unfit(&error),
            BlobError::Machine(error) => StageError::Machine(error.to_string()),
        })?;
        let unpack = ToStage::Unpack { into: stage.grounds().workspace() };
        match stage.ask(&unpack, &[archive.as_fd()]).await? {
            FromStage::Unpacked(Ok(())) => Ok(()),
            FromStage::Unpacked(Err(UnpackFault::Archive(cause))) => Err(unfit(&cause)),
            FromStage::Unpacked(Err(UnpackFault::Machine(cause))) => {
                Err(StageError::Machine(cause))
            }
            other => Err(out_of_turn(&other)),
        }
    }
}

#[async_trait]
impl Stages for NodeStages {
    async fn open(&self, assignment: &Assignment) -> Result<Arc<dyn Stage>, StageError> {
        let held = Held::new(&self.shared, assignment)?;
        Ok(Arc::new(self.prepare(assignment, held).await?))
    }

    fn renewed(&self, lease: LeaseId, sent_ago: Span) {
        let span = self.shared.open().get(&lease).copied();
        if let Some(span) = span {
            let sent_ms = boot_time_ms().saturating_sub(sent_ago.0);
            self.shared.link.renew(lease, sent_ms.saturating_add(span.0));
        }
    }

    fn alive(&self) -> Vec<LeaseId> {
        self.shared.open().keys().copied().collect()
    }
}

impl Shared {
    /// A secret that nobody knows yet.
    pub(super) fn secret(&self) -> io::Result<Secret> {
        let mut random = [0; 32];
        (&self.random).read_exact(&mut random)?;
        Ok(Secret::of(&random))
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Span>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease's entry among those that have processes here; it goes with the stage.
#[derive(Debug)]
pub(super) struct Held {
    shared: Arc<Shared>,
    lease: LeaseId,
}

impl Held {
    fn new(shared: &Arc<Shared>, assignment: &Assignment) -> Result<Self, StageError> {
        let lease = assignment.lease;
        if shared.open().contains_key(&lease) {
            return Err(StageError::Machine(format!("{lease} is open already")));
        }
        shared.open().insert(lease, assignment.lease_span);
        Ok(Self { shared: Arc::clone(shared), lease })
    }

    /// Nothing of it is left.
    pub(super) fn release(&self) {
        self.shared.open().remove(&self.lease);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

/// Puts the repository's step libraries beside the workspace, before any step can change them.
fn put_libraries(stage: &OpenStage) -> Result<(), StageError> {
    for library in stage.assignment().libraries.values() {
        let LibrarySource::Repository { path } = &library.source else { continue };
        let unfit = |why: String| StageError::Unfit(format!("the library '{path}': {why}"));
        if stage.assignment().snapshot.is_none() {
            return Err(unfit("it lies in the repository, which this stage lacks".to_owned()));
        }
        let files = otto_stdlib::library::read_folder(&stage.grounds().workspace(), path)
            .map_err(|error| unfit(error.to_string()))?;
        let found = otto_stdlib::library::digest(&files);
        if found != library.digest {
            let (there, planned) = (found.short(), library.digest.short());
            return Err(unfit(format!("it is {there}, and the plan was made with {planned}")));
        }
        stage
            .grounds()
            .put_library(&library.name, &files)
            .map_err(|error| StageError::Machine(error.to_string()))?;
    }
    Ok(())
}

/// A stage process said something that nobody asked.
pub(super) fn out_of_turn(message: &FromStage) -> StageError {
    StageError::Machine(format!("its stage process spoke out of turn: {message:?}"))
}

/// Those of the folders that are there, resolved, and inside no other.
fn outermost(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut there: Vec<PathBuf> =
        folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
    there.sort();
    let mut outer: Vec<PathBuf> = Vec::new();
    for folder in there {
        if !outer.last().is_some_and(|last| folder.starts_with(last)) {
            outer.push(folder);
        }
    }
    outer
}

/// Where steps make files of their own beside their workspaces.
fn commons(home: &Path) -> Vec<PathBuf> {
    let temporary = std::env::temp_dir();
    let all = [home, temporary.as_path(), Path::new("/tmp"), Path::new("/var/tmp")];
    all.into_iter().filter_map(|folder| folder.canonicalize().ok()).collect()
}

fn process_limit() -> u64 {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    (cores * PROCESSES_PER_CORE).max(MIN_PROCESSES)
}

/// Makes an empty work folder. What was there is moved aside at once and removed in the background,
/// so that an agent that starts does not wait for it.
fn clear(folder: &Path, work: &Path) -> io::Result<()> {
    let mut left = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("left-") {
            left.push(entry.path());
        }
    }
    let aside =
        (0..=u16::MAX).map(|n| folder.join(format!("left-{n}"))).find(|path| !path.exists());
    if let Some(aside) = aside.filter(|_| work.exists()) {
        fs::rename(work, &aside)?;
        left.push(aside);
    }
    fs::create_dir(work)?;
    tokio::spawn(async move {
        for folder in left {
            if let Err(error) = remove_tree(&folder).await {
                tracing::warn!(folder = %folder.display(), %error, "old workspaces stay");
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::outermost;

    #[test]
    fn hidden_folders_do_not_nest() {
        let around = tempfile::tempdir().expect("a folder");
        let top = around.path().canonicalize().expect("a real path");
        for inside in ["a/b", "c"] {
            std::fs::create_dir_all(top.join(inside)).expect("folders");
        }
        let asked = ["c", "a/b", "a", "missing", "a/../c"].map(|path| top.join(path));
        assert_eq!(outermost(&asked), [top.join("a"), top.join("c")]);
    }
}
