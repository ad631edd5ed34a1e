//! Who is let in, and who stays: joins, certificates, and starts of nodes.

use super::Cluster;
use super::command::{Newcomer, Refusal, Started, ago};
use super::decide::{Draft, addresses_fit, measured, name_fits};
use super::event::Event;
use super::level;
use super::state::{Holder, Invitation, JoinRole, Levels, Start, Wanted};
use crate::ids::{AgentId, KeyId, NodeId, TokenHash};
use crate::time::Span;

impl Draft {
    /// The same key under the same token gets the same answer, also when the token is used up or
    /// expired meanwhile: who asks again lost the answer, and proves the key again.
    pub(super) fn join(
        &mut self,
        token: TokenHash,
        role: JoinRole,
        newcomer: &Newcomer,
    ) -> Result<(), Refusal> {
        if let Some(denied) = self.cluster.denied.get(&newcomer.key) {
            return Err(Refusal::Removed { holder: denied.holder });
        }
        if let Some(holder) = self.cluster.holder(newcomer.key) {
            return self.joined_before(holder, token, role);
        }
        self.token_admits(token, role)?;
        self.supported(newcomer.levels)?;
        measured(newcomer)?;
        let (certificate, at) = (self.next_certificate(), self.now);
        self.push(match role {
            JoinRole::Control => {
                let (node, newcomer) = (self.next_node(), newcomer.clone());
                Event::NodeJoined { node, newcomer, token, certificate, at }
            }
            JoinRole::Agent => Event::AgentJoined {
                agent: AgentId::of(&newcomer.key.0),
                name: self.free_name(&newcomer.name),
                key: newcomer.key,
                invitation: Invitation::Token(token),
                certificate,
                at,
            },
        });
        if self.cluster.tokens.get(&token).is_some_and(|it| it.used >= it.allowed) {
            self.push(Event::TokenUsedUp { token });
        }
        Ok(())
    }

    /// A name that no other agent has: the machine's, or that with a number.
    fn free_name(&self, machine: &str) -> String {
        let taken = |name: &str| self.cluster.agents.values().any(|agent| agent.name == name);
        let mut name = machine.to_owned();
        let mut number = 1_u64;
        while taken(&name) {
            number += 1;
            name = format!("{machine}-{number}");
        }
        name
    }

    fn joined_before(
        &self,
        holder: Holder,
        token: TokenHash,
        role: JoinRole,
    ) -> Result<(), Refusal> {
        let (by, became) = match holder {
            Holder::Node(node) => {
                (self.cluster.node(node).and_then(|it| it.token), JoinRole::Control)
            }
            Holder::Agent(agent) => {
                let by = self.cluster.agent(agent).and_then(|it| match it.invitation {
                    Invitation::Token(token) => Some(token),
                    Invitation::Node(_) => None,
                });
                (by, JoinRole::Agent)
            }
        };
        if by != Some(token) {
            return Err(Refusal::KeyTaken { holder });
        }
        if became != role {
            return Err(Refusal::OtherRole { role: became, wanted: role });
        }
        Ok(())
    }

    fn token_admits(&self, token: TokenHash, wanted: JoinRole) -> Result<(), Refusal> {
        let found = self.cluster.tokens.get(&token).ok_or(Refusal::NoSuchToken)?;
        if found.role != wanted {
            return Err(Refusal::OtherRole { role: found.role, wanted });
        }
        if found.revoked.is_some() {
            return Err(Refusal::TokenRevoked);
        }
        if found.expires <= self.now {
            return Err(Refusal::TokenExpired { ago: ago(self.now, found.expires) });
        }
        if found.used >= found.allowed {
            return Err(Refusal::TokenUsedUp { used: found.used });
        }
        Ok(())
    }

