//! Each construct once, told as a story: wishes on the left, what the run says of it on the right.

use super::plans::{
    Node, choose, decided, fanout, nothing, parallel, plan, sequence, steps, verdict_is,
};
use super::story::Story;
use crate::gate::Gate;
use crate::plan::RetryReason;
use crate::run::outcome::Outcome;

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
