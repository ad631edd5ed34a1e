//! Every method of every service, for every rank.

use super::porter::{ALLOWED, Rank, may_call};
use std::collections::BTreeSet;

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
