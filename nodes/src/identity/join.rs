//! The newcomer's end: joins a cluster, and asks for later certificates.

use super::authority::{self, Authority};
use super::door::{JoinDoor, Reception};
use super::files::{Folder, New, Stored};
use super::renewal::Renewal;
use super::subject;
use super::tls::{Credentials, Expected, TlsConnector};
use super::token::{Pin, Purpose, Token};
use super::{IdentityError, malformed, verify};
use crate::network::{Principal, SharedConnector};
use crate::rpc::join::{ClusterFacts, Enrol, Hidden, Join, JoinError, Joined, Renew};
use crate::rpc::link::Link;
use crate::rpc::service::{JoinCalls, JoinCallsClient};
use crate::wire::hello::{Build, Hello, HelloError, Refused, Role};
use crate::wire::{self, deadline};
use async_trait::async_trait;
use otto_actors::ports::clock::SharedClock;
use otto_core::cluster::state::{JoinRole, Levels};
use rustls::pki_types::CertificateDer;
use serde_bytes::ByteBuf;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tarpc::client::RpcError;
use tarpc::context::Context;
use zeroize::Zeroizing;

/// The pause before a question is repeated that may be answered a moment later.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is asked.
const ATTEMPTS: u32 = 20;
/// How often where there was no connection: who mistyped an address should know soon.
const CONNECTS: u32 = 4;

/// What a newcomer says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Introduction {
    /// The machine's name.
    pub name: String,
    /// Where it can be reached, best first; empty for agents.
    pub addresses: Vec<String>,
    /// What its build understands.
    pub levels: Levels,
    /// What it was built from.
    pub build: Build,
}

/// A newcomer that belongs to the cluster now; its folder holds everything.
#[derive(Debug)]
pub struct Member {
    /// Its identity.
    pub stored: Stored,
    /// What it must know of the cluster.
    pub facts: ClusterFacts,
}

/// Joins the cluster that a node at `address` belongs to. It may be repeated: a join that was cut
/// off goes on with the key that it had made.
///
/// # Errors
/// What went wrong and what to do now, for people.
pub async fn join(
    address: &str,
    token: &Token,
    introduction: &Introduction,
    folder: &Folder,
    clock: SharedClock,
) -> Result<Member, Refused> {
    let Purpose::Join(role) = token.purpose else {
        return Err(Refused::trouble(
            "failed to join: this token is for signing in, not for joining",
            "make one on a node of the cluster: otto-node token create",
        ));
    };
    if let Some(stored) = folder.load()? {
        return Err(Refused::trouble(
            format!("failed to join: this node is {} already", stored.said.subject.holder),
            format!("start it with otto-node serve, or delete {}", folder.path().display()),
        ));
    }
    let began_before = folder.has_key();
    let key = folder.key()?;
    let join = Join {
        secret: Hidden::new(token.secret().to_vec()),
        role,
        request: ByteBuf::from(authority::request(&key)?),
        name: introduction.name.clone(),
        addresses: introduction.addresses.clone(),
        levels: introduction.levels,
    };
    let expected = Expected::Pinned(token.pin);
    let connector = TlsConnector::new(vec![address.to_owned()], expected, None, clock)?;
    let link = JoinLink::new(Arc::new(connector), introduction.build.clone());
    match link.join(join).await {
        Ok(joined) => keep(folder, token.pin, role, joined),
        Err(error) => {
            if !began_before && error.is_certain() {
                folder.forget_key()?;
            }
            Err(unreached(address, error))
        }
    }
}

/// Joins the agent beside a control node, which vouches for it over its own connection.
///
/// # Errors
/// As [`join`].
pub async fn enrol(
    link: &JoinLink,
    node: &Credentials,
    name: &str,
    folder: &Folder,
) -> Result<Member, Refused> {
    let request = ByteBuf::from(authority::request(&folder.key()?)?);
    let joined = link.enrol(Enrol { request, name: name.to_owned() }).await.map_err(refused)?;
    keep(folder, Pin::of(authority::fingerprint(node.authority())), JoinRole::Agent, joined)
}

/// As [`enrol`], at the node's own door.
///
/// # Errors
/// As [`join`].
pub async fn enrol_here(
    reception: &Arc<Reception>,
    node: &Credentials,
    name: &str,
    folder: &Folder,
) -> Result<Member, Refused> {
    let request = ByteBuf::from(authority::request(&folder.key()?)?);
    let enrol = Enrol { request, name: name.to_owned() };
    let joined = own_door(reception, node).enrol(own_call(), enrol).await;
    let joined = joined.map_err(|error| refused(error.into()))?;
    keep(folder, Pin::of(authority::fingerprint(node.authority())), JoinRole::Agent, joined)
}

/// A control node asks at its own door, as itself: no connection can be refused, not even one with
/// a certificate that has run out.
fn own_door(reception: &Arc<Reception>, node: &Credentials) -> JoinDoor {
    let said = node.said();
    let principal = Principal::certified(said.subject.holder, said.key);
    JoinDoor::new(principal, Arc::clone(reception))
}

