//! Wishes: what each leads to, or why not. Who is let in is decided in `admit`.

use super::command::{Measured, Newcomer, Refusal, Wish, ago};
use super::event::{Entry, Event};
use super::state::{By, Certificate, Holder, Member, Standing, UserRole, Wanted};
use super::{CERTIFICATE, Cluster, MAX_TOKEN, MAX_USER_TOKEN, MAX_USES, REMEMBERED, SKEW};
use crate::ids::{AgentId, ClusterId, KeyId, NodeId, TokenHash};
use crate::time::{Span, Timestamp};

/// The longest name or address, in bytes.
const MAX_NAME: usize = 255;
/// The most addresses of a node.
const MAX_ADDRESSES: usize = 16;

/// What several wishes led to, decided together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided {
    /// One answer for each wish, in order.
    pub answers: Vec<Result<(), Refusal>>,
    /// What is to be journaled; `None` where nothing happened.
    pub entry: Option<Entry>,
}

/// A cluster while wishes are decided: facts are taken in as they are found.
pub(super) struct Draft {
    pub(super) cluster: Cluster,
    pub(super) now: Timestamp,
    pub(super) events: Vec<Event>,
}

impl Cluster {
    /// Turns a wish into facts, or refuses it. Changes nothing. A wish that was granted before
    /// leads to nothing.
    ///
    /// # Errors
    /// The refusal, for whoever wished.
    pub fn decide(&self, wish: &Wish, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        let mut draft = Draft::of(self, now);
        draft.wish(wish)?;
        Ok(draft.events)
    }

    /// Decides wishes one after another, each on top of the ones before. Changes nothing.
    #[must_use]
    pub fn decide_all(&self, wishes: &[Wish], now: Timestamp) -> Decided {
        let mut draft = Draft::of(self, now);
        let answers = wishes.iter().map(|wish| draft.wish(wish)).collect();
        let Draft { now: at, events, .. } = draft;
        let entry = (!events.is_empty()).then_some(Entry { at, events });
        Decided { answers, entry }
    }
}

/// Everything below refuses before it changes the draft, so that a refusal leaves no trace.
impl Draft {
    fn of(cluster: &Cluster, now: Timestamp) -> Self {
        let now = now.max(cluster.last_at);
        Self { cluster: cluster.clone(), now, events: Vec::new() }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.cluster.evolve(&event);
        self.events.push(event);
    }

    fn wish(&mut self, wish: &Wish) -> Result<(), Refusal> {
        if let Wish::Found { cluster, shards, authority, node } = wish {
            return self.found(*cluster, *shards, *authority, node);
        }
        if self.cluster.founded.is_none() {
            return Err(Refusal::NotFounded);
        }
        match wish {
            Wish::Found { .. } => Err(Refusal::AlreadyFounded),
            Wish::CreateToken { .. } => self.create_token(wish),
            Wish::CreateUserToken { .. } => self.create_user_token(wish),
            Wish::RevokeToken { token, by } => self.revoke(*token, by),
            Wish::Join { token, role, newcomer } => self.join(*token, *role, newcomer),
            Wish::JoinAgent { node, name, key } => self.join_agent(*node, name, *key),
            Wish::Renew { holder, key } => self.renew(*holder, *key),
            Wish::Start(started) => self.start(started),
            Wish::BecameLearner { node } => self.became(*node, Standing::Learner),
            Wish::BecameVoter { node } => self.became(*node, Standing::Voter),
            Wish::Emptied { node } => self.emptied(*node),
            Wish::Parted { node } => self.parted(*node),
            Wish::Drain { node, by } => self.drain(*node, by),
            Wish::Resume { node, by } => self.resume(*node, by),
            Wish::Remove { node, by } => self.remove(*node, by),
            Wish::RemoveAgent { agent, by } => self.remove_agent(*agent, by),
            Wish::RaiseLevel { to, by } => self.raise_level(*to, by),
            Wish::Restore { node, authority } => self.restore(node, *authority),
        }
    }

