//! The lease table, word by word.

use super::*;
use crate::ports::control::Assignment;
use otto_core::ids::{AgentId, ProjectId};
use otto_core::run::duty::EndReason;

const RUN: RunId = RunId { project: ProjectId(1), number: 1 };
const PATIENCE: Span = Span::seconds(17);

fn agent(incarnation: u64) -> AgentRef {
    AgentRef { agent: AgentId([1; 16]), incarnation }
}

fn lease(stage: u32) -> LeaseId {
    let epoch = Epoch { incarnation: 0, counter: u64::from(stage) };
    LeaseId { run: RUN, stage: StageId(stage), attempt: Attempt::FIRST, epoch }
}

fn end(stage: u32) -> Order {
    Order::End { lease: lease(stage), reason: EndReason::Cancelled }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1000)
}

/// A table with one lease, entered at second zero.
fn table() -> Leases {
    let mut leases = Leases::new(PATIENCE);
    leases.enter(Lease { id: lease(1), agent: agent(1) }, end(1), at(0));
    leases
}

#[test]
fn a_lease_is_lost_when_it_was_not_renewed_for_long() {
    let check = |renewals: &[u64], now: u64, is_lost: bool| {
        let mut leases = table();
        for renewal in renewals {
            assert_eq!(leases.renew(agent(1), lease(1), at(*renewal)), Standing::Held);
        }
        assert_eq!(!leases.lost(at(now)).is_empty(), is_lost, "{renewals:?} {now}");
    };
    check(&[], 16, false);
    check(&[], 17, true);
    check(&[5, 10], 26, false);
    check(&[5, 10], 27, true);
}

#[test]
fn what_is_lost_is_told_again_and_never_renewed() {
    let mut leases = table();
    assert_eq!(leases.lost(at(17)).len(), 1);
    assert_eq!(leases.renew(agent(1), lease(1), at(17)), Standing::Over);
    assert_eq!(leases.lost(at(18)).len(), 1);
    leases.enter(Lease { id: lease(1), agent: agent(1) }, end(1), at(19));
    assert_eq!(
        leases.standing(agent(1), lease(1)),
        Standing::Over,
        "entering it again is no renewal"
    );
    leases.close(lease(1));
    assert_eq!(leases.lost(at(20)), []);
}

#[test]
fn only_the_holder_renews() {
    let mut leases = table();
    assert_eq!(leases.renew(agent(2), lease(1), at(1)), Standing::Over);
    assert_eq!(leases.renew(agent(1), lease(2), at(1)), Standing::Unknown);
    assert_eq!(leases.lost(at(17)).len(), 1);
}

#[test]
fn a_newer_process_ends_the_leases_of_an_older_one() {
    let mut leases = table();
    leases.replaced(agent(1));
    assert_eq!(leases.lost(at(1)), []);
    leases.replaced(agent(2));
    assert_eq!(leases.lost(at(1)).len(), 1);
}

#[test]
fn orders_are_repeated_after_a_while() {
    let mut leases = table();
    let mut told = |ms: u64| leases.orders(agent(1), Timestamp(ms)).len();
    assert_eq!([told(0), told(999), told(1000), told(1500)], [1, 0, 1, 0]);
    leases.enter(Lease { id: lease(2), agent: agent(1) }, end(2), at(2));
    assert_eq!(leases.orders(agent(1), Timestamp(1600)), [end(2)]);
    assert_eq!(leases.orders(agent(2), Timestamp(9999)), []);
}

#[test]
fn an_order_to_start_counts_as_a_renewal() {
    let assignment = Assignment {
        lease: lease(1),
        lease_span: Span::seconds(15),
        project: String::new(),
        path: String::new(),
        steps: Vec::new(),
        finally: Vec::new(),
        libraries: BTreeMap::new(),
        settings: BTreeMap::new(),
        timeout: None,
        snapshot: None,
        outputs: BTreeMap::new(),
        captured: BTreeMap::new(),
        artifacts: BTreeMap::new(),
    };
    let mut leases = Leases::new(PATIENCE);
    let start = Order::Start(Box::new(assignment));
    leases.enter(Lease { id: lease(1), agent: agent(1) }, start, at(0));
    assert_eq!(leases.orders(agent(1), at(16)).len(), 1);
    assert_eq!(leases.lost(at(32)), [], "the agent may have begun at second 16");
    assert_eq!(leases.lost(at(33)).len(), 1);
}

#[test]
fn leases_of_a_run_are_found() {
    let mut leases = table();
    let other = LeaseId { run: RunId { number: 2, ..RUN }, ..lease(1) };
    leases.enter(Lease { id: other, agent: agent(1) }, end(1), at(0));
    assert_eq!(leases.of_run(RUN), [lease(1)]);
    assert_eq!(leases.of_run(other.run), [other]);
}
