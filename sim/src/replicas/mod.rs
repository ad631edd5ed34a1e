//! A simulation of replicas alone: nodes with shards over the real peer service, a workload of
//! proposals, and faults that attack replication itself.
//!
//! No actor and no agent takes part, so a seed is fast and every failure is one of replication.
//! [`world`] runs a seed, [`operator`] changes who belongs to the groups, [`writer`] proposes, and
//! each of [`checks`] judges one property.

pub mod checks;
pub mod history;
pub mod host;
pub mod operator;
pub mod planted;
pub mod report;
pub mod setup;
pub mod world;
pub mod writer;
