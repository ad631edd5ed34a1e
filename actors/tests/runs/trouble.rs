//! Runs on which processes, wires and stores fail: they end as if nothing had happened, or say what
//! was lost.

use crate::house::{Hand, House, outcomes};
use crate::memory::Saboteur;
use crate::memory::journal::Fault;
use crate::plans::{again, parallel, sequence, stage, step};
use otto_actors::control::answers::Denial;
use otto_actors::ports::control::{Control, LinkError, Report, ReportAnswer};
use otto_core::ids::{CommandId, RunId, StageId};
use otto_core::journal::EntityId;
use otto_core::lease::LeaseId;
use otto_core::plan::{Plan, Retry, RetryReason, Stage};
use otto_core::run::Run;
use otto_core::run::command::{Command, Refusal, Wish};
use otto_core::run::outcome::Outcome;
use otto_core::time::Span;
use std::collections::BTreeMap;

async fn pause(span: Span) {
    tokio::time::sleep(span.to_duration()).await;
}

/// A stage that works for so long, and is repeated when its agent is lost.
fn work(name: &str, long: &str) -> Stage {
    again(stage(name, &["print begun", &format!("sleep {long}"), "print done"]), RetryReason::Lost)
}

fn attempts(run: &Run, stage: u32) -> usize {
    run.stage(StageId(stage)).unwrap().attempts.len()
}

async fn lease_of(house: &House, run: RunId, stage: u32) -> LeaseId {
    house
        .until("the stage is leased", async || {
            let view = house.control.view(run).await.unwrap();
            view.stage(StageId(stage)).unwrap().leased().is_some()
        })
        .await;
    let view = house.control.view(run).await.unwrap();
    let leased = view.stage(StageId(stage)).unwrap().leased().unwrap().clone();
    LeaseId { run, stage: StageId(stage), attempt: leased.attempt, epoch: leased.epoch }
}

/// Waits for a run's success, and that its agents are innocent and at rest.
async fn succeeds(house: &House, run: RunId, hands: &[&Hand]) -> Run {
    let view = house.retired(run).await;
    assert_eq!(view.outcome(), Some(Outcome::Success), "{:?}", outcomes(&view));
    for hand in hands {
        assert_eq!(hand.ground.sins(), Vec::<String>::new());
        house.until("the agent is free", async || hand.side.busy() == 0).await;
        assert!(hand.ground.is_still(), "processes are left");
    }
    view
}

fn small() -> Plan {
    sequence(vec![
        stage("a", &["print one", "print two"]),
        again(stage("b", &["fail-first; print three"]), RetryReason::Failed),
    ])
}

