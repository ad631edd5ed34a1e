//! The launcher and its stage processes: small, single-threaded, and the only ones that start what
//! a user wrote.
//!
//! ```text
//! agent ──socket──▶ launcher            one per agent; ends what is not renewed
//!   │                  │ clone
//!   └────socket──▶ stage process        one per leased stage; confines itself, then starts steps
//!                      │ posix_spawn
//!                    step, step, …      own session each; what they leave ends with the stage
//! ```
//!
//! All of them are the same executable image under another `argv[0]`, told apart by [`dispatch`]
//! before anything else runs. Both sockets are `SOCK_SEQPACKET` pairs made by the agent: one
//! datagram is one message, and descriptors travel with it. Whoever sees end-of-file on its socket
//! ends all that is below it, so that nothing survives the agent, the launcher or the lease.
//!
//! Nothing here knows a plan, a library or the control side, and nothing here is asynchronous.

mod birth;
mod calls;
pub(crate) mod channel;
mod confine;
mod fence;
pub(crate) mod messages;
mod spawn;
mod stage;
mod tree;
pub(crate) mod unpack;
mod watchdog;

pub use fence::Fence;
pub(crate) use watchdog::boot_time_ms;

use std::process::ExitCode;

/// The name under which the image is executed again to be a launcher.
pub const LAUNCHER: &str = "otto-launcher";

/// What the names of the steps inside the image begin with.
pub(crate) use otto_stdlib::steps::PREFIX as STEP_PREFIX;

/// Runs the process that `argv0` names, where it names one of this module's or a step of the image.
///
/// `main` calls this before it starts a runtime, reads an argument or opens a log.
#[must_use]
pub fn dispatch(argv0: &str) -> Option<ExitCode> {
    let name = argv0.rsplit('/').next().unwrap_or(argv0);
    if name == LAUNCHER {
        return Some(watchdog::main());
    }
    name.strip_prefix(STEP_PREFIX).map(otto_stdlib::main)
}

/// How well steps are kept apart from the node and from each other.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Level {
    /// L2: each stage has user, mount and process namespaces of its own that hide the node's
    /// folders.
    Namespaces {
        /// What stands on top of it.
        fence: Fence,
    },
    /// L1 or L0: steps run in their own sessions as the agent's user, and can see what that user
    /// sees, but for what is fenced off.
    Sessions {
        /// What the kernel refused, for people.
        reason: String,
        /// What it allowed; nothing of it is level L0.
        fence: Fence,
    },
}

impl Level {
    /// Its name, as plans and people know it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Namespaces { .. } => "L2",
            Self::Sessions { fence, .. } if *fence == Fence::default() => "L0",
            Self::Sessions { .. } => "L1",
        }
    }
}
