//! The simulated network, clock and chance, behind the ports of nodes and actors.

use crate::determinism::random_below;
use async_trait::async_trait;
use otto_actors::ports::chance::Chance;
use otto_actors::ports::clock::Clock;
use otto_core::ids::NodeId;
use otto_core::time::Timestamp;
use otto_nodes::network::{
    ConnectError, Connector, Listener, Principal, Routes, SharedConnector, Stream, Who,
};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Listens on a port of the simulated host that it is made on.
pub struct SimulatedListener {
    inner: turmoil::net::TcpListener,
    name: &'static str,
}

impl SimulatedListener {
    /// Binds a port; everybody who connects to it is called by this name.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn bind(port: u16, name: &'static str) -> io::Result<Self> {
        Ok(Self { inner: turmoil::net::TcpListener::bind(("0.0.0.0", port)).await?, name })
    }
}

impl fmt::Debug for SimulatedListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedListener({})", self.name)
    }
}

#[async_trait]
impl Listener for SimulatedListener {
    async fn accept(&self) -> io::Result<(Stream, Principal)> {
        let (stream, _) = self.inner.accept().await?;
        Ok((Box::pin(stream), Principal::owner(self.name)))
    }
}

/// Listens for other nodes. Who they are is told by where they come from: the name of a node's host
/// is this prefix and its number.
pub struct PeerListener {
    inner: turmoil::net::TcpListener,
    prefix: &'static str,
}

impl PeerListener {
    /// Binds a port of the simulated host that it is made on.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn bind(port: u16, prefix: &'static str) -> io::Result<Self> {
        Ok(Self { inner: turmoil::net::TcpListener::bind(("0.0.0.0", port)).await?, prefix })
    }
}

impl fmt::Debug for PeerListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerListener({})", self.prefix)
    }
}

#[async_trait]
impl Listener for PeerListener {
    async fn accept(&self) -> io::Result<(Stream, Principal)> {
        let (stream, from) = self.inner.accept().await?;
        let name = turmoil::reverse_lookup(from.ip()).unwrap_or_default();
        let number = name.strip_prefix(self.prefix).and_then(|number| number.parse().ok());
        let who = number.map_or(Who::Stranger, |number| Who::Node(NodeId(number)));
        Ok((Box::pin(stream), Principal { name, who, key: None }))
    }
}

/// Finds hosts by their names, at this port.
#[derive(Clone, Copy, Debug)]
pub struct HostNames(pub u16);

impl Routes for HostNames {
    fn to(&self, address: &str) -> SharedConnector {
        Arc::new(SimulatedConnector { host: address.to_owned(), port: self.0 })
    }
}

/// Connects to a port of a simulated host.
#[derive(Debug)]
pub struct SimulatedConnector {
    /// The host's name.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// How long a connection may take: turmoil drops segments of a cut link without a word.
const CONNECT: Duration = Duration::from_millis(500);

#[async_trait]
impl Connector for SimulatedConnector {
    async fn connect(&self) -> Result<Stream, ConnectError> {
        let connecting = turmoil::net::TcpStream::connect((self.host.as_str(), self.port));
        let connected = tokio::time::timeout(CONNECT, connecting).await;
        let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Box::pin(stream))
    }
}

/// The simulated wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimulatedClock;

impl Clock for SimulatedClock {
    #[expect(clippy::disallowed_methods, reason = "the simulated clock is behind this call")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Chance from the simulation's seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimulatedChance;

impl Chance for SimulatedChance {
    fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { random_below(bound) }
    }
}
