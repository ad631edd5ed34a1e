//! Callers: each may do what it is there for, in its own name, for as long as it stands.

use super::town::{Town, admin};
use crate::client::ClientError;
use crate::identity::door::Reception;
use crate::identity::join::enrol_here;
use crate::identity::renewal::{Renewal, bridge, keep_valid};
use crate::identity::tls::Credentials;
use crate::identity::token::{Purpose, Token};
use crate::network::Connector;
use crate::node::system::SeededChance;
use crate::rpc::agent_link::AgentLink;
use crate::rpc::api::Stop;
use crate::rpc::cluster::{ChangeMember, NewToken, TokenPurpose};
use crate::wire::hello::{Build, Hello, HelloError, Role, introduce};
use otto_actors::ports::clock::Clock as _;
use otto_actors::ports::control::{Bid, Control, LinkError};
use otto_core::capability::Capabilities;
use otto_core::cluster::command::Wish;
use otto_core::cluster::state::{Holder, JoinRole, UserRole};
use otto_core::ids::{AgentId, AgentRef, NodeId};
use otto_core::time::Span;
use std::sync::Arc;

/// What is answered to a hello.
async fn greeted(town: &Town, with: Option<&Credentials>, role: Role) -> String {
    let stream = town.connector(with).connect().await.unwrap();
    match introduce(stream, &Hello::new(role, Build::default())).await {
        Ok(_) => "welcome".to_owned(),
        Err(HelloError::Refused(refused)) => refused.what,
        Err(error) => panic!("{error}"),
    }
}

fn agent_of(credentials: &Credentials) -> AgentId {
    match credentials.said().subject.holder {
        Holder::Agent(agent) => agent,
        Holder::Node(_) => panic!("it is a node"),
    }
}

#[tokio::test]
async fn an_identity_opens_its_own_doors_only() {
    let town = Town::found().await;
    let agent = town.joined(JoinRole::Agent, "worker").await;
    let node = town.joined(JoinRole::Control, "second").await;
    let cases = [
        (None, Role::Client, "nobody is signed in on this connection"),
        (None, Role::Agent, "nobody is signed in on this connection"),
        (None, Role::Control, "nobody is signed in on this connection"),
        (None, Role::Newcomer, "welcome"),
        (Some(&agent), Role::Client, "may not connect as a client"),
        (Some(&agent), Role::Agent, "welcome"),
        (Some(&agent), Role::Control, "may not connect as a control node"),
        (Some(&agent), Role::Newcomer, "welcome"),
        (Some(&node), Role::Client, "may not connect as a client"),
        (Some(&node), Role::Agent, "may not connect as an agent"),
        (Some(&node), Role::Control, "welcome"),
        (Some(&node), Role::Newcomer, "welcome"),
    ];
    for (with, role, part) in cases {
        let told = greeted(&town, with, role).await;
        assert!(told.contains(part), "{role:?}: {told}");
    }
}

