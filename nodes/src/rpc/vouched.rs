//! Callers whom a control node vouches for: what travels of them with a call that another node
//! answers.
//!
//! Only a person can be named so, and the owner of a node's socket. What a person may do is not
//! said: whoever answers looks the token up itself, so that a node can neither raise anybody nor go
//! on with a token that was revoked.

use crate::network::{Principal, Who};
use otto_core::ids::TokenHash;
use serde::{Deserialize, Serialize};

/// A caller, as the node says where they came in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vouched {
    /// The name by which that node knows them.
    pub name: String,
    /// What they are.
    pub who: VouchedWho,
}

/// What a control node may vouch for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VouchedWho {
    /// The owner of that node's socket.
    Owner,
    /// Whoever signed in with the token of this hash.
    Person(TokenHash),
}

impl Vouched {
    /// What travels of a caller; `None` where nobody could vouch for them.
    #[must_use]
    pub fn of(principal: &Principal) -> Option<Self> {
        let who = match principal.who {
            Who::Owner | Who::Neighbour(_) => VouchedWho::Owner,
            Who::User(_, token) => VouchedWho::Person(token),
            Who::Node(_) | Who::Agent(_) | Who::Lapsed(_) | Who::Stranger => return None,
        };
        Some(Self { name: principal.name.clone(), who })
    }
}
