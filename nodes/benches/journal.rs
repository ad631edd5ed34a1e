//! Durable proposals, beside the limit of the disk: a loop that writes records of the same size
//! and syncs all that wait together. Figures mean something only as ratios within one run.
//!
//! ```text
//!     cargo bench -p otto-nodes --bench journal             proposals a second
//!     cargo bench -p otto-nodes --bench journal -- dormant  opening with a million entities
//!     cargo bench -p otto-nodes --bench journal -- killed   opening after kill -9 under full load
//!     cargo bench -p otto-nodes --bench journal -- idle     what eight shards cost that do nothing
//! ```

use otto_actors::ports::journal::SharedJournal;
use otto_core::ids::ShardId;
use otto_core::journal::{EntityId, EntityKind, Head, Item, Proposal, Verdict};
use otto_core::time::Timestamp;
use otto_nodes::replica::{Alone, Shards, ShardsConfig};
use otto_nodes::store::{Folder, Threads};
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long each figure is measured.
const MEASURED: Duration = Duration::from_secs(4);
/// How many bytes a proposal's summary has.
const SUMMARY_BYTES: usize = 100;

fn main() -> Outcome<()> {
    let asked: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match asked.as_slice() {
        [] => runtime.block_on(proposals(&blank_folder()?)),
        ["dormant"] => runtime.block_on(dormant(&blank_folder()?)),
        ["killed"] => runtime.block_on(killed(&blank_folder()?)),
        ["idle"] => runtime.block_on(idle(&blank_folder()?)),
        ["load", folder] => runtime.block_on(load_until_killed(Path::new(folder))),
        other => Err(format!("{other:?} is no bench; there are dormant, killed and idle").into()),
    }
}

fn blank_folder() -> Outcome<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("journal-bench");
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => std::fs::create_dir_all(&folder)?,
    }
    Ok(folder)
}

/// Proposals and bare appends side by side.
async fn proposals(folder: &Path) -> Outcome<()> {
    for (clients, entry_bytes) in [(1, 900), (64, 300), (64, 900)] {
        let bare = appends(folder, clients, entry_bytes + SUMMARY_BYTES).await?;
        print_figures("bare appends", clients, entry_bytes, &bare, &bare);
        for shards in [1, 8] {
            let name = format!("{shards} shards");
            let place = folder.join(format!("{shards}-{clients}-{entry_bytes}"));
            let ours = submissions(&place, shards, clients, entry_bytes).await?;
            print_figures(&name, clients, entry_bytes, &ours, &bare);
        }
    }
    Ok(())
}

/// How long each of many acknowledgements took.
struct Figures(Vec<Duration>);

impl Figures {
    fn per_second(&self) -> f64 {
        f64::from(u32::try_from(self.0.len()).unwrap_or(u32::MAX)) / MEASURED.as_secs_f64()
    }

    /// What this share of them, in thousandths, did not exceed.
    fn within_ms(&self, share: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get(last * share / 1000).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
    }
}

fn print_figures(name: &str, clients: usize, entry_bytes: usize, ours: &Figures, bare: &Figures) {
    println!(
        "{name:>12}, {clients:>2} clients, {entry_bytes} B: {:>7.0}/s ({:.2} of bare), \
         p50 {:.3} ms ({:.2} of bare), p99 {:.2} ms, longest {:.1} ms; load {}",
        ours.per_second(),
        ours.per_second() / bare.per_second(),
        ours.within_ms(500),
        ours.within_ms(500) / bare.within_ms(500),
        ours.within_ms(990),
        ours.within_ms(1000),
        load(),
    );
}

fn load() -> String {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split(' ').next().unwrap_or("unknown").to_owned()
}

