//! Backups: a whole cluster, copied at one moment.
//!
//! A backup holds everything that is journaled, *meta* included: runs, plans, numbers, keys, nodes
//! and tokens. It holds no logs, no artifacts, no snapshots of repositories and no key: those that
//! are in a shared store stay there, and those in a node's own folder are not copied. It is one
//! picture: a read transaction on a node that has caught up with every shard.

pub mod source;
