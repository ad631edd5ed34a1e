//! The network, as a port.
//!
//! Production implements it with Unix sockets, the simulation with its own; what is assembled from
//! it is the same code.

use crate::wire::hello::Refused;
use async_trait::async_trait;
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
