//! What is refused, what is passed over, and what is made of what agents say.

use super::moves::{award, finish};
use super::plans::{parallel, plan, sequence, steps};
use super::story::{RUN, START, Story, agent, end, submission};
use crate::ids::{Attempt, Epoch, PlanHash, StageId};
use crate::plan::RetryReason;
use crate::run::Run;
use crate::run::command::{Command, Continuation, Refusal, Submission, Wish};
use crate::run::outcome::{Outcome, Section, StepChange, StepFact, StepPlace};
use crate::time::Timestamp;
use crate::value::Value;
use std::collections::BTreeMap;

const A: StageId = StageId(1);

fn story() -> Story {
    let a = steps("a").retry(3, &[RetryReason::Lost], 0).steps(2, 1);
    Story::begin(plan(sequence("", [a, steps("b")])))
}

fn epoch(story: &Story) -> Epoch {
    story.run.stage(A).and_then(|state| state.leased()).expect("it is leased").epoch
}

#[test]
fn wishes_that_make_no_sense_are_refused() {
    let mut story = story();
    let stage = StageId(9);
    let stale = Refusal::StaleEpoch { stage: A, epoch: Epoch::default() };
    let none = Epoch::default();
    let check = |story: &mut Story, wish: Wish, refusal: Refusal| {
        assert_eq!(story.wish(wish.clone()), Err(refusal), "{wish:?}");
    };
    let again = Wish::Submit(submission(story.run.plan()));
    check(&mut story, again, Refusal::AlreadySubmitted);
    check(&mut story, award(stage, Attempt::FIRST), Refusal::NoSuchStage { stage });
    check(&mut story, award(A, Attempt(2)), Refusal::NotOffered { stage: A });
    check(&mut story, finish(A, Attempt::FIRST, none, Outcome::Success), stale);
    story.tell("a?");
    check(&mut story, award(A, Attempt::FIRST), Refusal::NotOffered { stage: A });
    let fact = began(0);
    let (attempt, epoch) = (Attempt::FIRST, epoch(&story));
    story.wish(Wish::Report { stage: A, attempt, epoch, facts: vec![fact] }).expect("leased");
    let decline = Wish::Decline { stage: A, attempt, epoch };
    check(&mut story, decline, Refusal::Begun { stage: A });
    story.tell("a+ b+");
    let cancel = Wish::Cancel { by: "ada".to_owned(), reason: None };
    check(&mut story, cancel, Refusal::Settled);
}

#[test]
fn submissions_that_do_not_fit_the_plan_are_refused() {
    let plan = plan(sequence("", [steps("a")]));
    let run = Run::new(RUN, plan.clone());
    let check = |wish: Wish, refusal: Refusal| {
        assert_eq!(run.decide(&Command::from(wish), START), Err(refusal));
    };
    check(Wish::Wake, Refusal::NotSubmitted);
    let other = Submission { plan: PlanHash([0; 32]), ..submission(&plan) };
    check(Wish::Submit(other), Refusal::WrongPlan);
    let stage = StageId(2);
    let continues = Some(Continuation {
        number: 6,
        carried: vec![stage],
        captured: BTreeMap::new(),
        artifacts: BTreeMap::new(),
    });
    let unknown = Submission { continues, ..submission(&plan) };
    check(Wish::Submit(unknown), Refusal::NoSuchStage { stage });
}

#[test]
fn epochs_grow_even_when_an_older_incarnation_awards() {
    let mut story = story();
    let mut last = Epoch::default();
    for (number, incarnation) in [3, 1, 4].into_iter().enumerate() {
        let attempt = Attempt(u32::try_from(number).expect("few") + 1);
        let wish = Wish::Award { stage: A, attempt, agent: agent(1), incarnation };
        story.wish(wish).expect("it is offered");
        assert!(epoch(&story) > last, "incarnation {incarnation}");
        last = epoch(&story);
        story.tell("a!");
    }
    assert_eq!(last, Epoch { incarnation: 4, counter: 3 });
}

#[test]
fn a_retry_without_pause_is_offered_at_once() {
    let mut story = story();
    story.tell("a!");
    assert_eq!(story.standing(), "a:offered b:pending");
}

fn began(index: u32) -> StepFact {
    let step = StepPlace { section: Section::Steps, index };
    StepFact { step, at: Timestamp(5), what: StepChange::Began }
}

