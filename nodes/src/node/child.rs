//! The supervisor's children: how they are started, and what they find when they begin.

use super::build::IMAGE;
use super::place::Place;
use super::report::{Report, Reports};
use crate::wire::hello::Build;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::env;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

/// Which child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// The control process. It finds the listening socket as its standard input.
    Control,
    /// The agent.
    Agent,
}

impl Role {
    /// The name under which the image is executed again.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Control => "otto-control",
            Self::Agent => "otto-agent",
        }
    }

    /// The role that a name stands for.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Control, Self::Agent].into_iter().find(|role| role.name() == name)
    }
}

/// What a child is told, as its only argument. A successor's image may be of a later release.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    /// The data folder.
    pub(super) data: PathBuf,
    /// Leave when idle for so long; never where left out.
    pub(super) idle_ms: Option<u64>,
    /// What the supervisor was built from.
    pub(super) node_build: Build,
    /// Whether the node belongs to a cluster: the data folder says to which.
    #[serde(default)]
    pub(super) member: bool,
    /// Where artifacts and sealed logs are; in the data folder where left out.
    #[serde(default)]
    pub(super) objects: Option<String>,
}

/// A running child.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) process: process::Child,
    /// Readable when the process has ended.
    pub(super) ended: OwnedFd,
    /// Its end is what tells the child that its supervisor is gone.
    pub(super) socket: UnixStream,
    reports: Reports,
}

impl Child {
    /// Starts a child from an image.
    pub(super) fn start(
        role: Role,
        image: Option<&Path>,
        orders: &Orders,
        listener: &UnixListener,
    ) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let input = match role {
            Role::Control => Stdio::from(listener.as_fd().try_clone_to_owned()?),
            Role::Agent => Stdio::null(),
        };
        let place = Place::new(&orders.data).map_err(|error| io::Error::other(error.what))?;
        let errors = place.traces().join(format!("{}.err", role.name()));
        let errors = OpenOptions::new().write(true).create(true).truncate(true).open(errors)?;
        let mut command = Command::new(image.unwrap_or(Path::new(IMAGE)));
        if role == Role::Agent {
            // What opens the object store is the control side's alone.
            let secret = |name: &OsString| name.as_encoded_bytes().starts_with(b"AWS_");
            for (name, _) in env::vars_os().filter(|(name, _)| secret(name)) {
                command.env_remove(name);
            }
        }
        let process = command
            .arg0(role.name())
            .arg(serde_json::to_string(orders)?)
            .stdin(input)
            .stdout(OwnedFd::from(theirs))
            .stderr(errors)
            .spawn()?;
        let ended = pidfd_open(Pid::from_child(&process), PidfdFlags::empty())?;
        Ok(Self { process, ended, socket: ours, reports: Reports::default() })
    }

    /// What the child has said since.
    pub(super) fn reports(&mut self) -> Vec<Report> {
        // A broken line is no reason to stop listening for the process's end, which follows it.
        self.reports.read(&mut self.socket).ok().flatten().unwrap_or_default()
    }
}

/// What a child finds when it begins.
#[derive(Debug)]
pub(super) struct Inheritance {
    pub(super) orders: Orders,
    /// To the supervisor: reports go in, and it ends when the supervisor does.
    pub(super) supervisor: UnixStream,
    /// What the supervisor put at standard input.
    pub(super) input: OwnedFd,
}

impl Inheritance {
    /// Reads the argument and takes over the descriptors.
    pub(super) fn take(argument: Option<String>) -> io::Result<Self> {
        let argument =
            argument.ok_or_else(|| io::Error::other("this process is started by otto-node"))?;
        let orders = serde_json::from_str(&argument)?;
        let supervisor = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self { orders, supervisor, input })
    }
}
