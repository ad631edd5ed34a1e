//! An independent judge of what a cluster may decide. It knows wishes and facts, and nothing of how
//! the heart keeps its state.

use crate::cluster::command::{Refusal, Wish};
use crate::cluster::event::Event;
use crate::cluster::level;
use crate::cluster::state::{
    By, Certificate, Holder, Invitation, JoinRole, Levels, Start, UserRole,
};
use crate::ids::{AgentId, BootId, KeyId, NodeId, TokenHash};
use crate::time::{Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, PartialEq, Eq, Debug)]
struct SeenToken {
    role: JoinRole,
    expires: Timestamp,
    uses: u32,
    joins: u32,
    revoked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct SeenNode {
    key: KeyId,
    learner: bool,
    voter: bool,
    leaving: bool,
    emptied: bool,
    levels: Levels,
    start: Option<Start>,
}

/// What the judge remembers.
#[derive(Clone, Default, Debug)]
pub(super) struct Referee {
    tokens: BTreeMap<TokenHash, SeenToken>,
    nodes: BTreeMap<NodeId, SeenNode>,
    agents: BTreeMap<AgentId, KeyId>,
    keys: BTreeMap<KeyId, Holder>,
    gone: BTreeSet<KeyId>,
    latest_node: u64,
    latest_serial: u64,
    level: u32,
    incarnation: u32,
}

type Verdict = Result<(), String>;

fn must(holds: bool, complaint: &str) -> Verdict {
    if holds { Ok(()) } else { Err(complaint.to_owned()) }
}

impl Referee {
    /// Judges one answer.
    pub(super) fn judge(
        &mut self,
        wish: &Wish,
        answer: &Result<Vec<Event>, Refusal>,
        now: Timestamp,
    ) -> Verdict {
        let Ok(events) = answer else { return Ok(()) };
        if let Some(by) = wisher(wish) {
            let admin = by.role == UserRole::Admin;
            must(admin || events.is_empty(), "role: only an administrator changes the cluster")?;
        }
        for event in events {
            self.event(wish, event, now)?;
        }
        self.somebody_votes()
    }

    fn event(&mut self, wish: &Wish, event: &Event, now: Timestamp) -> Verdict {
        match event {
            Event::Founded { node, founder, certificate, level, .. } => {
                self.level = *level;
                self.enter_node(*node, founder.key, founder.levels, *certificate, now)?;
                self.vote(*node)
            }
            Event::Restored { incarnation, node, founder, certificate, .. } => {
                must(*incarnation > self.incarnation, "I5: a restore raises the incarnation")?;
                self.incarnation = *incarnation;
                let nodes = std::mem::take(&mut self.nodes).into_values().map(|it| it.key);
                let agents = std::mem::take(&mut self.agents).into_values();
                self.gone.extend(nodes.chain(agents));
                self.tokens.clear();
                self.enter_node(*node, founder.key, founder.levels, *certificate, now)?;
                self.vote(*node)
            }
            Event::TokenCreated { .. }
            | Event::TokenRevoked { .. }
            | Event::TokenUsedUp { .. }
            | Event::TokensForgotten { .. } => self.token(event, now),
            Event::NodeJoined { node, newcomer, token, certificate, .. } => {
                self.use_token(*token, JoinRole::Control, now)?;
                self.enter_node(*node, newcomer.key, newcomer.levels, *certificate, now)
            }
            Event::AgentJoined { agent, key, invitation, certificate, .. } => {
                match invitation {
                    Invitation::Token(token) => self.use_token(*token, JoinRole::Agent, now)?,
                    Invitation::Node(node) => {
                        let here = self.nodes.get(node).is_some_and(|node| !node.leaving);
                        must(here, "role: who vouches for an agent belongs to the cluster")?;
                    }
                }
                self.enter(Holder::Agent(*agent), *key, *certificate, now)?;
                must(self.agents.insert(*agent, *key).is_none(), "identity: one agent twice")
            }
            Event::CertificateIssued { holder, certificate } => {
                let key = self.key_of(*holder);
                must(key.is_some(), "identity: a certificate for nobody")?;
                let asked = matches!(wish, Wish::Renew { key: asked, .. } if Some(*asked) == key);
                must(asked, "identity: a certificate for another key")?;
                self.certificate(*certificate, now)
            }
            Event::NodeStarted { node, start, levels, release, .. } => {
                let known = release.is_none() || self.level >= level::RELEASES;
                must(known, "level: what older builds do not know is written too early")?;
                self.started(wish, *node, *start, *levels)
            }
            Event::LevelRaised { to, .. } => {
                must(*to > self.level, "level: it only rises")?;
                self.level = *to;
                let fit = self.nodes.values().all(|node| !node.voter || node.levels.support(*to));
                must(fit, "level: a voter does not understand it")
            }
            Event::UserTokenCreated { .. } => Ok(()),
            Event::AgentRemoved { agent, .. } => {
                let key = self.agents.remove(agent);
                self.gone.extend(key);
                must(key.is_some(), "identity: an agent is removed that is not there")
            }
            Event::NodeBecameLearner { .. }
            | Event::NodeBecameVoter { .. }
            | Event::NodeDraining { .. }
            | Event::NodeResumed { .. }
            | Event::NodeLeaving { .. }
            | Event::NodeEmptied { .. }
            | Event::NodeRemoved { .. } => self.membership(event),
        }
    }

