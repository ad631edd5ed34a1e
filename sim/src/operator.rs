//! The person who looks after the cluster: adds, drains and removes nodes, over the client API.
//!
//! What happens to machines outside of Otto, a person does too: an empty machine is handed a token,
//! a machine that was removed is switched off. The world does that when the operator says so.

use crate::history::{Answer, Fact, History};
use crate::hosts::client;
use crate::world::OPERATOR;
use otto_core::cluster::state::JoinRole;
use otto_core::ids::{NodeId, TokenHash};
use otto_nodes::client::{Client, ClientError};
use otto_nodes::rpc::api::ApiError;
use otto_nodes::rpc::cluster::{ChangeMember, NewToken, TokenPurpose};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long one call may be repeated by the client itself.
const PATIENCE: Duration = Duration::from_secs(4);
/// The pause before the operator looks or tries again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the operator goes on trying one thing.
const TRIES: Duration = Duration::from_mins(4);
/// How long a token is valid, in milliseconds.
const TOKEN_MS: u64 = 3_600_000;

/// Something that the operator is to see to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errand {
    /// A node shall lead nothing.
    Drain(NodeId),
    /// A node may lead again.
    Resume(NodeId),
    /// A node is taken away for good. Its machine is switched off, or begins anew.
    Remove {
        /// Which node.
        node: NodeId,
        /// The machine's number.
        machine: u8,
        /// Whether the machine joins anew.
        again: bool,
    },
    /// An empty machine joins.
    Admit {
        /// The machine's number.
        machine: u8,
    },
}

/// What the world is to do with a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Empty it, hand it the token, and start it.
    Start(u8, TokenHash),
    /// Switch it off.
    Retire(u8),
    /// Nothing: what was asked for could not be had.
    Keep(u8),
}

/// Between the world and the operator. Clones are the same operator.
#[derive(Clone, Debug, Default)]
pub struct Operator(Arc<Mutex<Desk>>);

#[derive(Debug, Default)]
struct Desk {
    errands: VecDeque<Errand>,
    busy: bool,
    acts: Vec<Act>,
    tokens: u8,
    /// The nodes that were told to lead nothing.
    drained: BTreeSet<NodeId>,
}

impl Operator {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for something.
    pub fn ask(&self, errand: Errand) {
        self.desk().errands.push_back(errand);
    }

    /// Whether everything is seen to.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let desk = self.desk();
        desk.errands.is_empty() && !desk.busy && desk.acts.is_empty()
    }

    /// What the world is to do now.
    pub fn acts(&self) -> Vec<Act> {
        std::mem::take(&mut self.desk().acts)
    }

    /// Works for ever.
    ///
    /// # Errors
    /// None: turmoil wants the type.
    pub async fn work(self, machines: u8, history: History) -> turmoil::Result {
        let client = client(machines).patience(PATIENCE);
        loop {
            sleep(PAUSE).await;
            let errand = {
                let mut desk = self.desk();
                let errand = desk.errands.pop_front();
                desk.busy = errand.is_some();
                errand
            };
            if let Some(errand) = errand {
                self.see_to(errand, &client, &history).await;
            }
            self.desk().busy = false;
        }
    }

    async fn see_to(&self, errand: Errand, client: &Client, history: &History) {
        match errand {
            Errand::Drain(node) => {
                if wish(client, ChangeMember::Drain(node), history).await {
                    self.desk().drained.insert(node);
                }
            }
            Errand::Resume(node) => {
                self.resume(node, client, history).await;
            }
            Errand::Remove { node, machine, again } => {
                let act = if self.remove(node, again, client, history).await {
                    history.mark(OPERATOR, "a node was removed");
                    let token = if again { self.new_token(client, history).await } else { None };
                    token.map_or(Act::Retire(machine), |token| Act::Start(machine, token))
                } else {
                    Act::Keep(machine)
                };
                self.desk().acts.push(act);
            }
            Errand::Admit { machine } => {
                let token = self.new_token(client, history).await;
                let act = token.map_or(Act::Keep(machine), |token| Act::Start(machine, token));
                self.desk().acts.push(act);
            }
        }
    }

    async fn resume(&self, node: NodeId, client: &Client, history: &History) {
        if wish(client, ChangeMember::Resume(node), history).await {
            self.desk().drained.remove(&node);
        }
    }

    /// Has a node taken away; true when it is gone. Where it must go and nobody would be left to
    /// lead, those lead again that were told not to.
    async fn remove(&self, node: NodeId, must: bool, client: &Client, history: &History) -> bool {
        let mut granted = wish(client, ChangeMember::Remove(node), history).await;
        if !granted && must {
            let drained = self.desk().drained.clone();
            for other in drained {
                self.resume(other, client, history).await;
            }
            granted = wish(client, ChangeMember::Remove(node), history).await;
        }
        (granted || must) && is_gone(client, node).await
    }

    /// Makes a token for one join.
    async fn new_token(&self, client: &Client, history: &History) -> Option<TokenHash> {
        let number = {
            let mut desk = self.desk();
            desk.tokens += 1;
            desk.tokens
        };
        let token = TokenHash([100 + number; 32]);
        history.add(OPERATOR, Fact::TokenMade { token, uses: 1 });
        let purpose = TokenPurpose::Join { role: JoinRole::Control, uses: 1 };
        let new = NewToken { token, purpose, lifetime_ms: TOKEN_MS };
        let asked = || client.create_token(new.clone());
        matches!(patiently(client, asked).await, Answer::Ok(())).then_some(token)
    }
}

/// Wishes something of the cluster until there is an answer; true where it was granted.
async fn wish(client: &Client, change: ChangeMember, history: &History) -> bool {
    let what = format!("{change:?}");
    history.add(OPERATOR, Fact::Wishes { what: what.clone() });
    let answer = patiently(client, || client.change_member(change)).await;
    let granted = answer == Answer::Ok(());
    history.add(OPERATOR, Fact::Wished { what, answer });
    granted
}

/// Asks until there is an answer, of any node.
async fn patiently<T, Asking>(client: &Client, ask: impl Fn() -> Asking) -> Answer<T>
where
    Asking: Future<Output = Result<T, ClientError>>,
{
    let end = Instant::now() + TRIES;
    while Instant::now() < end {
        match ask().await {
            Ok(value) => return Answer::Ok(value),
            Err(ClientError::Api(ApiError::Refused(why) | ApiError::Invalid(why))) => {
                return Answer::Refused(why);
            }
            Err(_) => client.disconnect().await,
        }
        sleep(PAUSE).await;
    }
    Answer::Unknown
}

/// Waits until a node belongs to the cluster no longer.
async fn is_gone(client: &Client, node: NodeId) -> bool {
    let end = Instant::now() + TRIES;
    while Instant::now() < end {
        match client.cluster().await {
            Ok(view) if view.nodes.iter().all(|member| member.node != node) => return true,
            Ok(_) => {}
            Err(_) => client.disconnect().await,
        }
        sleep(PAUSE).await;
    }
    false
}
