//! What every node checks its callers against: who is denied, and who signs in with which token.

use super::Cluster;
use super::state::{Holder, UserRole, UserToken};
use crate::ids::{AgentId, ClusterId, KeyId, TokenHash};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// An extract of a cluster's state, kept by every node. It may be a moment behind: whoever was
/// admitted since is not in it, so it denies by name and admits by certificate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Register {
    /// The cluster's name; `None` where there is none yet.
    pub cluster: Option<ClusterId>,
    /// How many entries of the cluster's journal it is from.
    pub version: u64,
    denied: BTreeMap<KeyId, Holder>,
    users: BTreeMap<TokenHash, UserToken>,
    agents: BTreeMap<AgentId, String>,
}

impl Register {
    /// Whose key was removed; `None` where it was not.
    #[must_use]
    pub fn denied(&self, key: KeyId) -> Option<Holder> {
        self.denied.get(&key).copied()
    }

    /// What an agent is called, whatever its machine is called.
    #[must_use]
    pub fn agent_name(&self, agent: AgentId) -> Option<&str> {
        self.agents.get(&agent).map(String::as_str)
    }

    /// Who a token signs in.
    #[must_use]
    pub fn user(&self, token: TokenHash, now: Timestamp) -> Option<(&str, UserRole)> {
        let user = self.users.get(&token).filter(|user| user.expires > now)?;
        Some((&user.name, user.role))
    }
}

impl Cluster {
    /// What every node checks its callers against.
    #[must_use]
    pub fn register(&self) -> Register {
        let users = self.users.iter().filter(|(_, user)| user.revoked.is_none());
        Register {
            cluster: self.founded.as_ref().map(|founded| founded.cluster),
            version: self.version,
            denied: self.denied.iter().map(|(key, denied)| (*key, denied.holder)).collect(),
            users: users.map(|(token, user)| (*token, user.clone())).collect(),
            agents: self.agents.iter().map(|(agent, it)| (*agent, it.name.clone())).collect(),
        }
    }
}
