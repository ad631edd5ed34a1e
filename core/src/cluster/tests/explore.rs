//! Small clusters, exhaustively: every order of wishes, doubled and late ones, until no new state
//! is found.

use super::world::{
    Decider, START, World, admin, agent, by, create, heart, holder_of, join, key, newcomer, start,
    token,
};
use crate::cluster::command::Wish;
use crate::cluster::state::{Holder, JoinRole, UserRole};
use crate::ids::{CommandId, NodeId};
use crate::time::{Span, Timestamp};
use std::collections::{BTreeSet, VecDeque};

/// A small world: what was granted before, what may be wished, and how often an hour may pass.
pub(super) struct Small {
    pub(super) name: &'static str,
    before: Vec<Wish>,
    wishes: Vec<Wish>,
    hours: Vec<u64>,
}

fn node(number: u64) -> NodeId {
    NodeId(number)
}

/// Everything that may be done to a node on its way in and out.
fn ways(number: u64) -> Vec<Wish> {
    let node = node(number);
    vec![
        Wish::BecameLearner { node },
        Wish::BecameVoter { node },
        Wish::Emptied { node },
        Wish::Parted { node },
        Wish::Drain { node, by: admin() },
        Wish::Resume { node, by: admin() },
        Wish::Remove { node, by: admin() },
    ]
}

pub(super) fn worlds() -> Vec<Small> {
    let (control, worker) = (JoinRole::Control, JoinRole::Agent);
    let tokens = vec![
        create(1, control, 1),
        create(2, worker, 2),
        Wish::RevokeToken { token: token(1), by: admin() },
        Wish::RevokeToken { token: token(2), by: by(UserRole::User) },
        join(1, control, 2),
        join(1, control, 3),
        join(2, control, 2),
        join(2, worker, 4),
        join(2, worker, 5),
        Wish::RemoveAgent { agent: agent(4), by: admin() },
        Wish::JoinAgent { node: node(1), name: "machine".to_owned(), key: key(6) },
    ];
    let more = |number| [create(number, control, 1), join(number, control, 1 + number)];
    let third: Vec<Wish> = [more(1), more(2)].into_iter().flatten().collect();
    let membership = [ways(1), ways(2), ways(3)].into_iter().flatten().collect();
    let second = more(1).to_vec();
    let mut again = ways(2);
    again.extend([
        join(1, control, 2),
        create(3, control, 1),
        join(3, control, 2),
        join(3, control, 3),
        Wish::RaiseLevel { to: 2, by: admin() },
        Wish::RaiseLevel { to: 2, by: by(UserRole::User) },
        Wish::Restore { node: newcomer(9, 1), authority: key(201) },
        start(1, 1, 11, &[]),
        start(2, 1, 21, &[]),
        start(2, 2, 22, &[21]),
        start(2, 2, 23, &[21]),
        start(2, 9, 24, &[]),
    ]);
    let certificates = vec![
        Wish::Renew { holder: Holder::Node(node(1)), key: key(1) },
        Wish::Renew { holder: Holder::Node(node(1)), key: key(2) },
        Wish::Renew { holder: Holder::Node(node(2)), key: key(2) },
        Wish::Renew { holder: holder_of(4), key: key(4) },
        Wish::Remove { node: node(2), by: admin() },
        Wish::Parted { node: node(2) },
        create(2, worker, 1),
        join(2, worker, 4),
        Wish::RemoveAgent { agent: agent(4), by: admin() },
    ];
    vec![
        Small { name: "tokens", before: vec![], wishes: tokens, hours: vec![1, 26] },
        Small { name: "membership", before: third, wishes: membership, hours: vec![] },
        Small { name: "identities", before: second.clone(), wishes: again, hours: vec![] },
        Small { name: "certificates", before: second, wishes: certificates, hours: vec![13, 40] },
    ]
}

/// Explores every state that can be reached, unless there are more than `most`; answers how many.
pub(super) fn explore(small: &Small, decider: Decider, most: usize) -> Result<usize, String> {
    let begin = World::after(decider, &small.before)?;
    let mut known = BTreeSet::new();
    let mut todo = VecDeque::from([begin]);
    while let Some(world) = todo.pop_front() {
        if !known.insert(CommandId::of(&world.state())) {
            continue;
        }
        if known.len() > most {
            return Err(format!("there are more than {most} states"));
        }
        let told = |complaint| format!("{complaint}\n{}", world.timeline());
        world.reads_back().and_then(|()| world.comes_to_rest()).map_err(told)?;
        for wish in &small.wishes {
            let mut after = world.clone();
            let answer = after.wish(wish);
            let told = |complaint| format!("{complaint}\nafter {wish:?}\n{}", after.timeline());
            if answer.map_err(told)? == Ok(true) {
                todo.push_back(after);
            }
        }
        let times = small.hours.iter().map(|hours| START.after(Span::hours(*hours)));
        let later = |at: &Timestamp| *at > world.now;
        todo.extend(times.filter(later).map(|now| world.at(now)));
    }
    Ok(known.len())
}

#[test]
fn every_order_of_wishes_keeps_what_must_hold() {
    for small in worlds() {
        match explore(&small, heart, 30_000) {
            Ok(states) => println!("{}: {states} states", small.name),
            Err(complaint) => panic!("{}: {complaint}", small.name),
        }
    }
}
