//! The operator: brings the groups to the members that are wanted, and leaders to where they are
//! wanted, again and again.

use super::history::{Fact, History};
use super::host::{Order, Running, Up, address};
use otto_core::ids::ShardId;
use otto_nodes::replica::{GroupView, Standing};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the operator looks.
const EVERY: Duration = Duration::from_millis(200);

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<Mutex<Wishes>>);

#[derive(Debug, Default)]
struct Wishes {
    members: BTreeSet<u64>,
    moves: Vec<ShardId>,
    settled: bool,
}

impl Wanted {
    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are to be the members, of all groups.
    pub fn members(&self, members: BTreeSet<u64>) {
        let mut wishes = self.lock();
        wishes.settled = false;
        wishes.members = members;
    }

    /// Who is to be a member.
    #[must_use]
    pub fn wanted(&self) -> BTreeSet<u64> {
        self.lock().members.clone()
    }

    /// A shard is to be led by another.
    pub fn move_leader(&self, shard: ShardId) {
        self.lock().moves.push(shard);
    }

    /// Whether all groups have the members that are wanted, and all of them have caught up.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.lock().settled
    }
}

/// Works for ever.
///
/// # Errors
/// None: turmoil wants the type.
pub async fn operate(
    wanted: Wanted,
    running: Running,
    shards: Vec<ShardId>,
    history: History,
) -> turmoil::Result {
    loop {
        tokio::time::sleep(EVERY).await;
        let members = wanted.wanted();
        let mut settled = true;
        for shard in &shards {
            settled &= tend(*shard, &members, &running, &history).await;
        }
        {
            let mut wishes = wanted.lock();
            wishes.settled = settled && wishes.members == members;
        }
        let moves = std::mem::take(&mut wanted.lock().moves);
        for shard in moves {
            move_one(shard, &running, &history).await;
        }
    }
}

/// Does the next thing that a group needs; true where it needs nothing.
async fn tend(
    shard: ShardId,
    wanted: &BTreeSet<u64>,
    running: &Running,
    history: &History,
) -> bool {
    let Some((leader, up)) = running.leader(shard) else { return false };
    let Some(view) = view(&up, shard).await else { return false };
    let is_there =
        |node: &u64| view.members.iter().any(|m| m.node.0 == *node && m.address == address(*node));
    let votes = |node: &u64| view.members.iter().any(|m| m.node.0 == *node && m.votes);
    let surplus = view.members.iter().map(|member| member.node.0);
    let surplus = surplus.filter(|node| !wanted.contains(node)).min();
    let order = if let Some(node) = wanted.iter().find(|node| !is_there(node)) {
        Order::Add(shard, *node)
    } else if let Some(node) = wanted.iter().find(|node| !votes(node)) {
        Order::Promote(shard, *node)
    } else if let Some(node) = surplus {
        let heir = wanted.iter().find(|heir| **heir != leader && votes(heir));
        match heir {
            Some(heir) if node == leader => Order::Move(shard, *heir),
            _ => Order::Remove(shard, node),
        }
    } else {
        return view.members.iter().all(|member| member.there && member.lag.unwrap_or(1) < 100);
    };
    tell(&up, leader, order, history).await;
    false
}

async fn move_one(shard: ShardId, running: &Running, history: &History) {
    let Some((leader, up)) = running.leader(shard) else { return };
    let Some(view) = view(&up, shard).await else { return };
    let heirs = view.members.iter().filter(|member| member.votes && member.node.0 != leader);
    let Some(heir) = heirs.map(|member| member.node.0).max() else { return };
    if tell(&up, leader, Order::Move(shard, heir), history).await {
        history.add(Fact::Mark("a leader was moved"));
    }
}

async fn tell(up: &Up, leader: u64, order: Order, history: &History) -> bool {
    history.add(Fact::Order(format!("n{leader}: {order:?}")));
    let outcome = up.order(order).await;
    let text = match &outcome {
        Ok(()) => "done".to_owned(),
        Err(error) => error.clone(),
    };
    history.add(Fact::Order(format!("n{leader}: {text}")));
    outcome.is_ok()
}

async fn view(up: &Up, shard: ShardId) -> Option<GroupView> {
    let view = up.views().await.into_iter().find(|view| view.shard == shard)?;
    matches!(view.standing, Standing::Serving { .. }).then_some(view)
}
