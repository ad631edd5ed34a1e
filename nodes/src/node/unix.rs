//! Unix sockets: the network of one machine.

use crate::network::{ConnectError, Connector, Listener, Principal, Stream};
use async_trait::async_trait;
use std::io;
use std::os::unix::net::UnixListener as BoundListener;
use std::path::PathBuf;
use tokio::net::{UnixListener, UnixStream};

/// Takes connections of the socket's owner, whom the kernel names.
#[derive(Debug)]
pub struct OwnerListener {
    listener: UnixListener,
    owner: u32,
    name: String,
}

impl OwnerListener {
    /// Takes connections of this process's user on a bound socket.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub fn new(listener: BoundListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let owner = rustix::process::geteuid();
        let name = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(owner.as_raw()));
        let name = name.ok().flatten().map_or_else(|| owner.to_string(), |user| user.name);
        let listener = UnixListener::from_std(listener)?;
        Ok(Self { listener, owner: owner.as_raw(), name })
    }
}

#[async_trait]
impl Listener for OwnerListener {
    async fn accept(&self) -> io::Result<(Stream, Principal)> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let peer = stream.peer_cred()?.uid();
            if peer == self.owner {
                return Ok((Box::pin(stream), Principal::owner(&*self.name)));
            }
            tracing::warn!(user = peer, "a connection of another user was closed");
        }
    }
}

/// Connects to a socket at a path.
#[derive(Debug)]
pub struct PathConnector(pub PathBuf);

#[async_trait]
impl Connector for PathConnector {
    async fn connect(&self) -> Result<Stream, ConnectError> {
        Ok(Box::pin(UnixStream::connect(&self.0).await?))
    }
}
