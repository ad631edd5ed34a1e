//! Runs on which nothing goes wrong but their steps.

use crate::house::{House, outcomes};
use crate::plans::{again, capturing, parallel, sequence, stage, step};
use otto_core::plan::{Plan, RetryReason, Stage};
use otto_core::run::outcome::Outcome;
use otto_core::time::Span;

/// Runs a plan on one agent with two slots; answers `path outcome` of all, in order.
async fn check(plan: Plan, expected: &[(&str, Outcome)]) -> (House, otto_core::ids::RunId) {
    let house = House::new().await;
    let hand = house.hire("n1", 2, &[]).await;
    let id = house.run(&plan).await;
    let run = house.retired(id).await;
    let found = outcomes(&run);
    for (path, outcome) in expected {
        assert_eq!(found.get(*path), Some(outcome), "{path} in {found:?}");
    }
    assert_eq!(hand.ground.sins(), Vec::<String>::new());
    house.until("the agent is free", async || hand.side.busy() == 0).await;
    assert!(hand.ground.is_still(), "processes are left");
    assert_eq!(hand.ground.spooled(), 0, "logs are left in the spool");
    (house, id)
}

#[tokio::test(start_paused = true)]
async fn stages_run_one_after_another() {
    let plan = sequence(vec![stage("a", &["print one", "print two"]), stage("b", &["ok"])]);
    let (house, run) = check(plan, &[("run", Outcome::Success), ("a", Outcome::Success)]).await;
    assert_eq!(house.log(run, 1, 1).await, "one\ntwo\n[Whole]");
    assert_eq!(house.log(run, 2, 1).await, "[Whole]");
}

#[tokio::test(start_paused = true)]
async fn a_failure_ends_a_sequence_and_not_a_parallel() {
    let stages = || vec![stage("a", &["fail", "print never"]), stage("b", &["ok"])];
    let failed = [("run", Outcome::Failed), ("a", Outcome::Failed), ("b", Outcome::Skipped)];
    check(sequence(stages()), &failed).await;
    let failed = [("run", Outcome::Failed), ("a", Outcome::Failed), ("b", Outcome::Success)];
    check(parallel(stages()), &failed).await;
}

#[tokio::test(start_paused = true)]
async fn more_stages_than_slots_take_turns() {
    let stages = (0..20).map(|n| stage(&format!("s{n}"), &["sleep 1s"])).collect();
    check(parallel(stages), &[("run", Outcome::Success)]).await;
}

#[tokio::test(start_paused = true)]
async fn finally_runs_however_the_steps_ended() {
    let with_finally =
        |scripts: &[&str]| Stage { finally: vec![step("print at last")], ..stage("a", scripts) };
    for (scripts, outcome) in [(["ok"], Outcome::Success), (["fail"], Outcome::Failed)] {
        let plan = sequence(vec![with_finally(&scripts)]);
        let (house, run) = check(plan, &[("run", outcome)]).await;
        assert_eq!(house.log(run, 1, 1).await, "at last\n[Whole]");
    }
    let late = Stage { timeout: Some(Span::seconds(5)), ..with_finally(&["sleep 1h"]) };
    let (house, run) = check(sequence(vec![late]), &[("run", Outcome::TimedOut)]).await;
    assert_eq!(house.log(run, 1, 1).await, "at last\n[Whole]");
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_counts_nothing_of_finally_which_has_its_own() {
    let check = async |sweep: &str, outcome: Outcome, cause: &str| {
        let mut limited = Stage { timeout: Some(Span::seconds(5)), ..stage("a", &["print one"]) };
        limited.finally = vec![step(sweep), step("print never or last")];
        let (house, run) = check(sequence(vec![limited]), &[("a", outcome)]).await;
        let run = house.control.view(run).await.unwrap();
        let why = run.why(otto_core::ids::StageId(1)).unwrap().to_string();
        assert_eq!(why, cause);
    };
    check("sleep 60s; print swept", Outcome::Success, "success").await;
    let cause = "timed out: sh: `finally` was not done within 10m";
    check("sleep 1h", Outcome::TimedOut, cause).await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_takes_too_long_is_ended() {
    let mut late = stage("a", &[]);
    let slow = otto_core::plan::StepCall { timeout: Some(Span::seconds(3)), ..step("sleep 1h") };
    late.work = otto_core::plan::Work::Steps(vec![slow, step("print never")]);
    let (house, run) = check(sequence(vec![late]), &[("a", Outcome::TimedOut)]).await;
    assert_eq!(house.log(run, 1, 1).await, "[Whole]");
    let view = house.control.view(run).await.unwrap();
    assert_eq!(view.cause(), "a timed out");
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again_where_the_plan_says_so() {
    let plan = sequence(vec![again(stage("a", &["fail-first; print twice"]), RetryReason::Failed)]);
    let (house, run) = check(plan, &[("run", Outcome::Success)]).await;
    assert_eq!(house.log(run, 1, 2).await, "twice\n[Whole]");
}

#[tokio::test(start_paused = true)]
async fn only_declared_values_are_captured() {
    let stage = capturing(stage("a", &["capture color=blue; capture secret=1"]), "color");
    let (house, run) = check(sequence(vec![stage]), &[("run", Outcome::Success)]).await;
    let view = house.control.view(run).await.unwrap();
    let captured = view.captured(otto_core::ids::StageId(1)).unwrap();
    assert_eq!(captured.keys().collect::<Vec<_>>(), ["color"]);
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_cannot_be_opened_fails_and_says_why() {
    let plan = sequence(vec![stage("a", &["unfit"])]);
    let (house, run) = check(plan, &[("a", Outcome::Failed)]).await;
    let log = house.log(run, 1, 1).await;
    assert_eq!(log, "failed to prepare the stage: the snapshot does not unpack\n[Whole]");
}

#[tokio::test(start_paused = true)]
async fn a_broken_machine_loses_the_attempt() {
    let plan = sequence(vec![stage("a", &["machine"])]);
    check(plan, &[("a", Outcome::Lost)]).await;
}