#[tokio::test(start_paused = true)]
async fn a_proposal_without_an_answer_changes_nothing() {
    let faults = [Fault::AppliedUnknown, Fault::LostUnknown, Fault::LateUnknown, Fault::Full];
    for fault in faults {
        for place in 0..14 {
            let house = House::new().await;
            let hand = house.hire("n1", 1, &[]).await;
            let mut script = vec![Fault::Fine; place];
            script.push(fault);
            house.journal.faults.lock().unwrap().extend(script);
            let run = house.run(&small()).await;
            assert_eq!(run.number, 1, "{fault:?} at {place}");
            let view = succeeds(&house, run, &[&hand]).await;
            assert_eq!((attempts(&view, 1), attempts(&view, 2)), (1, 2), "{fault:?} at {place}");
            assert_eq!(house.log(run, 2, 2).await, "three\n[Whole]", "{fault:?} at {place}");
            let listed = house.control.list(Some("shop"), None, 10).await.unwrap();
            assert_eq!(listed.len(), 1, "{fault:?} at {place}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_waited_out() {
    let house = House::new().await;
    let hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&small()).await;
    house.journal.faults.lock().unwrap().extend([Fault::Full; 20]);
    succeeds(&house, run, &[&hand]).await;
}

#[tokio::test(start_paused = true)]
async fn a_short_absence_of_the_control_side_costs_nothing() {
    let mut house = House::new().await;
    let hand = house.hire("n1", 2, &[]).await;
    let run = house.run(&parallel(vec![work("a", "20s"), work("b", "40s")])).await;
    pause(Span::seconds(10)).await;
    house.stop_control().await;
    pause(Span::seconds(5)).await;
    house.start_control().await;
    let view = succeeds(&house, run, &[&hand]).await;
    assert_eq!((attempts(&view, 1), attempts(&view, 2)), (1, 1));
    assert_eq!(house.log(run, 1, 1).await, "begun\ndone\n[Whole]");
}

#[tokio::test(start_paused = true)]
async fn what_ended_while_the_control_side_was_gone_is_told_later() {
    let mut house = House::new().await;
    let hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&sequence(vec![work("a", "12s"), work("b", "1s")])).await;
    pause(Span::seconds(10)).await;
    house.stop_control().await;
    pause(Span::seconds(8)).await;
    house.start_control().await;
    let view = succeeds(&house, run, &[&hand]).await;
    assert_eq!((attempts(&view, 1), attempts(&view, 2)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_long_absence_loses_the_attempt() {
    let mut house = House::new().await;
    let hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&sequence(vec![work("a", "60s")])).await;
    pause(Span::seconds(10)).await;
    house.stop_control().await;
    pause(Span::seconds(30)).await;
    assert!(hand.ground.is_still(), "an agent that cannot renew ends its stages");
    house.start_control().await;
    let view = succeeds(&house, run, &[&hand]).await;
    assert_eq!(attempts(&view, 1), 2);
    assert_eq!(house.log(run, 1, 1).await, "begun\n[Torn]");
    assert_eq!(house.log(run, 1, 2).await, "begun\ndone\n[Whole]");
}

#[tokio::test(start_paused = true)]
async fn a_cut_wire_shorter_than_the_lease_costs_nothing() {
    let house = House::new().await;
    let hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&sequence(vec![work("a", "60s")])).await;
    for _ in 0..4 {
        pause(Span::seconds(6)).await;
        house.cut();
        pause(Span::seconds(6)).await;
        house.mend();
    }
    let view = succeeds(&house, run, &[&hand]).await;
    assert_eq!(attempts(&view, 1), 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_behind_a_cut_wire_is_replaced_after_its_lease() {
    let house = House::new().await;
    let first = house.hire("n1", 1, &[]).await;
    let run = house.run(&sequence(vec![work("a", "60s")])).await;
    pause(Span::seconds(10)).await;
    house.fell(&first).await;
    let second = house.hire("n2", 1, &[]).await;
    let begun = tokio::time::Instant::now();
    house.until("the other agent works", async || !second.ground.is_still()).await;
    let waited = begun.elapsed().as_secs();
    assert!((12..=19).contains(&waited), "lease and margin hold, but no longer: {waited} s");
    succeeds(&house, run, &[&second]).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_starts_anew_loses_its_leases_at_once() {
    let house = House::new().await;
    let mut hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&sequence(vec![work("a", "60s")])).await;
    pause(Span::seconds(10)).await;
    house.fell(&hand).await;
    house.raise(&mut hand).await;
    pause(Span::seconds(2)).await;
    assert_eq!(hand.ground.started().last().map(|(lease, _)| lease.attempt.0), Some(2));
    let view = succeeds(&house, run, &[&hand]).await;
    assert_eq!(attempts(&view, 1), 2);
}

#[tokio::test(start_paused = true)]
async fn both_sides_may_start_anew_at_once() {
    let mut house = House::new().await;
    let mut hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&sequence(vec![work("a", "30s"), work("b", "1s")])).await;
    pause(Span::seconds(10)).await;
    house.stop_control().await;
    house.fell(&hand).await;
    house.start_control().await;
    house.raise(&mut hand).await;
    let view = succeeds(&house, run, &[&hand]).await;
    assert_eq!(attempts(&view, 1), 2);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_the_control_side_lost_is_sent_again() {
    let mut house = House::new().await;
    let hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&sequence(vec![work("a", "10s")])).await;
    let lease = lease_of(&house, run, 1).await;
    pause(Span::seconds(2)).await;
    house.stop_control().await;
    house.logs.cut(lease.into(), 2);
    house.start_control().await;
    succeeds(&house, run, &[&hand]).await;
    assert_eq!(house.log(run, 1, 1).await, "begun\ndone\n[Whole]");
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_what_runs_and_starts_nothing() {
    let house = House::new().await;
    let hand = house.hire("n1", 1, &[]).await;
    let running = Stage { finally: vec![step("print swept")], ..work("a", "1h") };
    let run = house.run(&parallel(vec![running, work("b", "1h")])).await;
    lease_of(&house, run, 1).await;
    pause(Span::seconds(1)).await;
    let wish = Wish::Cancel { by: "ada".to_owned(), reason: None };
    let id = Some(CommandId([1; 16]));
    let cancel = Command { id, wish: wish.clone() };
    assert_eq!(house.control.command(run, cancel.clone()).await, Ok(()));
    assert_eq!(house.control.command(run, cancel).await, Ok(()), "a repeat gets the same answer");
    let view = house.retired(run).await;
    assert_eq!(view.outcome(), Some(Outcome::Cancelled));
    assert_eq!(house.log(run, 1, 1).await, "begun\nswept\n[Whole]");
    assert!(hand.ground.is_still());
    let stages = hand.ground.started();
    assert!(stages.iter().all(|(lease, _)| lease.stage == StageId(1)), "{stages:?}");
    pause(Span::seconds(60)).await;
    let other = Command::from(wish);
    let refused = Err(Denial::Refused(Refusal::Settled));
    assert_eq!(house.control.command(run, other).await, refused, "a retired run answers too");
}

#[tokio::test(start_paused = true)]
async fn cancelling_what_a_dead_agent_holds_ends_too() {
    let house = House::new().await;
    let hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&sequence(vec![work("a", "1h")])).await;
    lease_of(&house, run, 1).await;
    house.fell(&hand).await;
    let wish = Wish::Cancel { by: "ada".to_owned(), reason: None };
    house.control.command(run, wish.into()).await.unwrap();
    assert_eq!(house.retired(run).await.outcome(), Some(Outcome::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_nobody_can_serve_says_who_comes_closest() {
    let house = House::new().await;
    let _plain = house.hire("n1", 1, &[]).await;
    let _close = house.hire("n2", 1, &["git"]).await;
    let tool =
        |name: &str| otto_core::capability::Need::Tool { name: name.to_owned(), version: None };
    let needs = otto_core::capability::Need::All(vec![tool("docker"), tool("git")]);
    let run = house.run(&sequence(vec![Stage { runtime: needs, ..stage("a", &["ok"]) }])).await;
    // They look for the tools first.
    pause(Span::seconds(5)).await;
    let why = house.control.why(run, StageId(1)).await.unwrap();
    assert_eq!(
        why.search.map(|search| search.to_string()).as_deref(),
        Some(
            "waits for an agent with docker, git (0 of 2 have it); \
             n2 comes closest and lacks docker"
        )
    );
    let able = house.hire("n3", 1, &["docker", "git"]).await;
    succeeds(&house, run, &[&able]).await;
    assert_eq!(able.ground.started().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_waits_too_long_for_an_agent_times_out() {
    let house = House::new().await;
    let hurried = Stage { queue: Span::seconds(30), ..stage("a", &["ok"]) };
    let run = house.run(&sequence(vec![hurried])).await;
    assert_eq!(house.retired(run).await.outcome(), Some(Outcome::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn a_key_makes_one_run() {
    let house = House::new().await;
    let plan = small();
    let (a, b, c) = tokio::join!(
        house.submit("k", &plan),
        house.submit("k", &plan),
        house.submit("other", &plan)
    );
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert_eq!((a.run, a.existing, b.existing), (b.run, false, true));
    assert_ne!(a.run, c.run);
    let mut house = house;
    house.stop_control().await;
    house.start_control().await;
    let again = house.submit("k", &plan).await.unwrap();
    assert_eq!((again.run, again.existing), (a.run, true), "the journal remembers keys");
    assert_eq!(house.control.unfinished().await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn submissions_that_come_together_are_journaled_together() {
    let house = House::new().await;
    let plan = small();
    let keys: Vec<String> = (0..50).map(|n| format!("k{n}")).collect();
    let all = futures::future::join_all(keys.iter().map(|key| house.submit(key, &plan))).await;
    let mut numbers: Vec<u64> = all.into_iter().map(|one| one.unwrap().run.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    let proposals = house.journal.weights.lock().unwrap().len();
    assert!(proposals <= 3, "{proposals} proposals for 50 submissions");
    let listed = house.control.list(None, None, 20).await.unwrap();
    let newest: Vec<u64> = listed.iter().map(|listed| listed.run.number).collect();
    assert_eq!(newest, (31..=50).rev().collect::<Vec<_>>());
    let next = house.control.list(Some("shop"), Some(listed[19].run), 5).await.unwrap();
    assert_eq!(next[0].run.number, 30);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_replayed_costs_only_its_run() {
    let mut house = House::new().await;
    let hand = house.hire("n1", 1, &[]).await;
    let broken = house.submit("broken", &small()).await.unwrap().run;
    house.retired(broken).await;
    house.stop_control().await;
    house.journal.put(EntityId::run(broken), b"\xc1 no MessagePack".to_vec());
    house.start_control().await;
    let run = house.run(&small()).await;
    succeeds(&house, run, &[&hand]).await;
    let view = house.control.view(broken).await;
    assert!(matches!(view, Err(Denial::Quarantined { .. })), "{view:?}");
    let unknown = RunId { number: 99, ..run };
    assert_eq!(house.control.view(unknown).await, Err(Denial::NoSuchRun(unknown)));
}

#[tokio::test(start_paused = true)]
async fn a_stale_epoch_has_no_effect() {
    let house = House::new().await;
    let mut hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&sequence(vec![work("a", "60s")])).await;
    let stale = lease_of(&house, run, 1).await;
    let view = house.control.view(run).await.unwrap();
    let agent = view.stage(StageId(1)).unwrap().leased().unwrap().agent;
    pause(Span::seconds(1)).await;
    house.fell(&hand).await;
    house.raise(&mut hand).await;
    pause(Span::seconds(5)).await;
    let declined = vec![Report::Declined { lease: stale }];
    let control = &house.control;
    assert_eq!(control.report(agent, declined).await, Ok(vec![ReportAnswer::Stale]));
    assert_eq!(control.renew(agent, vec![stale]).await, Ok(vec![stale]));
    let log = control.log(agent, stale, 6, b"ghost\n".to_vec()).await;
    assert!(matches!(log, Err(LinkError::Refused(_))), "{log:?}");
    let view = succeeds(&house, run, &[&hand]).await;
    assert_eq!(attempts(&view, 1), 2);
    assert_eq!(house.log(run, 1, 1).await, "begun\n[Torn]");
}

#[tokio::test(start_paused = true)]
async fn only_the_holder_acts_under_a_lease() {
    let house = House::new().await;
    let hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&sequence(vec![work("a", "10s")])).await;
    let lease = lease_of(&house, run, 1).await;
    let mut stranger = house.control.agents().await.unwrap()[0].agent;
    stranger.agent.0[0] ^= 1;
    let control = &house.control;
    let declined = vec![Report::Declined { lease }];
    assert_eq!(control.report(stranger, declined).await, Ok(vec![ReportAnswer::Stale]));
    assert_eq!(control.renew(stranger, vec![lease]).await, Ok(vec![lease]));
    assert!(control.log(stranger, lease, 0, b"x".to_vec()).await.is_err());
    let view = succeeds(&house, run, &[&hand]).await;
    assert_eq!(attempts(&view, 1), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_renews_nothing() {
    let house = House::new().await;
    let _hand = house.hire("n1", 1, &[]).await;
    let run = house.run(&sequence(vec![work("a", "1h")])).await;
    let lease = lease_of(&house, run, 1).await;
    let agent = house.control.agents().await.unwrap()[0].agent;
    house.journal.deposed.store(true, std::sync::atomic::Ordering::Relaxed);
    let renewed = house.control.renew(agent, vec![lease]).await;
    assert!(matches!(renewed, Err(LinkError::Unreachable(_))), "{renewed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_only_pauses_gives_up_its_actor_and_gets_it_back() {
    let plan = || {
        let patient = Retry { backoff: Span::hours(1), ..retry_failed() };
        let stage = Stage { retry: Some(patient), ..stage("a", &["fail-first"]) };
        sequence(vec![stage])
    };
    for restart in [false, true] {
        let mut house = House::new().await;
        let hand = house.hire("n1", 1, &[]).await;
        let run = house.run(&plan()).await;
        pause(Span::seconds(600)).await;
        if restart {
            house.stop_control().await;
            house.start_control().await;
        }
        pause(Span::seconds(600)).await;
        let before = house.sabotage.seen.lock().unwrap().clone();
        pause(Span::hours(1)).await;
        succeeds(&house, run, &[&hand]).await;
        let starts = |seen: &BTreeMap<_, _>| seen[&("pipeline", "start")];
        let after = house.sabotage.seen.lock().unwrap().clone();
        assert!(starts(&after) > starts(&before), "it had no actor while it paused");
    }
}

fn retry_failed() -> Retry {
    let stage = again(stage("", &[]), RetryReason::Failed);
    stage.retry.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_duty_that_dies_again_and_again_is_called_stuck() {
    let house = House::with(Saboteur::always(("stage", "enter"))).await;
    let run = house.run(&small()).await;
    pause(Span::seconds(600)).await;
    let why = house.control.why(run, StageId(1)).await.unwrap();
    let chore = why.chores.first().unwrap();
    assert!(chore.stuck && chore.deaths >= 10, "{chore:?}");
    assert!(chore.cause.contains("sabotage"), "{chore:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_actor_dies_again_and_again_says_so() {
    let house = House::with(Saboteur::always(("pipeline", "start"))).await;
    let run = house.run(&small()).await;
    pause(Span::seconds(600)).await;
    let view = house.control.view(run).await;
    let Err(Denial::Unanswered(cause)) = view else { panic!("{view:?}") };
    assert!(cause.contains("is stuck") && cause.contains("sabotage"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_root_that_ends_is_noticed() {
    let house = House::new().await;
    let hand = house.hire("n1", 1, &[]).await;
    house.stop_control().await;
    house.fell(&hand).await;
    tokio::join!(house.control.ended(), hand.side.ended());
}
