//! The stage process: confines itself, starts the steps of one stage, tells how they ended, and
//! ends whatever they left behind.

use super::channel;
use super::confine::{self, Owner};
use super::fence::{self, Fence};
use super::messages::{Confinement, Exit, FromStage, StartFault, StepStart, ToStage};
use super::spawn::{OWN_DESCRIPTORS_FROM, out_of_the_way, spawn};
use super::tree::{self, Of};
use super::unpack::unpack;
use super::watchdog::{arm, boot_time_ms, signals, timer};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::WaitOptions;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What a new stage process starts from.
#[derive(Debug)]
pub(super) struct Seed {
    /// Its socket to the agent.
    pub(super) socket: OwnedFd,
    /// A pipe that ends when the launcher does.
    pub(super) lifeline: OwnedFd,
    /// The lease's folder.
    pub(super) folder: PathBuf,
    /// Whether it was born in namespaces.
    pub(super) namespaces: bool,
    /// The user that it is to the outside.
    pub(super) owner: Owner,
}

/// The life of a stage process; answers its exit code.
pub(super) fn live(seed: &Seed, confinement: &Confinement) -> u8 {
    rustix::thread::set_name(c"otto-stage").ok();
    match Stage::prepare(seed, confinement) {
        Ok(stage) => stage.serve(),
        Err(cause) => {
            channel::send(&seed.socket, &FromStage::Refused { cause }, &[]).ok();
            1
        }
    }
}

/// The step that runs now.
#[derive(Debug)]
struct Running {
    process: Pid,
    /// How its own process ended, while others of its tree are still asked to.
    exit: Option<Exit>,
    /// It was asked to end, which is not over before its tree is gone.
    stopping: bool,
}

#[derive(Debug)]
struct Stage {
    socket: OwnedFd,
    lifeline: OwnedFd,
    signals: SignalFd,
    grace: OwnedFd,
    /// The null device: what steps read.
    nothing: OwnedFd,
    namespaces: bool,
    running: Option<Running>,
    fence: Fence,
}

/// Whether the stage process goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Serve,
    End,
}

impl Stage {
    fn prepare(seed: &Seed, confinement: &Confinement) -> Result<Self, String> {
        if seed.namespaces {
            confine::in_namespaces(seed.owner, confinement, &seed.folder)
        } else {
            confine::in_session(confinement)
        }
        .map_err(|error| error.to_string())?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let fence = fence::raise(confinement, &seed.folder, seed.namespaces);
        Self::take_descriptors(seed, fence).map_err(|error| format!("arrange descriptors: {error}"))
    }

    fn take_descriptors(seed: &Seed, fence: Fence) -> io::Result<Self> {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        Ok(Self {
            socket: out_of_the_way(&seed.socket)?,
            lifeline: out_of_the_way(&seed.lifeline)?,
            signals: signals()?,
            grace: out_of_the_way(&timer()?)?,
            nothing: out_of_the_way(&null)?,
            namespaces: seed.namespaces,
            running: None,
            fence,
        })
    }

