//! Who an agent is: an installation that stays, and an incarnation that every start raises.

use super::system::seed;
use otto_core::ids::{AgentId, AgentRef};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Identity {
    agent: AgentId,
    incarnation: u64,
}

/// The identity of the agent that starts now in this folder; in a cluster, `certified` is who it is
/// by its certificate. Its incarnation is on disk before this returns: no two processes ever have
/// the same.
///
/// # Errors
/// When the folder cannot be written, or holds something else under that name.
pub(super) fn next(folder: &Path, certified: Option<AgentId>) -> io::Result<AgentRef> {
    let path = folder.join("identity.json");
    let (kept, starts) = match fs::read(&path) {
        Ok(bytes) => {
            let found: Identity = serde_json::from_slice(&bytes)?;
            (Some(found.agent), found.incarnation)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, 0),
        Err(error) => return Err(error),
    };
    let agent = match certified.or(kept) {
        Some(agent) => agent,
        None => AgentId::of(&[seed()?.to_be_bytes(), seed()?.to_be_bytes()].concat()),
    };
    let identity = Identity { agent, incarnation: starts.saturating_add(1) };
    let fresh = folder.join("identity.new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec(&identity)?)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    File::open(folder)?.sync_all()?;
    Ok(AgentRef { agent: identity.agent, incarnation: identity.incarnation })
}

#[cfg(test)]
mod tests {
    use super::next;
    use otto_core::ids::AgentId;

    #[test]
    fn an_incarnation_is_never_used_twice() {
        let folder = tempfile::tempdir().unwrap();
        let starts: Vec<_> = (0..3).map(|_| next(folder.path(), None).unwrap()).collect();
        let incarnations: Vec<u64> = starts.iter().map(|start| start.incarnation).collect();
        assert_eq!(incarnations, [1, 2, 3]);
        assert!(starts.iter().all(|start| start.agent == starts[0].agent));
        let certified = AgentId([7; 16]);
        let joined = next(folder.path(), Some(certified)).unwrap();
        assert_eq!((joined.agent, joined.incarnation), (certified, 4));
        std::fs::write(folder.path().join("identity.json"), "{").unwrap();
        assert!(next(folder.path(), None).is_err());
    }
}