/// Runs as many clients as asked until the time is over, each asking again when it was answered.
async fn measure<F>(clients: usize, ask: impl Fn(usize) -> F) -> Outcome<Figures>
where
    F: Future<Output = Outcome<Vec<Duration>>> + Send + 'static,
{
    let mut running = JoinSet::new();
    for client in 0..clients {
        running.spawn(ask(client));
    }
    let mut all = Vec::new();
    while let Some(figures) = running.join_next().await {
        all.extend(figures??);
    }
    Ok(Figures(all))
}

/// The limit: one thread that writes what waits and syncs it.
async fn appends(folder: &Path, clients: usize, record_bytes: usize) -> Outcome<Figures> {
    const FILE_BYTES: u64 = 256 << 20;
    let file = File::create(folder.join("bare"))?;
    file.write_all_at(&vec![1; usize::try_from(FILE_BYTES)?], 0)?;
    file.sync_all()?;
    let (asks, mut inbox) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let write = move || {
        let mut offset = 0;
        while let Some(first) = inbox.blocking_recv() {
            let mut waiting = vec![first];
            while let Ok(next) = inbox.try_recv() {
                waiting.push(next);
            }
            let records = vec![7; waiting.len() * record_bytes];
            if offset + records.len() as u64 > FILE_BYTES {
                offset = 0;
            }
            if file.write_all_at(&records, offset).and_then(|()| file.sync_data()).is_err() {
                return;
            }
            offset += records.len() as u64;
            for client in waiting {
                client.send(()).ok();
            }
        }
    };
    std::thread::Builder::new().name("bare".to_owned()).spawn(write)?;
    let end = Instant::now() + MEASURED;
    measure(clients, |_| {
        let asks = asks.clone();
        async move {
            let mut took = Vec::new();
            while Instant::now() < end {
                let begun = Instant::now();
                let (reply, answer) = oneshot::channel();
                asks.send(reply)?;
                answer.await?;
                took.push(begun.elapsed());
            }
            Ok(took)
        }
    })
    .await
}

async fn serve(folder: &Path, shards: u16) -> Outcome<(Shards, Vec<SharedJournal>)> {
    let disk = Box::new(Folder::lock(folder)?);
    let config = ShardsConfig { shards, ..ShardsConfig::default() };
    let opened = Shards::open(disk, &Threads, config, Arc::new(Alone)).await?;
    let mut journals = Vec::new();
    for shard in (0..opened.count()).map(ShardId) {
        opened.ready(shard).await?;
        journals.push(opened.journal(shard).ok_or("a shard is missing")?);
    }
    Ok((opened, journals))
}

fn item(id: u128, expected: u64, entry_bytes: usize, wake: Option<Timestamp>) -> Item {
    let entity = EntityId { kind: EntityKind::Run, id };
    let head = Head { wake, summary: vec![2; SUMMARY_BYTES] };
    Item { entity, expected, entry: vec![1; entry_bytes], head }
}

/// Clients that propose five entries each for one entity after the other.
async fn submissions(
    folder: &Path,
    shards: u16,
    clients: usize,
    entry_bytes: usize,
) -> Outcome<Figures> {
    let (opened, journals) = serve(folder, shards).await?;
    let next = Arc::new(AtomicU64::new(1));
    let end = Instant::now() + MEASURED;
    let figures = measure(clients, |client| {
        let journal = SharedJournal::clone(&journals[client % journals.len()]);
        let next = Arc::clone(&next);
        async move {
            let mut took = Vec::new();
            while Instant::now() < end {
                let id = u128::from(next.fetch_add(1, Ordering::Relaxed));
                for expected in 0..5 {
                    let proposal = Proposal { items: vec![item(id, expected, entry_bytes, None)] };
                    let begun = Instant::now();
                    let verdict = journal.propose(proposal).await?;
                    took.push(begun.elapsed());
                    if verdict != Verdict::Applied {
                        return Err("a proposal of an entity's only proposer was refused".into());
                    }
                }
            }
            Ok(took)
        }
    })
    .await;
    opened.close().await?;
    figures
}

