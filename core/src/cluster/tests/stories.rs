//! Single stories: what people are told, and what a cluster survives.

use super::world::{
    START, World, admin, agent, boot, by, create, done, found, heart, join, key, newcomer, start,
    token,
};
use crate::cluster::command::{Refusal, Started, Wish};
use crate::cluster::duty::Duty;
use crate::cluster::state::{By, Holder, JoinRole, Levels, Start, UserRole};
use crate::cluster::survival::Survival;
use crate::cluster::{Cluster, MAX_TOKEN, MAX_USER_TOKEN};
use crate::ids::NodeId;
use crate::time::Span;
use std::collections::BTreeSet;

fn refused(world: &mut World, wish: &Wish) -> Refusal {
    world.wish(wish).expect("the referee is content").expect_err("it is refused")
}

fn granted(world: &mut World, wish: &Wish) -> bool {
    world.wish(wish).expect("the referee is content").expect("it is granted")
}

fn after(wishes: &[Wish]) -> World {
    World::after(heart, wishes).expect("all of it is granted")
}

#[test]
fn a_token_says_why_it_does_not_count() {
    let control = JoinRole::Control;
    let mut world = after(&[create(1, control, 1), create(2, JoinRole::Agent, 1)]);
    assert_eq!(refused(&mut world, &join(9, control, 2)), Refusal::NoSuchToken);
    let other = Refusal::OtherRole { role: JoinRole::Agent, wanted: control };
    assert_eq!(refused(&mut world, &join(2, control, 2)), other);
    assert!(granted(&mut world, &join(1, control, 2)));
    assert_eq!(refused(&mut world, &join(1, control, 3)), Refusal::TokenUsedUp { used: 1 });
    assert!(granted(&mut world, &Wish::RevokeToken { token: token(2), by: admin() }));
    assert_eq!(refused(&mut world, &join(2, JoinRole::Agent, 4)), Refusal::TokenRevoked);
    assert!(granted(&mut world, &create(3, control, 1)));
    world.now = START.after(Span::hours(1));
    let expired = Refusal::TokenExpired { ago: Span(0) };
    assert_eq!(refused(&mut world, &join(3, control, 3)), expired);
    assert!(!granted(&mut world, &join(1, control, 2)), "whoever lost the answer asks again");
    world.now = START.after(Span::hours(30));
    assert!(granted(&mut world, &create(4, control, 1)));
    assert_eq!(world.cluster.tokens().count(), 1, "what is long over is forgotten");
}

#[test]
fn tokens_have_bounds() {
    let mut world = after(&[]);
    let create = |lifetime, uses| Wish::CreateToken {
        token: token(1),
        role: JoinRole::Agent,
        lifetime,
        uses,
        by: admin(),
    };
    for (lifetime, uses) in [
        (Span(0), 1),
        (MAX_TOKEN.0.checked_add(1).map(Span).expect("small"), 1),
        (MAX_TOKEN, 0),
        (MAX_TOKEN, 101),
    ] {
        refused(&mut world, &create(lifetime, uses));
    }
    assert!(granted(&mut world, &create(MAX_TOKEN, 100)));
    assert_eq!(refused(&mut world, &create(MAX_TOKEN, 99)), Refusal::TokenTaken);
    let sign_in = |number, name: &str, lifetime| Wish::CreateUserToken {
        token: token(number),
        name: name.to_owned(),
        role: UserRole::User,
        lifetime,
        by: admin(),
    };
    assert_eq!(refused(&mut world, &sign_in(1, "ann", MAX_USER_TOKEN)), Refusal::TokenTaken);
    refused(&mut world, &sign_in(2, "", MAX_USER_TOKEN));
    refused(&mut world, &sign_in(2, "ann", Span(MAX_USER_TOKEN.0 + 1)));
    assert!(granted(&mut world, &sign_in(2, "ann", Span::hours(2))));
    let user = |world: &World| {
        let register = world.cluster.register();
        register.user(token(2), world.now).map(|(name, role)| (name.to_owned(), role))
    };
    assert_eq!(user(&world), Some(("ann".to_owned(), UserRole::User)));
    let earlier = world.clone();
    world.now = START.after(Span::hours(2));
    assert_eq!(user(&world), None, "it expired");
    let mut world = earlier;
    assert!(granted(&mut world, &Wish::RevokeToken { token: token(2), by: admin() }));
    assert_eq!(user(&world), None, "it was revoked");
}

