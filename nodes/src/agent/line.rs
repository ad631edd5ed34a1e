//! The agent's end of a socket to the launcher or a stage process, without blocking.

use crate::launcher::channel::{self, Received};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// One end of a socket pair.
#[derive(Debug)]
pub(super) struct Line {
    socket: AsyncFd<OwnedFd>,
}

impl Line {
    /// Makes a pair: our end, and the one to give away.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (near, far) = channel::pair()?;
        rustix::io::ioctl_fionbio(&near, true)?;
        Ok((Self { socket: watched(near)? }, far))
    }

    /// Sends one message, waiting for room.
    pub(super) async fn send<M: Serialize + Sync>(
        &self,
        message: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        loop {
            let mut ready = self.socket.writable().await?;
            if let Ok(sent) =
                ready.try_io(|socket| channel::send(socket.as_fd(), message, descriptors))
            {
                return sent;
            }
        }
    }

    /// Sends one message if there is room for it now.
    pub(super) fn send_now<M: Serialize>(&self, message: &M) -> io::Result<()> {
        channel::send(self.socket.get_ref(), message, &[])
    }

    /// Receives one message; `None` where the other end is gone.
    pub(super) async fn receive<M: DeserializeOwned>(&self) -> io::Result<Option<Received<M>>> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| channel::receive(socket.as_fd())) {
                // A reset is an end too: the other process died with messages unread.
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                Ok(received) => return received,
                Err(_) => {}
            }
        }
    }
}

/// Lets a descriptor be waited for.
#[expect(
    deprecated,
    reason = "its unsafe successor asks that the descriptor stays open and the same: an OwnedFd does"
)]
pub(super) fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}
