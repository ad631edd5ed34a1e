//! Work is counted in stages looked at, not in time: an event costs what it changes, whatever the
//! size of the plan.

use super::plans::{Node, fanout, parallel, plan, sequence, steps};
use super::story::{RUN, START, agent, end, submission};
use crate::ids::StageId;
use crate::plan::MAX_STAGES;
use crate::run::Run;
use crate::run::command::{Command, Wish};
use crate::run::event::Entry;
use crate::run::outcome::Outcome;
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    static VISITED: Cell<usize> = const { Cell::new(0) };
}

/// Called wherever a run looks at one of its stages.
pub(crate) fn visited() {
    VISITED.set(VISITED.get() + 1);
}

/// Far more stages than any one event may look at.
const LARGE: usize = 2_000;
/// How many stages may be looked at for each fact, by deciding it and by taking it in.
const MOST_PER_EVENT: usize = 10;

/// Decides and applies a wish, and complains if it looked at more than it changed.
fn wish(run: &mut Run, wish: Wish) {
    VISITED.set(0);
    let text = format!("{wish:?}");
    let events = run.decide(&Command::from(wish), START).expect("it is granted");
    let (facts, at) = (events.len(), START);
    run.apply(&Entry { at, events });
    let most = MOST_PER_EVENT * (facts + 1);
    assert!(VISITED.get() <= most, "{text}: {} stages for {facts} facts", VISITED.get());
}

fn finish_one(run: &mut Run, stage: StageId, outcome: Outcome) {
    let attempt = crate::ids::Attempt::FIRST;
    wish(run, Wish::Award { stage, attempt, agent: agent(1), incarnation: 1 });
    let epoch = run.stage(stage).and_then(|it| it.leased()).expect("it is leased").epoch;
    wish(run, Wish::Finish { stage, attempt, epoch, facts: Vec::new(), end: end(outcome) });
}

/// Runs a large plan: some of its stages one by one, then all the rest is cancelled.
fn check(root: Node, some: usize) {
    let plan = plan(root);
    assert!(plan.stages.len() > LARGE - 10);
    let mut run = Run::new(RUN, Arc::clone(&plan));
    wish(&mut run, Wish::Submit(submission(&plan)));
    for _ in 0..some {
        let offered = run.owed().iter().find_map(|duty| match duty {
            crate::run::duty::Duty::Offer { stage, .. } => Some(*stage),
            _ => None,
        });
        finish_one(&mut run, offered.expect("something is offered"), Outcome::Success);
    }
    wish(&mut run, Wish::Cancel { by: "ada".to_owned(), reason: None });
    assert!(run.retired_at().is_some());
}

#[test]
fn an_event_costs_what_it_changes() {
    let many = |count: usize| (0..count).map(|place| steps(&format!("s{place}")));
    check(sequence("", many(MAX_STAGES - 1)), 50);
    check(parallel("", many(LARGE)), 50);
    let pairs =
        (0..LARGE / 3).map(|place| sequence(&format!("g{place}"), [steps("a"), steps("b")]));
    check(parallel("", pairs), 50);
    let deep = (1..64).fold(steps("leaf"), |inside, _| sequence("g", [inside]));
    let chains = (0..=LARGE / 64).map(|place| deep.clone().named(&format!("c{place}")));
    check(parallel("", chains), 20);
}

#[test]
fn the_first_failure_of_a_wide_fanout_costs_its_width_once() {
    let wide = (0..LARGE).map(|place| steps(&format!("s{place}")));
    let plan = plan(fanout("", wide));
    let mut run = Run::new(RUN, Arc::clone(&plan));
    wish(&mut run, Wish::Submit(submission(&plan)));
    finish_one(&mut run, StageId(1), Outcome::Success);
    finish_one(&mut run, StageId(2), Outcome::Failed);
    assert_eq!(run.outcome(), Some(Outcome::Failed));
}
