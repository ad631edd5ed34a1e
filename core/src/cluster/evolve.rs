//! Facts: how each changes a cluster. No policy is in here, nothing fails, and nothing panics, not
//! even on a fact that no `decide` would have found: what makes no sense has no effect.

use super::command::Newcomer;
use super::event::Event;
use super::state::{
    Agent, Certificate, Denied, Holder, Invitation, Member, Standing, Token, UserToken, Wanted,
};
use super::{Cluster, Founded};
use crate::ids::{NodeId, TokenHash};
use crate::time::Timestamp;

impl Cluster {
    /// Takes in one fact. Replaying a journal is this and nothing else.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::Founded { .. } => self.found(event),
            Event::Restored { .. } => self.restore(event),
            Event::TokenCreated { .. } => self.create_token(event),
            Event::UserTokenCreated { .. } => self.create_user_token(event),
            Event::TokenRevoked { token, at, .. } => {
                let join = self.tokens.get_mut(token).map(|it| &mut it.revoked);
                let sign_in = self.users.get_mut(token).map(|it| &mut it.revoked);
                for revoked in join.into_iter().chain(sign_in) {
                    *revoked = revoked.or(Some(*at));
                }
            }
            Event::TokenUsedUp { token } => {
                if let Some(found) = self.tokens.get_mut(token) {
                    found.used = found.used.max(found.allowed);
                }
            }
            Event::TokensForgotten { tokens } => {
                self.tokens.retain(|token, _| !tokens.contains(token));
                self.users.retain(|token, _| !tokens.contains(token));
            }
            Event::NodeJoined { node, newcomer, token, certificate, at } => {
                self.use_token(*token);
                self.add(*node, newcomer, Some(*token), *certificate, *at);
            }
            Event::AgentJoined { .. } => self.add_agent(event),
            Event::CertificateIssued { holder, certificate } => self.issue(*holder, *certificate),
            Event::NodeStarted { node, start, addresses, levels, release, at: _ } => {
                self.change(*node, |member| {
                    member.start = Some(*start);
                    member.addresses.clone_from(addresses);
                    member.levels = *levels;
                    member.release.clone_from(release);
                });
            }
            Event::NodeBecameLearner { node, .. } => {
                self.change(*node, |member| member.standing = Standing::Learner);
            }
            Event::NodeBecameVoter { node, .. } => {
                self.change(*node, |member| member.standing = Standing::Voter);
            }
            Event::NodeDraining { node, .. } => {
                self.change(*node, |member| member.wanted = Wanted::Drain);
            }
            Event::NodeResumed { node, .. } => {
                self.change(*node, |member| member.wanted = Wanted::Serve);
            }
            Event::NodeLeaving { node, .. } => {
                self.change(*node, |member| member.wanted = Wanted::Leave { emptied: false });
            }
            Event::NodeEmptied { node, .. } => {
                self.change(*node, |member| member.wanted = Wanted::Leave { emptied: true });
            }
            Event::NodeRemoved { node, at } => self.remove_node(*node, *at),
            Event::AgentRemoved { agent, at, .. } => {
                if let Some(gone) = self.agents.remove(agent) {
                    let holder = Holder::Agent(*agent);
                    self.denied.insert(gone.key, Denied { holder, at: *at });
                }
            }
            Event::LevelRaised { to, .. } => self.level = self.level.max(*to),
        }
    }

    fn found(&mut self, event: &Event) {
        let Event::Founded { cluster, shards, authority, level, node, founder, certificate, at } =
            event
        else {
            return;
        };
        self.founded =
            Some(Founded { cluster: *cluster, shards: *shards, authority: *authority, at: *at });
        self.level = *level;
        self.add(*node, founder, None, *certificate, *at);
        self.change(*node, |member| member.standing = Standing::Voter);
    }

    fn restore(&mut self, event: &Event) {
        let Event::Restored { incarnation, authority, node, founder, certificate, at } = event
        else {
            return;
        };
        self.incarnation = self.incarnation.max(*incarnation);
        if let Some(founded) = &mut self.founded {
            founded.authority = *authority;
        }
        let nodes = std::mem::take(&mut self.nodes);
        let agents = std::mem::take(&mut self.agents);
        let nodes = nodes.into_iter().map(|(node, it)| (it.key, Holder::Node(node)));
        let agents = agents.into_iter().map(|(agent, it)| (it.key, Holder::Agent(agent)));
        for (key, holder) in nodes.chain(agents) {
            self.denied.insert(key, Denied { holder, at: *at });
        }
        // A token that was used after the backup would be as good as new.
        self.tokens.clear();
        self.users.clear();
        self.add(*node, founder, None, *certificate, *at);
        self.change(*node, |member| member.standing = Standing::Voter);
    }

    fn create_token(&mut self, event: &Event) {
        let Event::TokenCreated { token, role, expires, uses, by, at } = event else { return };
        let made = Token {
            role: *role,
            by: by.clone(),
            created: *at,
            expires: *expires,
            allowed: *uses,
            used: 0,
            revoked: None,
        };
        self.tokens.insert(*token, made);
    }

    fn create_user_token(&mut self, event: &Event) {
        let Event::UserTokenCreated { token, name, role, expires, by, .. } = event else { return };
        let (name, by) = (name.clone(), by.clone());
        let made = UserToken { name, role: *role, by, expires: *expires, revoked: None };
        self.users.insert(*token, made);
    }

    fn use_token(&mut self, token: TokenHash) {
        if let Some(found) = self.tokens.get_mut(&token) {
            found.used = found.used.saturating_add(1);
        }
    }

    fn add(
        &mut self,
        node: NodeId,
        newcomer: &Newcomer,
        token: Option<TokenHash>,
        certificate: Certificate,
        at: Timestamp,
    ) {
        self.latest_node = self.latest_node.max(node.0);
        self.latest_serial = self.latest_serial.max(certificate.serial);
        let member = Member {
            name: newcomer.name.clone(),
            addresses: newcomer.addresses.clone(),
            key: newcomer.key,
            token,
            levels: newcomer.levels,
            certificate,
            standing: Standing::Joined,
            wanted: Wanted::Serve,
            start: None,
            release: None,
            joined: at,
        };
        self.nodes.insert(node, member);
    }

    fn add_agent(&mut self, event: &Event) {
        let Event::AgentJoined { agent, name, key, invitation, certificate, at } = event else {
            return;
        };
        if let Invitation::Token(token) = invitation {
            self.use_token(*token);
        }
        self.latest_serial = self.latest_serial.max(certificate.serial);
        let joined = Agent {
            name: name.clone(),
            key: *key,
            invitation: *invitation,
            certificate: *certificate,
            joined: *at,
        };
        self.agents.insert(*agent, joined);
    }

    fn issue(&mut self, holder: Holder, certificate: Certificate) {
        self.latest_serial = self.latest_serial.max(certificate.serial);
        match holder {
            Holder::Node(node) => self.change(node, |member| member.certificate = certificate),
            Holder::Agent(agent) => {
                if let Some(agent) = self.agents.get_mut(&agent) {
                    agent.certificate = certificate;
                }
            }
        }
    }

    /// A node takes along the agents that it vouched for.
    fn remove_node(&mut self, node: NodeId, at: Timestamp) {
        let Some(gone) = self.nodes.remove(&node) else { return };
        self.denied.insert(gone.key, Denied { holder: Holder::Node(node), at });
        let denied = &mut self.denied;
        self.agents.retain(|agent, it| {
            let stays = it.invitation != Invitation::Node(node);
            if !stays {
                denied.insert(it.key, Denied { holder: Holder::Agent(*agent), at });
            }
            stays
        });
    }

    fn change(&mut self, node: NodeId, change: impl FnOnce(&mut Member)) {
        if let Some(member) = self.nodes.get_mut(&node) {
            change(member);
        }
    }
}
