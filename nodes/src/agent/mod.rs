//! The agent's side of the ports: stage processes, spools and workspaces on a real kernel.
//!
//! [`stages::NodeStages`] opens stages through the launcher, [`spool::DiskSpool`] keeps what their
//! steps print, [`probe`] says what this machine has and asks its tools for their versions. Nothing
//! here decides anything about a run, and nothing here starts a step: the stage processes do
//! ([`crate::launcher`]).
//!
//! ```text
//! <folder>/work/<lease>/files/       the workspace
//!                      /tmp/         TMPDIR
//!                      /libraries/   the step libraries of the repository
//!                      /commands/    Otto's commands for scripts
//!                      /control      the control socket of its steps
//!         /spool/<lease>             the log until it is delivered
//!         /blobs/<digest>            snapshots and artifacts that were needed or made here
//! ```
//!
//! All of `work` and `spool` belongs to leases of this process: an agent that starts removes what
//! an earlier one left, because the control side takes nothing more under those leases.

mod answers;
mod artifacts;
mod call;
pub mod host;
mod line;
mod link;
pub mod probe;
mod pump;
pub mod spool;
mod stage;
pub mod stages;
mod workspace;

use otto_core::lease::LeaseId;

/// A lease's name as that of a file: no character that a tool could take for something else.
pub(crate) fn file_name(lease: LeaseId) -> String {
    let LeaseId { run, stage, attempt, epoch } = lease;
    format!("{run}-{}-{attempt}-{}-{}", stage.0, epoch.incarnation, epoch.counter)
}
