//! How a stage process confines itself, once; its steps inherit all of it.
//!
//! The order matters: mounts need the capabilities that are given up behind them, and what is given
//! up is what a step as user 0 would need to undo the mounts.

use super::messages::Confinement;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change, mount_remount,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, set_child_subreaper,
    set_dumpable_behavior, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// The largest size of what covers a hidden folder; it holds nothing but mount points.
const COVER: &std::ffi::CStr = c"mode=0755,size=64k";

/// What steps of the administrator keep without namespaces: what containers usually have, so that
/// packages can be installed. The rest is over the kernel, the machine and other processes' memory.
const KEPT_IN_SESSION: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE);

/// What could not be done, worded to fit behind "failed to".
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {cause}")]
pub(super) struct ConfineError {
    doing: String,
    cause: io::Error,
}

/// Names what failed.
fn doing<E: Into<io::Error>>(doing: &str) -> impl FnOnce(E) -> ConfineError {
    move |cause| ConfineError { doing: doing.to_owned(), cause: cause.into() }
}

/// The user and the group as the outside knows them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Owner {
    /// Those of this process.
    pub(super) fn of_this_process() -> Self {
        Self {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
        }
    }
}

/// Confines a process that was made in namespaces of its own (level L2), where `folder` stays
/// visible although it may lie in what is hidden.
pub(super) fn in_namespaces(
    owner: Owner,
    confinement: &Confinement,
    folder: &Path,
) -> Result<(), ConfineError> {
    keep_identity(owner)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(doing("keep mounts to ourselves"))?;
    let kept = rustix::fs::open(folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(doing("open the stage's folder"))?;
    for hidden in &confinement.hidden {
        hide(hidden, folder, kept.as_raw_fd())?;
    }
    mount(
        "proc",
        "/proc",
        "proc",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    )
    .map_err(doing("mount the process table"))?;
    rustix::process::chdir("/").map_err(doing("leave the old folder"))?;
    limit(confinement)?;
    give_up_capabilities(CapabilitySet::empty())?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(doing("die with the launcher"))?;
    close_to_others()
}

/// Confines a process without namespaces (level L0).
pub(super) fn in_session(confinement: &Confinement) -> Result<(), ConfineError> {
    let this = rustix::process::getpid();
    set_child_subreaper(Some(this)).map_err(doing("adopt orphans"))?;
    limit(confinement)?;
    give_up_capabilities(KEPT_IN_SESSION)?;
    close_to_others()
}

/// Closes a process's memory to those of the same user, and lets it gain no rights.
pub(super) fn close_to_others() -> Result<(), ConfineError> {
    set_no_new_privs(true).map_err(doing("renounce new privileges"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(doing("close the memory"))
}

/// Maps the user and the group to themselves, so that files keep their owners' names.
fn keep_identity(owner: Owner) -> Result<(), ConfineError> {
    let Owner { user, group } = owner;
    // The launcher's memory is closed to others, and with it these files: ours is a copy of our
    // own.
    set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(doing("open the memory"))?;
    fs::write("/proc/self/setgroups", "deny").map_err(doing("give up changing groups"))?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1")).map_err(doing("map the user"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1")).map_err(doing("map the group"))
}

/// Covers a folder with an empty one; what is kept inside it is seen through at its old place.
fn hide(hidden: &Path, kept: &Path, kept_descriptor: i32) -> Result<(), ConfineError> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", hidden, "tmpfs", flags, COVER)
        .map_err(doing(&format!("cover {}", hidden.display())))?;
    if kept.starts_with(hidden) {
        fs::create_dir_all(kept).map_err(doing("make the stage's place"))?;
        mount_bind_recursive(format!("/proc/self/fd/{kept_descriptor}"), kept)
            .map_err(doing("show the stage's folder"))?;
    }
    mount_remount(hidden, flags | MountFlags::BIND | MountFlags::RDONLY, "")
        .map_err(doing("protect the cover"))
}

fn limit(confinement: &Confinement) -> Result<(), ConfineError> {
    lower(Resource::Core, 0).map_err(doing("forbid core files"))?;
    lower(Resource::Nproc, confinement.processes).map_err(doing("limit processes"))
}

/// Lowers a limit; one that is lower already stays.
fn lower(resource: Resource, most: u64) -> io::Result<()> {
    let there = getrlimit(resource);
    let lowest = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    let limits = Rlimit { current: lowest(there.current), maximum: lowest(there.maximum) };
    Ok(setrlimit(resource, limits)?)
}

/// Gives up all capabilities but the kept ones, for this process and all that it will start.
fn give_up_capabilities(kept: CapabilitySet) -> Result<(), ConfineError> {
    clear_ambient_capability_set().map_err(doing("clear ambient capabilities"))?;
    let there = capabilities(None).map_err(doing("look at capabilities"))?;
    let given_up = (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
    for capability in given_up.filter(|capability| !kept.contains(*capability)) {
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number that this kernel knows no capability of.
            Err(rustix::io::Errno::INVAL) => break,
            // Who has none to give up may not, and gains none without new privileges.
            Err(rustix::io::Errno::PERM) if there.permitted.is_empty() => break,
            Err(error) => return Err(doing("lower the bounding set")(error)),
        }
    }
    let left = CapabilitySets {
        effective: there.effective & kept,
        permitted: there.permitted & kept,
        inheritable: there.inheritable & kept,
    };
    set_capabilities(None, left).map_err(doing("give up capabilities"))
}
