//! Larger plans at random, with moves at random, under the same eyes.

use super::moves::moves;
use super::plans::{
    Node, choose, decided, fanout, nothing, parallel, plan, sequence, steps, verdict_is,
};
use super::story::{RUN, START, command_id, submission};
use super::verdict::{Watched, heart};
use crate::gate::Gate;
use crate::plan::{Plan, RetryReason};
use crate::run::Run;
use crate::run::command::{Command, Wish};
use crate::run::event::Entry;
use proptest::prelude::*;
use std::sync::Arc;

/// A stage that does the work itself.
fn leaf() -> impl Strategy<Value = Node> {
    let retry = (1..4u32, any::<[bool; 3]>(), prop_oneof![Just(0u64), Just(30)]);
    (proptest::option::of(retry), proptest::option::of(1..60u64), 0..8u32).prop_map(
        |(retry, timeout, variety)| {
            let mut node = if variety == 0 { nothing("") } else { steps("").steps(2, 1) };
            if let Some((attempts, on, backoff)) = retry {
                let reasons = [RetryReason::Lost, RetryReason::Failed, RetryReason::TimedOut];
                let on: Vec<RetryReason> =
                    reasons.into_iter().zip(on).filter_map(|(it, on)| on.then_some(it)).collect();
                node = node.retry(attempts, &on, backoff);
            }
            if variety == 1 {
                node = node.queue(40);
            }
            timeout.into_iter().fold(node, Node::timeout)
        },
    )
}

/// Conditions, mostly none.
fn entered(node: Node) -> impl Strategy<Value = Node> {
    (0..12u32, 0..20u32).prop_map(move |(variety, stage)| {
        let node = node.clone();
        match variety {
            0 => node.when(decided(false)),
            1 => node.when(verdict_is(stage, "good")),
            2 => node.enter(Gate::Condition(verdict_is(stage, "bad"))),
            3 => node.exit(Gate::Condition(verdict_is(stage, "good"))),
            _ => node,
        }
    })
}

/// A stage that holds others; some of them need one before.
fn group(inside: Vec<Node>, needs: &[Vec<usize>], kind: u32, timeout: Option<u64>) -> Node {
    let name = |place: usize| format!("s{place}");
    let side_by_side = kind == 1 || kind == 2;
    let inside = inside.into_iter().enumerate().map(|(place, node)| {
        let needs = needs.get(place).into_iter().flatten().filter(|_| side_by_side);
        let earlier: Vec<String> = needs.filter(|need| **need < place).copied().map(name).collect();
        let earlier: Vec<&str> = earlier.iter().map(String::as_str).collect();
        node.named(&name(place)).needs(&earlier)
    });
    let node = match kind {
        0 => sequence("", inside),
        1 => parallel("", inside),
        2 => fanout("", inside),
        _ => choose("", inside),
    };
    timeout.into_iter().fold(node, Node::timeout)
}

pub(super) fn any_plan() -> impl Strategy<Value = Arc<Plan>> {
    let node = leaf().prop_flat_map(entered).prop_recursive(4, 60, 5, |inside| {
        let needs = proptest::collection::vec(0..9usize, 0..3);
        let needs = proptest::collection::vec(needs, 5);
        let timeout = proptest::option::weighted(0.2, 20..90u64);
        (proptest::collection::vec(inside, 0..6), needs, 0..4u32, timeout)
            .prop_map(|(inside, needs, kind, timeout)| group(inside, &needs, kind, timeout))
            .prop_flat_map(entered)
    });
    proptest::collection::vec(node, 1..5).prop_map(|inside| plan(group(inside, &[], 0, None)))
}

fn picks() -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(any::<u16>(), 0..80)
}

