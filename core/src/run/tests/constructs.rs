//! Each construct once, told as a story: wishes on the left, what the run says of it on the right.

use super::plans::{
    Node, choose, decided, fanout, nothing, parallel, plan, sequence, steps, verdict_is,
};
use super::story::{RUN, START, Story};
use crate::gate::Gate;
use crate::plan::{Plan, RetryReason};
use crate::run::Run;
use crate::run::command::Wish;
use crate::run::outcome::Outcome;
use crate::time::Timestamp;
use std::sync::Arc;

/// Runs a story against a plan: `expected` is how each stage ended, in the plan's order.
fn check(root: Node, wishes: &str, outcome: Option<Outcome>, expected: &str) {
    let mut story = Story::begin(plan(root));
    story.tell(wishes);
    assert_eq!(story.standing(), expected, "after {wishes}\n{}", story.timeline());
    assert_eq!(story.run.outcome(), outcome, "after {wishes}\n{}", story.timeline());
    assert_eq!(story.run.owed().is_empty(), story.run.retired_at().is_some());
}

#[test]
fn a_sequence_goes_on_until_one_fails() {
    let root = || sequence("", ["a", "b", "c"].map(steps));
    check(root(), "", None, "a:offered b:pending c:pending");
    check(root(), "a+", None, "a:success b:offered c:pending");
    check(root(), "a~ b+ c+", Some(Outcome::Unstable), "a:unstable b:success c:success");
    check(root(), "a+ b-", Some(Outcome::Failed), "a:success b:failed c:skipped");
    check(root(), "a!", Some(Outcome::Lost), "a:lost b:skipped c:skipped");
}

#[test]
fn all_of_a_parallel_run_to_their_end() {
    let root = || sequence("", [parallel("p", ["a", "b"].map(steps)), steps("c")]);
    check(root(), "a-", None, "p:open a:failed b:offered c:pending");
    check(root(), "a- b+", Some(Outcome::Failed), "p:failed a:failed b:success c:skipped");
    check(root(), "b~ a+", None, "p:unstable a:success b:unstable c:offered");
}

#[test]
fn the_first_failure_of_a_fanout_ends_the_rest() {
    let root = || fanout("", ["a", "b", "c"].map(steps));
    check(root(), "a? b-", None, "a:ending b:failed c:cancelled");
    check(root(), "a? b- a+", Some(Outcome::Failed), "a:cancelled b:failed c:cancelled");
    check(root(), "a+ b+ c+", Some(Outcome::Success), "a:success b:success c:success");
}

#[test]
fn a_step_ends_the_run_with_what_it_came_to_so_far() {
    let root = || {
        let beside = parallel("p", [steps("a").retry(2, &[RetryReason::Failed], 10), steps("b")]);
        sequence("", [beside, sequence("g", [steps("c")])])
    };
    let success = Some(Outcome::Success);
    check(root(), "a+ b.", success, "p:success a:success b:success g:skipped c:skipped");
    check(root(), "a#", Some(Outcome::Failed), "p:failed a:failed b:cancelled g:skipped c:skipped");
    check(
        root(),
        "b- a.",
        Some(Outcome::Failed),
        "p:failed a:success b:failed g:skipped c:skipped",
    );
    check(root(), "b? a.", success, "p:open a:success b:ending g:skipped c:skipped");
    check(root(), "b? a. b#", success, "p:cancelled a:success b:cancelled g:skipped c:skipped");
    let cancelled = Some(Outcome::Cancelled);
    check(root(), "a? X a.", cancelled, "p:cancelled a:cancelled b:cancelled g:skipped c:skipped");
    let exit =
        || sequence("", [steps("a").exit(Gate::Condition(verdict_is(1, "bad"))), steps("b")]);
    check(exit(), "a.good", Some(Outcome::Failed), "a:failed b:skipped");
    let mut story = Story::begin(plan(root()));
    story.tell("b? a.");
    assert_eq!(story.run.cause(), "p/a ended the run");
    let why = |name: &str| story.run.why(story.stage(name)).map(|why| why.to_string());
    assert_eq!(why("c").as_deref(), Some("skipped with g: p/a ended the run"));
}

#[test]
fn needs_hold_back_siblings_and_a_failure_passes_over_them() {
    let root = || {
        let b = steps("b").needs(&["a"]);
        let c = steps("c").needs(&["b"]);
        parallel("", [steps("a"), b, c, steps("d")])
    };
    check(root(), "", None, "a:offered b:pending c:pending d:offered");
    check(root(), "a+", None, "a:success b:offered c:pending d:offered");
    check(root(), "a- d+", Some(Outcome::Failed), "a:failed b:skipped c:skipped d:success");
}

#[test]
fn choose_takes_the_first_arm_that_holds() {
    let root = |first, second| {
        let arms = [steps("a").when(decided(first)), steps("b").when(decided(second)), steps("c")];
        choose("", arms)
    };
    check(root(true, true), "", None, "a:offered b:skipped c:skipped");
    check(root(false, true), "b+", Some(Outcome::Success), "a:skipped b:success c:skipped");
    check(root(false, false), "", None, "a:skipped b:skipped c:offered");
}

#[test]
fn conditions_skip_and_skipped_counts_as_success() {
    let whole = sequence("g", [steps("a"), steps("b")]).when(decided(false));
    check(sequence("", [whole, steps("c")]), "", None, "g:skipped a:skipped b:skipped c:offered");
    let bare = steps("a").enter(Gate::Condition(decided(false)));
    check(sequence("", [bare]), "", Some(Outcome::Success), "a:skipped");
    let root = || sequence("", [steps("a"), steps("b").when(verdict_is(1, "good"))]);
    check(root(), "a+", Some(Outcome::Success), "a:success b:skipped");
    check(root(), "a+good", None, "a:success b:offered");
    check(nothing("").when(decided(false)), "", Some(Outcome::Skipped), "");
}