fn own_call() -> Context {
    deadline::context(deadline::USUAL, tarpc::trace::Context::default())
}

#[async_trait]
impl Renewal for Arc<Reception> {
    async fn renew(&self, credentials: &Credentials, folder: &Folder) -> Result<(), Refused> {
        let renew = Renew { request: ByteBuf::from(credentials.request()?) };
        let joined = own_door(self, credentials).renew(own_call(), renew).await;
        renewed(credentials, folder, joined.map_err(|error| refused(error.into()))?).map(drop)
    }
}

#[async_trait]
impl Renewal for JoinLink {
    async fn renew(&self, credentials: &Credentials, folder: &Folder) -> Result<(), Refused> {
        self.renew(credentials, folder).await.map(drop)
    }
}

/// Shows and keeps a later certificate.
fn renewed(
    credentials: &Credentials,
    folder: &Folder,
    joined: Joined,
) -> Result<ClusterFacts, Refused> {
    let certificate = CertificateDer::from(joined.certificate.into_vec());
    credentials.replace(certificate.clone())?;
    folder.renew(&certificate)?;
    Ok(joined.facts)
}

/// Checks what was answered, and keeps it.
fn keep(folder: &Folder, pin: Pin, role: JoinRole, joined: Joined) -> Result<Member, Refused> {
    let Joined { holder: _, certificate, authority, authority_key, facts } = joined;
    let authority = CertificateDer::from(authority.into_vec());
    if Pin::of(authority::fingerprint(&authority)) != pin {
        return Err(malformed("the answer", "its authority is not the token's").into());
    }
    let with_key = match (role, authority_key) {
        (JoinRole::Control, Some(key)) => {
            let key = Zeroizing::new(key.reveal().to_vec());
            Some(Authority::from_der(authority.clone(), key)?)
        }
        (JoinRole::Control, None) => {
            return Err(malformed("the answer", "it lacks the authority's key").into());
        }
        (JoinRole::Agent, _) => None,
    };
    let certificate = CertificateDer::from(certificate.into_vec());
    let said = checked(folder, &certificate, &authority, &facts)?;
    folder.keep(&New {
        certificate: &certificate,
        authority: &authority,
        with_key: with_key.as_ref(),
    })?;
    let stored = Stored { said, certificate, authority, key: folder.key()? };
    Ok(Member { stored, facts })
}

fn checked(
    folder: &Folder,
    certificate: &CertificateDer<'static>,
    authority: &CertificateDer<'static>,
    facts: &ClusterFacts,
) -> Result<subject::Said, IdentityError> {
    let said = subject::read(certificate)?;
    let cause = if said.key != authority::key_fingerprint(&folder.key()?) {
        "the certificate is for another key"
    } else if said.subject.cluster != facts.cluster {
        "the certificate is for another cluster"
    } else if verify::signed_by(certificate, authority).is_err() {
        "the authority did not sign the certificate"
    } else {
        return Ok(said);
    };
    Err(malformed("the answer", cause))
}

/// Why a question to the door was not answered with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// There was no connection, or it broke.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The cluster answered no.
    #[error(transparent)]
    Door(#[from] JoinError),
    /// No answer came.
    #[error("hear an answer: {0}")]
    Unanswered(String),
}

impl DoorError {
    fn is_passing(&self) -> bool {
        match self {
            Self::Hello(error) => error.is_passing(),
            Self::Door(JoinError::NotReady(_) | JoinError::Unknown(_)) | Self::Unanswered(_) => {
                true
            }
            Self::Door(JoinError::Refused { .. } | JoinError::Invalid(_)) => false,
        }
    }

    /// Whether nobody was let in: another attempt may use another key.
    fn is_certain(&self) -> bool {
        match self {
            Self::Hello(_) | Self::Door(JoinError::Refused { .. } | JoinError::Invalid(_)) => true,
            Self::Door(JoinError::NotReady(_) | JoinError::Unknown(_)) | Self::Unanswered(_) => {
                false
            }
        }
    }

    fn attempts(&self) -> u32 {
        match self {
            Self::Hello(_) => CONNECTS,
            Self::Door(_) | Self::Unanswered(_) => ATTEMPTS,
        }
    }
}

/// Why nobody at an address let this machine in.
fn unreached(address: &str, error: DoorError) -> Refused {
    let same_release = "install the same release of otto on both machines";
    let (cause, help) = match &error {
        DoorError::Hello(HelloError::Broken(error)) => match error.kind() {
            ErrorKind::ConnectionRefused => (
                "nothing listens there".to_owned(),
                "see that the node runs, and that the port is right: `otto nodes` shows it there",
            ),
            ErrorKind::TimedOut => (
                error.to_string(),
                "see that the address is right, and that no firewall is between the machines",
            ),
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => (
                "this machine knows no way there".to_owned(),
                "see that both machines are in the same network",
            ),
            // The operating system has too many kinds for a list to tell anything more.
            _ => (error.to_string(), "see that the address is right, by name and by port"),
        },
        DoorError::Hello(HelloError::Stranger(_)) => (
            "what listens there is no otto".to_owned(),
            "use the address that `otto nodes` shows for nodes",
        ),
        DoorError::Hello(HelloError::PeerIsNewer { theirs, ours }) => {
            (format!("a newer otto runs there ({theirs}), and this one is {ours}"), same_release)
        }
        DoorError::Hello(HelloError::PeerIsOlder { theirs, ours }) => {
            (format!("an older otto runs there ({theirs}), and this one is {ours}"), same_release)
        }
        DoorError::Hello(HelloError::Left | HelloError::Silent | HelloError::Refused(_))
        | DoorError::Door(_)
        | DoorError::Unanswered(_) => return refused(error),
    };
    Refused::trouble(format!("failed to reach {address}: {cause}"), help)
}

