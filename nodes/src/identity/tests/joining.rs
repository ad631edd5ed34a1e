//! Joining: what lets somebody in, what does not, and what is told.

use super::town::{HandClock, LEVELS, Town, admin, fresh_request};
use crate::identity::authority::{Authority, PublicKey};
use crate::identity::files::Folder;
use crate::identity::join::enrol;
use crate::identity::subject::{self, Subject};
use crate::identity::tls::{Credentials, Expected};
use crate::identity::token::{Pin, Purpose, Token};
use crate::identity::{authority, starts};
use crate::network::{ConnectError, Connector};
use crate::rpc::join::{Enrol, JoinError};
use crate::wire::hello::Refused;
use futures::future::join_all;
use otto_core::cluster::command::{Started, Wish};
use otto_core::cluster::state::{Certificate, Holder, JoinRole};
use otto_core::ids::{ClusterId, NodeId};
use otto_core::time::{Span, Timestamp};
use serde_bytes::ByteBuf;
use std::fs;
use std::os::unix::fs::MetadataExt;
use zeroize::Zeroizing;

fn mode(folder: &Folder, name: &str) -> u32 {
    fs::metadata(folder.path().join(name)).unwrap().mode() & 0o777
}

fn says(refused: &Refused, part: &str) {
    assert!(refused.what.contains(part), "{refused:?} says nothing of {part:?}");
    assert!(!refused.help.is_empty(), "{refused:?}");
}

#[tokio::test]
async fn nodes_and_agents_join_and_keep_what_they_get() {
    let town = Town::found().await;
    let token = town.token(JoinRole::Control, 1);
    let node = town.join(&token, "second").await.unwrap();
    let folder = town.machine("second");
    assert_eq!(node.stored.said.subject.holder, Holder::Node(NodeId(2)));
    assert_eq!(node.facts.nodes.len(), 2);
    for name in ["key.pem", "certificate.pem", "authority.pem", "authority.key"] {
        assert_eq!(mode(&folder, name), 0o600, "{name}");
    }
    let authority = folder.authority().unwrap().unwrap();
    assert_eq!(authority.fingerprint(), town.authority, "a second node can admit others");
    let again = town.join(&token, "second").await.unwrap_err();
    says(&again, "this node is n2 already");

    let agent = town.joined(JoinRole::Agent, "worker").await;
    let folder = town.machine("worker");
    assert!(matches!(agent.said().subject.holder, Holder::Agent(_)));
    assert!(folder.authority().unwrap().is_none(), "an agent never gets the authority's key");
    let node = Credentials::new(node.stored).unwrap();
    let beside = town.machine("beside");
    let joined = enrol(&town.door(&node), &node, "second", &beside).await.unwrap();
    assert!(matches!(joined.stored.said.subject.holder, Holder::Agent(_)));
    assert!(beside.load().unwrap().is_some() && beside.authority().unwrap().is_none());
    let enrol = Enrol { request: ByteBuf::from(fresh_request()), name: "beside".to_owned() };
    let refused = town.door(&agent).enrol(enrol).await.unwrap_err();
    assert!(refused.to_string().contains("do this as agent"), "{refused}");
}

