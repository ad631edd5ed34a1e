//! The launcher's own life: it makes stage processes, ends those whose lease was not renewed, and
//! all of them when its agent is gone.

use super::birth::birth;
use super::channel;
use super::confine::{self, Owner};
use super::messages::{Confinement, FromLauncher, FromStage, ToLauncher};
use super::stage::{Seed, live, reap};
use super::tree::{self, Of};
use super::{Fence, Level};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use otto_core::lease::LeaseId;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, kill_process, pidfd_open};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How long a stage process without namespaces may take to end what is below it.
const END_MS: u64 = 2000;

/// Runs the launcher on the socket that is its standard input, until the agent is gone.
pub(super) fn main() -> ExitCode {
    match Launcher::start().and_then(Launcher::serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The reading of the clock that also counts while the machine sleeps, in milliseconds.
pub(crate) fn boot_time_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0) * 1000 + nanos.unwrap_or(0) / 1_000_000
}

/// Lets a boot-time timer fire at a reading of its clock; 0 is never.
pub(super) fn arm(timer: &OwnedFd, at_ms: u64) -> io::Result<()> {
    let parts = (i64::try_from(at_ms / 1000), i64::try_from(at_ms % 1000 * 1_000_000));
    let (Ok(tv_sec), Ok(tv_nsec)) = parts else { return Err(io::ErrorKind::InvalidInput.into()) };
    let it_value = Timespec { tv_sec, tv_nsec };
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    let flags = TimerfdTimerFlags::ABSTIME;
    timerfd_settime(timer, flags, &Itimerspec { it_interval, it_value })?;
    Ok(())
}

/// A timer on the clock that also counts while the machine sleeps. Reading it never waits.
pub(super) fn timer() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    Ok(timerfd_create(TimerfdClockId::Boottime, flags)?)
}

/// Blocks the signals that these processes act on, and makes them readable.
pub(super) fn signals() -> io::Result<SignalFd> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    let watched: SigSet = [Signal::SIGCHLD, Signal::SIGTERM].into_iter().collect();
    Ok(SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Ends what stages of an earlier agent left, which happens only without namespaces and where
/// somebody killed agent, launcher and stage processes all at once.
fn end_strays(workspaces: &Path) {
    let mut part = workspaces.as_os_str().as_bytes().to_vec();
    part.push(b'/');
    let strays = Of::Environment(&part);
    let until_ms = boot_time_ms() + END_MS;
    tree::end(&strays);
    while !tree::members(&strays).is_empty() && boot_time_ms() < until_ms {
        let turn = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        poll(&mut [], Some(&turn)).ok();
    }
}

/// Closes what the agent's parents left open: steps must not find it.
fn close_inherited() -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // The one that the list was read from is closed already.
        nix::unistd::close(descriptor).ok();
    }
    Ok(())
}

/// A stage process that was not yet seen to be gone.
#[derive(Debug)]
struct Watched {
    lease: LeaseId,
    /// When it is ended, on the boot-time clock.
    deadline_ms: u64,
    /// It was told to end, and is killed at the deadline.
    ending: bool,
    /// Closed when nothing of the stage is left.
    _gone: OwnedFd,
}

#[derive(Debug)]
struct Launcher {
    agent: OwnedFd,
    signals: SignalFd,
    timer: OwnedFd,
    /// The end that stage processes read: it ends with this process.
    lifeline: OwnedFd,
    lifeline_held: OwnedFd,
    confinement: Confinement,
    namespaces: bool,
    stages: BTreeMap<i32, Watched>,
    /// Stage processes without namespaces that are gone, while what they left may not be.
    left: Vec<Watched>,
}

impl Launcher {
    fn start() -> io::Result<Self> {
        close_inherited()?;
        let signals = signals()?;
        // A session of its own: no terminal's Ctrl-C reaches it.
        rustix::process::setsid().ok();
        rustix::process::chdir("/")?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        confine::close_to_others().map_err(io::Error::other)?;
        let agent = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        let (lifeline, lifeline_held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let Some((ToLauncher::Configure(confinement), _)) = channel::receive(&agent)? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let mut launcher = Self {
            agent,
            signals,
            timer: timer()?,
            lifeline,
            lifeline_held,
            confinement,
            namespaces: true,
            stages: BTreeMap::new(),
            left: Vec::new(),
        };
        let level = launcher.try_level();
        launcher.namespaces = matches!(level, Level::Namespaces { .. });
        if !launcher.namespaces {
            end_strays(&launcher.confinement.workspaces);
        }
        channel::send(&launcher.agent, &FromLauncher::Ready(level), &[])?;
        Ok(launcher)
    }

    /// Finds how well stages can be confined, with namespaces if these can be had.
    fn try_level(&mut self) -> Level {
        let reason = if self.confinement.namespaces {
            match self.try_stage() {
                Ok(fence) => return Level::Namespaces { fence },
                Err(reason) => reason,
            }
        } else {
            "the agent's settings ask for it".to_owned()
        };
        self.namespaces = false;
        Level::Sessions { reason, fence: self.try_stage().unwrap_or_default() }
    }

    /// Makes a stage process that only says how it could confine itself, or what was refused.
    fn try_stage(&mut self) -> Result<Fence, String> {
        let tried = channel::pair().and_then(|(near, far)| {
            let folder = self.confinement.hidden.first().cloned();
            let process = self.bear(far, folder.unwrap_or_else(|| PathBuf::from("/")))?;
            let answer = channel::receive::<FromStage>(&near);
            // It holds our end too, and would wait for ever.
            kill_process(process, rustix::process::Signal::KILL)?;
            rustix::process::waitpid(Some(process), WaitOptions::empty())?;
            answer
        });
        match tried {
            Ok(Some((FromStage::Ready(fence), _))) => Ok(fence),
            Ok(Some((FromStage::Refused { cause }, _))) => Err(cause),
            Ok(_) => Err("confine a process: it died".to_owned()),
            Err(error) => Err(format!("make a process in namespaces: {error}")),
        }
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            let mut ready = [
                PollFd::new(&self.agent, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.timer, PollFlags::IN),
            ];
            if poll(&mut ready, None).is_err() {
                continue;
            }
            let [agent, signals, timer] = ready.map(|fd| !fd.revents().is_empty());
            if (signals && self.take_signals()) || (agent && !self.take_message()) {
                self.end_all();
                return Ok(());
            }
            if timer {
                rustix::io::read(&self.timer, &mut [0; 8]).ok();
                self.end_overdue();
            }
            self.set_timer()?;
        }
    }