#[test]
fn an_exit_condition_that_does_not_hold_fails() {
    let root = || sequence("", [steps("a").exit(Gate::Condition(verdict_is(1, "good")))]);
    check(root(), "a+bad", Some(Outcome::Failed), "a:failed");
    check(root(), "a+good", Some(Outcome::Success), "a:success");
}

#[test]
fn retries_keep_to_the_policy() {
    let on = [RetryReason::Lost, RetryReason::TimedOut];
    let root = || sequence("", [steps("a").retry(3, &on, 100).timeout(5_000)]);
    check(root(), "a!", None, "a:paused");
    check(root(), "a! @100", None, "a:offered");
    check(root(), "a! @100 a! @299", None, "a:paused");
    check(root(), "a! @100 a! @300 a!", Some(Outcome::Lost), "a:lost");
    check(root(), "a-", Some(Outcome::Failed), "a:failed");
    check(root(), "a? @5000 a+", None, "a:paused");
}

#[test]
fn time_limits_end_what_goes_on() {
    let limited = || sequence("", [steps("a").timeout(50), steps("b")]);
    check(limited(), "a? @49", None, "a:leased b:pending");
    check(limited(), "a? @50", None, "a:ending b:pending");
    check(limited(), "a? @50 a+", Some(Outcome::TimedOut), "a:timed out b:skipped");
    let cleans = || sequence("", [steps("a").steps(2, 1).timeout(50), steps("b")]);
    check(cleans(), "a/ @50", None, "a:leased b:pending");
    check(cleans(), "a/ @50 a+", None, "a:success b:offered");
    check(cleans(), "a? @50 a/ a+", Some(Outcome::TimedOut), "a:timed out b:skipped");
    let around = || sequence("", [steps("a").steps(1, 1)]).timeout(50);
    check(around(), "a/ @50 a+", Some(Outcome::TimedOut), "a:timed out");
    let queued = sequence("", [steps("a").queue(10)]);
    check(queued, "@10", Some(Outcome::TimedOut), "a:timed out");
    let group = || parallel("", ["a", "b", "c"].map(steps)).timeout(70);
    check(group(), "a+ b? @70", None, "a:success b:ending c:timed out");
    check(group(), "a+ b? @70 b!", Some(Outcome::TimedOut), "a:success b:timed out c:timed out");
    let retried = steps("a").retry(2, &[RetryReason::TimedOut], 0);
    let around = sequence("", [retried]).timeout(70);
    check(around, "a? @70 a!", Some(Outcome::TimedOut), "a:timed out");
}

#[test]
fn cancel_fixes_the_outcome_at_once() {
    let root = || sequence("", [parallel("p", ["a", "b"].map(steps)), steps("c")]);
    let cancelled = Some(Outcome::Cancelled);
    check(root(), "a? X", cancelled, "p:open a:ending b:cancelled c:skipped");
    check(root(), "a? X a+", cancelled, "p:cancelled a:cancelled b:cancelled c:skipped");
    check(root(), "X", cancelled, "p:cancelled a:cancelled b:cancelled c:skipped");
}

#[test]
fn time_does_not_go_backwards_in_a_journal() {
    let mut story = Story::begin(plan(sequence("", [steps("a"), steps("b")])));
    story.now = Timestamp(START.0 - 500);
    story.tell("a+");
    let decided = story.run.decide_all(&[Wish::Wake.into()], story.now);
    assert_eq!(decided.entry, None, "a wake with nothing due leads to nothing");
    let opened = story.run.stage(story.stage("b")).and_then(|state| state.opened_at);
    assert_eq!(opened, Some(START), "a new leader's clock lags, the run's does not");
    assert_eq!(story.run, Run::replay(RUN, plan_of(&story), &story.journal));
}

fn plan_of(story: &Story) -> Arc<Plan> {
    Arc::clone(story.run.plan())
}

#[test]
fn why_tells_what_a_stage_waits_for_or_how_it_ended() {
    let check = |wishes: &str, name: &str, expected: &str| {
        let on = [RetryReason::Failed];
        let inner = sequence("g", [steps("c"), steps("d").when(decided(false))]);
        let b = steps("b").needs(&["a"]);
        let root = sequence("", [parallel("p", [steps("a").retry(2, &on, 10), b]), inner]);
        let mut story = Story::begin(plan(root));
        story.tell(wishes);
        let why = story.run.why(story.stage(name)).expect("it is in the plan").to_string();
        assert_eq!(why, expected, "{name} after {wishes}");
    };
    check("", "a", "waits for an agent");
    check("", "b", "waits for p/a");
    check("", "d", "waits for p");
    check("", "p", "goes on: 2 stages inside have not ended");
    check("a?", "a", "runs on 010101010101/1");
    check("a-", "a", "pauses before attempt 2; the last one was failed: step 1: exit code 1");
    check("a- @10 a-", "a", "failed: step 1: exit code 1");
    check("a- @10 a-", "b", "skipped: it needs p/a, which was failed");
    check("a- @10 a-", "p", "failed: p/a failed");
    check("a- @10 a-", "d", "skipped with g: stopped by p/a");
    check("a? X", "a", "is being ended on 010101010101/1: stopped by ada");
    check("a? X", "b", "skipped: stopped by ada");
    check("a+ b+ c+", "d", "skipped: branch is \"fix-1\", not \"main\"");
    check("a+ b+ c+", "g", "success");
}
