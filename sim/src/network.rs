//! The simulated network, clock and chance, behind the ports of nodes and actors.

use crate::determinism::random_below;
use crate::traffic::Tapped;
use async_trait::async_trait;
use otto_actors::ports::chance::Chance;
use otto_actors::ports::clock::Clock;
use otto_core::ids::{KeyId, NodeId};
use otto_core::time::Timestamp;
use otto_nodes::network::{
    ConnectError, Connector, Listener, Principal, Routes, SharedConnector, Stream, Who,
};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
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
        Ok((Box::pin(Tapped::new(stream)), Principal::owner(self.name)))
    }
}

/// Who each host is, in place of the certificates that they would show each other.
#[derive(Clone, Debug, Default)]
pub struct Passports(Arc<Mutex<BTreeMap<String, (NodeId, KeyId)>>>);

impl Passports {
    /// What a host is before it has joined: it may ask to, and nothing else.
    pub const NEWCOMER: NodeId = NodeId(0);

    /// Hosts of which each is named by a prefix and its node's number.
    #[must_use]
    pub fn numbered(prefix: &str, count: u64) -> Self {
        let passports = Self::default();
        for node in 1..=count {
            passports.issue(&format!("{prefix}{node}"), NodeId(node), KeyId([0; 32]));
        }
        passports
    }

    /// A host is this node from now on.
    pub fn issue(&self, host: &str, node: NodeId, key: KeyId) {
        self.lock().insert(host.to_owned(), (node, key));
    }

    /// A host has lost what shows who it is.
    pub fn lose(&self, host: &str) {
        self.lock().remove(host);
    }

    /// Who a host is.
    #[must_use]
    pub fn of(&self, host: &str) -> (NodeId, Option<KeyId>) {
        let known = self.lock().get(host).copied();
        known.map_or((Self::NEWCOMER, None), |(node, key)| (node, Some(key)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (NodeId, KeyId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens for other nodes. Who they are is told by where they come from.
pub struct PeerListener {
    inner: turmoil::net::TcpListener,
    passports: Passports,
}

impl PeerListener {
    /// Binds a port of the simulated host that it is made on.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn bind(port: u16, passports: &Passports) -> io::Result<Self> {
        let inner = turmoil::net::TcpListener::bind(("0.0.0.0", port)).await?;
        Ok(Self { inner, passports: passports.clone() })
    }
}

impl fmt::Debug for PeerListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerListener")
    }
}

#[async_trait]
impl Listener for PeerListener {
    async fn accept(&self) -> io::Result<(Stream, Principal)> {
        let (stream, from) = self.inner.accept().await?;
        let name = turmoil::reverse_lookup(from.ip()).unwrap_or_default();
        let (node, key) = self.passports.of(&name);
        let who = Who::Node(node);
        Ok((Box::pin(Tapped::new(stream)), Principal { name, who, key }))
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
        Ok(Box::pin(Tapped::new(stream)))
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