    /// Answers whether the agent is still there.
    fn take_message(&mut self) -> bool {
        match channel::receive::<ToLauncher>(&self.agent) {
            Ok(Some((ToLauncher::Open { lease, folder, deadline_ms }, descriptors))) => {
                self.open(lease, &folder, deadline_ms, descriptors);
                true
            }
            Ok(Some((ToLauncher::Renew { lease, deadline_ms }, _))) => {
                let same = self.stages.values_mut().filter(|stage| stage.lease == lease);
                for stage in same.filter(|stage| !stage.ending) {
                    stage.deadline_ms = stage.deadline_ms.max(deadline_ms);
                }
                true
            }
            Ok(Some((ToLauncher::Configure(confinement), _))) => {
                self.confinement = confinement;
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    fn open(&mut self, lease: LeaseId, folder: &Path, deadline_ms: u64, with: Vec<OwnedFd>) {
        let Ok([socket, gone]) = <[OwnedFd; 2]>::try_from(with) else { return };
        let answered = socket.try_clone().and_then(|copy| {
            let process = self.bear(copy, folder.to_owned())?;
            let watched = Watched { lease, deadline_ms, ending: false, _gone: gone };
            self.stages.insert(process.as_raw_nonzero().get(), watched);
            let descriptor = pidfd_open(process, PidfdFlags::empty())?;
            channel::send(&socket, &FromStage::Born, &[descriptor.as_fd()])
        });
        if let Err(error) = answered {
            let cause = format!("make a stage process: {error}");
            channel::send(&socket, &FromStage::Refused { cause }, &[]).ok();
        }
    }

    fn bear(&mut self, socket: OwnedFd, folder: PathBuf) -> io::Result<Pid> {
        let seed = Seed {
            socket,
            lifeline: self.lifeline.try_clone()?,
            folder,
            namespaces: self.namespaces,
            owner: Owner::of_this_process(),
        };
        let born = birth(self.namespaces, || match self.let_go() {
            Ok(()) => live(&seed, &self.confinement),
            Err(_) => 1,
        })?;
        Pid::from_raw(born.as_raw()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// In the child: closes what only the launcher may hold, so that its end is seen by all.
    fn let_go(&mut self) -> io::Result<()> {
        self.stages.clear();
        self.left.clear();
        let null = std::fs::File::open("/dev/null")?;
        for ours in [&mut self.agent, &mut self.lifeline_held] {
            rustix::io::dup3(&null, ours, rustix::io::DupFlags::CLOEXEC)?;
        }
        Ok(())
    }

    /// Takes note of what ended; answers whether the launcher itself was told to end.
    fn take_signals(&mut self) -> bool {
        let mut terminate = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            terminate |= signal.ssi_signo == Signal::SIGTERM as u32;
        }
        while let Some((process, _)) = reap(WaitOptions::NOHANG) {
            let ended = self.stages.remove(&process.as_raw());
            // With its first process a process namespace is gone as a whole.
            self.left.extend(ended.filter(|_| !self.namespaces));
        }
        self.end_orphans();
        terminate
    }

    /// Ends what stage processes without namespaces left when something killed them.
    fn end_orphans(&mut self) {
        if self.left.is_empty() {
            return;
        }
        let spared: BTreeSet<i32> = self.stages.keys().copied().collect();
        let orphans = Of::Below { root: nix::unistd::getpid(), spared: &spared };
        if tree::members(&orphans).is_empty() {
            self.left.clear();
        } else {
            tree::end(&orphans);
        }
    }

    fn end_overdue(&mut self) {
        let now_ms = boot_time_ms();
        for (process, stage) in &mut self.stages {
            if stage.deadline_ms > now_ms {
                continue;
            }
            let process = nix::unistd::Pid::from_raw(*process);
            if self.namespaces || stage.ending {
                kill(process, Signal::SIGKILL).ok();
                stage.deadline_ms = u64::MAX;
            } else {
                kill(process, Signal::SIGTERM).ok();
                stage.deadline_ms = now_ms + END_MS;
            }
            stage.ending = true;
        }
    }

    fn set_timer(&self) -> io::Result<()> {
        let deadlines = self.stages.values().map(|stage| stage.deadline_ms);
        arm(&self.timer, deadlines.filter(|at_ms| *at_ms < u64::MAX).min().unwrap_or(0))
    }

    /// Ends every stage, and returns when nothing is left.
    fn end_all(&mut self) {
        for stage in self.stages.values_mut().filter(|stage| !stage.ending) {
            stage.deadline_ms = 0;
        }
        self.end_overdue();
        while !(self.stages.is_empty() && self.left.is_empty()) {
            self.set_timer().ok();
            let mut ready = [
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.timer, PollFlags::IN),
            ];
            poll(&mut ready, None).ok();
            rustix::io::read(&self.timer, &mut [0; 8]).ok();
            self.take_signals();
            self.end_overdue();
        }
    }
}