    fn found(
        &mut self,
        cluster: ClusterId,
        shards: u16,
        authority: KeyId,
        founder: &Newcomer,
    ) -> Result<(), Refusal> {
        if let Some(founded) = &self.cluster.founded {
            let same = founded.cluster == cluster && founded.authority == authority;
            return if same { Ok(()) } else { Err(Refusal::AlreadyFounded) };
        }
        if shards == 0 {
            return Err(Refusal::NoShards);
        }
        measured(founder)?;
        self.push(Event::Founded {
            cluster,
            shards,
            authority,
            level: founder.levels.newest,
            node: NodeId::FIRST,
            founder: founder.clone(),
            certificate: self.next_certificate(),
            at: self.now,
        });
        Ok(())
    }

    fn create_token(&mut self, wish: &Wish) -> Result<(), Refusal> {
        let Wish::CreateToken { token, role, lifetime, uses, by } = wish else { return Ok(()) };
        let by = &self.administrator(by)?;
        valid_for(*lifetime, MAX_TOKEN)?;
        if !(1..=MAX_USES).contains(uses) {
            return Err(Refusal::TokenUses { wanted: *uses, most: MAX_USES });
        }
        if self.cluster.users.contains_key(token) {
            return Err(Refusal::TokenTaken);
        }
        if let Some(known) = self.cluster.tokens.get(token) {
            let same = (known.role, known.allowed, &known.by) == (*role, *uses, &by.name);
            return if same { Ok(()) } else { Err(Refusal::TokenTaken) };
        }
        self.forget_old_tokens();
        self.push(Event::TokenCreated {
            token: *token,
            role: *role,
            expires: self.now.after(*lifetime),
            uses: *uses,
            by: by.name.clone(),
            at: self.now,
        });
        Ok(())
    }

    fn create_user_token(&mut self, wish: &Wish) -> Result<(), Refusal> {
        let Wish::CreateUserToken { token, name, role, lifetime, by } = wish else {
            return Ok(());
        };
        let by = &self.administrator(by)?;
        valid_for(*lifetime, MAX_USER_TOKEN)?;
        length(Measured::Name, name.len(), MAX_NAME)?;
        if self.cluster.tokens.contains_key(token) {
            return Err(Refusal::TokenTaken);
        }
        if let Some(known) = self.cluster.users.get(token) {
            let same = (&known.name, known.role, &known.by) == (name, *role, &by.name);
            return if same { Ok(()) } else { Err(Refusal::TokenTaken) };
        }
        self.forget_old_tokens();
        self.push(Event::UserTokenCreated {
            token: *token,
            name: name.clone(),
            role: *role,
            expires: self.now.after(*lifetime),
            by: by.name.clone(),
            at: self.now,
        });
        Ok(())
    }

    fn revoke(&mut self, token: TokenHash, by: &By) -> Result<(), Refusal> {
        let by = &self.administrator(by)?;
        let revoked = match (self.cluster.tokens.get(&token), self.cluster.users.get(&token)) {
            (Some(token), _) => token.revoked.is_some(),
            (None, Some(token)) => token.revoked.is_some(),
            (None, None) => return Err(Refusal::NoSuchToken),
        };
        if !revoked {
            self.push(Event::TokenRevoked { token, by: by.name.clone(), at: self.now });
        }
        Ok(())
    }

    /// Tokens that have been over for a while, so that their number stays small.
    fn forget_old_tokens(&mut self) {
        let over = |expires: Timestamp| expires.after(REMEMBERED) <= self.now;
        let tokens = self.cluster.tokens.iter().filter(|(_, token)| over(token.expires));
        let users = self.cluster.users.iter().filter(|(_, token)| over(token.expires));
        let old: Vec<TokenHash> =
            tokens.map(|(hash, _)| *hash).chain(users.map(|(hash, _)| *hash)).collect();
        if !old.is_empty() {
            self.push(Event::TokensForgotten { tokens: old });
        }
    }

    /// A step on the way to a vote. One that was taken before may be reported again.
    fn became(&mut self, node: NodeId, standing: Standing) -> Result<(), Refusal> {
        let found = self.member(node)?.standing;
        match (found, standing) {
            (Standing::Joined, Standing::Learner) => {
                self.push(Event::NodeBecameLearner { node, at: self.now });
            }
            (Standing::Learner, Standing::Voter) => {
                self.push(Event::NodeBecameVoter { node, at: self.now });
            }
            (Standing::Joined, Standing::Joined | Standing::Voter) => {
                return Err(Refusal::OutOfOrder { node });
            }
            (Standing::Learner, Standing::Joined | Standing::Learner) | (Standing::Voter, _) => {}
        }
        Ok(())
    }