#[test]
fn who_wishes_is_looked_up_by_their_token_where_it_is_decided() {
    let mut world = after(&[]);
    for (number, name, role) in [(2, "bob", UserRole::User), (3, "ada", UserRole::Admin)] {
        let (token, name, lifetime) = (token(number), name.to_owned(), Span::hours(1));
        let made = Wish::CreateUserToken { token, name, role, lifetime, by: admin() };
        assert!(granted(&mut world, &made));
    }
    // Whatever the node says where they came in.
    let claims =
        |number: u8| By { name: "somebody".to_owned(), token: Some(token(number)), ..admin() };
    let create = |number: u8, by: By| {
        let Wish::CreateToken { token, role, lifetime, uses, .. } =
            create(number, JoinRole::Agent, 1)
        else {
            panic!("it makes a token")
        };
        Wish::CreateToken { token, role, lifetime, uses, by }
    };
    let raised = create(4, claims(2));
    assert_eq!(refused(&mut world, &raised), Refusal::NotAdmin { name: "bob".to_owned() });
    assert!(granted(&mut world, &create(5, claims(3))));
    let made = world.cluster.tokens().find(|(made, _)| *made == token(5)).expect("it was made");
    assert_eq!(made.1.by, "ada", "the token says who it was");
    assert_eq!(refused(&mut world, &create(6, claims(9))), Refusal::NoSuchToken);
    let earlier = world.clone();
    world.now = START.after(Span::hours(2));
    let late = refused(&mut world, &create(7, claims(3)));
    assert_eq!(late, Refusal::TokenExpired { ago: Span::hours(1) });
    let mut world = earlier;
    assert!(granted(&mut world, &Wish::RevokeToken { token: token(3), by: admin() }));
    let revoked = refused(&mut world, &create(8, claims(3)));
    assert_eq!(revoked, Refusal::TokenRevoked);
}

#[test]
fn a_node_comes_and_goes() {
    let two = NodeId(2);
    let mut world = after(&[create(1, JoinRole::Control, 1), join(1, JoinRole::Control, 2)]);
    let owed = |world: &World| world.cluster.owed().into_iter().collect::<Vec<_>>();
    assert_eq!(owed(&world), [Duty::AddLearner { node: two }]);
    assert!(granted(&mut world, &Wish::BecameLearner { node: two }));
    assert_eq!(owed(&world), [Duty::Promote { node: two }]);
    assert!(granted(&mut world, &Wish::BecameVoter { node: two }));
    assert_eq!(owed(&world), []);
    assert!(granted(&mut world, &Wish::Drain { node: two, by: admin() }));
    assert_eq!(owed(&world), [Duty::MoveLeaders { node: two }]);
    let last = Wish::Drain { node: NodeId(1), by: admin() };
    assert_eq!(refused(&mut world, &last), Refusal::LastVoter { node: NodeId(1) });
    assert!(granted(&mut world, &Wish::Resume { node: two, by: admin() }));
    let vouched = Wish::JoinAgent { node: two, name: "m".to_owned(), key: key(5) };
    assert!(granted(&mut world, &vouched));
    assert!(granted(&mut world, &Wish::Remove { node: two, by: admin() }));
    while let Some(duty) = owed(&world).first() {
        assert!(granted(&mut world, &done(*duty)));
    }
    assert_eq!(world.cluster.nodes().count(), 1);
    assert_eq!(world.cluster.agent(agent(5)), None, "its agent went with it");
    let register = world.cluster.register();
    assert_eq!(register.denied(key(2)), Some(Holder::Node(two)));
    assert_eq!(register.denied(key(5)), Some(Holder::Agent(agent(5))));
    assert_eq!(register.denied(key(1)), None);
    let back = refused(&mut world, &join(1, JoinRole::Control, 2));
    assert_eq!(back, Refusal::Removed { holder: Holder::Node(two) });
}

