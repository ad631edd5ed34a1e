//! The network, as a port.
//!
//! Production implements it with Unix sockets on one machine and TLS between machines, the
//! simulation with its own; what is assembled from it is the same code.

use crate::wire::hello::Refused;
use async_trait::async_trait;
use otto_core::cluster::state::{Holder, UserRole};
use otto_core::ids::{AgentId, KeyId, NodeId, TokenHash};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways: a socket.
pub trait Duplex: AsyncRead + AsyncWrite + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + 'static> Duplex for T {}

/// A connection of any network.
pub type Stream = Pin<Box<dyn Duplex>>;

/// Who is at the other end, as far as the network itself vouches for it. No message overrides it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// The name by which the journal and people speak of them.
    pub name: String,
    /// What they are.
    pub who: Who,
    /// The key that they proved to have, where they came with a certificate.
    pub key: Option<KeyId>,
}

impl Principal {
    /// The owner of a socket on this machine.
    #[must_use]
    pub fn owner(name: impl Into<String>) -> Self {
        Self { name: name.into(), who: Who::Owner, key: None }
    }

    /// Whoever came without a certificate.
    #[must_use]
    pub fn stranger(name: impl Into<String>) -> Self {
        Self { name: name.into(), who: Who::Stranger, key: None }
    }

    /// A node or an agent, by its certificate.
    #[must_use]
    pub fn certified(holder: Holder, key: KeyId) -> Self {
        let who = match holder {
            Holder::Node(node) => Who::Node(node),
            Holder::Agent(agent) => Who::Agent(agent),
        };
        Self { name: holder.to_string(), who, key: Some(key) }
    }
}

/// What a principal is. What each may call is in [`crate::rpc::porter`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Who {
    /// The owner of the socket on this machine, and so of the node.
    Owner,
    /// The owner of another control node's socket: that node vouches for them.
    Neighbour(NodeId),
    /// A control node of the same cluster.
    Node(NodeId),
    /// An agent of the same cluster.
    Agent(AgentId),
    /// A person who signed in with a token.
    User(UserRole, TokenHash),
    /// A node or an agent whose certificate has run out: it may get another one.
    Lapsed(Holder),
    /// Anybody: may show a token.
    Stranger,
}

/// Takes connections.
#[async_trait]
pub trait Listener: fmt::Debug + Send + Sync + 'static {
    /// The next connection, from somebody who may connect at all.
    async fn accept(&self) -> io::Result<(Stream, Principal)>;
}

/// A listener that a control process takes over.
pub type SharedListener = Arc<dyn Listener>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Another attempt may succeed.
    #[error("connect: {0}")]
    Passing(#[from] io::Error),
    /// Another attempt would meet the same.
    #[error("{}", .0.what)]
    Final(Refused),
}

/// Makes connections to one place.
#[async_trait]
pub trait Connector: fmt::Debug + Send + Sync + 'static {
    /// Connects once; who calls decides about another try.
    async fn connect(&self) -> Result<Stream, ConnectError>;
}

/// A connector that several callers use.
pub type SharedConnector = Arc<dyn Connector>;

/// Finds ways to the addresses under which a cluster knows its nodes.
pub trait Routes: fmt::Debug + Send + Sync + 'static {
    /// What connects to an address.
    fn to(&self, address: &str) -> SharedConnector;
}

/// Routes that several callers use.
pub type SharedRoutes = Arc<dyn Routes>;