    fn emptied(&mut self, node: NodeId) -> Result<(), Refusal> {
        match self.member(node)?.wanted {
            Wanted::Leave { emptied: false } => {
                self.push(Event::NodeEmptied { node, at: self.now });
                Ok(())
            }
            Wanted::Leave { emptied: true } => Ok(()),
            Wanted::Serve | Wanted::Drain => Err(Refusal::OutOfOrder { node }),
        }
    }

    /// Its key is denied only now: until here its vote may have been needed to let it go.
    fn parted(&mut self, node: NodeId) -> Result<(), Refusal> {
        let known = (1..=self.cluster.latest_node).contains(&node.0);
        if known && self.cluster.node(node).is_none() {
            return Ok(());
        }
        let member = self.member(node)?;
        match (member.standing, member.wanted) {
            (Standing::Joined | Standing::Learner, Wanted::Leave { .. })
            | (Standing::Voter, Wanted::Leave { emptied: true }) => {}
            (_, Wanted::Serve | Wanted::Drain)
            | (Standing::Voter, Wanted::Leave { emptied: false }) => {
                return Err(Refusal::OutOfOrder { node });
            }
        }
        self.push(Event::NodeRemoved { node, at: self.now });
        Ok(())
    }

    fn drain(&mut self, node: NodeId, by: &By) -> Result<(), Refusal> {
        let by = &self.administrator(by)?;
        match self.member(node)?.wanted {
            Wanted::Leave { .. } => Err(Refusal::Leaving { node }),
            Wanted::Drain => Ok(()),
            Wanted::Serve => {
                self.others_can_lead(node)?;
                self.push(Event::NodeDraining { node, by: by.name.clone(), at: self.now });
                Ok(())
            }
        }
    }

    fn resume(&mut self, node: NodeId, by: &By) -> Result<(), Refusal> {
        let by = &self.administrator(by)?;
        match self.member(node)?.wanted {
            Wanted::Leave { .. } => Err(Refusal::Leaving { node }),
            Wanted::Serve => Ok(()),
            Wanted::Drain => {
                self.push(Event::NodeResumed { node, by: by.name.clone(), at: self.now });
                Ok(())
            }
        }
    }

    fn remove(&mut self, node: NodeId, by: &By) -> Result<(), Refusal> {
        let by = &self.administrator(by)?;
        match self.member(node)?.wanted {
            Wanted::Leave { .. } => Ok(()),
            Wanted::Serve | Wanted::Drain => {
                self.others_can_lead(node)?;
                self.push(Event::NodeLeaving { node, by: by.name.clone(), at: self.now });
                Ok(())
            }
        }
    }

    fn remove_agent(&mut self, agent: AgentId, by: &By) -> Result<(), Refusal> {
        let by = &self.administrator(by)?;
        if self.cluster.agents.contains_key(&agent) {
            self.push(Event::AgentRemoved { agent, by: by.name.clone(), at: self.now });
            return Ok(());
        }
        let holder = Holder::Agent(agent);
        if self.cluster.denied.values().any(|denied| denied.holder == holder) {
            return Ok(());
        }
        Err(Refusal::Unknown { holder })
    }

    fn raise_level(&mut self, to: u32, by: &By) -> Result<(), Refusal> {
        let by = &self.administrator(by)?;
        let level = self.cluster.level;
        if to < level {
            return Err(Refusal::LowerLevel { level, to });
        }
        // Who does not vote yet will: a node that could not work at the new level must not stay.
        let unfit = self.cluster.nodes.iter().find(|(_, member)| !member.levels.support(to));
        if let Some((node, member)) = unfit {
            let Member { levels, .. } = member;
            let (oldest, newest) = (levels.oldest, levels.newest);
            return Err(Refusal::UnsupportedLevel { to, node: *node, oldest, newest });
        }
        if to > level {
            self.push(Event::LevelRaised { to, by: by.name.clone(), at: self.now });
        }
        Ok(())
    }