fn refused(error: DoorError) -> Refused {
    match error {
        DoorError::Hello(HelloError::Refused(refused)) => refused,
        DoorError::Door(JoinError::Refused { what, help }) => {
            Refused::trouble(format!("failed to {what}"), help)
        }
        DoorError::Door(JoinError::Invalid(_)) => {
            Refused::trouble(format!("failed to {error}"), "use the same release on both sides")
        }
        DoorError::Door(JoinError::NotReady(_) | JoinError::Unknown(_))
        | DoorError::Hello(_)
        | DoorError::Unanswered(_) => Refused::trouble(
            format!("failed to {error}"),
            "see that the node runs and that this machine reaches it, then repeat the command",
        ),
    }
}

/// Asks the door of a cluster.
#[derive(Debug)]
pub struct JoinLink(Link<JoinCallsClient>);

impl JoinLink {
    /// A link that connects at its first call.
    #[must_use]
    pub fn new(connector: SharedConnector, build: Build) -> Self {
        Self(Link::new(connector, Hello::new(Role::Newcomer, build), |frames| {
            let config = tarpc::client::Config::default();
            JoinCallsClient::new(config, wire::caller(frames)).spawn()
        }))
    }

    /// Shows a token. Repeats itself for some seconds: every answer to it is the same.
    ///
    /// # Errors
    /// When the cluster refuses, or no answer comes.
    pub async fn join(&self, join: Join) -> Result<Joined, DoorError> {
        self.patiently(|calls, context| {
            let join = join.clone();
            async move { calls.join(context, join).await }
        })
        .await
    }

    /// Asks for a certificate for a control node's own agent.
    ///
    /// # Errors
    /// As [`JoinLink::join`].
    pub async fn enrol(&self, enrol: Enrol) -> Result<Joined, DoorError> {
        self.patiently(|calls, context| {
            let enrol = enrol.clone();
            async move { calls.enrol(context, enrol).await }
        })
        .await
    }

    /// Asks for a later certificate, and shows and keeps it from then on.
    ///
    /// # Errors
    /// As [`JoinLink::join`]; or what keeps the answer from being used.
    pub async fn renew(
        &self,
        credentials: &Credentials,
        folder: &Folder,
    ) -> Result<ClusterFacts, Refused> {
        let renew = Renew { request: ByteBuf::from(credentials.request()?) };
        let joined = self
            .patiently(|calls, context| {
                let renew = renew.clone();
                async move { calls.renew(context, renew).await }
            })
            .await
            .map_err(refused)?;
        renewed(credentials, folder, joined)
    }

    async fn patiently<Answer>(
        &self,
        mut call: impl FnMut(JoinCallsClient, Context) -> Answer,
    ) -> Result<Joined, DoorError>
    where
        Answer: Future<Output = Result<Result<Joined, JoinError>, RpcError>>,
    {
        let mut attempts = 0;
        let mut uncertain = None;
        loop {
            attempts += 1;
            match self.once(&mut call).await {
                Err(error) if error.is_passing() && attempts < error.attempts() => {
                    uncertain = Some(error).filter(|error| !error.is_certain()).or(uncertain);
                    tokio::time::sleep(PAUSE).await;
                }
                // An earlier attempt may have been granted, whatever this one met.
                Err(DoorError::Hello(error)) => {
                    return Err(uncertain.unwrap_or(DoorError::Hello(error)));
                }
                answer => return answer,
            }
        }
    }

    async fn once<Answer>(
        &self,
        call: &mut impl FnMut(JoinCallsClient, Context) -> Answer,
    ) -> Result<Joined, DoorError>
    where
        Answer: Future<Output = Result<Result<Joined, JoinError>, RpcError>>,
    {
        let open = self.0.open().await?;
        let allowed = deadline::USUAL;
        let context = deadline::context(allowed * 2, tarpc::trace::Context::default());
        let cause = match tokio::time::timeout(allowed, call(open.calls, context)).await {
            Ok(Ok(answer)) => return answer.map_err(DoorError::Door),
            Ok(Err(RpcError::Server(error))) if error.kind == ErrorKind::PermissionDenied => {
                return Err(JoinError::Invalid(error.detail).into());
            }
            Ok(Err(RpcError::Server(error))) => {
                return Err(JoinError::NotReady(error.to_string()).into());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("none came in {} s", allowed.as_secs()),
        };
        self.0.close(open.generation).await;
        Err(DoorError::Unanswered(cause))
    }
}
