//! An agent's ways to the control nodes of its cluster, and where it keeps them for its next start.

use super::place::Place;
use crate::identity::tls::{ClusterRoutes, Credentials};
use crate::network::{ConnectError, Connector, Stream};
use crate::rpc::agent_link::AgentLink;
use crate::wire::hello::{Build, Refused};
use async_trait::async_trait;
use otto_actors::ports::clock::SharedClock;
use otto_actors::ports::control::SharedControl;
use otto_actors::ports::routes::Controls;
use otto_core::ids::NodeId;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The most addresses that are kept: of nodes that are long gone, the first ones are forgotten.
const KEPT: usize = 64;

/// The ways. Clones share what is known.
#[derive(Clone, Debug)]
pub(super) struct Ways(Arc<Known>);

#[derive(Debug)]
struct Known {
    routes: ClusterRoutes,
    build: Build,
    file: PathBuf,
    /// What the agent began with, then what it heard of, the latest last.
    addresses: Mutex<Vec<String>>,
    nodes: Mutex<BTreeMap<NodeId, String>>,
}

impl Ways {
    /// The ways that are kept in an agent's folder.
    ///
    /// # Errors
    /// When there are none, or they cannot be read.
    pub(super) fn open(
        place: &Place,
        credentials: &Credentials,
        clock: SharedClock,
        build: Build,
    ) -> Result<Self, Refused> {
        let file = place.controls();
        let addresses = recall(&file).map_err(|error| Refused::at("read", &file, &error))?;
        let routes = ClusterRoutes::new(credentials, clock)?;
        let (addresses, nodes) = (Mutex::new(addresses), Mutex::default());
        Ok(Self(Arc::new(Known { routes, build, file, addresses, nodes })))
    }

    /// All addresses, what was heard of last first.
    fn addresses(&self) -> Vec<String> {
        let addresses = self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.iter().rev().cloned().collect()
    }

    fn link_to(&self, address: &str) -> SharedControl {
        let connector = self.0.routes.to_any(vec![address.to_owned()]);
        Arc::new(AgentLink::new(Arc::new(connector), self.0.build.clone()))
    }
}

impl Controls for Ways {
    fn first(&self) -> Vec<SharedControl> {
        self.addresses().iter().map(|address| self.link_to(address)).collect()
    }

    fn link(&self, node: NodeId, address: &str) -> SharedControl {
        let mut nodes = self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if nodes.insert(node, address.to_owned()).as_deref() != Some(address) {
            let mut addresses = self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            addresses.retain(|known| known != address);
            addresses.push(address.to_owned());
            let surplus = addresses.len().saturating_sub(KEPT);
            addresses.drain(..surplus);
            if let Err(error) = keep(&self.0.file, &addresses) {
                tracing::warn!(%error, "where the control nodes are was not kept");
            }
        }
        self.link_to(address)
    }
}

/// Connects to whichever control node answers.
#[async_trait]
impl Connector for Ways {
    async fn connect(&self) -> Result<Stream, ConnectError> {
        self.0.routes.to_any(self.addresses()).connect().await
    }
}

/// Keeps where the control nodes are, for the agent that starts in this data folder.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn remember(place: &Place, addresses: &[String]) -> Result<(), Refused> {
    let file = place.controls();
    keep(&file, addresses).map_err(|error| Refused::at("write", &file, &error))
}

fn recall(file: &Path) -> io::Result<Vec<String>> {
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

fn keep(file: &Path, addresses: &[String]) -> io::Result<()> {
    let fresh = file.with_extension("new");
    fs::write(&fresh, serde_json::to_vec(addresses)?)?;
    fs::rename(&fresh, file)
}
