//! Reads what is left on the disks when a simulation has ended, with the ordinary store, twice.

use crate::disk::SimulatedDisk;
use crate::ending::EndedRun;
use crate::growth::stored;
use crate::writers::Tasks;
use futures::FutureExt;
use otto_actors::ports::journal::{JournalError, SharedJournal};
use otto_core::cluster;
use otto_core::ids::{RunId, ShardId};
use otto_core::journal::{EntityId, EntityKind, decode};
use otto_core::plan::Plan;
use otto_core::run::Run;
use otto_core::run::event::{Entry, Event};
use otto_nodes::replica::{Alone, Shards, ShardsConfig};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many runs are listed at a time.
const PAGE: usize = 100;

/// Reads all runs from a disk that has so many shards, but for those that are there to be many.
///
/// # Errors
/// When the disk cannot be opened or a record on it cannot be read.
pub fn runs(disk: &SimulatedDisk, shards: u16) -> Result<BTreeMap<RunId, EndedRun>, String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let config = ShardsConfig { shards, ..ShardsConfig::default() };
        let opened =
            Shards::open(Box::new(disk.mount()), &Tasks::default(), config, Arc::new(Alone)).await;
        let shards = opened.map_err(|error| error.to_string())?;
        let mut found = BTreeMap::new();
        for id in (0..shards.count()).map(ShardId) {
            shards.ready(id).await.map_err(|error| error.to_string())?;
            if let Some(journal) = shards.journal(id) {
                read_shard(&journal, &mut found).await?;
            }
        }
        shards.close().await.map_err(|fault| fault.to_string())?;
        Ok(found)
    })
}

/// As [`runs`], from the replicas of a process that lives.
///
/// # Errors
/// When a record cannot be read.
pub fn live(replicas: &[SharedJournal]) -> Result<BTreeMap<RunId, EndedRun>, String> {
    let mut found = BTreeMap::new();
    for journal in replicas {
        // A replica answers at once: there is nobody to be waited for.
        let read = read_shard(journal, &mut found).now_or_never();
        read.ok_or("a replica did not answer")??;
    }
    Ok(found)
}

async fn read_shard(
    journal: &SharedJournal,
    found: &mut BTreeMap<RunId, EndedRun>,
) -> Result<(), String> {
    let failed = |error: JournalError| error.to_string();
    let mut before = None;
    loop {
        let page = journal.heads(EntityKind::Run, before, PAGE).await.map_err(failed)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        before = Some(*last);
        for (entity, _) in page {
            let Some(run) = entity.as_run().filter(|run| !stored::is_stored(*run)) else {
                continue;
            };
            let stored = journal.entries(entity, 0).await.map_err(failed)?;
            found.insert(run, read_run(journal, &stored).await?);
        }
    }
}

async fn read_run(journal: &SharedJournal, stored: &[Vec<u8>]) -> Result<EndedRun, String> {
    let entries: Result<Vec<Entry>, _> =
        stored.iter().map(|bytes| decode("entry", bytes)).collect();
    let entries = entries.map_err(|error| error.to_string())?;
    let hash = entries.iter().flat_map(|entry| &entry.events).find_map(|event| match event {
        Event::Submitted { submission, .. } => Some(submission.plan),
        _ => None,
    });
    let hash = hash.ok_or("a run's journal does not begin with its submission")?;
    let plan = EntityId::by_hash(EntityKind::Plan, &hash.0);
    let stored = journal.entries(plan, 0).await.map_err(|error| error.to_string())?;
    let bytes = stored.first().ok_or("a run's plan is not stored")?;
    let plan = Plan::from_bytes(bytes).map_err(|error| error.to_string())?;
    Ok(EndedRun { plan, entries })
}

/// The cluster's journal, as a replica has it.
///
/// # Errors
/// When it cannot be read.
pub fn cluster(meta: &SharedJournal) -> Result<Vec<cluster::event::Entry>, String> {
    let read = meta.entries(EntityId::CLUSTER, 0).now_or_never();
    let stored = read.ok_or("a replica did not answer")?.map_err(|error| error.to_string())?;
    let entries = stored.iter().map(|bytes| decode("entry of the cluster", bytes));
    entries.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// A digest of the states that replaying all runs gives.
#[must_use]
pub fn state_digest(runs: &BTreeMap<RunId, EndedRun>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (id, ended) in runs {
        let run = Run::replay(*id, Arc::new(ended.plan.clone()), &ended.entries);
        hasher.update(format!("{id} {run:?}").as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}
