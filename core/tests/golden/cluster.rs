//! The cluster's journal, and the head that holds its state.

use super::{Golden, check, frame, frames};
use otto_core::cluster::Cluster;
use otto_core::cluster::command::{Newcomer, Started, Wish};
use otto_core::cluster::event::Entry;
use otto_core::cluster::state::{By, Holder, JoinRole, Levels, UserRole};
use otto_core::ids::{AgentId, BootId, ClusterId, KeyId, NodeId, TokenHash};
use otto_core::journal::{Head, decode, encode};
use otto_core::time::{Span, Timestamp};
use std::fmt::Write;

const HOUR: u64 = 3_600_000;
const START: u64 = 1_000 * HOUR;

/// What a stored journal means, for people: its facts, then what they make of it. The last record
/// is the head.
fn meaning(bytes: &[u8]) -> String {
    let frames = frames(bytes);
    let (head, entries) = frames.split_last().expect("the head comes last");
    let mut cluster = Cluster::default();
    let mut text = String::new();
    for bytes in entries {
        let entry: Entry = decode("entry", bytes).expect("a golden entry is read for ever");
        cluster.apply(&entry);
        writeln!(text, "\nat {}", entry.at.0).expect("memory");
        for event in &entry.events {
            let event = serde_json::to_string(event).expect("events are plain data");
            writeln!(text, "  {event}").expect("memory");
        }
        for duty in cluster.owed() {
            let duty = serde_json::to_string(&duty).expect("duties are plain data");
            writeln!(text, "  owes {duty}").expect("memory");
        }
    }
    let head = Head { wake: None, summary: head.to_vec() };
    let stored = Cluster::from_head(Some(&head)).expect("a golden head is read for ever");
    assert_eq!(stored, cluster, "the head tells the same as the journal");
    let state = serde_json::to_string_pretty(&Plain::of(&cluster)).expect("plain data");
    writeln!(text, "\n{state}").expect("memory");
    text
}

/// What JSON can show of a cluster: its maps have keys that are no text.
#[derive(serde::Serialize)]
struct Plain {
    level: u32,
    incarnation: u32,
    nodes: Vec<(NodeId, otto_core::cluster::state::Member)>,
    agents: Vec<(AgentId, otto_core::cluster::state::Agent)>,
    tokens: Vec<(TokenHash, otto_core::cluster::state::Token)>,
}

impl Plain {
    fn of(cluster: &Cluster) -> Self {
        Self {
            level: cluster.level(),
            incarnation: cluster.incarnation(),
            nodes: cluster.nodes().map(|(node, it)| (node, it.clone())).collect(),
            agents: cluster.agents().map(|(agent, it)| (agent, it.clone())).collect(),
            tokens: cluster.tokens().map(|(token, it)| (token, it.clone())).collect(),
        }
    }
}

fn tell(wishes: &[(u64, Wish)]) -> Golden {
    let mut cluster = Cluster::default();
    let mut bytes = Vec::new();
    for (at, wish) in wishes {
        let at = Timestamp(*at);
        let events = cluster.decide(wish, at).expect("it is granted");
        assert!(!events.is_empty(), "{wish:?} leads to something");
        let entry = Entry { at, events };
        cluster.apply(&entry);
        frame(&mut bytes, &encode(&entry));
    }
    frame(&mut bytes, &cluster.to_head().summary);
    let text = meaning(&bytes);
    Golden { bytes, text, meaning }
}

fn admin() -> By {
    By::owner("ada")
}

fn newcomer(number: u8) -> Newcomer {
    Newcomer {
        name: format!("machine-{number}"),
        addresses: vec![format!("10.0.0.{number}:7301")],
        key: KeyId([number; 32]),
        levels: Levels { oldest: 1, newest: u32::from(number.min(2)) },
    }
}

fn token(number: u8) -> TokenHash {
    TokenHash([number; 32])
}

fn create(number: u8, role: JoinRole, uses: u32) -> Wish {
    let lifetime = Span::hours(1);
    Wish::CreateToken { token: token(number), role, lifetime, uses, by: admin() }
}

fn start(node: u64, count: u64, boot: u8, known: &[u8]) -> Wish {
    Wish::Start(Started {
        node: NodeId(node),
        count,
        boot: BootId([boot; 16]),
        known: known.iter().map(|boot| BootId([*boot; 16])).collect(),
        addresses: vec!["10.0.1.1:7301".to_owned()],
        levels: Levels { oldest: 1, newest: 3 },
        release: Some("0.2.0".to_owned()),
    })
}

/// Every kind of fact, once.
#[test]
fn a_cluster_that_lived() {
    let (control, agent) = (JoinRole::Control, JoinRole::Agent);
    let (one, two) = (NodeId(1), NodeId(2));
    let found = Wish::Found {
        cluster: ClusterId([7; 16]),
        shards: 8,
        authority: KeyId([200; 32]),
        node: newcomer(1),
    };
    let person = Wish::CreateUserToken {
        token: token(9),
        name: "bob".to_owned(),
        role: UserRole::User,
        lifetime: Span::hours(48),
        by: admin(),
    };
    let gone = AgentId::of(&[5; 32]);
    let wishes = [
        found,
        start(1, 1, 11, &[]),
        create(1, control, 1),
        create(2, agent, 3),
        Wish::Join { token: token(1), role: control, newcomer: newcomer(2) },
        Wish::Join { token: token(2), role: agent, newcomer: newcomer(5) },
        Wish::JoinAgent { node: two, name: "machine-2".to_owned(), key: KeyId([6; 32]) },
        start(2, 4, 24, &[]),
        Wish::BecameLearner { node: two },
        Wish::BecameVoter { node: two },
        Wish::RaiseLevel { to: 2, by: admin() },
        Wish::Drain { node: one, by: admin() },
        Wish::Resume { node: one, by: admin() },
        person,
        Wish::RevokeToken { token: token(2), by: admin() },
        Wish::RemoveAgent { agent: gone, by: admin() },
    ];
    let mut told: Vec<(u64, Wish)> = (START..).step_by(1000).zip(wishes).collect();
    told.extend([
        (START + 17 * HOUR, Wish::Renew { holder: Holder::Node(one), key: KeyId([1; 32]) }),
        (START + 50 * HOUR, create(3, agent, 1)),
        (START + 51 * HOUR, Wish::Remove { node: two, by: admin() }),
        (START + 51 * HOUR, Wish::Emptied { node: two }),
        (START + 51 * HOUR, Wish::Parted { node: two }),
        (START + 60 * HOUR, Wish::Restore { node: newcomer(8), authority: KeyId([201; 32]) }),
    ]);
    check("cluster", &tell(&told));
}

/// What the second level lets be written. All the rest is in the story above, whose node tells its
/// release, too, and in whose bytes it is not.
#[test]
fn a_cluster_whose_level_was_raised() {
    let found = Wish::Found {
        cluster: ClusterId([7; 16]),
        shards: 8,
        authority: KeyId([200; 32]),
        node: newcomer(1),
    };
    let wishes = [
        found,
        start(1, 1, 11, &[]),
        Wish::RaiseLevel { to: 2, by: admin() },
        start(1, 1, 11, &[]),
        start(1, 2, 12, &[11]),
    ];
    let told: Vec<(u64, Wish)> = (START..).step_by(1000).zip(wishes).collect();
    check("level-2", &tell(&told));
}