    fn token(&mut self, event: &Event, now: Timestamp) -> Verdict {
        match event {
            Event::TokenCreated { token, role, expires, uses, .. } => {
                must(expires.since(now) <= Span::hours(1), "token: it is valid for too long")?;
                let (role, expires, uses) = (*role, *expires, *uses);
                let seen = SeenToken { role, expires, uses, joins: 0, revoked: false };
                must(self.tokens.insert(*token, seen).is_none(), "token: one hash, two tokens")
            }
            Event::TokenRevoked { token, .. } => {
                if let Some(token) = self.tokens.get_mut(token) {
                    token.revoked = true;
                }
                Ok(())
            }
            Event::TokenUsedUp { token } => {
                let used = self.tokens.get(token).is_some_and(|it| it.joins == it.uses);
                must(used, "token: it is said to be used up and is not")
            }
            Event::TokensForgotten { tokens } => {
                for token in tokens {
                    let over = self.tokens.remove(token).is_none_or(|it| it.expires < now);
                    must(over, "token: it is forgotten before it is over")?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn membership(&mut self, event: &Event) -> Verdict {
        match event {
            Event::NodeBecameLearner { node, .. } => self.change(*node, |it| {
                must(!it.learner, "membership: a learner twice")?;
                it.learner = true;
                Ok(())
            }),
            Event::NodeBecameVoter { node, .. } => self.change(*node, |it| {
                must(it.learner && !it.voter, "membership: a vote before the shards are there")?;
                it.voter = true;
                Ok(())
            }),
            Event::NodeDraining { node, .. } | Event::NodeResumed { node, .. } => {
                self.change(*node, |it| must(!it.leaving, "membership: it is leaving for good"))
            }
            Event::NodeLeaving { node, .. } => self.change(*node, |it| {
                it.leaving = true;
                Ok(())
            }),
            Event::NodeEmptied { node, .. } => self.change(*node, |it| {
                must(it.leaving, "membership: it is emptied and stays")?;
                it.emptied = true;
                Ok(())
            }),
            Event::NodeRemoved { node, .. } => {
                self.change(*node, |it| {
                    must(it.leaving, "membership: it is removed and was to stay")?;
                    must(!it.voter || it.emptied, "membership: it is removed while it may lead")
                })?;
                self.gone.extend(self.nodes.remove(node).map(|it| it.key));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn change(&mut self, node: NodeId, change: impl FnOnce(&mut SeenNode) -> Verdict) -> Verdict {
        self.nodes.get_mut(&node).map_or(Err("membership: no such node".to_owned()), change)
    }

    fn vote(&mut self, node: NodeId) -> Verdict {
        self.change(node, |it| {
            (it.learner, it.voter) = (true, true);
            Ok(())
        })
    }

    fn use_token(&mut self, token: TokenHash, role: JoinRole, now: Timestamp) -> Verdict {
        let Some(token) = self.tokens.get_mut(&token) else {
            return Err("I25: a token lets somebody in that nobody made".to_owned());
        };
        token.joins += 1;
        must(token.joins <= token.uses, "I25: a token is used more often than allowed")?;
        must(!token.revoked, "I25: a revoked token lets somebody in")?;
        must(now < token.expires, "I25: an expired token lets somebody in")?;
        must(token.role == role, "role: a token makes something else of somebody")
    }

    fn enter_node(
        &mut self,
        node: NodeId,
        key: KeyId,
        levels: Levels,
        certificate: Certificate,
        now: Timestamp,
    ) -> Verdict {
        must(node.0 > self.latest_node, "identity: a node's number is used again")?;
        self.latest_node = node.0;
        self.enter(Holder::Node(node), key, certificate, now)?;
        must(levels.support(self.level), "level: a node joins that does not understand it")?;
        let fresh = SeenNode {
            key,
            learner: false,
            voter: false,
            leaving: false,
            emptied: false,
            levels,
            start: None,
        };
        self.nodes.insert(node, fresh);
        Ok(())
    }

    fn enter(
        &mut self,
        holder: Holder,
        key: KeyId,
        certificate: Certificate,
        now: Timestamp,
    ) -> Verdict {
        must(!self.gone.contains(&key), "identity: a removed key comes back")?;
        let before = self.keys.insert(key, holder);
        must(before.is_none(), "M2: one key gets two identities")?;
        self.certificate(certificate, now)
    }

    fn certificate(&mut self, certificate: Certificate, now: Timestamp) -> Verdict {
        must(certificate.serial > self.latest_serial, "identity: a serial number is used again")?;
        self.latest_serial = certificate.serial;
        let life = certificate.not_after.since(certificate.not_before);
        must(life <= Span::hours(24), "identity: a certificate is valid for too long")?;
        let valid = certificate.not_before <= now && now < certificate.not_after;
        must(valid, "identity: a certificate is not valid when it is issued")
    }

    fn key_of(&self, holder: Holder) -> Option<KeyId> {
        match holder {
            Holder::Node(node) => self.nodes.get(&node).map(|it| it.key),
            Holder::Agent(agent) => self.agents.get(&agent).copied(),
        }
    }

    fn started(&mut self, wish: &Wish, node: NodeId, start: Start, levels: Levels) -> Verdict {
        let Wish::Start(shown) = wish else { return Err("start: nobody started".to_owned()) };
        let known: &[BootId] = &shown.known;
        let level = self.level;
        self.change(node, |it| {
            // One that was told before a level was raised is told again.
            if let Some(latest) = it.start.filter(|latest| *latest != start) {
                must(
                    known.contains(&latest.boot),
                    "M3: a disk that does not know the latest start",
                )?;
                must(start.count > latest.count, "D10: a start that was counted before")?;
            }
            it.start = Some(start);
            it.levels = levels;
            must(levels.support(level), "level: a node starts that does not understand it")
        })
    }

    fn somebody_votes(&self) -> Verdict {
        let votes = self.nodes.values().any(|node| node.voter && !node.leaving);
        must(self.nodes.is_empty() || votes, "membership: nobody is left to vote")
    }
}

/// Who makes a wish that only administrators may make.
fn wisher(wish: &Wish) -> Option<&By> {
    match wish {
        Wish::CreateToken { by, .. }
        | Wish::RevokeToken { by, .. }
        | Wish::CreateUserToken { by, .. }
        | Wish::Drain { by, .. }
        | Wish::Resume { by, .. }
        | Wish::Remove { by, .. }
        | Wish::RemoveAgent { by, .. }
        | Wish::RaiseLevel { by, .. } => Some(by),
        Wish::Found { .. }
        | Wish::Join { .. }
        | Wish::JoinAgent { .. }
        | Wish::Renew { .. }
        | Wish::Start(_)
        | Wish::BecameLearner { .. }
        | Wish::BecameVoter { .. }
        | Wish::Emptied { .. }
        | Wish::Parted { .. }
        | Wish::Restore { .. } => None,
    }
}
