//! The door of a cluster: answers the service for joining, on every control node.
//!
//! It proves what was sent, and asks the cluster. What the cluster granted is journaled by then, so
//! all that is left is to sign it, which any node does to the same bytes.

use super::authority::{Authority, PublicKey};
use super::subject::Subject;
use super::token::SECRET;
use crate::network::{Principal, Who};
use crate::rpc::join::{
    ClusterFacts, Enrol, Hidden, Join, JoinError, Joined, MAX_REQUEST, NodeAddresses, Renew,
};
use crate::rpc::service::JoinCalls;
use async_trait::async_trait;
use otto_actors::cluster::{ClusterSide, Denial};
use otto_core::cluster::Cluster;
use otto_core::cluster::command::{Newcomer, Wish};
use otto_core::cluster::state::{Certificate, Holder, Member, Wanted};
use otto_core::ids::{KeyId, NodeId, TokenHash};
use serde_bytes::ByteBuf;
use std::fmt;
use std::sync::Arc;
use tarpc::context::Context;

/// What decides for the cluster, and journals it.
#[async_trait]
pub trait Admission: fmt::Debug + Send + Sync + 'static {
    /// Lets the cluster decide on a wish; answers how it is then, journaled. Every call may be
    /// repeated, and a repeat gets the same answer.
    async fn wish(&self, wish: Wish) -> Result<Arc<Cluster>, Denial>;

    /// How the cluster is now.
    async fn view(&self) -> Result<Arc<Cluster>, Denial>;
}

#[async_trait]
impl Admission for ClusterSide {
    async fn wish(&self, wish: Wish) -> Result<Arc<Cluster>, Denial> {
        ClusterSide::wish(self, wish).await
    }

    async fn view(&self) -> Result<Arc<Cluster>, Denial> {
        ClusterSide::view(self).await
    }
}

impl From<Denial> for JoinError {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Refused(refusal) => refusal.into(),
            Denial::NotHere => Self::NotReady(denial.to_string()),
            Denial::Unanswered(_) => Self::Unknown(denial.to_string()),
        }
    }
}

/// Somebody whom the cluster admitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admitted {
    /// Who they are.
    pub holder: Holder,
    /// What their certificate says.
    pub certificate: Certificate,
    /// The cluster.
    pub facts: ClusterFacts,
}

impl Admitted {
    /// Who has this key in a cluster, after its wish was granted.
    #[must_use]
    pub fn of(cluster: &Cluster, key: KeyId, incarnation: u32) -> Option<Self> {
        let holder = cluster.holder(key)?;
        let (_, certificate) = cluster.credentials(holder)?;
        let founded = cluster.founded()?;
        let stays = |member: &Member| !matches!(member.wanted, Wanted::Leave { .. });
        let addresses = |(node, member): (NodeId, &Member)| NodeAddresses {
            node,
            name: member.name.clone(),
            addresses: member.addresses.clone(),
        };
        let facts = ClusterFacts {
            cluster: founded.cluster,
            shards: founded.shards,
            level: cluster.level(),
            nodes: cluster.nodes().filter(|(_, it)| stays(it)).map(addresses).collect(),
            incarnation,
        };
        Some(Self { holder, certificate, facts })
    }
}

/// What a control node receives newcomers with.
#[derive(Debug)]
pub struct Reception {
    /// What signs.
    pub authority: Authority,
    /// What decides.
    pub admission: Arc<dyn Admission>,
    /// How often the cluster was restored from a backup, and one more.
    pub incarnation: u32,
}

/// One newcomer's connection.
#[derive(Clone, Debug)]
pub struct JoinDoor {
    principal: Principal,
    reception: Arc<Reception>,
}

impl JoinDoor {
    /// Answers somebody who connected.
    #[must_use]
    pub fn new(principal: Principal, reception: Arc<Reception>) -> Self {
        Self { principal, reception }
    }

    async fn admit(&self, wish: Wish, key: PublicKey) -> Result<Joined, JoinError> {
        let Reception { authority, admission, incarnation } = &*self.reception;
        let cluster = admission.wish(wish).await?;
        let gone = || JoinError::NotReady("it was removed meanwhile".to_owned());
        let admitted = Admitted::of(&cluster, key.fingerprint(), *incarnation).ok_or_else(gone)?;
        let Admitted { holder, certificate, facts } = admitted;
        let subject = Subject { cluster: facts.cluster, holder };
        let signed = authority.issue(subject, &key, certificate);
        let signed = signed.map_err(|error| JoinError::NotReady(error.to_string()))?;
        tracing::info!(%holder, serial = certificate.serial, "a certificate was issued");
        let authority_key = match holder {
            Holder::Node(_) => Some(Hidden::new(authority.key().to_vec())),
            Holder::Agent(_) => None,
        };
        Ok(Joined {
            holder,
            certificate: ByteBuf::from(signed.to_vec()),
            authority: ByteBuf::from(authority.certificate().to_vec()),
            authority_key,
            facts,
        })
    }
}

impl JoinCalls for JoinDoor {
    async fn join(self, _: Context, join: Join) -> Result<Joined, JoinError> {
        let Join { secret, role, request, name, addresses, levels } = join;
        if secret.reveal().len() != SECRET {
            return Err(JoinError::Invalid("the token's secret has another length".to_owned()));
        }
        let key = prove(&request)?;
        let newcomer = Newcomer { name, addresses, key: key.fingerprint(), levels };
        let token = TokenHash::of(secret.reveal());
        self.admit(Wish::Join { token, role, newcomer }, key).await
    }

    async fn enrol(self, _: Context, enrol: Enrol) -> Result<Joined, JoinError> {
        let Enrol { request, name } = enrol;
        let Who::Node(node) = self.principal.who else { return Err(self.not_for_them()) };
        let key = prove(&request)?;
        let wish = Wish::JoinAgent { node, name, key: key.fingerprint() };
        self.admit(wish, key).await
    }

    async fn renew(self, _: Context, renew: Renew) -> Result<Joined, JoinError> {
        let holder = match self.principal.who {
            Who::Node(node) => Holder::Node(node),
            Who::Agent(agent) => Holder::Agent(agent),
            Who::Lapsed(holder) => holder,
            Who::Owner | Who::Neighbour(_) | Who::User(..) | Who::Stranger => {
                return Err(self.not_for_them());
            }
        };
        let key = prove(&renew.request)?;
        if self.principal.key != Some(key.fingerprint()) {
            let other = "the request is for another key than the connection's".to_owned();
            return Err(JoinError::Invalid(other));
        }
        let wish = Wish::Renew { holder, key: key.fingerprint() };
        self.admit(wish, key).await
    }
}

impl JoinDoor {
    fn not_for_them(&self) -> JoinError {
        JoinError::Invalid(format!("this is not for {}", self.principal.name))
    }
}

fn prove(request: &[u8]) -> Result<PublicKey, JoinError> {
    if request.len() > MAX_REQUEST {
        let most = format!("a signing request has at most {MAX_REQUEST} bytes");
        return Err(JoinError::Invalid(most));
    }
    PublicKey::of_request(request).map_err(|error| JoinError::Invalid(error.to_string()))
}
