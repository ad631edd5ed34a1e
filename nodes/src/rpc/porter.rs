//! Who may call what: one table, asked before every call, and closed for what it does not name.
//!
//! A principal comes from the network: a certificate, or the owner of a socket. The porter adds
//! what the cluster knows of it: whether it was removed since, and whom a token signs in.

use super::api::ApiError;
use super::fresh::{Fresh, TRUSTED};
use super::vouched::{Vouched, VouchedWho};
use crate::network::{Principal, Who};
use crate::wire::hello::{Bearer, Refused, RefusedKind, Role};
use crate::wire::release::Release;
use otto_actors::ports::clock::SharedClock;
use otto_core::cluster::register::Register;
use otto_core::cluster::state::UserRole;
use otto_core::ids::{AgentId, NodeId, TokenHash};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tarpc::server::request_hook::BeforeRequest;
use tarpc::{RequestName, ServerError, context::Context};
use tokio::sync::watch;

/// What a principal counts as in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rank {
    /// The socket's owner.
    Owner,
    /// A control node.
    Node,
    /// An agent.
    Agent,
    /// A person who administers the cluster.
    Admin,
    /// Any other person who signed in.
    User,
    /// A node or an agent whose certificate has run out.
    Lapsed,
    /// Anybody.
    Stranger,
}

impl Rank {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Owner,
        Self::Node,
        Self::Agent,
        Self::Admin,
        Self::User,
        Self::Lapsed,
        Self::Stranger,
    ];

    /// What a principal counts as.
    #[must_use]
    pub fn of(principal: &Principal) -> Self {
        match principal.who {
            Who::Owner => Self::Owner,
            Who::Node(_) => Self::Node,
            Who::Agent(_) => Self::Agent,
            // Whoever owns a node of the cluster may do what its administrators may.
            Who::User(UserRole::Admin, _) | Who::Neighbour(_) => Self::Admin,
            Who::User(UserRole::User, _) => Self::User,
            Who::Lapsed(_) => Self::Lapsed,
            Who::Stranger => Self::Stranger,
        }
    }
}

const PEOPLE: &[Rank] = &[Rank::Owner, Rank::Admin, Rank::User];
const ADMINISTRATORS: &[Rank] = &[Rank::Owner, Rank::Admin];
const AGENTS: &[Rank] = &[Rank::Owner, Rank::Agent];

/// Who may call each method. What is not here, nobody may.
pub const ALLOWED: &[(&str, &[Rank])] = &[
    ("ClientCalls.submit", PEOPLE),
    ("ClientCalls.retry", PEOPLE),
    ("ClientCalls.run", PEOPLE),
    ("ClientCalls.runs", PEOPLE),
    ("ClientCalls.stages", PEOPLE),
    ("ClientCalls.follow", PEOPLE),
    ("ClientCalls.plan", PEOPLE),
    ("ClientCalls.log", PEOPLE),
    ("ClientCalls.ask", PEOPLE),
    ("ClientCalls.why", PEOPLE),
    ("ClientCalls.agents", PEOPLE),
    ("ClientCalls.has", PEOPLE),
    ("ClientCalls.put", PEOPLE),
    ("ClientCalls.get", PEOPLE),
    ("ClientCalls.status", PEOPLE),
    ("ClientCalls.stop", ADMINISTRATORS),
    ("ClientCalls.cluster", PEOPLE),
    ("ClientCalls.change_member", ADMINISTRATORS),
    ("ClientCalls.tokens", ADMINISTRATORS),
    ("ClientCalls.create_token", ADMINISTRATORS),
    ("ClientCalls.revoke_token", ADMINISTRATORS),
    ("ClientCalls.addresses", PEOPLE),
    ("ClientCalls.raise_level", ADMINISTRATORS),
    ("ClientCalls.back_up", ADMINISTRATORS),
    ("AgentCalls.bid", AGENTS),
    ("AgentCalls.renew", AGENTS),
    ("AgentCalls.report", AGENTS),
    ("AgentCalls.log", AGENTS),
    ("AgentCalls.seal", AGENTS),
    ("AgentCalls.blob", AGENTS),
    ("AgentCalls.keep", AGENTS),
    ("PeerCalls.peer", &[Rank::Node]),
    ("PeerCalls.client", &[Rank::Node]),
    ("PeerCalls.cluster", &[Rank::Node]),
    ("PeerCalls.clock", &[Rank::Node]),
    ("PeerCalls.reach", &[Rank::Node]),
    ("PeerCalls.kept", &[Rank::Node]),
    ("PeerCalls.keep_log", &[Rank::Node]),
    ("JoinCalls.join", &[Rank::Stranger]),
    ("JoinCalls.enrol", &[Rank::Node]),
    ("JoinCalls.renew", &[Rank::Node, Rank::Agent, Rank::Lapsed]),
];

/// What is answered from what this node knows by itself, where the cluster cannot be asked whether
/// a token still counts: whoever has to mend it must see something.
const RECALLED: &[&str] = &["ClientCalls.cluster", "ClientCalls.addresses", "ClientCalls.status"];

