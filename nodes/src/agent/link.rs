//! The agent's hold on its launcher: starts it, asks it for stage processes, renews their
//! deadlines.

use super::line::{Line, watched};
use crate::launcher::messages::{Confinement, FromLauncher, FromStage, ToLauncher};
use crate::launcher::{LAUNCHER, Level, boot_time_ms};
use otto_core::lease::LeaseId;
use otto_core::time::Span;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

/// The launcher, started again whenever it was found dead.
#[derive(Debug)]
pub(super) struct Link {
    image: PathBuf,
    confinement: Confinement,
    /// One at a time starts the launcher.
    starting: tokio::sync::Mutex<()>,
    launcher: Mutex<Option<Arc<Launcher>>>,
}

/// A running launcher.
#[derive(Debug)]
struct Launcher {
    line: Line,
    process: Mutex<Child>,
    level: Level,
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // It ends with the line; one that is dead already leaves no trace then.
        let process = self.process.get_mut().unwrap_or_else(PoisonError::into_inner);
        process.try_wait().ok();
    }
}

/// A stage process as the agent holds it.
#[derive(Debug)]
pub(super) struct StageProcess {
    pub(super) line: Line,
    /// Readable when the stage process is gone, with its namespaces where it has any.
    pub(super) process: AsyncFd<OwnedFd>,
    /// Ends when the launcher has seen that nothing is left.
    pub(super) gone: pipe::Receiver,
    /// Whether it has namespaces.
    pub(super) namespaces: bool,
}

impl Link {
    /// Starts the launcher. `image` is executed again for it.
    pub(super) async fn start(image: PathBuf, confinement: Confinement) -> io::Result<Self> {
        let link = Self {
            image,
            confinement,
            starting: tokio::sync::Mutex::default(),
            launcher: Mutex::default(),
        };
        link.launcher().await?;
        Ok(link)
    }

    /// How well steps are confined.
    pub(super) fn level(&self) -> Option<Level> {
        self.current().map(|launcher| launcher.level.clone())
    }

    /// Sets a lease's deadline. Where the launcher is gone, so are the lease's processes.
    pub(super) fn renew(&self, lease: LeaseId, deadline_ms: u64) {
        if let Some(launcher) = self.current() {
            launcher.line.send_now(&ToLauncher::Renew { lease, deadline_ms }).ok();
        }
    }

    /// Makes a stage process, which confines itself.
    pub(super) async fn open(
        &self,
        lease: LeaseId,
        folder: &Path,
        span: Span,
    ) -> io::Result<StageProcess> {
        match self.try_open(lease, folder, span).await {
            // The launcher died unnoticed: it is started again, once.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.try_open(lease, folder, span).await
            }
            opened => opened,
        }
    }

    async fn try_open(
        &self,
        lease: LeaseId,
        folder: &Path,
        span: Span,
    ) -> io::Result<StageProcess> {
        let launcher = self.launcher().await?;
        let (line, far) = Line::pair()?;
        let (gone, held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let deadline_ms = boot_time_ms().saturating_add(span.0);
        let open = ToLauncher::Open { lease, folder: folder.to_owned(), deadline_ms };
        let sent = launcher.line.send(&open, &[far.as_fd(), held.as_fd()]).await;
        if sent.is_err() {
            self.forget(&launcher);
        }
        sent?;
        drop((far, held));
        let process = wait_until_ready(&line).await.inspect_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                self.forget(&launcher);
            }
        })?;
        Ok(StageProcess {
            line,
            process: watched(process)?,
            gone: pipe::Receiver::from_owned_fd(gone)?,
            namespaces: matches!(launcher.level, Level::Namespaces { .. }),
        })
    }

    fn current(&self) -> Option<Arc<Launcher>> {
        self.launcher.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget(&self, dead: &Arc<Launcher>) {
        let mut launcher = self.launcher.lock().unwrap_or_else(PoisonError::into_inner);
        if launcher.as_ref().is_some_and(|launcher| Arc::ptr_eq(launcher, dead)) {
            *launcher = None;
        }
    }

    async fn launcher(&self) -> io::Result<Arc<Launcher>> {
        let _one = self.starting.lock().await;
        if let Some(launcher) = self.current() {
            return Ok(launcher);
        }
        let (line, far) = Line::pair()?;
        let process = Command::new(&self.image)
            .arg0(LAUNCHER)
            .env_clear()
            .stdin(Stdio::from(far))
            .stdout(Stdio::null())
            .spawn()?;
        line.send(&ToLauncher::Configure(self.confinement.clone()), &[]).await?;
        let Some((FromLauncher::Ready(level), _)) = line.receive().await? else {
            return Err(io::Error::other("the launcher died as it started"));
        };
        let launcher = Arc::new(Launcher { line, process: Mutex::new(process), level });
        let mut current = self.launcher.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::clone(&launcher));
        Ok(launcher)
    }
}

/// Waits for the launcher's word and the stage process's own, in whichever order they come.
async fn wait_until_ready(line: &Line) -> io::Result<OwnedFd> {
    let (mut process, mut ready) = (None, false);
    loop {
        match line.receive().await? {
            Some((FromStage::Born, descriptors)) => process = descriptors.into_iter().next(),
            Some((FromStage::Ready(_), _)) => ready = true,
            Some((FromStage::Refused { cause }, _)) => return Err(io::Error::other(cause)),
            Some((FromStage::Unpacked(_) | FromStage::NotStarted(_) | FromStage::Exited(_), _)) => {
                return Err(io::Error::other("the stage process spoke out of turn"));
            }
            None => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        if ready && let Some(process) = process.take() {
            return Ok(process);
        }
    }
}
