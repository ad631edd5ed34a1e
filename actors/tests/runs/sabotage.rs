//! Every kind of actor is made to panic at each of its messages, and the run ends as if nothing had
//! happened.

use crate::house::{House, outcomes};
use crate::memory::{Act, Saboteur};
use crate::plans::{again, needing, parallel, sequence, stage, step};
use otto_core::ids::{CommandId, StageId};
use otto_core::plan::{Plan, RetryReason, Stage};
use otto_core::run::command::{Command, Wish};
use otto_core::run::outcome::Outcome;
use otto_core::time::Span;
use std::collections::{BTreeMap, BTreeSet};

/// What a story comes to: the outcomes by path.
type Ending = BTreeMap<String, Outcome>;

fn long(stage: Stage) -> Stage {
    again(stage, RetryReason::Lost)
}

/// A run that visits most of what actors do, and how often each message was handled.
async fn succeeding(saboteur: Saboteur) -> (Ending, BTreeMap<Act, u32>, bool) {
    let plan: Plan = parallel(vec![
        Stage { finally: vec![step("print x")], ..long(stage("a", &["print one", "sleep 12s"])) },
        Stage { timeout: Some(Span::seconds(100)), ..long(stage("b", &["ok", "print two"])) },
        long(stage("c", &["sleep 2s"])),
    ]);
    let house = House::with(saboteur).await;
    let hand = house.hire("n1", 2, &[]).await;
    let run = house.run(&plan).await;
    let held = house.control.why(run, StageId(1)).await;
    assert!(held.is_ok(), "{held:?}");
    let view = house.retired(run).await;
    finish(&house, &hand).await;
    let shown =
        house.log(run, 2, u32::try_from(view.stage(StageId(2)).unwrap().attempts.len()).unwrap());
    assert_eq!(shown.await, "two\n[Whole]");
    let seen = house.sabotage.seen.lock().unwrap().clone();
    (outcomes(&view), seen, house.sabotage.struck())
}

/// A run that is cancelled while one stage runs, one pauses and one waits for an agent.
async fn cancelled(saboteur: Saboteur) -> (Ending, BTreeMap<Act, u32>, bool) {
    let plan = sequence(vec![
        again(stage("a", &["fail-first"]), RetryReason::Failed),
        Stage { finally: vec![step("sleep 1s")], ..stage("b", &["sleep 1h"]) },
        stage("c", &["ok"]),
    ]);
    let house = House::with(saboteur).await;
    let hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&plan).await;
    house
        .until("the second stage runs or is lost", async || {
            let view = house.control.view(run).await;
            view.is_ok_and(|view| !view.stage(StageId(2)).unwrap().attempts.is_empty())
        })
        .await;
    tokio::time::sleep(Span::seconds(1).to_duration()).await;
    let wish = Wish::Cancel { by: "ada".to_owned(), reason: None };
    let cancel = Command { id: Some(CommandId([3; 16])), wish };
    house.control.command(run, cancel).await.ok();
    let view = house.retired(run).await;
    finish(&house, &hand).await;
    let seen = house.sabotage.seen.lock().unwrap().clone();
    (outcomes(&view), seen, house.sabotage.struck())
}

/// A run that waits for a tool, which is installed in time.
async fn searching(saboteur: Saboteur) -> (Ending, BTreeMap<Act, u32>, bool) {
    let plan = sequence(vec![long(needing(stage("a", &["ok"]), &["ant", "go"]))]);
    let house = House::with(saboteur).await;
    let hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&plan).await;
    house.until("it has looked", async || hand.ground.looked_for().len() >= 2).await;
    tokio::time::sleep(Span::seconds(10).to_duration()).await;
    hand.ground.install("go", "1.22");
    let view = house.retired(run).await;
    finish(&house, &hand).await;
    let seen = house.sabotage.seen.lock().unwrap().clone();
    (outcomes(&view), seen, house.sabotage.struck())
}

async fn finish(house: &House, hand: &crate::house::Hand) {
    assert_eq!(hand.ground.sins(), Vec::<String>::new());
    house.until("the agent is free", async || hand.side.busy() == 0).await;
    house.until("processes are gone", async || hand.ground.is_still()).await;
    house.until("the spool is empty", async || hand.ground.spooled() == 0).await;
}

/// Tells a story once undisturbed, then once for each message that was handled in it, with a death
/// there. Spared are actors whose death loses an attempt, where the plan does not repeat that.
async fn check<F>(story: impl Fn(Saboteur) -> F, spared: &[&str]) -> BTreeSet<Act>
where
    F: Future<Output = (Ending, BTreeMap<Act, u32>, bool)>,
{
    let (undisturbed, seen, _) = story(Saboteur::default()).await;
    for (act, count) in &seen {
        if spared.contains(&act.0) {
            continue;
        }
        for nth in BTreeSet::from([1, count.div_ceil(2), *count]) {
            let (ending, _, struck) = story(Saboteur::at(*act, nth)).await;
            assert_eq!(ending, undisturbed, "{act:?} {nth}");
            assert!(struck || nth > 1, "{act:?} {nth} was never handled");
        }
    }
    seen.into_keys().collect()
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_as_if_no_actor_had_died() {
    let seen = check(succeeding, &[]).await;
    let actors: BTreeSet<&str> = seen.iter().map(|(actor, _)| *actor).collect();
    let all = ["agent", "alarm", "executor", "matchmaker", "pipeline", "shard", "stage"];
    assert_eq!(actors, BTreeSet::from(all), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_ends_as_if_no_actor_had_died() {
    check(cancelled, &["executor"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_tool_is_found_as_if_no_actor_had_died() {
    let seen = check(searching, &[]).await;
    assert!(seen.is_superset(&[("agent", "looked"), ("agent", "doubt")].into()), "{seen:?}");
}