    fn restore(&mut self, founder: &Newcomer, authority: KeyId) -> Result<(), Refusal> {
        measured(founder)?;
        let same = self.cluster.founded.as_ref().is_some_and(|it| it.authority == authority);
        if same && self.cluster.nodes.values().all(|member| member.key == founder.key) {
            return Ok(());
        }
        self.supported(founder.levels)?;
        if let Some(denied) = self.cluster.denied.get(&founder.key) {
            return Err(Refusal::Removed { holder: denied.holder });
        }
        if let Some(holder) = self.cluster.holder(founder.key) {
            return Err(Refusal::KeyTaken { holder });
        }
        self.push(Event::Restored {
            incarnation: self.cluster.incarnation.saturating_add(1),
            authority,
            node: self.next_node(),
            founder: founder.clone(),
            certificate: self.next_certificate(),
            at: self.now,
        });
        Ok(())
    }

    /// Whoever wishes, where they may administer the cluster. A token is looked up here: where its
    /// bearer came in, less may be known of it by now.
    fn administrator(&self, by: &By) -> Result<By, Refusal> {
        let Some(token) = by.token else { return allowed(by.clone()) };
        let user = self.cluster.users.get(&token).ok_or(Refusal::NoSuchToken)?;
        if user.revoked.is_some() {
            return Err(Refusal::TokenRevoked);
        }
        if user.expires <= self.now {
            return Err(Refusal::TokenExpired { ago: ago(self.now, user.expires) });
        }
        allowed(By { name: user.name.clone(), role: user.role, token: by.token })
    }

    pub(super) fn member(&self, node: NodeId) -> Result<&Member, Refusal> {
        self.cluster.node(node).ok_or(Refusal::Unknown { holder: Holder::Node(node) })
    }

    pub(super) fn next_node(&self) -> NodeId {
        NodeId(self.cluster.latest_node.saturating_add(1))
    }

    /// A certificate from now on. It is valid a little before, for clocks that are behind.
    pub(super) fn next_certificate(&self) -> Certificate {
        // Certificates count in whole seconds.
        let not_before = Timestamp(self.now.0.saturating_sub(SKEW.0) / 1000 * 1000);
        Certificate {
            serial: self.cluster.latest_serial.saturating_add(1),
            not_before,
            not_after: not_before.after(CERTIFICATE),
        }
    }

    /// Refuses to take away a voter where no other one is left to lead.
    fn others_can_lead(&self, node: NodeId) -> Result<(), Refusal> {
        let leads =
            |member: &Member| member.standing == Standing::Voter && member.wanted == Wanted::Serve;
        let taken = self.member(node)?.standing == Standing::Voter;
        let left = self.cluster.nodes().any(|(other, member)| other != node && leads(member));
        if taken && !left { Err(Refusal::LastVoter { node }) } else { Ok(()) }
    }
}

fn allowed(by: By) -> Result<By, Refusal> {
    match by.role {
        UserRole::Admin => Ok(by),
        UserRole::User => Err(Refusal::NotAdmin { name: by.name }),
    }
}

fn valid_for(wanted: Span, most: Span) -> Result<(), Refusal> {
    let fits = (Span::seconds(1)..=most).contains(&wanted);
    if fits { Ok(()) } else { Err(Refusal::TokenLifetime { wanted, most }) }
}

/// Refuses a newcomer whose description could fill the journal.
pub(super) fn measured(newcomer: &Newcomer) -> Result<(), Refusal> {
    length(Measured::Name, newcomer.name.len(), MAX_NAME)?;
    addresses_fit(&newcomer.addresses)
}

pub(super) fn addresses_fit(addresses: &[String]) -> Result<(), Refusal> {
    if addresses.len() > MAX_ADDRESSES {
        return length(Measured::Addresses, addresses.len(), MAX_ADDRESSES);
    }
    addresses.iter().try_for_each(|it| length(Measured::Address, it.len(), MAX_NAME))
}

pub(super) fn name_fits(name: &str) -> Result<(), Refusal> {
    length(Measured::Name, name.len(), MAX_NAME)
}

fn length(what: Measured, length: usize, most: usize) -> Result<(), Refusal> {
    let (bytes, most_bytes) = (length as u64, most as u64);
    if (1..=most).contains(&length) {
        return Ok(());
    }
    Err(Refusal::Length { what, length: bytes, most: most_bytes })
}