/// Who may open a connection for a role at all, before any call: a better answer than to refuse
/// each call.
fn may_open(rank: Rank, role: Role) -> bool {
    match role {
        Role::Client => matches!(rank, Rank::Owner | Rank::Admin | Rank::User),
        Role::Agent => matches!(rank, Rank::Owner | Rank::Agent),
        Role::Control => rank == Rank::Node,
        Role::Newcomer => {
            matches!(rank, Rank::Stranger | Rank::Lapsed | Rank::Node | Rank::Agent)
        }
    }
}

/// Whether a rank may call a method, by its name on the wire.
#[must_use]
pub fn may_call(rank: Rank, method: &str) -> bool {
    let allowed = ALLOWED.iter().any(|(name, ranks)| *name == method && ranks.contains(&rank));
    allowed && Release::ours().has(method)
}

/// The methods that a connection for a role is answered, as its hello lists them.
#[must_use]
pub fn methods(role: Role) -> BTreeSet<String> {
    let service = match role {
        Role::Client => "ClientCalls.",
        Role::Agent => "AgentCalls.",
        Role::Control => "PeerCalls.",
        Role::Newcomer => "JoinCalls.",
    };
    let names = ALLOWED.iter().map(|(name, _)| *name);
    let ours = names.filter(|name| name.starts_with(service) && Release::ours().has(name));
    ours.map(str::to_owned).collect()
}

/// Checks callers against what the cluster knows now.
#[derive(Clone, Debug)]
pub struct Porter {
    register: watch::Receiver<Arc<Register>>,
    clock: SharedClock,
    /// What the cluster itself says of people; `None` where there is nobody to ask.
    fresh: Option<Fresh>,
}

impl Porter {
    /// A porter that follows the cluster's register.
    #[must_use]
    pub fn new(register: watch::Receiver<Arc<Register>>, clock: SharedClock) -> Self {
        Self { register, clock, fresh: None }
    }

    /// The same, which asks the cluster whether people's tokens count.
    #[must_use]
    pub fn asking(self, fresh: Fresh) -> Self {
        Self { fresh: Some(fresh), ..self }
    }

    /// The clock that it tells the time by.
    #[must_use]
    pub fn clock(&self) -> SharedClock {
        self.clock.clone()
    }

    /// What an agent is called in the cluster, as far as this node knows.
    pub(super) fn agent_name(&self, agent: AgentId) -> Option<String> {
        self.latest().agent_name(agent).map(ToOwned::to_owned)
    }

    /// The porter of a node that belongs to no cluster: nobody is denied, nobody signs in.
    #[must_use]
    pub fn alone(clock: SharedClock) -> Self {
        Self::new(watch::channel(Arc::default()).1, clock)
    }

    /// Lets a principal in, as whom its credentials make it.
    ///
    /// # Errors
    /// That it was removed, that nobody signs in so, that nobody can say now, or that it may not
    /// call this service.
    pub async fn welcome(
        &self,
        principal: Principal,
        role: Role,
        credentials: Option<&Bearer>,
    ) -> Result<Principal, Refused> {
        let principal = match (principal.who, credentials) {
            (Who::Stranger, Some(credentials)) => self.sign_in(credentials).await?,
            (_, _) => principal,
        };
        self.stands(&principal)?;
        if may_open(Rank::of(&principal), role) {
            return Ok(principal);
        }
        Err(not_welcome(&principal, role))
    }

    /// Whether a principal still stands: it may have been removed since it came.
    ///
    /// # Errors
    /// That it does not.
    pub fn stands(&self, principal: &Principal) -> Result<(), Refused> {
        let register = self.latest();
        if let Some(holder) = principal.key.and_then(|key| register.denied(key)) {
            return Err(forbidden(
                format!("{holder} was removed from this cluster"),
                "empty its data folder, and let it join as a new one with a new token",
            ));
        }
        match principal.who {
            Who::User(_, token) if register.user(token, self.clock.now()).is_none() => {
                Err(signed_out())
            }
            Who::Owner
            | Who::Neighbour(_)
            | Who::Node(_)
            | Who::Agent(_)
            | Who::User(..)
            | Who::Lapsed(_)
            | Who::Stranger => Ok(()),
        }
    }

    /// Whom credentials sign in. They travel inside TLS, to a node that proved who it is.
    async fn sign_in(&self, credentials: &Bearer) -> Result<Principal, Refused> {
        let token = crate::identity::token::user_token(&credentials.0).ok_or_else(signed_out)?;
        // Where the cluster cannot be asked, each call is let through or not.
        let unasked = self.asked(TRUSTED).await.err();
        if let Some(known) = self.user(token) {
            return Ok(known);
        }
        let unasked = match unasked {
            Some(lack) => Some(lack),
            // It may have been made since.
            None => self.asked(Duration::ZERO).await.err(),
        };
        self.user(token).ok_or_else(|| unasked.map_or_else(signed_out, |lack| nobody_knows(&lack)))
    }

