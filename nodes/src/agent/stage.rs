//! An opened stage: one workspace, one stage process, one step at a time.

use super::answers::{Desk, Door, Said};
use super::call::{Called, Command};
use super::link::StageProcess;
use super::pump::{DISK_PAUSE, Pump};
use super::spool::Log;
use super::stages::{Held, Shared, out_of_turn};
use super::workspace::Grounds;
use crate::launcher::messages::{Exit, FromStage, StartFault, StepStart, ToStage};
use async_trait::async_trait;
use otto_actors::ports::control::Assignment;
use otto_actors::ports::stages::{Stage, StageError, StepEnd};
use otto_core::ids::Digest;
use otto_core::run::duty::EndReason;
use otto_core::run::outcome::{Outcome, StepPlace};
use otto_core::value::Value;
use otto_stdlib::invocation::Control;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a step's output and requests are waited for after its end, where something that it left
/// running could still write. What comes later goes to the log all the same.
const AFTERMATH: Duration = Duration::from_millis(250);
/// How long a stage process may take to end what is below it before it is killed.
const END: Duration = Duration::from_secs(5);
/// How long a full disk may hold up the end of a stage of which no step goes on.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// A stage with its process.
#[derive(Debug)]
pub(super) struct OpenStage {
    assignment: Assignment,
    shared: Arc<Shared>,
    grounds: Grounds,
    process: StageProcess,
    log: Arc<Log>,
    /// Where steps ask; each has a secret of its own.
    listener: UnixListener,
    held: Held,
    current: Mutex<Current>,
    /// What steps of this stage archived.
    artifacts: Mutex<BTreeMap<String, Digest>>,
    /// The outputs that something left running still holds.
    lingering: Mutex<JoinSet<()>>,
    closed: tokio::sync::Mutex<bool>,
}

/// The step of now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Current {
    /// A step was begun and has not returned.
    busy: bool,
    /// Its process was asked for.
    started: bool,
    /// It was told to end.
    interrupted: Option<EndReason>,
}