fn ended(index: u32) -> StepFact {
    let (outcome, detail) = (Outcome::Success, "exit code 0".to_owned());
    let what = StepChange::Ended { outcome, detail, log_bytes: None };
    StepFact { what, ..began(index) }
}

#[test]
fn facts_are_journaled_once() {
    let mut story = story();
    story.tell("a?");
    let (attempt, epoch) = (Attempt::FIRST, epoch(&story));
    let mut check = |facts: Vec<StepFact>, news: &[StepFact]| {
        let before = story.journal.len();
        story.wish(Wish::Report { stage: A, attempt, epoch, facts }).expect("it is leased");
        let told: Vec<StepFact> = story.journal[before..]
            .iter()
            .flat_map(|entry| &entry.events)
            .flat_map(|event| match event {
                crate::run::event::Event::StepsReported { facts, .. } => facts.clone(),
                other => panic!("a report leads to nothing else: {other:?}"),
            })
            .collect();
        assert_eq!(told, news);
    };
    check(vec![began(0), began(0)], &[began(0)]);
    check(vec![began(0), ended(0), ended(0), began(0)], &[ended(0)]);
    check(vec![began(0), ended(0)], &[]);
    check(vec![ended(1), began(1)], &[ended(1)]);
    check(vec![began(2), ended(9)], &[]);
    let last = StepPlace { section: Section::Finally, index: 0 };
    let last = StepFact { step: last, ..began(0) };
    check(vec![last.clone(), last.clone()], &[last]);
}

#[test]
fn only_declared_values_of_what_went_on_are_kept() {
    let mut story = story();
    story.tell("a+good");
    let captured = story.run.captured(A).expect("it captured something");
    let names: Vec<&String> = captured.keys().collect();
    assert_eq!(names, ["verdict"], "what was not declared ends with its stage");
    story.tell("b-bad");
    assert_eq!(story.run.captured(StageId(2)), None, "what failed says nothing");
}

#[test]
fn values_of_another_type_than_declared_are_not_kept() {
    let mut story = story();
    story.tell("a?");
    let (attempt, epoch) = (Attempt::FIRST, epoch(&story));
    let mut end = end(Outcome::Success);
    end.captured.insert("verdict".to_owned(), Value::Boolean(true));
    let wish = Wish::Finish { stage: A, attempt, epoch, facts: Vec::new(), end };
    story.wish(wish).expect("it is leased");
    assert_eq!(story.run.captured(A).and_then(|captured| captured.get("verdict")), None);
}

#[test]
fn stages_see_what_was_captured_by_those_that_ended_before() {
    let beside = parallel("p", [steps("b"), steps("c"), steps("d").needs(&["b"])]);
    let mut story = Story::begin(plan(sequence("", [steps("a"), beside, steps("e")])));
    story.tell("a+one b+two c+three");
    let check = |name: &str, expected: Option<&str>| {
        let seen = story.run.captured_before(story.stage(name));
        let expected = expected.map(|word| Value::Text(word.to_owned()));
        assert_eq!(seen.get("verdict"), expected.as_ref(), "{name}");
        assert!(!seen.contains_key("undeclared"), "{name}");
    };
    check("a", None);
    check("b", Some("one"));
    check("c", Some("one"));
    check("d", Some("two"));
    check("e", Some("three"));
}

#[test]
fn an_agent_that_says_skipped_has_not_succeeded() {
    let mut story = story();
    story.tell("a?");
    let (attempt, epoch) = (Attempt::FIRST, epoch(&story));
    let mut end = end(Outcome::Skipped);
    end.captured.insert("verdict".to_owned(), Value::Absent);
    let wish = Wish::Finish { stage: A, attempt, epoch, facts: Vec::new(), end };
    story.wish(wish).expect("it is leased");
    assert_eq!(story.run.outcome(), Some(Outcome::Failed));
}

#[test]
fn an_award_that_is_declined_keeps_its_place_among_the_offers() {
    let mut story = story();
    story.now = Timestamp(START.0 + 40);
    story.tell("a?");
    let (attempt, epoch) = (Attempt::FIRST, epoch(&story));
    story.wish(Wish::Decline { stage: A, attempt, epoch }).expect("nothing began");
    let offer = crate::run::duty::Duty::Offer { stage: A, attempt, since: START };
    assert!(story.run.owed().contains(&offer));
    assert!(story.run.stage(A).is_some_and(|state| state.attempts.is_empty()));
}
