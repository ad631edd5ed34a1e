//! Backups: a whole cluster in one file, and a new cluster out of it.
//!
//! ```text
//!   source.rs   in the control process: pictures of all shards, handed out part by part
//!   file.rs     the file
//!   take.rs     from a node to a file
//!   restore.rs  from a file to an empty data folder
//! ```
//!
//! A backup holds everything that is journaled, *meta* included: runs, plans, numbers, keys, nodes
//! and tokens. It holds no logs, no artifacts, no snapshots of repositories and no key: those that
//! are in a shared store stay there, and those in a node's own folder are not copied. It is one
//! picture: a read transaction on a node that has caught up with every shard.
//!
//! Whoever restores one founds a cluster of one node with an authority of its own. Nobody who
//! belonged to the earlier one comes back, no token counts any more, and epochs have a higher
//! incarnation than any before: what still runs for the earlier cluster can change nothing here.

mod file;
mod restore;
pub mod source;
mod take;
#[cfg(test)]
mod tests;

pub(crate) use restore::{Restored, Restoring, restore};
pub(crate) use take::take;
