//! What people ask of the cluster itself.

use super::Membership;
use crate::network::{Principal, Who};
use crate::rpc::api::ApiError;
use crate::rpc::cluster::{ChangeMember, ClusterView, NewToken, TokenPurpose, TokenView, person};
use crate::rpc::fresh::TRUSTED;
use otto_actors::cluster::Denial;
use otto_core::cluster::Cluster;
use otto_core::cluster::command::Wish;
use otto_core::cluster::state::{By, UserRole};
use otto_core::ids::TokenHash;
use otto_core::time::Span;
use std::sync::Arc;

/// Asks the cluster that a node belongs to.
#[derive(Clone, Debug)]
pub(super) struct Council(pub(super) Option<Membership>);

impl Council {
    pub(super) async fn view(&self) -> Result<ClusterView, ApiError> {
        let membership = self.membership()?;
        let majority = &membership.majority;
        let asked = tokio::select! {
            biased;
            asked = membership.reception.admission.view() => asked,
            () = majority.is_lost() => Err(Denial::NotHere),
        };
        let (known, live) = majority.recall();
        let (cluster, recalled_by) = match asked {
            Ok(cluster) => (cluster, None),
            // What this node knows is what whoever has to mend it must see.
            Err(Denial::NotHere | Denial::Unanswered(_)) => (known, Some(majority.me)),
            Err(refused @ Denial::Refused(_)) => return Err(refused.into()),
        };
        let view = ClusterView::of(&cluster, &live, membership.shared_store);
        let founding = || ApiError::NotReady("the cluster is being founded".to_owned());
        Ok(ClusterView { recalled_by, ..view.ok_or_else(founding)? })
    }

    pub(super) async fn change(
        &self,
        principal: &Principal,
        change: ChangeMember,
    ) -> Result<(), ApiError> {
        let by = by(principal)?;
        let wish = match change {
            ChangeMember::Drain(node) => Wish::Drain { node, by },
            ChangeMember::Resume(node) => Wish::Resume { node, by },
            ChangeMember::Remove(node) => Wish::Remove { node, by },
            ChangeMember::RemoveAgent(agent) => Wish::RemoveAgent { agent, by },
        };
        self.wish(wish).await.map(drop)
    }

    pub(super) async fn tokens(&self) -> Result<Vec<TokenView>, ApiError> {
        let membership = self.membership()?;
        let cluster = membership.reception.admission.view().await;
        let cluster = cluster.map_err(|denial| explained(denial, membership))?;
        Ok(TokenView::all(&cluster))
    }

    pub(super) async fn create_token(
        &self,
        principal: &Principal,
        new: NewToken,
    ) -> Result<(), ApiError> {
        let (token, lifetime, by) = (new.token, Span(new.lifetime_ms), by(principal)?);
        let wish = match new.purpose {
            TokenPurpose::Join { role, uses } => {
                Wish::CreateToken { token, role, lifetime, uses, by }
            }
            TokenPurpose::SignIn { name, role } => {
                let name = person(&name).map_err(ApiError::Invalid)?;
                Wish::CreateUserToken { token, name, role, lifetime, by }
            }
        };
        self.wish(wish).await.map(drop)
    }

    pub(super) async fn revoke_token(
        &self,
        principal: &Principal,
        token: TokenHash,
    ) -> Result<(), ApiError> {
        let by = by(principal)?;
        self.wish(Wish::RevokeToken { token, by }).await?;
        // Now it is in force at every node, whether that heard of it or not.
        tokio::time::sleep(TRUSTED).await;
        Ok(())
    }

    pub(super) async fn raise_level(&self, principal: &Principal, to: u32) -> Result<(), ApiError> {
        let by = by(principal)?;
        self.wish(Wish::RaiseLevel { to, by }).await.map(drop)
    }

    async fn wish(&self, wish: Wish) -> Result<Arc<Cluster>, ApiError> {
        let membership = self.membership()?;
        let wished = membership.reception.admission.wish(wish).await;
        wished.map_err(|denial| explained(denial, membership))
    }

    fn membership(&self) -> Result<&Membership, ApiError> {
        let alone = "ask about a cluster: this node belongs to none; \
                     found one with `otto-node serve`, or sign in to one with `otto login`";
        self.0.as_ref().ok_or_else(|| ApiError::Refused(alone.to_owned()))
    }
}

/// Why the cluster gave no answer, where that is known.
fn explained(denial: Denial, membership: &Membership) -> ApiError {
    match (&denial, membership.majority.lack()) {
        (Denial::NotHere, Some(lack)) => ApiError::NotReady(lack),
        (Denial::Unanswered(_), Some(lack)) => ApiError::Unknown(lack),
        (Denial::NotHere | Denial::Unanswered(_) | Denial::Refused(_), _) => denial.into(),
    }
}

/// Who wishes, as the cluster journals it.
fn by(principal: &Principal) -> Result<By, ApiError> {
    let (role, token) = match principal.who {
        Who::Owner | Who::Neighbour(_) => (UserRole::Admin, None),
        Who::User(role, token) => (role, Some(token)),
        Who::Node(_) | Who::Agent(_) | Who::Lapsed(_) | Who::Stranger => {
            return Err(ApiError::Refused(format!("do this as {}", principal.name)));
        }
    };
    Ok(By { name: principal.name.clone(), role, token })
}

impl From<Denial> for ApiError {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Refused(refusal) => Self::Refused(format!("{refusal}; {}", refusal.help())),
            Denial::NotHere => Self::NotReady(denial.to_string()),
            Denial::Unanswered(_) => Self::Unknown(denial.to_string()),
        }
    }
}
