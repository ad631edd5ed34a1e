//! Planted bugs: a checker that was never seen failing counts as none. Each bug answers wishes in
//! the heart's place, and the exploration must complain about it in the name of the invariant.

use super::explore::{explore, worlds};
use super::world::{Decider, heart};
use crate::cluster::Cluster;
use crate::cluster::command::{Newcomer, Refusal, Wish};
use crate::cluster::event::Event;
use crate::cluster::state::{By, Certificate, Invitation, JoinRole, Levels, Start, UserRole};
use crate::ids::{AgentId, NodeId};
use crate::time::{Span, Timestamp};

type Answer = Result<Vec<Event>, Refusal>;

/// The heart's answer with its events changed one by one.
fn altered(
    cluster: &Cluster,
    wish: &Wish,
    now: Timestamp,
    alter: impl FnMut(Event) -> Event,
) -> Answer {
    heart(cluster, wish, now).map(|events| events.into_iter().map(alter).collect())
}

/// A join that is granted although the heart refused it for a reason.
fn admitted(
    cluster: &Cluster,
    wish: &Wish,
    now: Timestamp,
    although: impl FnOnce(&Refusal) -> bool,
) -> Answer {
    match (heart(cluster, wish, now), wish) {
        (Err(refusal), Wish::Join { token, role, newcomer }) if although(&refusal) => {
            Ok(vec![joined(cluster, *token, *role, newcomer, now)])
        }
        (answer, _) => answer,
    }
}

fn joined(
    cluster: &Cluster,
    token: crate::ids::TokenHash,
    role: JoinRole,
    newcomer: &Newcomer,
    at: Timestamp,
) -> Event {
    let serial = cluster.latest_serial + 1;
    let certificate = Certificate { serial, not_before: at, not_after: at.after(Span::hours(1)) };
    match role {
        JoinRole::Control => {
            let (node, newcomer) = (NodeId(cluster.latest_node + 1), newcomer.clone());
            Event::NodeJoined { node, newcomer, token, certificate, at }
        }
        JoinRole::Agent => Event::AgentJoined {
            agent: AgentId::of(&newcomer.key.0),
            name: newcomer.name.clone(),
            key: newcomer.key,
            invitation: Invitation::Token(token),
            certificate,
            at,
        },
    }
}

fn used_up_tokens_count(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    admitted(cluster, wish, now, |it| matches!(it, Refusal::TokenUsedUp { .. }))
}

fn revoked_tokens_count(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    admitted(cluster, wish, now, |it| matches!(it, Refusal::TokenRevoked))
}

fn expired_tokens_count(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    admitted(cluster, wish, now, |it| matches!(it, Refusal::TokenExpired { .. }))
}

fn roles_are_not_looked_at(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    admitted(cluster, wish, now, |it| matches!(it, Refusal::OtherRole { .. }))
}

fn removed_ones_come_back(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    admitted(cluster, wish, now, |it| matches!(it, Refusal::Removed { .. }))
}

fn a_repeated_join_is_a_new_one(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    match (heart(cluster, wish, now), wish) {
        (Ok(events), Wish::Join { token, role, newcomer }) if events.is_empty() => {
            Ok(vec![joined(cluster, *token, *role, newcomer, now)])
        }
        (answer, _) => answer,
    }
}

fn numbers_are_used_again(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    altered(cluster, wish, now, |mut event| {
        if let Event::NodeJoined { node, .. } = &mut event {
            let taken = cluster.nodes().map(|(node, _)| node.0).max().unwrap_or(0);
            *node = NodeId(taken + 1);
        }
        event
    })
}

fn serials_are_used_again(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    altered(cluster, wish, now, |mut event| {
        if let Event::CertificateIssued { certificate, .. } = &mut event {
            certificate.serial = 1;
        }
        event
    })
}

fn certificates_last_two_days(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    altered(cluster, wish, now, |mut event| {
        if let Event::CertificateIssued { certificate, .. } = &mut event {
            certificate.not_after = now.after(Span::hours(48));
        }
        event
    })
}

fn any_key_is_renewed(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    match (heart(cluster, wish, now), wish) {
        (Err(Refusal::Unknown { .. }), Wish::Renew { holder, .. })
            if cluster.credentials(*holder).is_some() =>
        {
            let serial = cluster.latest_serial + 1;
            let not_after = now.after(Span::hours(1));
            let certificate = Certificate { serial, not_before: now, not_after };
            Ok(vec![Event::CertificateIssued { holder: *holder, certificate }])
        }
        (answer, _) => answer,
    }
}

