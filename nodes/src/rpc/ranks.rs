//! Every method of every service, for every rank.

use super::api::ApiError;
use super::porter::{self, ALLOWED, Porter, Rank, may_call};
use super::vouched::{Vouched, VouchedWho};
use crate::network::{Principal, Who};
use crate::wire::hello::Role;
use otto_actors::ports::clock::Clock;
use otto_core::cluster::Cluster;
use otto_core::cluster::command::{Newcomer, Wish};
use otto_core::cluster::event::Entry;
use otto_core::cluster::state::{By, Holder, Levels, UserRole};
use otto_core::ids::{AgentId, ClusterId, KeyId, NodeId, TokenHash};
use otto_core::time::{Span, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// Who may call what, as people would say it: a second account of the table.
const SAID: &str = "
    ClientCalls.submit         Owner Admin User
    ClientCalls.retry          Owner Admin User
    ClientCalls.run            Owner Admin User
    ClientCalls.runs           Owner Admin User
    ClientCalls.stages         Owner Admin User
    ClientCalls.follow         Owner Admin User
    ClientCalls.plan           Owner Admin User
    ClientCalls.log            Owner Admin User
    ClientCalls.ask            Owner Admin User
    ClientCalls.why            Owner Admin User
    ClientCalls.agents         Owner Admin User
    ClientCalls.has            Owner Admin User
    ClientCalls.put            Owner Admin User
    ClientCalls.get            Owner Admin User
    ClientCalls.status         Owner Admin User
    ClientCalls.stop           Owner Admin
    ClientCalls.cluster        Owner Admin User
    ClientCalls.change_member  Owner Admin
    ClientCalls.tokens         Owner Admin
    ClientCalls.create_token   Owner Admin
    ClientCalls.revoke_token   Owner Admin
    ClientCalls.addresses      Owner Admin User
    ClientCalls.raise_level    Owner Admin
    ClientCalls.back_up        Owner Admin
    AgentCalls.bid             Owner Agent
    AgentCalls.renew           Owner Agent
    AgentCalls.report          Owner Agent
    AgentCalls.log             Owner Agent
    AgentCalls.seal            Owner Agent
    AgentCalls.blob            Owner Agent
    AgentCalls.keep            Owner Agent
    PeerCalls.peer             Node
    PeerCalls.client           Node
    PeerCalls.cluster          Node
    PeerCalls.clock            Node
    PeerCalls.reach            Node
    PeerCalls.kept             Node
    PeerCalls.keep_log         Node
    JoinCalls.join             Stranger
    JoinCalls.enrol            Node
    JoinCalls.renew            Node Agent Lapsed
";

/// The methods of all services, as their source declares them.
fn methods() -> BTreeSet<String> {
    let mut service = "";
    let mut found = BTreeSet::new();
    for line in include_str!("service.rs").lines() {
        if let Some(rest) = line.strip_prefix("pub trait ") {
            service = rest.trim_end_matches(" {");
        } else if let Some(rest) = line.trim_start().strip_prefix("async fn ") {
            let name = rest.split('(').next().unwrap_or_default();
            found.insert(format!("{service}.{name}"));
        }
    }
    found
}

#[test]
fn every_method_is_in_the_table_once() {
    let named: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let once: BTreeSet<String> = named.iter().map(ToString::to_string).collect();
    assert_eq!(once.len(), named.len(), "a method is named twice");
    assert_eq!(once, methods());
    let roles = [Role::Client, Role::Agent, Role::Control, Role::Newcomer];
    let listed: BTreeSet<String> = roles.into_iter().flat_map(porter::methods).collect();
    assert_eq!(once, listed, "a method is in no hello");
}

#[test]
fn every_rank_may_call_what_it_is_there_for_and_nothing_else() {
    let said: Vec<Vec<&str>> = SAID.lines().map(|line| line.split_whitespace().collect()).collect();
    for method in methods() {
        let line = said.iter().find(|words| words.first() == Some(&method.as_str()));
        let line = line.unwrap_or_else(|| panic!("nobody said who may call {method}"));
        for rank in Rank::ALL {
            let may = line.contains(&format!("{rank:?}").as_str());
            assert_eq!(may_call(rank, &method), may, "{rank:?} {method}");
        }
    }
    for unknown in ["ClientCalls.shutdown", "submit", "", "ClientCalls.submit "] {
        assert!(Rank::ALL.iter().all(|rank| !may_call(*rank, unknown)), "{unknown}");
    }
}

/// A clock that stands still.
#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000)
    }
}

