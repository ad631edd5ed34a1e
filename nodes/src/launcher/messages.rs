//! What the agent, the launcher and the stage processes say to each other.
//!
//! Both ends are the same build of the same image, so that these have no versions.

use super::{Fence, Level};
use otto_core::lease::LeaseId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What every stage of an agent has in common.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Confinement {
    /// Folders that no step may see: absolute, resolved, and none inside another.
    pub(crate) hidden: Vec<PathBuf>,
    /// Folders in which steps make files of their own, such as the user's: absolute, resolved.
    pub(crate) commons: Vec<PathBuf>,
    /// Where the workspaces of all stages are: absolute, resolved. What has it in its environment
    /// belongs to a stage.
    pub(crate) workspaces: PathBuf,
    /// Whether to try namespaces at all.
    pub(crate) namespaces: bool,
    /// The most processes and threads that the steps of one stage may have.
    pub(crate) processes: u64,
}

/// From the agent to the launcher.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum ToLauncher {
    /// The first message: answered with [`FromLauncher::Ready`] once it has been tried out.
    Configure(Confinement),
    /// Makes a stage process. With it come its socket and a pipe that the launcher closes when
    /// nothing of the stage is left. It answers on its own socket.
    Open {
        /// The lease.
        lease: LeaseId,
        /// The lease's folder, which its steps see.
        folder: PathBuf,
        /// The boot-time clock's reading at which the stage is ended unless it is renewed.
        deadline_ms: u64,
    },
    /// Moves a stage's deadline; never back.
    Renew {
        /// The lease.
        lease: LeaseId,
        /// The new deadline on the boot-time clock.
        deadline_ms: u64,
    },
}

/// From the launcher to the agent, on the launcher's socket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum FromLauncher {
    /// The launcher has tried what the kernel allows.
    Ready(Level),
}

/// From the agent to a stage process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum ToStage {
    /// Unpacks the archive that comes with it into a folder that is empty.
    Unpack {
        /// The folder.
        into: PathBuf,
    },
    /// Starts a step. With it come its output, and what it finds open from descriptor 3 on.
    Start(StepStart),
    /// Asks the step that runs now to end, and ends it when the grace is over.
    Stop {
        /// How long it may take to end by itself.
        grace_ms: u64,
    },
    /// Ends everything, and the stage process itself.
    Close,
}

/// How a step's process is made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct StepStart {
    /// The program: a path, or a name to look up in the `PATH` of its environment.
    pub(crate) program: String,
    /// Its arguments, beginning with its own name.
    pub(crate) arguments: Vec<String>,
    /// Its whole environment, as `NAME=value`.
    pub(crate) environment: Vec<String>,
    /// The workspace.
    pub(crate) workspace: PathBuf,
    /// The folder that it starts in, from the workspace.
    pub(crate) folder: String,
}

/// On the stage's socket, to the agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum FromStage {
    /// The launcher's word: the stage process exists; its process descriptor comes along.
    Born,
    /// It has confined itself so and waits for steps.
    Ready(Fence),
    /// The stage process could not be made or not be confined.
    Refused {
        /// Why, as a clause that fits behind "failed to".
        cause: String,
    },
    /// The archive was unpacked, or why not.
    Unpacked(Result<(), UnpackFault>),
    /// The step's process was not started.
    NotStarted(StartFault),
    /// The step's process ended.
    Exited(Exit),
}

/// Why an archive was not unpacked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum UnpackFault {
    /// The archive is at fault.
    Archive(String),
    /// The machine is.
    Machine(String),
}

/// Why a step's process was not started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum StartFault {
    /// What the step asks for is not there: for people, in a few words.
    Step(String),
    /// The machine is at fault.
    Machine(String),
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}