    /// Whom a token signs in, as far as this node knows.
    fn user(&self, token: TokenHash) -> Option<Principal> {
        let register = self.latest();
        let (name, role) = register.user(token, self.clock.now())?;
        Some(Principal { name: name.to_owned(), who: Who::User(role, token), key: None })
    }

    /// Brings what this node knows of people to what the cluster knew so long ago.
    async fn asked(&self, age: Duration) -> Result<(), String> {
        match &self.fresh {
            Some(fresh) => fresh.within(age).await.map(drop),
            None => Ok(()),
        }
    }

    /// The latest register that this node has.
    fn latest(&self) -> Arc<Register> {
        let ours = Arc::clone(&self.register.borrow());
        let asked = self.fresh.as_ref().map(Fresh::known);
        asked.filter(|asked| asked.version > ours.version).unwrap_or(ours)
    }

    /// Whom a control node vouches for. What they may do is read from the register of this node.
    ///
    /// # Errors
    /// That nobody signs in with that token, or that nobody can say now: whoever vouches finds out
    /// soon if that is so for good.
    pub async fn vouched(&self, node: NodeId, caller: &Vouched) -> Result<Principal, ApiError> {
        let token = match caller.who {
            VouchedWho::Owner => {
                let name = caller.name.clone();
                return Ok(Principal { name, who: Who::Neighbour(node), key: None });
            }
            VouchedWho::Person(token) => token,
        };
        if let Some(known) = self.user(token) {
            return Ok(known);
        }
        self.asked(Duration::ZERO).await.map_err(ApiError::NotReady)?;
        let unknown = || ApiError::NotReady("this token signs nobody in any more".to_owned());
        self.user(token).ok_or_else(unknown)
    }

    /// What checks each call of a principal's connection.
    #[must_use]
    pub fn gate(&self, principal: &Principal) -> Gate {
        Gate { porter: self.clone(), principal: principal.clone() }
    }
}

/// Checks the calls of one connection.
#[derive(Clone, Debug)]
pub struct Gate {
    porter: Porter,
    principal: Principal,
}

impl Gate {
    /// Whether the caller may call a method, by its name on the wire.
    ///
    /// # Errors
    /// That they may not, that they do not stand any more and must come in anew, or that nobody can
    /// say now.
    pub async fn check(&self, method: &str) -> Result<(), ServerError> {
        let denied = |text: String| ServerError::new(ErrorKind::PermissionDenied, text);
        if matches!(self.principal.who, Who::User(..)) {
            let later = |lack| ServerError::new(ErrorKind::WouldBlock, lack);
            let asked = self.porter.asked(TRUSTED).await;
            asked
                .or_else(|lack| if RECALLED.contains(&method) { Ok(()) } else { Err(lack) })
                .map_err(later)?;
        }
        let gone = |it: Refused| ServerError::new(ErrorKind::ConnectionAborted, it.what);
        self.porter.stands(&self.principal).map_err(gone)?;
        if may_call(Rank::of(&self.principal), method) {
            return Ok(());
        }
        let name = &self.principal.name;
        tracing::warn!(caller = %name, %method, "a call was refused: this caller may not");
        Err(denied(if may_call(Rank::Admin, method) && !may_call(Rank::User, method) {
            format!(
                "do this as {name}: only an administrator of the cluster may; sign in with a token \
                 of `otto-node token create --user {name} --admin`"
            )
        } else {
            format!("do this as {name}: it is not for them")
        }))
    }
}

impl<Req: RequestName> BeforeRequest<Req> for Gate {
    async fn before(&mut self, _: &mut Context, request: &Req) -> Result<(), ServerError> {
        self.check(request.name()).await
    }
}

fn not_welcome(principal: &Principal, role: Role) -> Refused {
    let name = &principal.name;
    match (Rank::of(principal), role) {
        (Rank::Lapsed, Role::Client | Role::Agent | Role::Control) => forbidden(
            format!("the certificate of {name} has run out"),
            "look at its clock; it renews its certificate by itself while it can reach a node",
        ),
        (Rank::Stranger, Role::Client | Role::Agent | Role::Control) => forbidden(
            "nobody is signed in on this connection",
            "sign in with `otto login`; nodes join with `otto-node join`",
        ),
        (_, role) => forbidden(
            format!("{name} may not connect as {}", word(role)),
            "use the identity that was made for this",
        ),
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Client => "a client",
        Role::Agent => "an agent",
        Role::Control => "a control node",
        Role::Newcomer => "a newcomer",
    }
}

fn signed_out() -> Refused {
    forbidden(
        "this token signs nobody in: it is unknown, revoked or expired",
        "sign in with a new one: `otto login`",
    )
}

/// Nobody can say now whether a token counts.
fn nobody_knows(lack: &str) -> Refused {
    let what = format!("nobody can be signed in now: {lack}");
    let help = "start the missing nodes again".to_owned();
    Refused { kind: RefusedKind::Busy, what, help }
}

fn forbidden(what: impl Into<String>, help: impl Into<String>) -> Refused {
    Refused { kind: RefusedKind::Forbidden, what: what.into(), help: help.into() }
}
