//! The links among control processes: who connects is told by the host that it comes from.

use super::PEER_PORT;
use crate::network::SimulatedConnector;
use async_trait::async_trait;
use otto_core::ids::NodeId;
use otto_nodes::network::{Listener, Principal, Routes, SharedConnector, Stream, Who};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Takes connections from other control processes.
pub(super) struct PeerListener(turmoil::net::TcpListener);

impl fmt::Debug for PeerListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerListener")
    }
}

impl PeerListener {
    pub(super) async fn bind() -> io::Result<Self> {
        Ok(Self(turmoil::net::TcpListener::bind(("0.0.0.0", PEER_PORT)).await?))
    }
}

#[async_trait]
impl Listener for PeerListener {
    async fn accept(&self) -> io::Result<(Stream, Principal)> {
        let (stream, from) = self.0.accept().await?;
        let name = turmoil::reverse_lookup(from.ip()).unwrap_or_default();
        let number = name.strip_prefix("control-").and_then(|number| number.parse().ok());
        let who = number.map_or(Who::Stranger, |number| Who::Node(NodeId(number)));
        Ok((Box::pin(stream), Principal { name, who, key: None }))
    }
}

/// Finds control processes by the names of their hosts.
#[derive(Debug)]
pub(super) struct HostNames;

impl Routes for HostNames {
    fn to(&self, address: &str) -> SharedConnector {
        Arc::new(SimulatedConnector { host: address.to_owned(), port: PEER_PORT })
    }
}