#[test]
fn copied_and_rolled_back_disks_are_noticed() {
    let mut world = after(&[start(1, 1, 11, &[])]);
    assert!(!granted(&mut world, &start(1, 1, 11, &[])), "the same start, reported again");
    assert!(granted(&mut world, &start(1, 3, 13, &[11, 12])), "a start in between was never heard");
    let old = Refusal::OldDisk { node: NodeId(1), latest: 3 };
    let cases = [
        start(1, 4, 24, &[11]),
        start(1, 9, 29, &[]),
        start(1, 3, 23, &[11, 12]),
        start(1, 3, 23, &[13]),
    ];
    for copy in cases {
        assert_eq!(refused(&mut world, &copy), old, "{copy:?}");
    }
    let latest =
        |count, number| world.cluster.is_latest(NodeId(1), Start { count, boot: boot(number) });
    assert_eq!(latest(3, 13), Ok(()));
    assert_eq!(latest(1, 11), Err(old), "the process that ran before a copy took its place");
}

#[test]
fn a_level_rises_when_all_understand_it() {
    let mut world = after(&[create(1, JoinRole::Control, 1), join(1, JoinRole::Control, 2)]);
    let raise = |to| Wish::RaiseLevel { to, by: admin() };
    let unfit = Refusal::UnsupportedLevel { to: 2, node: NodeId(1), oldest: 1, newest: 1 };
    let release = |world: &World| {
        let founder = world.cluster.node(NodeId(1)).expect("it is there");
        founder.release.clone()
    };
    assert_eq!(refused(&mut world, &raise(2)), unfit, "the founder is of an older build");
    assert!(granted(&mut world, &start(1, 1, 11, &[])), "it was upgraded");
    let user = Wish::RaiseLevel { to: 2, by: by(UserRole::User) };
    assert_eq!(refused(&mut world, &user), Refusal::NotAdmin { name: "user".to_owned() });
    assert_eq!(release(&world), None, "builds of level 1 do not know of releases");
    assert!(!granted(&mut world, &start(1, 1, 11, &[])), "it was told before");
    assert!(granted(&mut world, &raise(2)));
    assert!(granted(&mut world, &start(1, 1, 11, &[])), "it is told again, with its release");
    assert_eq!(release(&world).as_deref(), Some("0.2.0"));
    assert!(!granted(&mut world, &start(1, 1, 11, &[])), "once");
    assert_eq!(refused(&mut world, &raise(1)), Refusal::LowerLevel { level: 2, to: 1 });
    let older = Wish::Join { token: token(2), role: JoinRole::Agent, newcomer: newcomer(4, 1) };
    assert!(granted(&mut world, &create(2, JoinRole::Agent, 1)));
    let other = Refusal::OtherLevel { level: 2, oldest: 1, newest: 1 };
    assert_eq!(refused(&mut world, &older), other);
    let older = Wish::Start(Started {
        node: NodeId(1),
        count: 2,
        boot: boot(12),
        known: vec![boot(11)],
        addresses: Vec::new(),
        levels: Levels { oldest: 1, newest: 1 },
        release: None,
    });
    assert_eq!(refused(&mut world, &older), other, "there is no way back");
}

#[test]
fn certificates_are_renewed_when_half_of_their_life_is_over() {
    let mut world = after(&[]);
    let renew = Wish::Renew { holder: Holder::Node(NodeId(1)), key: key(1) };
    assert!(!granted(&mut world, &renew), "what there is will do");
    let (_, first) = world.cluster.credentials(Holder::Node(NodeId(1))).expect("it is there");
    assert_eq!(first.not_after.since(first.not_before), Span::hours(24));
    assert_eq!(first.renewal().since(first.not_before), Span::hours(16));
    world.now = START.after(Span::hours(24 * 30));
    assert!(granted(&mut world, &renew), "a node that was off for long finds its place");
    let (_, second) = world.cluster.credentials(Holder::Node(NodeId(1))).expect("it is there");
    assert_eq!(second.serial, first.serial + 1);
    let foreign = Wish::Renew { holder: Holder::Node(NodeId(1)), key: key(9) };
    assert_eq!(refused(&mut world, &foreign), Refusal::Unknown { holder: Holder::Node(NodeId(1)) });
}