    /// A control node vouches for the agent beside it.
    pub(super) fn join_agent(
        &mut self,
        node: NodeId,
        name: &str,
        key: KeyId,
    ) -> Result<(), Refusal> {
        if matches!(self.member(node)?.wanted, Wanted::Leave { .. }) {
            return Err(Refusal::Leaving { node });
        }
        if let Some(denied) = self.cluster.denied.get(&key) {
            return Err(Refusal::Removed { holder: denied.holder });
        }
        let invitation = Invitation::Node(node);
        if let Some(holder) = self.cluster.holder(key) {
            let same = match holder {
                Holder::Agent(agent) => {
                    self.cluster.agent(agent).is_some_and(|it| it.invitation == invitation)
                }
                Holder::Node(_) => false,
            };
            return if same { Ok(()) } else { Err(Refusal::KeyTaken { holder }) };
        }
        name_fits(name)?;
        self.push(Event::AgentJoined {
            agent: AgentId::of(&key.0),
            name: self.free_name(name),
            key,
            invitation,
            certificate: self.next_certificate(),
            at: self.now,
        });
        Ok(())
    }

    /// Whoever asks long before it is due gets what there is: the journal cannot be filled so.
    pub(super) fn renew(&mut self, holder: Holder, key: KeyId) -> Result<(), Refusal> {
        if let Some(denied) = self.cluster.denied.get(&key) {
            return Err(Refusal::Removed { holder: denied.holder });
        }
        let (known, certificate) =
            self.cluster.credentials(holder).ok_or(Refusal::Unknown { holder })?;
        if known != key {
            return Err(Refusal::Unknown { holder });
        }
        let life = certificate.not_after.since(certificate.not_before);
        if certificate.not_before.after(Span(life.0 / 2)) <= self.now {
            let certificate = self.next_certificate();
            self.push(Event::CertificateIssued { holder, certificate });
        }
        Ok(())
    }

    /// A disk that was copied or rolled back does not know of the node's latest start. Counting
    /// alone would not do: whoever starts an old disk often enough would overtake the count.
    ///
    /// A start that was told before the level was raised is told once more, with what may be
    /// written since.
    pub(super) fn start(&mut self, started: &Started) -> Result<(), Refusal> {
        let Started { node, count, boot, known, addresses, levels, release } = started;
        let member = self.member(*node)?;
        let knows_releases = self.cluster.level >= level::RELEASES;
        let release = release.clone().filter(|_| knows_releases);
        let start = match member.start {
            Some(latest) if latest.boot == *boot => {
                if release.is_none() || member.release == release {
                    return Ok(());
                }
                latest
            }
            Some(latest) if !known.contains(&latest.boot) || *count <= latest.count => {
                return Err(Refusal::OldDisk { node: *node, latest: latest.count });
            }
            Some(_) | None => Start { count: *count, boot: *boot },
        };
        self.supported(*levels)?;
        addresses_fit(addresses)?;
        release.as_deref().map_or(Ok(()), name_fits)?;
        self.push(Event::NodeStarted {
            node: *node,
            start,
            addresses: addresses.clone(),
            levels: *levels,
            release,
            at: self.now,
        });
        Ok(())
    }

    pub(super) fn supported(&self, levels: Levels) -> Result<(), Refusal> {
        let level = self.cluster.level;
        if levels.support(level) {
            return Ok(());
        }
        let Levels { oldest, newest } = levels;
        Err(Refusal::OtherLevel { level, oldest, newest })
    }
}

impl Cluster {
    /// Whether a process that says it is this start of a node is the latest one. A copy of its disk
    /// that started since took its place, and then it must end.
    ///
    /// # Errors
    /// That there is a later start, or no such node.
    pub fn is_latest(&self, node: NodeId, start: Start) -> Result<(), Refusal> {
        let member = self.node(node).ok_or(Refusal::Unknown { holder: Holder::Node(node) })?;
        match member.start {
            Some(latest) if latest != start => Err(Refusal::OldDisk { node, latest: latest.count }),
            Some(_) | None => Ok(()),
        }
    }
}
