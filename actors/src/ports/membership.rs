//! What a cluster's duties act on, as a port: the groups of its shards.

use async_trait::async_trait;
use otto_core::cluster::Cluster;
use otto_core::cluster::command::Wish;
use otto_core::cluster::duty::Duty;
use std::fmt;
use std::sync::Arc;

/// A duty that is not done yet, and why: it is tried again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotYet(pub String);

/// Changes who belongs to the groups of all shards.
#[async_trait]
pub trait Membership: fmt::Debug + Send + Sync + 'static {
    /// Works on a duty, and answers with the wish that says that it is done; with none where it
    /// goes on for as long as it is owed, and nothing is to be done for the moment. It may be
    /// called again at any time, and a future that is dropped leaves nothing half done that the
    /// next one does not finish.
    async fn perform(&self, duty: Duty, cluster: &Cluster) -> Result<Option<Wish>, NotYet>;
}

/// A membership that several actors change.
pub type SharedMembership = Arc<dyn Membership>;
