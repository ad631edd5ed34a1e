//! The tally, attempt by attempt.

use super::*;
use otto_core::ids::{Attempt, Epoch, ProjectId, RunId, StageId};
use otto_core::lease::{LEASE, LeaseId};
use otto_core::time::Span;

fn call(timeout: Option<Span>) -> StepCall {
    StepCall {
        symbol: "sh".to_owned(),
        library: "otto".to_owned(),
        arguments: BTreeMap::new(),
        folder: String::new(),
        settings: BTreeMap::new(),
        timeout,
    }
}

/// An assignment with two steps, of which the first has five seconds, and one `finally` step.
fn assignment() -> Assignment {
    let run = RunId { project: ProjectId(1), number: 1 };
    let (stage, attempt, epoch) = (StageId(1), Attempt::FIRST, Epoch::default());
    Assignment {
        lease: LeaseId { run, stage, attempt, epoch },
        lease_span: LEASE,
        project: "shop".to_owned(),
        path: "a".to_owned(),
        steps: vec![call(Some(Span::seconds(5))), call(None)],
        finally: vec![call(None)],
        libraries: BTreeMap::new(),
        settings: BTreeMap::new(),
        timeout: None,
        snapshot: None,
        outputs: BTreeMap::from([("count".to_owned(), ValueType::Number)]),
        captured: BTreeMap::from([("count".to_owned(), Value::Boolean(true))]),
        artifacts: BTreeMap::new(),
    }
}

/// What happens to an attempt, beside its steps' ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// The step at hand ends so.
    Ends(Outcome),
    /// The step at hand ends well, and ends the run.
    EndsRun,
    /// The time of the step at hand is up.
    Overdue,
    /// The attempt is told to end.
    Stop(EndReason),
    /// Nothing begins any more.
    NoMore,
}

fn ended(outcome: Outcome, ends_run: bool) -> StepEnd {
    StepEnd {
        outcome,
        detail: "exit code 1".to_owned(),
        log_bytes: None,
        ends_run,
        captured: BTreeMap::new(),
        dropped: Vec::new(),
        artifacts: BTreeMap::new(),
    }
}

#[test]
fn attempts_come_to_what_their_steps_did() {
    use Turn::{Ends, EndsRun, NoMore, Overdue, Stop};
    let check = |turns: &[Turn], steps: &str, outcome: Outcome, cause: &str| {
        let assignment = assignment();
        let mut tally = Tally::of(&assignment);
        let mut begun = String::new();
        let mut at = None;
        let mut turns_left = turns.iter();
        while let Some(place) = tally.next(&assignment, at) {
            begun.push(if place.section == Section::Steps { 's' } else { 'f' });
            at = Some(place);
            for turn in turns_left.by_ref() {
                let end = match *turn {
                    Ends(outcome) => ended(outcome, false),
                    EndsRun => ended(Outcome::Success, true),
                    Overdue => {
                        tally.overdue(place, "not done within 5s".to_owned());
                        continue;
                    }
                    Stop(reason) => {
                        tally.stop(reason);
                        continue;
                    }
                    NoMore => {
                        tally.no_more();
                        continue;
                    }
                };
                tally.step(&assignment, place, end);
                break;
            }
        }
        tally.log_bytes = Some(0);
        let end = tally.end(&assignment.outputs).expect("the log is delivered");
        assert_eq!((begun.as_str(), end.outcome, end.cause.as_str()), (steps, outcome, cause));
        let asked = turns.contains(&EndsRun) && !turns.iter().any(|turn| matches!(turn, Stop(_)));
        assert_eq!(end.ends_run, asked);
    };
    let (good, bad) = (Ends(Outcome::Success), Ends(Outcome::Failed));
    let shaky = Ends(Outcome::Unstable);
    check(&[good, good, good], "ssf", Outcome::Success, "");
    check(&[bad, good], "sf", Outcome::Failed, "sh: exit code 1");
    check(&[shaky, good, good], "ssf", Outcome::Unstable, "sh: exit code 1");
    check(&[good, good, bad], "ssf", Outcome::Failed, "sh: exit code 1");
    check(&[EndsRun, good], "sf", Outcome::Success, "");
    check(&[EndsRun, bad], "sf", Outcome::Failed, "sh: exit code 1");
    check(
        &[good, Stop(EndReason::Cancelled), EndsRun, good],
        "ssf",
        Outcome::Cancelled,
        "told to end",
    );
    check(&[Overdue, bad, good], "sf", Outcome::TimedOut, "sh: not done within 5s");
    check(&[Stop(EndReason::Cancelled), bad, bad], "sf", Outcome::Cancelled, "told to end");
    check(&[good, Stop(EndReason::TimedOut), bad, good], "ssf", Outcome::TimedOut, "told to end");
    check(&[good, NoMore, good], "ss", Outcome::Success, "");
}

#[test]
fn an_attempt_that_ends_before_its_first_step_has_nothing_to_clear_up() {
    let mut tally = Tally::of(&assignment());
    assert!(tally.stop(EndReason::Cancelled));
    assert!(!tally.stop(EndReason::TimedOut), "the first word counts");
    assert_eq!(tally.next(&assignment(), None), None);
}

#[test]
fn only_what_is_declared_and_fits_leaves_the_attempt() {
    let assignment = assignment();
    let mut tally = Tally::of(&assignment);
    let place = StepPlace { section: Section::Steps, index: 0 };
    let captured = |name: &str, value: Value| BTreeMap::from([(name.to_owned(), value)]);
    let mut capture = |captured: BTreeMap<String, Value>| {
        let end = StepEnd { captured, ..ended(Outcome::Success, false) };
        tally.step(&assignment, place, end).notes
    };
    let text = || Value::Text("three".to_owned());
    assert_eq!(capture(captured("color", text())), Vec::<String>::new());
    let note = "the captured value 'count' is dropped: it is a text, declared is number";
    assert_eq!(capture(captured("count", text())), [note]);
    tally.log_bytes = Some(0);
    let seen: Vec<&String> = tally.seen().keys().collect();
    assert_eq!(seen, ["color", "count"], "steps that follow see it, and what was there before");
    assert_eq!(tally.end(&assignment.outputs).expect("delivered").captured, BTreeMap::new());
}
