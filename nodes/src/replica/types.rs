//! The types by which openraft knows us.

use super::runtime::Runtime;
use crate::store::{Arrival, Picture};
use openraft::BasicNode;
use otto_core::journal::{Proposal, Verdict};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

openraft::declare_raft_types!(
    /// One shard's group.
    pub(super) Group:
        D = Batch,
        R = Verdicts,
        NodeId = u64,
        Node = BasicNode,
        SnapshotData = Snapshot,
        AsyncRuntime = Runtime,
);

/// The proposals that gathered into one entry. Shared, since the log and the state both take it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Batch(pub(super) Arc<Vec<Proposal>>);

/// The verdicts on the proposals of one entry, in their order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Verdicts(pub(super) Vec<Verdict>);

/// What stands for a shard's state where openraft passes one around.
pub(super) enum Snapshot {
    /// Nothing but its name: the state is durable up to there.
    Point,
    /// The state itself, as it was at one moment.
    Picture(Picture),
    /// Another replica's state, which has arrived whole.
    Arrived(Arc<Arrival>),
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Point => "Point",
            Self::Picture(_) => "Picture",
            Self::Arrived(_) => "Arrived",
        })
    }
}

pub(super) type Raft = openraft::Raft<Group>;
pub(super) type Entry = openraft::Entry<Group>;
pub(super) type Payload = openraft::EntryPayload<Group>;
pub(super) type LogId = openraft::LogId<u64>;
pub(super) type Vote = openraft::Vote<u64>;
pub(super) type Membership = openraft::StoredMembership<u64, BasicNode>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<u64, BasicNode>;
pub(super) type StorageError = openraft::StorageError<u64>;