const ENTITIES: u64 = 1_000_000;

/// Opening with a million entities that wait, after a clean end.
async fn dormant(folder: &Path) -> Outcome<()> {
    fill(folder).await?;
    for _ in 0..5 {
        open_and_read(folder).await?;
    }
    Ok(())
}

/// Opening with a million entities that wait, after a process that proposed as fast as it could was
/// killed.
async fn killed(folder: &Path) -> Outcome<()> {
    fill(folder).await?;
    for _ in 0..5 {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        let mut child = command.arg("load").arg(folder).spawn()?;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        child.kill()?;
        child.wait()?;
        open_and_read(folder).await?;
    }
    Ok(())
}

async fn load_until_killed(folder: &Path) -> Outcome<()> {
    let (opened, journals) = serve(folder, 8).await?;
    let first = u128::from(std::process::id()) << 64;
    let begun = Instant::now();
    let figures = measure(64, |client| {
        let journal = SharedJournal::clone(&journals[client % journals.len()]);
        async move {
            for id in (0..).map(|next: u128| first + ((client as u128) << 32) + next) {
                journal.propose(Proposal { items: vec![item(id, 0, 900, None)] }).await?;
            }
            Ok(vec![begun.elapsed()])
        }
    });
    figures.await?;
    drop(opened);
    Ok(())
}

async fn fill(folder: &Path) -> Outcome<()> {
    const PER_PROPOSAL: u64 = 500;
    let (opened, journals) = serve(folder, 8).await?;
    for first in (0..ENTITIES).step_by(usize::try_from(PER_PROPOSAL)?) {
        let wake = |id: u64| Some(Timestamp(1_000_000 + id));
        let ids = first..first + PER_PROPOSAL;
        let items = ids.map(|id| item(id.into(), 0, 300, wake(id))).collect();
        let shard = usize::try_from(first / PER_PROPOSAL)? % journals.len();
        journals[shard].propose(Proposal { items }).await?;
    }
    Ok(opened.close().await?)
}

async fn open_and_read(folder: &Path) -> Outcome<()> {
    let begun = Instant::now();
    let (opened, journals) = serve(folder, 8).await?;
    let ready = begun.elapsed();
    let due = journals[0].due(Timestamp(2_000_000), None, 1000).await?.len();
    let read = begun.elapsed();
    println!(
        "with {ENTITIES} entities: serves after {:.1} ms, {due} wake-ups read after {:.1} ms; \
         {}, load {}",
        ready.as_secs_f64() * 1000.0,
        read.as_secs_f64() * 1000.0,
        resident(),
        load(),
    );
    Ok(opened.close().await?)
}

/// What eight shards cost that do nothing.
async fn idle(folder: &Path) -> Outcome<()> {
    const IDLE: Duration = Duration::from_secs(20);
    let (opened, _journals) = serve(folder, 8).await?;
    let before = processor_time()?;
    tokio::time::sleep(IDLE).await;
    let used = processor_time()?.saturating_sub(before);
    println!(
        "idle: {:.2} % of a core, {}, load {}",
        used.as_secs_f64() / IDLE.as_secs_f64() * 100.0,
        resident(),
        load(),
    );
    Ok(opened.close().await?)
}

/// The time that this process has used processors for.
fn processor_time() -> Outcome<Duration> {
    let schedule = std::fs::read_to_string("/proc/self/schedstat")?;
    let own: u64 = schedule.split(' ').next().ok_or("no time")?.parse()?;
    let mut total = own;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if task.file_name().is_some_and(|id| *id != *std::process::id().to_string()) {
            let schedule = std::fs::read_to_string(task.join("schedstat"))?;
            total += schedule.split(' ').next().ok_or("no time")?.parse::<u64>()?;
        }
    }
    Ok(Duration::from_nanos(total))
}

/// The memory that this process has.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    format!("{} resident", resident.unwrap_or("unknown").trim())
}