#[tokio::test]
async fn a_foreign_certificate_is_no_identity() {
    let (town, other) = (Town::found().await, Town::found().await);
    let foreign = other.joined(JoinRole::Agent, "worker").await;
    let stream = town.connector(Some(&foreign)).connect().await;
    let hello = Hello::new(Role::Agent, Build::default());
    let told = match stream {
        Ok(stream) => introduce(stream, &hello).await.map(|_| ()).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(told.contains("UnknownCA") || told.contains("does not accept"), "{told}");
}

#[tokio::test]
async fn an_agent_acts_in_its_own_name_only() {
    let town = Town::found().await;
    let credentials = town.joined(JoinRole::Agent, "worker").await;
    let link = AgentLink::new(town.connector(Some(&credentials)), Build::default());
    let own = AgentRef { agent: agent_of(&credentials), incarnation: 1 };
    let other = AgentRef { agent: AgentId([9; 16]), incarnation: 1 };
    assert_eq!(link.renew(own, Vec::new()).await, Ok(Vec::new()));
    let bid = Bid {
        agent: other,
        name: "w".to_owned(),
        capabilities: Capabilities::default(),
        free_slots: 1,
        holds: Vec::new(),
        cost: 0,
        warm: std::collections::BTreeSet::new(),
    };
    let refusals = [
        link.bid(bid).await.err(),
        link.renew(other, Vec::new()).await.err(),
        link.report(other, Vec::new()).await.err(),
    ];
    for refused in refusals {
        let Some(LinkError::Refused(cause)) = refused else { panic!("{refused:?}") };
        assert!(cause.contains("act as agent"), "{cause}");
    }
}

#[tokio::test]
async fn whoever_is_removed_is_out_at_the_next_call() {
    let town = Town::found().await;
    let credentials = town.joined(JoinRole::Agent, "worker").await;
    let link = AgentLink::new(town.connector(Some(&credentials)), Build::default());
    let own = AgentRef { agent: agent_of(&credentials), incarnation: 1 };
    assert_eq!(link.renew(own, Vec::new()).await, Ok(Vec::new()));
    town.hall.wish(&Wish::RemoveAgent { agent: own.agent, by: admin() }).unwrap();
    let refused = link.renew(own, Vec::new()).await.unwrap_err();
    assert!(refused.to_string().contains("was removed from this cluster"), "{refused}");
    let told = greeted(&town, Some(&credentials), Role::Agent).await;
    assert!(told.contains("was removed from this cluster"), "{told}");
}

#[tokio::test]
async fn a_certificate_that_ran_out_is_good_for_another_one_only() {
    let town = Town::found().await;
    let credentials = town.joined(JoinRole::Agent, "worker").await;
    let (door, folder) = (town.door(&credentials), town.machine("worker"));
    let before = credentials.said().certificate;
    door.renew(&credentials, &folder).await.unwrap();
    assert_eq!(credentials.said().certificate, before, "it was not due");
    town.clock.pass(Span::hours(23));
    town.door(&town.credentials).renew(&town.credentials, &town.machine("n1")).await.unwrap();
    town.clock.pass(Span::hours(2));
    let told = greeted(&town, Some(&credentials), Role::Agent).await;
    assert!(told.contains("has run out"), "{told}");
    let door = town.door(&credentials);
    door.renew(&credentials, &folder).await.unwrap();
    assert_eq!(greeted(&town, Some(&credentials), Role::Agent).await, "welcome");
    let stored = folder.load().unwrap().unwrap();
    assert_eq!(stored.said, credentials.said(), "it is on disk, too");
    assert!(stored.said.certificate.serial > before.serial);
}

#[tokio::test]
async fn a_certificate_is_renewed_by_itself() {
    let town = Town::found().await;
    let credentials = town.joined(JoinRole::Agent, "worker").await;
    let before = credentials.said().certificate;
    town.clock.pass(Span::hours(16));
    let renewing = tokio::spawn(keep_valid(
        credentials.clone(),
        town.machine("worker"),
        town.door(&credentials),
        town.clock.clone(),
        Arc::new(SeededChance::new(1)),
    ));
    while credentials.said().certificate == before {
        tokio::task::yield_now().await;
    }
    renewing.abort();
    assert!(credentials.said().certificate.renewal() > before.not_after);
}

#[tokio::test]
async fn a_control_node_that_was_off_for_too_long_comes_back() {
    let town = Town::found().await;
    let folder = town.machine("n1");
    let load = || folder.load().unwrap().unwrap();
    let authority = || folder.authority().unwrap().unwrap();
    let before = load().said;
    let kept = bridge(load(), &folder, &authority(), town.clock.now()).unwrap();
    assert_eq!((kept.said, load().said), (before, before), "it is valid still");
    town.clock.pass(Span::hours(24 * 7));
    let bridged = bridge(load(), &folder, &authority(), town.clock.now()).unwrap();
    assert_eq!(load().said, bridged.said, "it is on disk, too");
    assert!(bridged.said.certificate.not_after > town.clock.now());
    let credentials = Credentials::new(bridged).unwrap();
    let admission = town.hall.clone();
    let reception = Arc::new(Reception { authority: authority(), admission, incarnation: 0 });
    reception.renew(&town.credentials, &folder).await.unwrap();
    assert_eq!(greeted(&town, Some(&credentials), Role::Control).await, "welcome");
    reception.renew(&credentials, &folder).await.unwrap();
    let after = credentials.said().certificate;
    assert!(after.serial > before.certificate.serial, "the cluster knows of this one");
    assert!(after.not_after > town.clock.now().after(Span::hours(23)));
    let beside = town.machine("beside");
    let agent = enrol_here(&reception, &credentials, "n1", &beside).await.unwrap();
    assert!(matches!(agent.stored.said.subject.holder, Holder::Agent(_)));
}

/// What a client is told by its node.
async fn status(town: &Town, token: &Token) -> String {
    match town.client(token).status().await {
        Ok(_) => "welcome".to_owned(),
        Err(error) => error.into_refused().what,
    }
}

#[tokio::test]
async fn people_sign_in_with_their_token() {
    let town = Town::found().await;
    let (user, root) = (town.user("bob", UserRole::User), town.user("ada", UserRole::Admin));
    assert_eq!(status(&town, &user).await, "welcome");
    let stop = || Stop { pid: 0, busy_too: false, successor: None };
    let client = town.client(&user);
    let refused = client.stop(stop()).await.unwrap_err();
    assert!(refused.to_string().contains("as bob: only an administrator"), "{refused}");
    assert!(town.client(&root).stop(stop()).await.is_ok());
    town.hall.wish(&Wish::RevokeToken { token: user.hash(), by: admin() }).unwrap();
    let refused: ClientError = client.status().await.unwrap_err();
    assert!(refused.to_string().contains("signs nobody in"), "{refused}");
    let told = status(&town, &user).await;
    assert!(told.contains("signs nobody in"), "{told}");
    let joins = town.token(JoinRole::Agent, 1);
    let told = status(&town, &joins).await;
    assert!(told.contains("signs nobody in"), "{told}");
    town.clock.pass(Span::hours(23));
    town.door(&town.credentials).renew(&town.credentials, &town.machine("n1")).await.unwrap();
    town.clock.pass(Span::hours(2));
    let told = status(&town, &root).await;
    assert!(told.contains("signs nobody in"), "{told}");
}

#[tokio::test]
async fn administrators_ask_for_tokens_and_see_the_cluster() {
    let town = Town::found().await;
    let client = town.client(&town.user("ada", UserRole::Admin));
    let view = client.cluster().await.unwrap();
    assert_eq!((view.cluster, view.authority), (town.cluster(), town.authority));
    assert_eq!((view.survival.voters, view.survival.losses), (1, Some(0)));
    assert!(view.nodes[0].live.reachable);
    let token = Token::draw(Purpose::Join(JoinRole::Control), view.authority).unwrap();
    let purpose = TokenPurpose::Join { role: JoinRole::Control, uses: 1 };
    let new = NewToken { token: token.hash(), lifetime_ms: 60_000, purpose };
    client.create_token(new.clone()).await.unwrap();
    client.create_token(new.clone()).await.unwrap();
    assert_eq!(client.tokens().await.unwrap().len(), 2);
    town.join(&token, "second").await.unwrap();
    let last = client.change_member(ChangeMember::Drain(NodeId(1))).await.unwrap_err();
    assert!(last.to_string().contains("no other voter would be left"), "{last}");
    client.change_member(ChangeMember::Remove(NodeId(2))).await.unwrap();
    client.revoke_token(token.hash()).await.unwrap();
    assert!(client.tokens().await.unwrap().iter().any(|token| token.revoked));
    let user = town.client(&town.user("bob", UserRole::User));
    assert_eq!(user.cluster().await.unwrap().nodes.len(), 2);
    for refused in [
        user.create_token(new).await.unwrap_err(),
        user.tokens().await.unwrap_err(),
        user.change_member(ChangeMember::Resume(NodeId(1))).await.unwrap_err(),
    ] {
        assert!(refused.to_string().contains("as bob: only an administrator"), "{refused}");
    }
}