    fn serve(mut self) -> u8 {
        if self.tell(&FromStage::Ready(self.fence)) == Next::End {
            return self.end();
        }
        loop {
            let mut ready = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(&self.lifeline, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.grace, PollFlags::IN),
            ];
            if poll(&mut ready, None).is_err() {
                continue;
            }
            let [socket, lifeline, signals, grace] = ready.map(|fd| !fd.revents().is_empty());
            if lifeline
                || (signals && self.take_signals() == Next::End)
                || (grace && self.grace_is_over() == Next::End)
                || (socket && self.take_message() == Next::End)
            {
                return self.end();
            }
        }
    }

    fn tell(&self, message: &FromStage) -> Next {
        match channel::send(&self.socket, message, &[]) {
            Ok(()) => Next::Serve,
            Err(_) => Next::End,
        }
    }

    fn take_message(&mut self) -> Next {
        match channel::receive::<ToStage>(&self.socket) {
            Ok(Some((ToStage::Unpack { into }, descriptors))) => {
                self.tell(&FromStage::Unpacked(unpack(descriptors, &into)))
            }
            Ok(Some((ToStage::Start(start), descriptors))) => self.start(&start, descriptors),
            Ok(Some((ToStage::Stop { grace_ms }, _))) => self.stop(grace_ms),
            Ok(Some((ToStage::Close, _)) | None) | Err(_) => Next::End,
        }
    }

    fn start(&mut self, start: &StepStart, mut descriptors: Vec<OwnedFd>) -> Next {
        let started = if descriptors.is_empty() {
            Err(StartFault::Machine("start a process: it has no output".to_owned()))
        } else {
            let output = descriptors.remove(0);
            move_away(&output, &descriptors)
                .and_then(|(output, extras)| spawn(start, &self.nothing, &output, &extras))
        };
        match started {
            Ok(process) => {
                self.running = Some(Running { process, exit: None, stopping: false });
                Next::Serve
            }
            Err(fault) => self.tell(&FromStage::NotStarted(fault)),
        }
    }

    fn stop(&mut self, grace_ms: u64) -> Next {
        let Some(running) = &mut self.running else { return Next::Serve };
        running.stopping = true;
        tree::signal(&Of::Session(running.process), Signal::SIGTERM);
        // What is stopped can't act on the wish before it goes on.
        tree::signal(&Of::Session(running.process), Signal::SIGCONT);
        if arm(&self.grace, boot_time_ms() + grace_ms).is_err() {
            return self.grace_is_over();
        }
        Next::Serve
    }

    fn grace_is_over(&mut self) -> Next {
        // Reading makes the timer quiet; without a step there is nothing to end.
        rustix::io::read(&self.grace, &mut [0; 8]).ok();
        if let Some(running) = &mut self.running {
            tree::end(&Of::Session(running.process));
            running.stopping = false;
        }
        self.report_end()
    }

    fn take_signals(&mut self) -> Next {
        let mut terminate = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            terminate |= signal.ssi_signo == Signal::SIGTERM as u32;
        }
        while let Some((process, exit)) = reap(WaitOptions::NOHANG) {
            if let Some(running) = &mut self.running
                && running.process == process
            {
                running.exit = Some(exit);
            }
        }
        if terminate { Next::End } else { self.report_end() }
    }

    /// Tells how the step ended, once it has: where it was asked to, its whole tree.
    fn report_end(&mut self) -> Next {
        let Some(running) = &self.running else { return Next::Serve };
        let Some(exit) = running.exit else { return Next::Serve };
        if running.stopping && !tree::members(&Of::Session(running.process)).is_empty() {
            return Next::Serve;
        }
        self.running = None;
        arm(&self.grace, 0).ok();
        self.tell(&FromStage::Exited(exit))
    }

    /// Ends all that is below, and waits until it is gone.
    fn end(self) -> u8 {
        if self.namespaces && nix::unistd::getpid().as_raw() == 1 {
            // The first process of a process namespace reaches all others, and only those.
            kill(Pid::from_raw(-1), Signal::SIGKILL).ok();
        } else {
            let spared = BTreeSet::new();
            tree::end(&Of::Below { root: nix::unistd::getpid(), spared: &spared });
        }
        while reap(WaitOptions::empty()).is_some() {}
        0
    }
}

/// Takes descriptors away from the numbers that steps find theirs at.
fn move_away(output: &OwnedFd, extras: &[OwnedFd]) -> Result<(OwnedFd, Vec<OwnedFd>), StartFault> {
    let moved: io::Result<Vec<OwnedFd>> =
        std::iter::once(output).chain(extras).map(out_of_the_way).collect();
    let failed = |error: io::Error| {
        StartFault::Machine(format!("move descriptors above {OWN_DESCRIPTORS_FROM}: {error}"))
    };
    let mut moved = moved.map_err(failed)?;
    Ok((moved.remove(0), moved))
}

/// Takes note of a child that ended; `None` where there is none (yet, without waiting).
pub(super) fn reap(wait: WaitOptions) -> Option<(Pid, Exit)> {
    let (process, status) =
        rustix::io::retry_on_intr(|| rustix::process::wait(wait)).ok().flatten()?;
    let exit = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    };
    Some((Pid::from_raw(process.as_raw_nonzero().get()), exit))
}