#[test]
fn a_restored_cluster_begins_with_one_node_and_without_tokens() {
    let mut world = after(&[
        create(1, JoinRole::Agent, 2),
        join(1, JoinRole::Agent, 4),
        create(2, JoinRole::Control, 1),
    ]);
    let restore = Wish::Restore { node: newcomer(9, 1), authority: key(201) };
    assert!(granted(&mut world, &restore));
    let nodes: Vec<NodeId> = world.cluster.nodes().map(|(node, _)| node).collect();
    assert_eq!((nodes, world.cluster.incarnation()), (vec![NodeId(2)], 1));
    assert_eq!(refused(&mut world, &join(2, JoinRole::Control, 3)), Refusal::NoSuchToken);
    let gone = Refusal::Removed { holder: Holder::Agent(agent(4)) };
    assert_eq!(refused(&mut world, &join(1, JoinRole::Agent, 4)), gone);
}

#[test]
fn wishes_come_after_founding_and_have_measure() {
    let mut world = World::new(heart);
    assert_eq!(refused(&mut world, &create(1, JoinRole::Agent, 1)), Refusal::NotFounded);
    let Wish::Found { cluster, authority, node, .. } = found() else { unreachable!() };
    let shardless = Wish::Found { cluster, shards: 0, authority, node: node.clone() };
    assert_eq!(refused(&mut world, &shardless), Refusal::NoShards);
    for (name, addresses) in [(String::new(), 1), ("x".repeat(256), 1), ("x".to_owned(), 17)] {
        let addresses = vec!["10.0.0.1:7301".to_owned(); addresses];
        let node = crate::cluster::command::Newcomer { name, addresses, ..node.clone() };
        let wish = Wish::Found { cluster, shards: 8, authority, node };
        assert!(matches!(refused(&mut world, &wish), Refusal::Length { .. }));
    }
    assert!(granted(&mut world, &found()));
    let other = Wish::Found { cluster, shards: 8, authority: key(99), node };
    assert_eq!(refused(&mut world, &other), Refusal::AlreadyFounded);
}

#[test]
fn two_with_one_token_at_once_are_decided_in_order() {
    let control = JoinRole::Control;
    let world = after(&[create(1, control, 1)]);
    let decided = world
        .cluster
        .decide_all(&[join(1, control, 2), join(1, control, 3), join(1, control, 2)], world.now);
    assert_eq!(decided.answers, [Ok(()), Err(Refusal::TokenUsedUp { used: 1 }), Ok(())]);
    let mut cluster = world.cluster.clone();
    cluster.apply(&decided.entry.expect("one joined"));
    assert_eq!(cluster.holder(key(2)), Some(Holder::Node(NodeId(2))));
    assert_eq!(cluster.holder(key(3)), None);
}

#[test]
fn what_a_cluster_survives_is_said() {
    let check = |voters, reachable, text: &str, worrying, advised: bool| {
        let survival = Survival::of(voters, reachable);
        assert_eq!(survival.to_string(), text, "{voters} {reachable}");
        assert_eq!(survival.is_worrying(), worrying, "{voters} {reachable}");
        assert_eq!(survival.advice().is_some(), advised, "{voters} {reachable}");
    };
    check(1, 1, "does not survive the loss of a node", true, true);
    check(2, 2, "does not survive the loss of a node", true, true);
    check(3, 3, "survives the loss of 1 node", false, false);
    check(3, 2, "does not survive the loss of a node", true, true);
    check(3, 1, "no majority: 1 of 3 voters is there, and 2 must be", true, true);
    check(4, 4, "survives the loss of 1 node", false, true);
    check(5, 5, "survives the loss of 2 nodes", false, false);
    check(5, 4, "survives the loss of 1 node", false, true);
    check(9, 9, "survives the loss of 4 nodes", false, false);
    let mut cluster = Cluster::default();
    assert_eq!(cluster.survival(&BTreeSet::new()).losses, None, "there is none yet");
    cluster = after(&[]).cluster;
    assert_eq!(cluster.survival(&BTreeSet::from([NodeId(1)])).losses, Some(0));
}