#[tokio::test]
async fn a_join_whose_answer_was_lost_gets_the_same_one_again() {
    let town = Town::found().await;
    let token = town.token(JoinRole::Control, 1);
    let folder = town.machine("second");
    let first = town.join(&token, "second").await.unwrap().stored.certificate;
    for name in ["certificate.pem", "authority.pem", "authority.key"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    town.clock.pass(Span::hours(2));
    let second = town.join(&token, "second").await.unwrap().stored.certificate;
    assert_eq!(first, second, "the same bytes, though the token is used up and expired");
    assert_eq!(town.hall.read(|cluster| cluster.nodes().count()), 2);
}

#[tokio::test]
async fn a_token_lets_in_as_many_as_it_may_however_many_come_at_once() {
    let town = Town::found().await;
    for (uses, comers) in [(1, 2), (3, 8)] {
        let token = town.token(JoinRole::Agent, uses);
        let names: Vec<String> = (0..comers).map(|it| format!("w{uses}-{it}")).collect();
        let joins = join_all(names.iter().map(|name| town.join(&token, name))).await;
        let (inside, outside): (Vec<_>, Vec<_>) = joins.into_iter().partition(Result::is_ok);
        assert_eq!(u32::try_from(inside.len()).unwrap(), uses);
        for refused in outside {
            says(&refused.unwrap_err(), "which is all that it allows");
        }
    }
}

#[tokio::test]
async fn a_token_that_does_not_count_is_told_why() {
    let town = Town::found().await;
    let expired = town.token(JoinRole::Agent, 1);
    town.clock.pass(Span::hours(1));
    let revoked = town.token(JoinRole::Agent, 1);
    town.hall.wish(&Wish::RevokeToken { token: revoked.hash(), by: admin() }).unwrap();
    let unknown = Token::draw(Purpose::Join(JoinRole::Agent), town.authority).unwrap();
    let mut for_agents = town.token(JoinRole::Agent, 1);
    for_agents.purpose = Purpose::Join(JoinRole::Control);
    let mut signs_in = unknown.clone();
    signs_in.purpose = Purpose::SignIn;
    let cases = [
        (expired, "it expired a moment ago"),
        (revoked, "it was revoked"),
        (unknown, "it was made for another cluster, or is long over"),
        (for_agents, "the token is for agent"),
        (signs_in, "this token is for signing in"),
    ];
    for (number, (token, part)) in cases.into_iter().enumerate() {
        says(&town.join(&token, &format!("m{number}")).await.unwrap_err(), part);
    }
}

#[tokio::test]
async fn a_newcomer_shows_its_token_to_no_other_cluster() {
    let (town, other) = (Town::found().await, Town::found().await);
    let mut token = town.token(JoinRole::Control, 1);
    token.pin = Pin::of(other.authority);
    let refused = town.join(&token, "second").await.unwrap_err();
    says(&refused, "it is a node of another cluster than the token is for");
    assert_eq!(town.hall.read(|cluster| cluster.nodes().count()), 1);
}

#[tokio::test]
async fn clocks_that_are_far_off_are_told() {
    let town = Town::found().await;
    for (hours, part) in [(-1, "is valid from"), (25, "ran out at")] {
        let token = town.token(JoinRole::Agent, 1);
        let clock = town.clock.off_by(hours);
        let refused = town.join_by(&token, &format!("m{hours}"), clock).await.unwrap_err();
        says(&refused, part);
        assert!(refused.help.contains("date"), "{refused:?}");
    }
    let token = town.token(JoinRole::Agent, 1);
    let behind = HandClock::off_by(&town.clock, 0);
    town.clock.pass(Span::seconds(200));
    town.join_by(&token, "behind", behind).await.unwrap();
}

/// Connects as somebody expects, and tells why not.
async fn refusal(town: &Town, expected: Expected, with: Option<&Credentials>) -> String {
    match town.connect_to(expected, with).connect().await {
        Ok(_) => "welcome".to_owned(),
        Err(ConnectError::Final(refused)) => refused.what,
        Err(ConnectError::Passing(error)) => panic!("{error}"),
    }
}

#[tokio::test]
async fn who_connects_knows_to_whom() {
    let (town, other) = (Town::found().await, Town::found().await);
    let (cluster, authority) = (town.cluster(), town.credentials.authority().clone());
    let foreign = other.credentials.authority().clone();
    let node = |node| Expected::Node { cluster, authority: authority.clone(), node };
    let any = |cluster, authority| Expected::AnyNode { cluster, authority };
    let cases = [
        (node(NodeId(1)), "welcome"),
        (node(NodeId(2)), "it is n1, not n2"),
        (any(cluster, authority.clone()), "welcome"),
        (any(other.cluster(), authority.clone()), "it belongs to another cluster"),
        (any(cluster, foreign), "no authority of this cluster vouches for it"),
    ];
    for (expected, part) in cases {
        let told = refusal(&town, expected.clone(), None).await;
        assert!(told.contains(part), "{expected:?}: {told}");
    }
}

#[test]
fn what_a_certificate_says_is_what_it_was_given_and_always_the_same_bytes() {
    let cluster = ClusterId([7; 16]);
    let authority = Authority::found(Timestamp(1_800_000_000_000)).unwrap();
    let key = Zeroizing::new(authority.key().to_vec());
    let elsewhere = Authority::from_der(authority.certificate().clone(), key).unwrap();
    let public = PublicKey::of_request(&fresh_request()).unwrap();
    let certificate = Certificate {
        serial: 300,
        not_before: Timestamp(1_800_000_000_000),
        not_after: Timestamp(1_800_086_400_000),
    };
    let subject = Subject { cluster, holder: Holder::Node(NodeId(3)) };
    let here = authority.issue(subject, &public, certificate).unwrap();
    assert_eq!(here, elsewhere.issue(subject, &public, certificate).unwrap());
    let said = subject::read(&here).unwrap();
    assert_eq!((said.subject, said.certificate), (subject, certificate));
    assert_eq!(said.key, public.fingerprint());
    assert_eq!(authority::fingerprint(authority.certificate()), authority.fingerprint());
    let other = Authority::found(Timestamp(0)).unwrap();
    let key = Zeroizing::new(other.key().to_vec());
    assert!(Authority::from_der(authority.certificate().clone(), key).is_err());
}

#[tokio::test]
async fn a_copied_disk_is_noticed_at_its_first_start() {
    let town = Town::found().await;
    let (original, copy) = (town.machine("n1"), town.machine("copy"));
    let shows = |folder: &Folder| {
        let begun = starts::begin(folder).unwrap();
        let started = Started {
            node: NodeId(1),
            count: begun.start.count,
            boot: begun.start.boot,
            known: begun.known,
            addresses: Vec::new(),
            levels: LEVELS,
            release: None,
        };
        (town.hall.wish(&Wish::Start(started)), begun.start)
    };
    let (granted, first) = shows(&original);
    granted.unwrap();
    starts::confirm(&original, first).unwrap();
    fs::create_dir(copy.path().parent().unwrap()).unwrap();
    fs::create_dir(copy.path()).unwrap();
    for file in fs::read_dir(original.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    assert!(shows(&original).0.is_ok(), "its next start was never confirmed");
    assert!(shows(&original).0.is_ok(), "and yet it knows of it");
    for _ in 0..5 {
        let refusal = shows(&copy).0.unwrap_err();
        assert!(refusal.to_string().contains("does not know of the node's latest start"));
    }
    assert!(shows(&original).0.is_ok());
    fs::write(original.path().join("starts.json"), "{").unwrap();
    assert!(starts::begin(&original).is_err());
}

#[tokio::test]
async fn refusals_of_the_door_are_typed() {
    let town = Town::found().await;
    let agent = town.joined(JoinRole::Agent, "worker").await;
    let door = town.door(&agent);
    let folder = town.machine("worker");
    town.hall
        .wish(&Wish::RemoveAgent {
            agent: match agent.said().subject.holder {
                Holder::Agent(agent) => agent,
                Holder::Node(_) => unreachable!(),
            },
            by: admin(),
        })
        .unwrap();
    let refused = door.renew(&agent, &folder).await.unwrap_err();
    says(&refused, "was removed from this cluster");
    let error = JoinError::Refused {
        what: "use the token: it was revoked".to_owned(),
        help: String::new(),
    };
    assert_eq!(error.to_string(), "use the token: it was revoked");
}
