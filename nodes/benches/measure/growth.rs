//! How the figures grow with the runs that are stored and with the nodes.
//!
//! What is measured is also written as tables of the book, into the folder that `OTTO_PLOTS` names;
//! `otto-sim growth --draw FOLDER` draws them.

use crate::cluster::Cluster;
use crate::idle::share_kib;
use crate::restart::gap;
use crate::submissions::{Times, begin, connection, connections, runtime, submit_so_many};
use crate::{load, median, ms};
use otto_nodes::client::Client;
use otto_nodes::rpc::api::ListRuns;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// How many runs are stored.
const STORED: [usize; 3] = [1_000, 10_000, 100_000];
/// How many nodes there are.
const NODES: [u8; 3] = [1, 3, 5];
const CLIENTS: usize = 64;
/// Enough projects that every shard is home to some.
const PROJECTS: usize = 40;
/// How many submissions are measured, of one client and of all; those of all are stored, too.
const MEASURED: (usize, usize) = (300, 900);
/// How often runs are listed, and how many at a time.
const LISTED: (usize, u32) = (50, 50);

pub(crate) fn measure() -> Result<(), String> {
    let mut stored = Vec::new();
    for count in STORED {
        stored.push(with_stored(count)?);
    }
    let table = |title: &str, up: &str, lines: &str, cells: &dyn Fn(&Row) -> String| {
        let mut text = head(title, "runs stored", up, lines);
        for row in &stored {
            let _ = writeln!(text, "{},{}", row.stored, cells(row));
        }
        text
    };
    let rates = |row: &Row| format!("{:.0},{:.0}", row.one, row.all);
    keep(
        "stored-submissions",
        &table("Submissions a second, by runs stored", "a second", "1 client,64 clients", &rates),
    )?;
    let times = |row: &Row| format!("{:.2},{:.2},{:.2}", row.project, row.everywhere, row.gap);
    let lines = "list 50 of a project,list 50 of all,kill -9 to serving";
    keep("stored-times", &table("Milliseconds, by runs stored", "milliseconds", lines, &times))?;
    let memory = |row: &Row| format!("{:.1}", row.memory);
    let title = "Memory of the control process, by runs stored";
    keep("stored-memory", &table(title, "MiB", "control process", &memory))?;
    nodes()
}

/// What was measured with so many runs stored.
struct Row {
    stored: usize,
    /// Submissions a second: of one client, and of all.
    one: f64,
    all: f64,
    /// Milliseconds.
    project: f64,
    everywhere: f64,
    gap: f64,
    /// MiB.
    memory: f64,
}

fn with_stored(stored: usize) -> Result<Row, String> {
    let (node, plan) = begin()?;
    let project = |client: usize| format!("bench-{}", client % PROJECTS);
    runtime()?.block_on(async {
        let before = stored.saturating_sub(MEASURED.0 + MEASURED.1);
        submit_so_many(connections(&node, CLIENTS)?, &plan, before, project).await?;
        let alone = connections(&node, 1)?;
        let one = timed(submit_so_many(alone, &plan, MEASURED.0, project)).await?;
        let many = connections(&node, CLIENTS)?;
        let all = timed(submit_so_many(many, &plan, MEASURED.1, project)).await?;
        let client = connection(&node)?;
        let of_one = list(&client, Some("bench-1")).await?;
        let of_all = list(&client, None).await?;
        let control = node.control().ok_or("there is no control process")?;
        let kib = u32::try_from(share_kib(control)).unwrap_or(u32::MAX);
        let gap = gap(&node, &plan).await?;
        println!(
            "  {stored:>6} runs stored: 1 client {one:.0} submissions/s, {CLIENTS} clients \
             {all:.0}/s; list {} of a project {}, of all {}; kill -9 to serving {}; control {} \
             MiB; load {}",
            LISTED.1,
            ms(of_one),
            ms(of_all),
            ms(gap),
            kib >> 10,
            load()
        );
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        Ok(Row {
            stored,
            one,
            all,
            project: millis(of_one),
            everywhere: millis(of_all),
            gap: millis(gap),
            memory: f64::from(kib) / 1024.0,
        })
    })
}

/// How many of something are done a second.
async fn timed(work: impl Future<Output = Result<Times, String>>) -> Result<f64, String> {
    let start = Instant::now();
    let done = work.await?.count();
    Ok(f64::from(u32::try_from(done).unwrap_or(u32::MAX)) / start.elapsed().as_secs_f64())
}

/// How long it takes to list the newest runs.
async fn list(client: &Client, project: Option<&str>) -> Result<Duration, String> {
    let mut times = Vec::new();
    for _ in 0..LISTED.0 {
        let wish = ListRuns { project: project.map(str::to_owned), before: None, limit: LISTED.1 };
        let start = Instant::now();
        client.runs(wish).await.map_err(|error| error.to_string())?;
        times.push(start.elapsed());
    }
    Ok(median(times))
}

/// Submissions of as many clients to more and more nodes of this machine.
fn nodes() -> Result<(), String> {
    let title = "Submissions a second of 64 clients, by nodes on one machine of two cores";
    let mut text = head(title, "nodes", "a second", "64 clients");
    for nodes in NODES {
        let runtime = runtime()?;
        let cluster = runtime.block_on(Cluster::grow(nodes))?;
        let times = runtime.block_on(cluster.submissions())?;
        println!(
            "  {nodes} nodes: {CLIENTS} clients {:.0} submissions/s, p50 {:.2} ms, p99 {:.2} ms; \
             load {}",
            times.rate(),
            times.at(50),
            times.at(99),
            load()
        );
        let _ = writeln!(text, "{nodes},{:.0}", times.rate());
    }
    keep("nodes-submissions", &text)
}

fn head(title: &str, across: &str, up: &str, lines: &str) -> String {
    format!("# {title}\n# across: {across}\n# up: {up}\nacross,{lines}\n")
}

/// Writes a table where it is wanted.
fn keep(name: &str, table: &str) -> Result<(), String> {
    let Some(folder) = std::env::var_os("OTTO_PLOTS") else { return Ok(()) };
    let path = PathBuf::from(folder).join(format!("{name}.csv"));
    std::fs::write(&path, table).map_err(|error| format!("write {}: {error}", path.display()))
}
