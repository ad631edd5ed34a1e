//! Larger clusters at random, with wishes at random, under the same eyes; and facts that make no
//! sense, on which nothing panics.

use super::world::{START, World, admin, boot, create, done, heart, join, key, newcomer, token};
use crate::cluster::Cluster;
use crate::cluster::command::{Started, Wish};
use crate::cluster::event::Entry;
use crate::cluster::state::{Holder, JoinRole, Levels};
use crate::ids::{AgentId, NodeId};
use crate::time::{Span, Timestamp};
use proptest::prelude::*;

fn role() -> impl Strategy<Value = JoinRole> {
    prop_oneof![Just(JoinRole::Control), Just(JoinRole::Agent)]
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let node = || (1..6u64).prop_map(NodeId);
    let small = || 1..6u8;
    let holder = prop_oneof![
        node().prop_map(Holder::Node),
        small().prop_map(|number| Holder::Agent(AgentId::of(&key(number).0))),
    ];
    prop_oneof![
        (small(), role(), 1..4u32).prop_map(|(number, role, uses)| create(number, role, uses)),
        small().prop_map(|it| Wish::RevokeToken { token: token(it), by: admin() }),
        (small(), role(), small()).prop_map(|(with, role, who)| join(with, role, who)),
        (small(), role(), small()).prop_map(|(with, role, who)| join(with, role, who)),
        (node(), small()).prop_map(|(node, it)| Wish::JoinAgent {
            node,
            name: "machine".to_owned(),
            key: key(it)
        }),
        (holder, small()).prop_map(|(holder, it)| Wish::Renew { holder, key: key(it) }),
        (node(), 0..5u64, small(), proptest::collection::vec(small(), 0..3)).prop_map(
            |(node, count, it, known)| Wish::Start(Started {
                node,
                count,
                boot: boot(it),
                known: known.into_iter().map(boot).collect(),
                addresses: Vec::new(),
                levels: Levels { oldest: 1, newest: 2 },
                release: Some("0.2.0".to_owned()),
            })
        ),
        node().prop_map(|node| Wish::BecameLearner { node }),
        node().prop_map(|node| Wish::BecameVoter { node }),
        node().prop_map(|node| Wish::Emptied { node }),
        node().prop_map(|node| Wish::Parted { node }),
        node().prop_map(|node| Wish::Drain { node, by: admin() }),
        node().prop_map(|node| Wish::Resume { node, by: admin() }),
        node().prop_map(|node| Wish::Remove { node, by: admin() }),
        small().prop_map(|it| Wish::RemoveAgent { agent: AgentId::of(&key(it).0), by: admin() }),
        (1..4u32).prop_map(|to| Wish::RaiseLevel { to, by: admin() }),
        (100..103u8).prop_map(|it| Wish::Restore { node: newcomer(it, 3), authority: key(it) }),
    ]
}

/// A wish, how many minutes pass before it, and how many duties are done behind it.
fn steps() -> impl Strategy<Value = Vec<(Wish, u64, usize)>> {
    let minutes = prop_oneof![8 => Just(0u64), 1 => 1..100u64, 1 => 600..3_000u64];
    proptest::collection::vec((any_wish(), minutes, 0..3usize), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_clusters_keep_what_must_hold(steps in steps()) {
        let mut world = World::after(heart, &[]).map_err(TestCaseError::fail)?;
        for (wish, minutes, duties) in steps {
            world.now = world.now.after(Span::seconds(60 * minutes));
            let made = world.wish(&wish);
            prop_assert!(made.is_ok(), "{made:?} after {wish:?}\n{}", world.timeline());
            for duty in world.cluster.owed().into_iter().take(duties) {
                let made = world.wish(&done(duty));
                prop_assert!(made.is_ok(), "{made:?} after {duty:?}\n{}", world.timeline());
            }
        }
        let ends = world.reads_back().and_then(|()| world.comes_to_rest());
        prop_assert!(ends.is_ok(), "{ends:?}\n{}", world.timeline());
    }

    /// The facts of one cluster in another one's journal, and in any order.
    #[test]
    fn senseless_facts_do_no_harm(
        steps in steps(),
        picks in proptest::collection::vec(any::<u16>(), 0..40),
    ) {
        let mut world = World::after(heart, &[]).map_err(TestCaseError::fail)?;
        let mut events = Vec::new();
        for (wish, ..) in steps {
            events.extend(world.cluster.decide(&wish, world.now).unwrap_or_default());
            world.wish(&wish).map_err(TestCaseError::fail)?.ok();
        }
        let mut other = Cluster::default();
        for pick in picks.into_iter().filter(|_| !events.is_empty()) {
            let event = events[usize::from(pick) % events.len()].clone();
            other.apply(&Entry { at: Timestamp(START.0 + u64::from(pick)), events: vec![event] });
            prop_assert!(other.owed().len() <= other.nodes().count());
            prop_assert_eq!(other.register().cluster.is_some(), other.founded().is_some());
        }
    }
}
