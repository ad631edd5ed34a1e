//! Runs that are there, and over, before the others of a simulation begin.
//!
//! They go the way of all submissions, but their stages are skipped, so that no agent is needed and
//! nothing is told of them one by one. In the end they are counted on every machine.

use crate::workload;
use otto_actors::ports::journal::SharedJournal;
use otto_core::ids::{ProjectId, RunId};
use otto_core::journal::EntityKind;
use otto_nodes::client::{Client, ClientError};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::task::JoinSet;

/// How many projects they belong to: enough that every shard is home to some.
const PROJECTS: u32 = 40;
/// How many are submitted side by side.
const AT_ONCE: u32 = 200;
/// How many share a connection.
const PER_CONNECTION: u32 = 50;
/// The pause before one is submitted once more.
const AGAIN: Duration = Duration::from_millis(200);
/// How many are listed at a time.
const PAGE: usize = 1_000;
/// What is submitted.
const PIPELINE: &str =
    "pipeline { stage('Never') { when (branch == 'dev')  steps { sh 'print unreached' } } }";

static STORED: LazyLock<BTreeSet<ProjectId>> =
    LazyLock::new(|| (0..PROJECTS).map(|number| ProjectId::of(&project(number))).collect());

fn project(number: u32) -> String {
    format!("stored-{}", number % PROJECTS)
}

/// Whether a run is one of them.
#[must_use]
pub fn is_stored(run: RunId) -> bool {
    STORED.contains(&run.project)
}

/// Submits so many, through connections that `connect` makes.
///
/// # Errors
/// What is wrong with their pipeline.
pub async fn submit(count: u32, connect: impl Fn() -> Client) -> Result<(), String> {
    let plan = Arc::new(workload::compile("stored", PIPELINE)?);
    let many = AT_ONCE.min(count).div_ceil(PER_CONNECTION);
    let clients: Vec<Client> = (0..many).map(|_| connect()).collect();
    let mut tasks = JoinSet::new();
    for first in 0..AT_ONCE.min(count) {
        let (plan, client) = (Arc::clone(&plan), clients[(first % many) as usize].clone());
        tasks.spawn_local(async move {
            for number in (first..count).step_by(AT_ONCE as usize) {
                let key = format!("stored-{number}");
                loop {
                    match client.submit_plan(&project(number), &key, &plan, None).await {
                        Ok(_) => break,
                        Err(ClientError::Api(_)) => tokio::time::sleep(AGAIN).await,
                        Err(_) => {
                            client.disconnect().await;
                            tokio::time::sleep(AGAIN).await;
                        }
                    }
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// How many of them these replicas of a machine have.
///
/// # Errors
/// When a replica cannot be read.
pub async fn count(replicas: &[SharedJournal]) -> Result<u32, String> {
    let mut found = 0;
    for journal in replicas {
        let mut before = None;
        loop {
            let page = journal.heads(EntityKind::Run, before, PAGE).await;
            let page = page.map_err(|error| error.to_string())?;
            let Some((last, _)) = page.last() else { break };
            before = Some(*last);
            let runs = page.iter().filter_map(|(entity, _)| entity.as_run());
            found += u32::try_from(runs.filter(|run| is_stored(*run)).count()).unwrap_or(0);
        }
    }
    Ok(found)
}