fn pick<T: Clone>(choices: &[T], number: u16) -> T {
    choices[usize::from(number) % choices.len()].clone()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_runs_keep_what_must_hold(plan in any_plan(), picks in picks()) {
        let mut watched = Watched::begin(&plan, heart).map_err(TestCaseError::fail)?;
        for number in picks {
            let next = pick(&moves(&watched.run, &watched.referee, watched.now), number);
            let made = watched.make(next.clone());
            prop_assert!(made.is_ok(), "{made:?} after {next:?}\n{}", watched.timeline());
        }
        let ends = watched.replays().and_then(|()| watched.ends());
        prop_assert!(ends.is_ok(), "{ends:?}\n{}", watched.timeline());
    }

    #[test]
    fn every_prefix_replays_to_the_same_run_and_duties(plan in any_plan(), picks in picks()) {
        let mut watched = Watched::begin(&plan, heart).map_err(TestCaseError::fail)?;
        let mut stages = vec![watched.run.clone()];
        for number in picks {
            let next = pick(&moves(&watched.run, &watched.referee, watched.now), number);
            if watched.make(next).map_err(TestCaseError::fail)? {
                stages.push(watched.run.clone());
            }
        }
        let mut again = Run::new(RUN, plan);
        for (entry, run) in watched.journal.iter().zip(&stages) {
            let version = again.owed().version();
            let mut known: Vec<_> = again.owed().iter().cloned().collect();
            let bytes = crate::journal::encode(entry);
            let entry: Entry = crate::journal::decode("entry", &bytes).expect("it was encoded");
            again.apply(&entry);
            prop_assert_eq!(&again, run);
            follow(&mut known, &again, version);
            prop_assert!(again.owed().iter().eq(&known), "changes lead to the duties");
        }
    }

    #[test]
    fn a_continued_run_repeats_nothing_that_succeeded(
        plan in any_plan(),
        picks in picks(),
        more in picks(),
    ) {
        let mut earlier = Watched::begin(&plan, heart).map_err(TestCaseError::fail)?;
        for number in picks {
            let next = pick(&moves(&earlier.run, &earlier.referee, earlier.now), number);
            earlier.make(next).map_err(TestCaseError::fail)?;
        }
        let mut watched = Watched::continues(&earlier.run).map_err(TestCaseError::fail)?;
        for number in more {
            let next = pick(&moves(&watched.run, &watched.referee, watched.now), number);
            let made = watched.make(next.clone());
            prop_assert!(made.is_ok(), "{made:?} after {next:?}\n{}", watched.timeline());
        }
        let ends = watched.replays().and_then(|()| watched.ends());
        prop_assert!(ends.is_ok(), "{ends:?}\n{}", watched.timeline());
        for stage in earlier.run.continuation().carried {
            let attempts = watched.run.stage(stage).map(|state| state.attempts.len());
            prop_assert_eq!(attempts, Some(0), "{} is not repeated", stage);
        }
    }

    #[test]
    fn wishes_decided_together_are_as_good_as_one_by_one(
        plan in any_plan(),
        picks in proptest::collection::vec(proptest::collection::vec(any::<u16>(), 1..5), 0..20),
    ) {
        let mut watched = Watched::begin(&plan, heart).map_err(TestCaseError::fail)?;
        let mut number = 0;
        for together in picks {
            let moves = moves(&watched.run, &watched.referee, watched.now);
            let now = watched.now;
            let commands: Vec<Command> = together.into_iter().map(|choice| {
                number += u64::from(choice % 2);
                let (_, wish) = pick(&moves, choice);
                Command { id: (choice % 3 == 0).then(|| command_id(number)), wish }
            }).collect();
            let decided = watched.run.decide_all(&commands, now);
            let mut run = watched.run.clone();
            let mut events = Vec::new();
            for (command, answer) in commands.iter().zip(&decided.answers) {
                let alone = run.decide(command, now);
                prop_assert_eq!(answer, &alone.clone().map(|_| ()));
                for event in alone.into_iter().flatten() {
                    run.evolve(&event);
                    events.push(event);
                }
                let is_kept = command.id.is_none_or(|id| answer.is_err() || run.answered(&id));
                prop_assert!(is_kept, "a granted wish is remembered");
            }
            prop_assert_eq!(decided.entry.map(|entry| entry.events).unwrap_or_default(), events);
            let next = pick(&moves, number.to_le_bytes()[0].into());
            watched.make(next).map_err(TestCaseError::fail)?;
        }
    }
}

/// Follows the changes of what is owed since a version, as a shell does.
fn follow(known: &mut Vec<crate::run::duty::Duty>, run: &Run, version: u64) {
    use crate::run::duty::OwedChange;
    let changes = run.owed().changes_since(version).expect("few changes");
    for change in changes {
        match change {
            OwedChange::Owed(duty) => known.push(duty.clone()),
            OwedChange::Gone(duty) => known.retain(|it| it != duty),
        }
    }
    known.sort();
}

#[test]
fn a_repeated_wish_gets_the_first_answer_and_changes_nothing() {
    let plan = plan(sequence("", [steps("a")]));
    let mut run = Run::new(RUN, Arc::clone(&plan));
    let submit =
        |number| Command { id: Some(command_id(number)), wish: Wish::Submit(submission(&plan)) };
    let events = run.decide(&submit(0), START).expect("it is new");
    run.apply(&Entry { at: START, events });
    assert_eq!(run.decide(&submit(0), START), Ok(vec![]));
    assert!(run.decide(&submit(1), START).is_err(), "another identity is another wish");
    for number in 2..=65 {
        let wake = Command { id: Some(command_id(number)), wish: Wish::Wake };
        let events = run.decide(&wake, START).expect("a wake is never refused");
        run.apply(&Entry { at: START, events });
    }
    assert!(run.answered(&command_id(2)), "the last 64 are remembered");
    assert!(!run.answered(&command_id(0)), "those before are not");
}
