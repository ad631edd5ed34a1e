//! Damaged and hostile plans and journals: they are refused or executed, but nothing panics.

use super::moves::{moves, oblige};
use super::random::any_plan;
use super::referee::Referee;
use super::story::{RUN, START, submission};
use super::verdict::{Watched, heart};
use crate::ids::StageId;
use crate::plan::{Plan, Work};
use crate::run::Run;
use crate::run::command::{Command, Wish};
use crate::run::event::Entry;
use proptest::prelude::*;
use std::sync::Arc;

/// A change of a plan that no planner would make.
#[derive(Clone, Debug)]
enum Damage {
    Parent(usize, Option<u32>),
    Child(usize, u32),
    Need(usize, u32),
    Kind(usize, u8),
    Attempts(usize, u32),
    Forget(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let stage = 0..12usize;
    prop_oneof![
        (stage.clone(), proptest::option::of(0..12u32)).prop_map(|(at, to)| Damage::Parent(at, to)),
        (stage.clone(), 0..12u32).prop_map(|(at, to)| Damage::Child(at, to)),
        (stage.clone(), 0..12u32).prop_map(|(at, to)| Damage::Need(at, to)),
        (stage.clone(), 0..4u8).prop_map(|(at, to)| Damage::Kind(at, to)),
        (stage.clone(), prop_oneof![Just(0), Just(u32::MAX)])
            .prop_map(|(at, to)| Damage::Attempts(at, to)),
        stage.prop_map(Damage::Forget),
    ]
}

impl Damage {
    fn inflict(&self, plan: &mut Plan) {
        let (Self::Parent(at, _)
        | Self::Child(at, _)
        | Self::Need(at, _)
        | Self::Kind(at, _)
        | Self::Attempts(at, _)
        | Self::Forget(at)) = *self;
        let Some(stage) = plan.stages.get_mut(at) else { return };
        match *self {
            Self::Parent(_, to) => stage.parent = to.map(StageId),
            Self::Child(_, to) => match &mut stage.work {
                Work::Sequence(inside)
                | Work::Parallel(inside)
                | Work::Fanout(inside)
                | Work::Choose(inside) => inside.push(StageId(to)),
                Work::Steps(_) | Work::Nothing => stage.work = Work::Parallel(vec![StageId(to)]),
            },
            Self::Need(_, to) => stage.needs.push(StageId(to)),
            Self::Kind(_, kind) => {
                let inside = stage.work.children().to_vec();
                stage.work = match kind {
                    0 => Work::Sequence(inside),
                    1 => Work::Fanout(inside),
                    2 => Work::Choose(inside),
                    _ => Work::Nothing,
                };
            }
            Self::Attempts(_, to) => {
                stage.retry.iter_mut().for_each(|retry| retry.attempts = to);
            }
            Self::Forget(at) => {
                plan.stages.remove(at);
            }
        }
    }
}

/// Executes whatever is taken for a plan.
fn execute(bytes: &[u8], picks: &[u16]) {
    let Ok(plan) = Plan::from_bytes(bytes) else { return };
    let plan = Arc::new(plan);
    let mut run = Run::new(RUN, Arc::clone(&plan));
    let mut now = START;
    let mut make = |run: &mut Run, at, wish| {
        now = now.max(at);
        if let Ok(events) = run.decide(&Command::from(wish), now) {
            run.apply(&Entry { at: now, events });
        }
        now
    };
    make(&mut run, START, Wish::Submit(submission(&plan)));
    for number in picks {
        let choices = moves(&run, &Referee::new(&plan), START);
        let (at, wish) = choices[usize::from(*number) % choices.len()].clone();
        let now = make(&mut run, at, wish);
        let Some(duty) = run.owed().iter().next().cloned() else { return };
        let (at, wish) = oblige(&duty, now);
        make(&mut run, at, wish);
        plan.ids().for_each(|id| drop(run.why(id).map(|why| why.to_string())));
        drop((run.summary(), run.continuation()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_damaged_plan_is_refused_or_executed(
        plan in any_plan(),
        damages in proptest::collection::vec(damage(), 1..4),
        bytes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
        cut in proptest::option::weighted(0.1, any::<proptest::sample::Index>()),
        picks in proptest::collection::vec(any::<u16>(), 0..20),
    ) {
        let mut plan = Plan::clone(&plan);
        for damage in &damages {
            damage.inflict(&mut plan);
        }
        let mut stored = plan.to_bytes();
        for (place, byte) in bytes {
            let place = place.index(stored.len());
            stored[place] = byte;
        }
        if let Some(cut) = cut {
            stored.truncate(cut.index(stored.len()));
        }
        execute(&stored, &picks);
    }

    #[test]
    fn the_journal_of_another_plan_does_no_harm(
        plan in any_plan(),
        other in any_plan(),
        picks in proptest::collection::vec(any::<u16>(), 0..40),
    ) {
        let mut watched = Watched::begin(&plan, heart).map_err(TestCaseError::fail)?;
        for number in picks {
            let choices = moves(&watched.run, &watched.referee, watched.now);
            let next = choices[usize::from(number) % choices.len()].clone();
            watched.make(next).map_err(TestCaseError::fail)?;
        }
        let mut run = Run::replay(RUN, other, watched.journal.iter().rev());
        watched.journal.iter().for_each(|entry| run.apply(entry));
        let wishes = [Wish::Wake, Wish::Cancel { by: "ada".to_owned(), reason: None }];
        for wish in wishes {
            if let Ok(events) = run.decide(&Command::from(wish), watched.now) {
                run.apply(&Entry { at: watched.now, events });
            }
        }
    }
}

#[test]
fn plans_that_do_not_hold_together_are_refused() {
    use super::plans::{fanout, plan, sequence, steps};
    let root = || sequence("", [fanout("f", [steps("a"), steps("b").needs(&["a"])]), steps("c")]);
    let check = |damage: &Damage, complaint: &str| {
        let mut plan = Plan::clone(&plan(root()));
        damage.inflict(&mut plan);
        let refused = Plan::from_bytes(&plan.to_bytes()).expect_err("it does not hold together");
        assert!(refused.cause.contains(complaint), "{damage:?}: {refused}");
    };
    check(&Damage::Parent(0, Some(1)), "its first stage has a parent");
    check(&Damage::Parent(2, Some(0)), "which is no child of its");
    check(&Damage::Child(1, 2), "twice");
    check(&Damage::Child(1, 11), "which is no child of its");
    check(&Damage::Child(1, 0), "which is no child of its");
    check(&Damage::Need(2, 3), "needs a stage that is no earlier one beside it");
    check(&Damage::Need(4, 1), "needs a stage that is no earlier one beside it");
    check(&Damage::Kind(1, 3), "not among the children");
}

#[test]
fn what_cannot_be_carried_out_is_refused_at_submission() {
    use super::plans::{plan, sequence, steps};
    use crate::gate::Gate;
    use crate::run::command::Refusal;
    use crate::time::Span;
    use crate::wait::{OnTimeout, Wait, WaitKind};
    let wait = || {
        Gate::Wait(Wait {
            name: "Ship it?".to_owned(),
            kind: WaitKind::Callback,
            timeout: Span::hours(1),
            on_timeout: OnTimeout::Fail,
            answers: std::collections::BTreeMap::new(),
        })
    };
    let check = |node, what: &str| {
        let plan = plan(sequence("", [node]));
        let wish = Wish::Submit(submission(&plan));
        let answer = Run::new(RUN, plan).decide(&Command::from(wish), START);
        let (path, what) = ("a".to_owned(), what.to_owned());
        assert_eq!(answer, Err(Refusal::NotYet { path, what }));
    };
    check(steps("a").enter(wait()), "the gate 'Ship it?'");
    check(steps("a").exit(wait()), "the gate 'Ship it?'");
    let retry = [crate::plan::RetryReason::Lost];
    check(sequence("a", [steps("b")]).retry(2, &retry, 0), "the retry over several stages");
}

#[test]
fn environments_are_refused_for_what_they_hold_back_only() {
    use super::plans::{plan, sequence, steps};
    use crate::plan::Environment;
    use crate::run::command::Refusal;
    let check = |environment: Option<Environment>, refused: Option<&str>| {
        let mut plan = Plan::clone(&plan(sequence("", [steps("a")])));
        plan.stages[1].environment = Some("debug".to_owned());
        plan.environments.extend(environment.map(|it| ("debug".to_owned(), it)));
        let wish = Wish::Submit(submission(&plan));
        let answer = Run::new(RUN, plan.into()).decide(&Command::from(wish), START).map(drop);
        let path = "a".to_owned();
        let refusal = refused.map(|what| Refusal::NotYet { path, what: what.to_owned() });
        assert_eq!(answer, refusal.map_or(Ok(()), Err));
    };
    let settings = Environment::default();
    check(Some(settings.clone()), None);
    let held = Environment { lock: true, ..settings.clone() };
    check(Some(held), Some("what holds stages of 'debug' back"));
    let delivers = Environment { delivers: true, ..settings };
    check(Some(delivers), Some("the delivery to 'debug'"));
    check(None, Some("the delivery to 'debug'"));
}

#[test]
fn the_deepest_condition_that_is_allowed_can_be_read_back() {
    use super::plans::{plan, sequence, steps, verdict_is};
    use crate::gate::{Decided, Expression};
    let nested = |depth: usize| {
        let mut plan = Plan::clone(&plan(sequence("", [steps("a").when(verdict_is(0, "x"))])));
        let condition = plan.stages[1].when.as_mut().expect("it has a condition");
        let Decided::Run(innermost) = condition.decided.clone() else { return plan };
        let around = depth - innermost.depth();
        let expression = (0..around).fold(innermost, |inside, place| match place % 2 {
            0 => Expression::Not(Box::new(inside)),
            _ => Expression::And(Box::new(inside.clone()), Box::new(inside)),
        });
        condition.decided = Decided::Run(expression);
        plan
    };
    let deepest = nested(crate::plan::MAX_CONDITION_DEPTH);
    assert_eq!(Plan::from_bytes(&deepest.to_bytes()), Ok(deepest));
    let deeper = nested(crate::plan::MAX_CONDITION_DEPTH + 1);
    assert!(Plan::from_bytes(&deeper.to_bytes()).is_err());
}
