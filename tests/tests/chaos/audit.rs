//! What the cluster says in the end: its journals and logs, read through each of its nodes.

use crate::clients::Nodes;
use otto_actors::ports::logs::LogId;
use otto_core::ids::RunId;
use otto_core::lease::LeaseId;
use otto_core::run::event::{Entry, Event};
use otto_core::time::Timestamp;
use otto_nodes::client::Client;
use otto_nodes::rpc::api::{ListRuns, Listed};
use otto_sim::audit::state_digest;
use otto_sim::ending::{EndedRun, Ending};
use otto_sim::history::{Fact, Moment};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many runs are listed at a time.
const PAGE: u32 = 200;
/// How long each call may be repeated.
const PATIENCE: Duration = Duration::from_mins(1);

/// Reads everything of the runs of a project, and what was stored of their logs.
pub(crate) async fn ending(nodes: &Nodes, project: &str) -> Result<Ending, String> {
    let mut ending = Ending::default();
    for index in 0..nodes.0.len() {
        let client = nodes.client(index).patience(PATIENCE);
        let runs = runs(&client, project).await.map_err(|why| format!("node {index}: {why}"))?;
        ending.state_digests.push(state_digest(&runs));
        if index == 0 {
            ending.logs = logs(&client, &runs).await?;
            ending.runs = runs;
        }
    }
    Ok(ending)
}

async fn runs(client: &Client, project: &str) -> Result<BTreeMap<RunId, EndedRun>, String> {
    let mut found = BTreeMap::new();
    let mut before = None;
    loop {
        let list = ListRuns { project: Some(project.to_owned()), before, limit: PAGE };
        let page: Vec<Listed> = client.runs(list).await.map_err(|error| error.to_string())?;
        let Some(last) = page.last() else { return Ok(found) };
        before = Some(last.run);
        for listed in page {
            let entries = entries(client, listed.run).await?;
            let hash = listed.summary.plan.ok_or("a run is listed without its plan")?;
            let plan = client.plan(hash).await.map_err(|error| error.to_string())?;
            found.insert(listed.run, EndedRun { plan, entries });
        }
    }
}

async fn entries(client: &Client, run: RunId) -> Result<Vec<Entry>, String> {
    let mut all = Vec::new();
    let mut follow = client.follow(run, 0);
    while let Some(batch) = follow.next().await.map_err(|error| error.to_string())? {
        all.extend(batch);
    }
    Ok(all)
}

/// The logs of all attempts that have ended.
async fn logs(
    client: &Client,
    runs: &BTreeMap<RunId, EndedRun>,
) -> Result<BTreeMap<LogId, Vec<u8>>, String> {
    let mut found = BTreeMap::new();
    for (run, ended) in runs {
        for (stage, attempt, _, _) in ended.attempt_ends() {
            let mut bytes = Vec::new();
            let mut log = client.log(*run, stage, attempt, 0);
            while let Some(part) = log.next().await.map_err(|error| error.to_string())? {
                bytes.extend(part);
            }
            found.insert(LogId { run: *run, stage, attempt }, bytes);
        }
    }
    Ok(found)
}

/// Whatever contradicts that logs are without gap and double: the numbers that steps printed.
pub(crate) fn broken_numbers(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for (log, bytes) in &ending.logs {
        let text = String::from_utf8_lossy(bytes);
        // Of a log that was cut off, the last line may be a part of a number.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let numbers: Vec<u64> = whole.lines().filter_map(|line| line.parse().ok()).collect();
        let expected = 1..=numbers.len() as u64;
        if !numbers.iter().copied().eq(expected) {
            found.push(format!("I17: the log {log:?} has {numbers:?}"));
        }
    }
    found
}

/// Marks that say whether the faults met anything: what a search wants to see.
pub(crate) fn reached(ending: &Ending) -> BTreeMap<&'static str, usize> {
    let events = || ending.runs.values().flat_map(EndedRun::events);
    let count = |wanted: fn(&Event) -> bool| events().filter(|event| wanted(event)).count();
    let lost = |event: &Event| {
        matches!(event, Event::AttemptEnded { outcome, .. }
            if *outcome == otto_core::run::outcome::Outcome::Lost)
    };
    BTreeMap::from([
        ("runs", ending.runs.len()),
        ("attempts", count(|event| matches!(event, Event::AttemptEnded { .. }))),
        ("attempts lost", count(lost)),
    ])
}

/// When attempts were awarded and when they ended, by the journals: the steps themselves do not
/// know of their stages.
pub(crate) fn attempts(ending: &Ending) -> Vec<Moment> {
    let of_run = |(run, ended): (&RunId, &EndedRun)| {
        let moment = |at: Timestamp, fact| Moment { at_ms: at.0, host: "journal".to_owned(), fact };
        let lease = |stage, attempt, epoch| LeaseId { run: *run, stage, attempt, epoch };
        let path = |stage| ended.plan.stage(stage).path.clone();
        let told = ended.events().filter_map(|event| match event {
            Event::StageAwarded { stage, attempt, epoch, at, .. } => {
                let lease = lease(*stage, *attempt, *epoch);
                Some(moment(*at, Fact::StageBegan { lease, path: path(*stage) }))
            }
            Event::AttemptEnded { stage, attempt, epoch, at, .. }
            | Event::StageDeclined { stage, attempt, epoch, at, .. } => {
                Some(moment(*at, Fact::StageEnded { lease: lease(*stage, *attempt, *epoch) }))
            }
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    ending.runs.iter().flat_map(of_run).collect()
}