fn the_last_voter_may_go(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    match (heart(cluster, wish, now), wish) {
        (Err(Refusal::LastVoter { node }), Wish::Remove { by, .. }) => {
            Ok(vec![Event::NodeLeaving { node, by: by.name.clone(), at: now }])
        }
        (answer, _) => answer,
    }
}

fn votes_come_before_shards(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    match (heart(cluster, wish, now), wish) {
        (Err(Refusal::OutOfOrder { node }), Wish::BecameVoter { .. }) => {
            Ok(vec![Event::NodeBecameVoter { node, at: now }])
        }
        (answer, _) => answer,
    }
}

fn leaders_are_cut_off(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    match (heart(cluster, wish, now), wish) {
        (Err(Refusal::OutOfOrder { node }), Wish::Parted { .. }) => {
            Ok(vec![Event::NodeRemoved { node, at: now }])
        }
        (answer, _) => answer,
    }
}

fn anybody_administers(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    let mut wish = wish.clone();
    if let Wish::RevokeToken { by, .. } | Wish::RaiseLevel { by, .. } = &mut wish {
        *by = By { role: UserRole::Admin, ..by.clone() };
    }
    heart(cluster, &wish, now)
}

fn levels_are_not_looked_at(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    match (heart(cluster, wish, now), wish) {
        (Err(Refusal::UnsupportedLevel { to, .. }), Wish::RaiseLevel { by, .. }) => {
            Ok(vec![Event::LevelRaised { to, by: by.name.clone(), at: now }])
        }
        (answer, _) => answer,
    }
}

fn releases_are_written_at_once(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    altered(cluster, wish, now, |mut event| {
        if let (Event::NodeStarted { release, .. }, Wish::Start(shown)) = (&mut event, wish) {
            release.clone_from(&shown.release);
        }
        event
    })
}

fn starts_are_only_counted(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    match (heart(cluster, wish, now), wish) {
        (Err(Refusal::OldDisk { node, latest }), Wish::Start(shown)) if shown.count > latest => {
            Ok(vec![Event::NodeStarted {
                node,
                start: Start { count: shown.count, boot: shown.boot },
                addresses: Vec::new(),
                levels: Levels { oldest: 1, newest: 2 },
                release: None,
                at: now,
            }])
        }
        (answer, _) => answer,
    }
}

fn a_restore_keeps_the_incarnation(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Answer {
    altered(cluster, wish, now, |mut event| {
        if let Event::Restored { incarnation, .. } = &mut event {
            *incarnation = cluster.incarnation();
        }
        event
    })
}

#[test]
fn every_planted_bug_is_found() {
    let bugs: &[(&str, &str, Decider, &str)] = &[
        ("used-up tokens count", "tokens", used_up_tokens_count, "I25"),
        ("revoked tokens count", "tokens", revoked_tokens_count, "I25"),
        ("expired tokens count", "tokens", expired_tokens_count, "I25"),
        ("roles are not looked at", "tokens", roles_are_not_looked_at, "role"),
        ("removed ones come back", "tokens", removed_ones_come_back, "identity"),
        ("a repeated join is a new one", "tokens", a_repeated_join_is_a_new_one, "M2"),
        ("numbers are used again", "identities", numbers_are_used_again, "identity"),
        ("serials are used again", "certificates", serials_are_used_again, "identity"),
        ("certificates last two days", "certificates", certificates_last_two_days, "identity"),
        ("any key is renewed", "certificates", any_key_is_renewed, "identity"),
        ("the last voter may go", "membership", the_last_voter_may_go, "membership"),
        ("votes come before shards", "membership", votes_come_before_shards, "membership"),
        ("leaders are cut off", "membership", leaders_are_cut_off, "membership"),
        ("anybody administers", "tokens", anybody_administers, "role"),
        ("levels are not looked at", "identities", levels_are_not_looked_at, "level"),
        ("releases are written at once", "identities", releases_are_written_at_once, "level"),
        ("starts are only counted", "identities", starts_are_only_counted, "M3"),
        ("a restore keeps the incarnation", "identities", a_restore_keeps_the_incarnation, "I5"),
    ];
    let worlds = worlds();
    for (name, place, bug, invariant) in bugs {
        let small = worlds.iter().find(|small| small.name == *place).expect("it is there");
        let complaint = explore(small, *bug, 30_000).err();
        let complaint = complaint.unwrap_or_else(|| panic!("nobody noticed that {name}"));
        assert!(complaint.starts_with(invariant), "{name} was found as: {complaint}");
    }
}
