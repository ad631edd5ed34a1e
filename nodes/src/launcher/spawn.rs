//! Starting a step's process.

use super::messages::{StartFault, StepStart};
use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use nix::unistd::Pid;
use rustix::fs::{Access, AtFlags, Mode, OFlags, ResolveFlags};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// What a step finds beyond its three standard descriptors begins here.
const FIRST_EXTRA: i32 = 3;
/// Our own descriptors lie above this, so that they never stand where a step's are put.
pub(super) const OWN_DESCRIPTORS_FROM: i32 = 64;

/// Starts a step in a session of its own, with no signal blocked, ignored or handled, nothing to
/// read, `output` as both outputs, and `extras` open from descriptor 3 on.
pub(super) fn spawn(
    start: &StepStart,
    nothing: &OwnedFd,
    output: &OwnedFd,
    extras: &[OwnedFd],
) -> Result<Pid, StartFault> {
    enter(&start.workspace, &start.folder)?;
    let program = find(&start.program, &start.environment)?;
    let arguments = c_strings(&start.arguments, "an argument")?;
    let environment = c_strings(&start.environment, "an environment variable")?;
    let actions = placed(nothing, output, extras).map_err(|error| machine(&error.into()))?;
    let attributes = attributes().map_err(|error| machine(&error.into()))?;
    posix_spawn(&*program, &actions, &attributes, &arguments, &environment).map_err(|errno| {
        let name = &start.program;
        match errno {
            Errno::ENOENT => StartFault::Step(format!("the interpreter of '{name}' is not there")),
            Errno::EACCES => StartFault::Step(format!("'{name}' may not be executed")),
            Errno::ENOEXEC => StartFault::Step(format!(
                "'{name}' is no program: it needs a first line such as '#!/bin/sh'"
            )),
            Errno::E2BIG => StartFault::Step(
                "its arguments and environment are longer than the system takes".to_owned(),
            ),
            other => machine(&other.into()),
        }
    })
}

fn machine(error: &io::Error) -> StartFault {
    StartFault::Machine(format!("start a process: {error}"))
}

/// Goes to the step's folder, which is below the workspace whatever links lead there.
fn enter(workspace: &Path, folder: &str) -> Result<(), StartFault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let in_workspace =
        |error: rustix::io::Errno| StartFault::Machine(format!("enter the workspace: {error}"));
    let base = rustix::fs::open(workspace, flags, Mode::empty()).map_err(in_workspace)?;
    if folder.is_empty() {
        return rustix::process::fchdir(base).map_err(in_workspace);
    }
    rustix::fs::openat2(base, folder, flags, Mode::empty(), ResolveFlags::BENEATH)
        .and_then(rustix::process::fchdir)
        .map_err(|error| match error {
            rustix::io::Errno::NOENT => StartFault::Step(format!("there is no folder '{folder}'")),
            rustix::io::Errno::NOTDIR => StartFault::Step(format!("'{folder}' is no folder")),
            rustix::io::Errno::XDEV => {
                StartFault::Step(format!("the folder '{folder}' is outside the workspace"))
            }
            error => StartFault::Step(format!("the folder '{folder}' can't be entered: {error}")),
        })
}

/// Finds a program as a shell would, in the `PATH` of the step's own environment.
fn find(program: &str, environment: &[String]) -> Result<CString, StartFault> {
    let there = |path: &str| {
        let access = Access::EXEC_OK | Access::EXISTS;
        rustix::fs::accessat(rustix::fs::CWD, path, access, AtFlags::EACCESS).is_ok()
            && Path::new(path).is_file()
    };
    let found = if program.contains('/') {
        Path::new(program).exists().then(|| program.to_owned())
    } else {
        let path = environment.iter().find_map(|variable| variable.strip_prefix("PATH="));
        path.unwrap_or_default()
            .split(':')
            .map(|folder| format!("{}/{program}", if folder.is_empty() { "." } else { folder }))
            .find(|candidate| there(candidate))
    };
    let found =
        found.ok_or_else(|| StartFault::Step(format!("there is no program '{program}'")))?;
    CString::new(found).map_err(|_| StartFault::Step("its program's name holds a NUL".to_owned()))
}

fn c_strings(texts: &[String], what: &str) -> Result<Vec<CString>, StartFault> {
    let holds_nul = |_| StartFault::Step(format!("{what} holds a NUL character"));
    texts.iter().map(|text| CString::new(text.as_str()).map_err(holds_nul)).collect()
}

fn placed(
    nothing: &OwnedFd,
    output: &OwnedFd,
    extras: &[OwnedFd],
) -> nix::Result<PosixSpawnFileActions> {
    let mut actions = PosixSpawnFileActions::init()?;
    actions.add_dup2(nothing.as_raw_fd(), 0)?;
    actions.add_dup2(output.as_raw_fd(), 1)?;
    actions.add_dup2(output.as_raw_fd(), 2)?;
    for (place, extra) in (FIRST_EXTRA..).zip(extras) {
        actions.add_dup2(extra.as_raw_fd(), place)?;
    }
    Ok(actions)
}

fn attributes() -> nix::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    let set_session = PosixSpawnFlags::from_bits_retain(libc::POSIX_SPAWN_SETSID.into());
    attributes.set_flags(
        set_session
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
    )?;
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_sigdefault(&SigSet::all())?;
    Ok(attributes)
}

/// Moves a descriptor above those that steps are given; steps do not inherit it.
pub(super) fn out_of_the_way(descriptor: &impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, OWN_DESCRIPTORS_FROM)?)
}
