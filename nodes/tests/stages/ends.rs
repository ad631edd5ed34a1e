//! Nothing outlives its stage, its lease, its agent or its launcher.

use crate::Case;
use crate::bench::{Blobs, VICTIM, agent, both, marked, marker, run, script, step, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use otto_actors::ports::stages::{Stage, StageError, Stages, StepEnd};
use otto_core::run::duty::EndReason;
use otto_core::run::outcome::Outcome;
use otto_core::time::Span;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;

pub(crate) const CASES: &[Case] = &[
    ("ends::a_daemon_goes_with_its_stage", daemons),
    ("ends::a_fork_bomb_goes_with_its_stage", bomb),
    ("ends::who_is_asked_to_end_may_do_so_in_peace", polite),
    ("ends::who_ignores_it_is_killed", stubborn),
    ("ends::a_lease_that_is_not_renewed_ends", overdue),
    ("ends::nothing_outlives_a_killed_agent", killed_agent),
    ("ends::a_killed_launcher_ends_its_stages_and_is_replaced", killed_launcher),
];

/// Leaves the step's session, its parent and its output behind.
fn daemon(marker: &str) -> String {
    format!("setsid sh -c 'setsid sleep {marker} >/dev/null 2>&1 &' >/dev/null 2>&1")
}

/// Starts a stage's only step, without waiting for it.
fn begin(stage: &Arc<dyn Stage>) -> tokio::task::JoinHandle<Result<StepEnd, StageError>> {
    let stage = Arc::clone(stage);
    tokio::spawn(async move { step(&*stage, 0, &BTreeMap::new()).await })
}

fn daemons() {
    both(async |bench| {
        let marker = marker();
        let asked = script(&format!("#!/bin/sh\n{}", daemon(&marker)));
        let stage = bench.open(&asked).await;
        let end = step(&*stage, 0, &BTreeMap::new()).await.expect("a step");
        assert_eq!(end.outcome, Outcome::Success);
        until("the daemon runs", || marked(&marker).len() == 1).await;
        assert_eq!(bench.stages.alive(), [asked.lease]);
        stage.close().await;
        assert_eq!(marked(&marker), [0; 0]);
        assert!(bench.left().is_empty() && bench.stages.alive().is_empty());
        stage.close().await;
    });
}

fn bomb() {
    both(async |bench| {
        let marker = marker();
        let text = format!(
            "#!/bin/sh\nfor i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do\n\
             (while :; do setsid sleep 0.01 {marker} & wait; done) &\ndone; touch lit; wait"
        );
        let stage = bench.open(&script(&text)).await;
        let running = begin(&stage);
        until("the bomb is lit", || marked(&marker).len() > 8).await;
        stage.close().await;
        assert_eq!(marked(&marker), [0; 0]);
        assert!(matches!(running.await.expect("no panic"), Err(StageError::Machine(_))));
    });
}

fn polite() {
    both(async |bench| {
        let marker = marker();
        let asked =
            script(&format!("#!/bin/sh\ntrap 'echo bye; exit 0' TERM\nsleep {marker} & wait"));
        let stage = bench.open(&asked).await;
        let running = begin(&stage);
        until("the step runs", || marked(&marker).len() == 1).await;
        stage.interrupt(EndReason::TimedOut).await;
        let end = running.await.expect("no panic").expect("a step");
        assert_eq!((end.outcome, end.detail.as_str()), (Outcome::TimedOut, "exit code 0"));
        assert_eq!(bench.log(asked.lease).await, "bye\n");
        stage.interrupt(EndReason::Cancelled).await;
        let again = begin(&stage);
        until("the step runs again", || marked(&marker).len() == 1).await;
        stage.close().await;
        assert!(again.await.expect("no panic").is_err());
    });
}

fn stubborn() {
    both(async |bench| {
        let marker = marker();
        let text = format!(
            "#!/bin/sh\ntrap '' TERM\n(trap '' TERM; while :; do sleep 0.1 {marker}; done) &\n\
             while :; do sleep 0.1 {marker}; done"
        );
        let stage = bench.open(&script(&text)).await;
        let running = begin(&stage);
        until("the step runs", || !marked(&marker).is_empty()).await;
        stage.interrupt(EndReason::Cancelled).await;
        let end = running.await.expect("no panic").expect("a step");
        assert_eq!((end.outcome, end.detail.as_str()), (Outcome::Cancelled, "signal 9"));
        stage.close().await;
        assert_eq!(marked(&marker), [0; 0]);
    });
}

fn overdue() {
    both(async |bench| {
        let marker = marker();
        let mut asked = script(&format!("#!/bin/sh\n{}\nsleep {marker}", daemon(&marker)));
        asked.lease_span = Span(1500);
        let stage = bench.open(&asked).await;
        let running = begin(&stage);
        until("the step runs", || marked(&marker).len() >= 2).await;
        bench.stages.renewed(asked.lease, Span(0));
        let end = running.await.expect("no panic");
        assert!(matches!(end, Err(StageError::Machine(_))), "{end:?}");
        stage.close().await;
        assert_eq!(marked(&marker), [0; 0]);
        assert!(bench.left().is_empty());
    });
}

/// Plays an agent with one stage, in a process of its own. Where its stage is ended behind its
/// back, it opens another one.
pub(crate) fn victim(folder: &Path) -> ExitCode {
    let text = std::fs::read_to_string(folder.join("script")).expect("a script");
    let namespaces = folder.join("namespaces").exists();
    let mut went_on = false;
    run(async {
        let (_, stages) = agent(folder, &Arc::new(Blobs::default()), namespaces, 1 << 20).await;
        let stage = stages.open(&script(&text)).await.expect("a stage");
        let end = step(&*stage, 0, &BTreeMap::new()).await;
        stage.close().await;
        let again = stages.open(&script("true")).await.expect("another stage");
        let next = step(&*again, 0, &BTreeMap::new()).await.expect("another step");
        again.close().await;
        went_on = end.is_err() && next.outcome == Outcome::Success;
    });
    if went_on { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Starts a victim whose step left a daemon and runs on, and waits for both.
async fn start_victim(folder: &Path, namespaces: bool, marker: &str) -> Child {
    let text = format!("#!/bin/sh\n{}\nsleep {marker}", daemon(marker));
    std::fs::write(folder.join("script"), text).expect("a file");
    if namespaces {
        std::fs::write(folder.join("namespaces"), "").expect("a file");
    }
    let image = std::env::current_exe().expect("this test");
    let victim = Command::new(image).env(VICTIM, folder).spawn().expect("a victim");
    // The shell's own command line holds no script, that of both sleeps does hold the marker.
    until("daemon and step run", || marked(marker).len() >= 2).await;
    victim
}

fn killed_agent() {
    run(async {
        for namespaces in [true, false] {
            let folder = tempfile::tempdir().expect("a folder");
            let marker = marker();
            let mut victim = start_victim(folder.path(), namespaces, &marker).await;
            victim.kill().expect("it runs");
            victim.wait().expect("it ended");
            until("nothing is left", || marked(&marker).is_empty()).await;
            let work = folder.path().join("data/agent/work");
            assert_eq!(std::fs::read_dir(&work).expect("a folder").count(), 1, "of a killed agent");
            let blobs = Arc::new(Blobs::default());
            let (_spool, _stages) = agent(folder.path(), &blobs, namespaces, 1 << 20).await;
            assert_eq!(std::fs::read_dir(&work).expect("a folder").count(), 0, "after its return");
            let agents = folder.path().join("data/agent");
            until("old workspaces are removed", || !agents.join("left-0").exists()).await;
        }
    });
}

fn killed_launcher() {
    run(async {
        for namespaces in [true, false] {
            let folder = tempfile::tempdir().expect("a folder");
            let marker = marker();
            let mut victim = start_victim(folder.path(), namespaces, &marker).await;
            kill(child_of(victim.id()), Signal::SIGKILL).expect("it runs");
            let ended = victim.wait().expect("it ends");
            assert!(ended.success(), "it saw its stage end, and opened another one");
            until("nothing is left", || marked(&marker).is_empty()).await;
        }
    });
}

/// The one child of a process.
fn child_of(parent: u32) -> Pid {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).expect("it runs").flatten();
    let children =
        tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let child =
        children.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let only: Vec<i32> = child.filter_map(|pid| pid.parse().ok()).collect();
    assert_eq!(only.len(), 1, "an agent has one child, its launcher");
    Pid::from_raw(only[0])
}