impl OpenStage {
    pub(super) fn new(
        assignment: Assignment,
        shared: Arc<Shared>,
        grounds: Grounds,
        process: StageProcess,
        log: Arc<Log>,
        held: Held,
    ) -> io::Result<Self> {
        let listener = UnixListener::bind(grounds.control_socket())?;
        Ok(Self {
            assignment,
            shared,
            grounds,
            process,
            log,
            listener,
            held,
            current: Mutex::default(),
            artifacts: Mutex::default(),
            lingering: Mutex::default(),
            closed: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    pub(super) fn grounds(&self) -> &Grounds {
        &self.grounds
    }

    /// Asks the stage process for something and waits for its answer.
    pub(super) async fn ask(
        &self,
        message: &ToStage,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<FromStage, StageError> {
        self.process.line.send(message, descriptors).await.map_err(|_| gone())?;
        self.answer().await
    }

    async fn answer(&self) -> Result<FromStage, StageError> {
        match self.process.line.receive().await {
            Ok(Some((message, _))) => Ok(message),
            Ok(None) | Err(_) => Err(gone()),
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn artifacts(&self) -> MutexGuard<'_, BTreeMap<String, Digest>> {
        self.artifacts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a step's process to its end.
    async fn run(
        &self,
        called: &Called<'_>,
        command: &Command,
        captured: &BTreeMap<String, Value>,
    ) -> Result<StepEnd, StageError> {
        let secret = self.shared.secret().map_err(|error| machine(&error))?;
        let desk = Desk::new(
            &self.assignment,
            &self.shared.blobs,
            self.artifacts().clone(),
            captured,
            secret.clone(),
        );
        let (mut pump, output) = Pump::new(Arc::clone(&self.log)).map_err(|e| machine(&e))?;
        let text = command.text.as_deref().map(memory_file).transpose();
        let text = text.map_err(|error| machine(&error))?;
        let socket = Some(self.grounds.control_socket());
        let control = Control { socket, descriptor: None, secret };
        let invocation = called.invocation(&self.grounds, control).to_bytes();
        self.grounds.put_invocation(&invocation).map_err(|error| machine(&error))?;
        let start = called.start(command, &self.shared.host, &self.grounds, captured);
        self.start(start, output, text).await?;
        let ended = {
            let mut door = Door::new(&desk, &self.listener);
            let ended = self.wait(&mut pump, &mut door).await;
            timeout(AFTERMATH, door.finish()).await.ok();
            ended
        };
        self.see_off(pump).await;
        let reason = self.current().interrupted;
        let said = desk.into_said();
        self.artifacts().extend(said.artifacts.clone());
        Ok(match ended? {
            Ok(exit) => conclude(called, exit, said, reason),
            Err(cause) => {
                StepEnd { detail: cause, ..plain_end(reason.map_or(Outcome::Failed, outcome_of)) }
            }
        })
    }

    /// Asks for the step's process, and for its end at once where that was wanted meanwhile.
    async fn start(
        &self,
        start: StepStart,
        output: OwnedFd,
        text: Option<OwnedFd>,
    ) -> Result<(), StageError> {
        let mut descriptors = vec![output.as_fd()];
        descriptors.extend(text.iter().map(AsFd::as_fd));
        let sent = self.process.line.send(&ToStage::Start(start), &descriptors).await;
        sent.map_err(|_| gone())?;
        let interrupted = {
            let mut current = self.current();
            current.started = true;
            current.interrupted.is_some()
        };
        if interrupted {
            self.stop().await;
        }
        Ok(())
    }

    async fn stop(&self) {
        let stop = ToStage::Stop { grace_ms: self.shared.grace.0 };
        // Where nobody hears it, nothing is left that could be stopped.
        self.process.line.send(&stop, &[]).await.ok();
    }

    /// Carries output and answers requests until the step's process has ended, or says why it was
    /// not started.
    async fn wait(
        &self,
        pump: &mut Pump,
        door: &mut Door<'_>,
    ) -> Result<Result<Exit, String>, StageError> {
        let message = tokio::select! {
            biased;
            () = door.attend() => return Err(gone()),
            message = async {
                loop {
                    tokio::select! {
                        biased;
                        message = self.answer() => return message,
                        () = pump.run(), if !pump.is_done() => {}
                    }
                }
            } => message?,
        };
        match message {
            FromStage::Exited(exit) => Ok(Ok(exit)),
            FromStage::NotStarted(StartFault::Step(cause)) => Ok(Err(cause)),
            FromStage::NotStarted(StartFault::Machine(cause)) => Err(StageError::Machine(cause)),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Carries what is left of a step's output; what something that it left running may print later
    /// is carried beside the next steps. A disk that takes nothing holds the step up, as it did
    /// while the step ran, until there is room again or somebody wants its end.
    async fn see_off(&self, mut pump: Pump) {
        let mut patience = AFTERMATH;
        while timeout(patience, pump.run()).await.is_err() {
            if !pump.is_stuck() || self.current().interrupted.is_some() {
                self.lingering().spawn(async move { pump.run().await });
                return;
            }
            // So long that the disk is tried again.
            patience = 2 * DISK_PAUSE;
        }
    }

    fn lingering(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.lingering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing of the stage's processes is left.
    async fn end_processes(&self) {
        if !self.process.namespaces {
            self.process.line.send(&ToStage::Close, &[]).await.ok();
            if timeout(END, self.process.process.readable()).await.is_ok() {
                return self.launcher_has_seen().await;
            }
        }
        // With its first process a process namespace ends as a whole; where there is none, the
        // launcher ends what the stage process leaves.
        pidfd_send_signal(self.process.process.get_ref(), Signal::KILL).ok();
        self.process.process.readable().await.map(|_| ()).ok();
        self.launcher_has_seen().await;
    }

    async fn launcher_has_seen(&self) {
        while self.process.gone.readable().await.is_ok() {
            match self.process.gone.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

#[async_trait]
impl Stage for OpenStage {
    async fn step(
        &self,
        place: StepPlace,
        captured: &BTreeMap<String, Value>,
    ) -> Result<StepEnd, StageError> {
        let called = Called::find(&self.assignment, place)
            .ok_or_else(|| StageError::Unfit("the plan has no such step".to_owned()))?;
        {
            let mut current = self.current();
            if current.busy {
                return Err(StageError::Machine("another of its steps did not return".to_owned()));
            }
            *current = Current { busy: true, ..Current::default() };
        }
        let end = match called.command(&self.grounds) {
            Some(command) => self.run(&called, &command, captured).await,
            None => Ok(plain_end(Outcome::Success)),
        };
        *self.current() = Current::default();
        end.map(|end| StepEnd { log_bytes: Some(self.log.length()), ..end })
    }

    async fn interrupt(&self, reason: EndReason) {
        let started = {
            let mut current = self.current();
            if !current.busy {
                return;
            }
            current.interrupted.get_or_insert(reason);
            current.started
        };
        if started {
            self.stop().await;
        }
    }

    async fn close(&self) {
        let mut closed = self.closed.lock().await;
        if *closed {
            return;
        }
        self.end_processes().await;
        let mut lingering = std::mem::take(&mut *self.lingering());
        // Nobody holds the pipes any more: only a full disk can keep what is in them.
        let written = async { while lingering.join_next().await.is_some() {} };
        timeout(LAST_WRITE, written).await.ok();
        lingering.shutdown().await;
        if let Err(error) = self.grounds.remove().await {
            let folder = self.grounds.folder().display();
            tracing::warn!(%folder, %error, "a workspace stays until the agent starts again");
        }
        self.held.release();
        *closed = true;
    }
}

/// The stage process is gone before its time.
fn gone() -> StageError {
    StageError::Machine(
        "its processes were ended: the lease was not renewed, or somebody killed them".to_owned(),
    )
}

fn machine(error: &io::Error) -> StageError {
    StageError::Machine(error.to_string())
}

fn outcome_of(reason: EndReason) -> Outcome {
    match reason {
        EndReason::Cancelled => Outcome::Cancelled,
        EndReason::TimedOut => Outcome::TimedOut,
    }
}

/// An end without anything said.
fn plain_end(outcome: Outcome) -> StepEnd {
    StepEnd {
        outcome,
        detail: String::new(),
        log_bytes: None,
        ends_run: false,
        captured: BTreeMap::new(),
        dropped: Vec::new(),
        artifacts: BTreeMap::new(),
    }
}

/// Puts together what the process said by its end and over its control socket.
fn conclude(called: &Called<'_>, exit: Exit, said: Said, reason: Option<EndReason>) -> StepEnd {
    let (judged, mut detail) = called.judge(exit);
    let spoken = said.outcome().map_or(judged, |spoken| spoken.max(judged));
    if let Some(verdict) = said.verdict.as_ref().filter(|verdict| !verdict.message.is_empty()) {
        detail = format!("{detail}: {}", verdict.message);
    }
    StepEnd {
        outcome: reason.map_or(spoken, outcome_of),
        detail,
        log_bytes: None,
        ends_run: said.ends_run,
        captured: said.captured,
        dropped: said.dropped.into_iter().collect(),
        artifacts: said.artifacts,
    }
}

/// A file without a name, for reading from its beginning.
fn memory_file(content: &str) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"otto", MemfdFlags::CLOEXEC)?);
    file.write_all(content.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}
