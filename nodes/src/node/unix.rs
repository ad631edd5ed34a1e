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
    /// The supervisor: what is below one of its children was started by the agent.
    supervisor: i32,
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
        let supervisor = nix::unistd::getppid().as_raw();
        Ok(Self { listener, owner: owner.as_raw(), name, supervisor })
    }
}

#[async_trait]
impl Listener for OwnerListener {
    async fn accept(&self) -> io::Result<(Stream, Principal)> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let peer = stream.peer_cred()?;
            if peer.uid() != self.owner {
                tracing::warn!(user = peer.uid(), "a connection of another user was closed");
            } else if peer.pid().is_some_and(|pid| is_below_a_child(pid, self.supervisor)) {
                tracing::warn!(pid = peer.pid(), "a connection of a step was closed");
            } else {
                return Ok((Box::pin(stream), Principal::owner(&*self.name)));
            }
        }
    }
}

/// Whether a process descends from a child of this one. What a step starts does for as long as it
/// lives, however it hides: launcher and stage process adopt the orphans below them.
fn is_below_a_child(peer: i32, top: i32) -> bool {
    // Steps are in this process's namespace or in one below it. Who is in another one has no
    // number.
    if peer == 0 {
        return false;
    }
    let mut below = peer;
    loop {
        match parent_of(below) {
            Some(parent) if parent == top => return below != peer,
            Some(parent) if parent > 1 => below = parent,
            Some(_) => return false,
            // It has ended since, and with it whoever could say where it belonged.
            None => return below == peer,
        }
    }
}

fn parent_of(process: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{process}/stat")).ok()?;
    // The name before it may hold anything, parentheses too.
    let behind_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(&stat[behind_name..]).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::is_below_a_child;

    #[test]
    fn who_was_started_by_a_child_is_found() {
        let ours = nix::unistd::getpid().as_raw();
        let parent = nix::unistd::getppid().as_raw();
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let process = i32::try_from(child.id()).unwrap();
        assert!(!is_below_a_child(process, ours), "a child itself");
        assert!(is_below_a_child(process, parent), "a child's child");
        assert!(!is_below_a_child(ours, process), "another branch");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_below_a_child(process, ours), "gone");
        assert!(!is_below_a_child(0, ours), "of another namespace of processes");
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