const USER: TokenHash = TokenHash([1; 32]);
const ADMIN: TokenHash = TokenHash([2; 32]);
const REVOKED: TokenHash = TokenHash([3; 32]);
const EXPIRED: TokenHash = TokenHash([4; 32]);

/// The porter of a cluster in which these tokens were made.
fn porter() -> Porter {
    let by = || By::owner("root");
    let founder = Newcomer {
        name: "n1".to_owned(),
        addresses: Vec::new(),
        key: KeyId([9; 32]),
        levels: Levels { oldest: 0, newest: 0 },
    };
    let (cluster, authority) = (ClusterId([1; 16]), KeyId([8; 32]));
    let token = |token, name: &str, role, lifetime| Wish::CreateUserToken {
        token,
        name: name.to_owned(),
        role,
        lifetime,
        by: by(),
    };
    let wishes = [
        Wish::Found { cluster, shards: 1, authority, node: founder },
        token(USER, "bob", UserRole::User, Span::hours(24)),
        token(ADMIN, "ada", UserRole::Admin, Span::hours(24)),
        token(REVOKED, "eve", UserRole::Admin, Span::hours(24)),
        token(EXPIRED, "old", UserRole::Admin, Span::hours(1)),
        Wish::RevokeToken { token: REVOKED, by: by() },
    ];
    let earlier = Timestamp(Noon.now().0 - Span::hours(2).0);
    let mut cluster = Cluster::default();
    for wish in wishes {
        let events = cluster.decide(&wish, earlier).unwrap();
        cluster.apply(&Entry { at: earlier, events });
    }
    let register = watch::channel(Arc::new(cluster.register())).1;
    Porter::new(register, Arc::new(Noon))
}

#[tokio::test]
async fn whoever_is_vouched_for_may_do_elsewhere_what_they_may_at_the_door() {
    let porter = porter();
    let claim = |who| Vouched { name: "whoever".to_owned(), who };
    for (who, name, rank) in [
        (VouchedWho::Person(USER), "bob", Rank::User),
        (VouchedWho::Person(ADMIN), "ada", Rank::Admin),
        (VouchedWho::Owner, "whoever", Rank::Admin),
    ] {
        let principal = porter.vouched(NodeId(2), &claim(who)).await.unwrap();
        assert_eq!((principal.name.as_str(), Rank::of(&principal)), (name, rank));
        let gate = porter.gate(&principal);
        for method in methods() {
            let may = gate.check(&method).await.is_ok();
            assert_eq!(may, may_call(rank, &method), "{who:?} {method}");
            let of_people = method.starts_with("ClientCalls.");
            assert!(of_people || !may, "{who:?} is a person, and may {method}");
        }
    }
    for token in [REVOKED, EXPIRED, TokenHash([7; 32])] {
        let refused = porter.vouched(NodeId(2), &claim(VouchedWho::Person(token))).await;
        assert!(matches!(refused, Err(ApiError::NotReady(_))), "{token}: {refused:?}");
    }
}

#[test]
fn only_people_and_owners_are_vouched_for() {
    let (node, agent) = (Holder::Node(NodeId(2)), Holder::Agent(AgentId([5; 16])));
    let vouched = |principal: &Principal| Vouched::of(principal).map(|vouched| vouched.who);
    let person = |role, token| Principal { who: Who::User(role, token), ..Principal::owner("p") };
    assert_eq!(vouched(&Principal::owner("ann")), Some(VouchedWho::Owner));
    for (role, token) in [(UserRole::User, USER), (UserRole::Admin, ADMIN)] {
        assert_eq!(vouched(&person(role, token)), Some(VouchedWho::Person(token)));
    }
    let lapsed = Principal { who: Who::Lapsed(agent), ..Principal::owner("a") };
    for nobody in [
        Principal::certified(node, KeyId([1; 32])),
        Principal::certified(agent, KeyId([2; 32])),
        Principal::stranger("somebody"),
        lapsed,
    ] {
        assert_eq!(vouched(&nobody), None, "{nobody:?}");
    }
}
