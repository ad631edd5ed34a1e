//! Durable submissions through the socket, beside a loop that writes records and syncs together.
//!
//! The plan's only stage is skipped, so a run is durable work of the control process alone.

use crate::node::Node;
use crate::{load, run};
use otto_core::plan::Plan;
use otto_nodes::client::Client;
use otto_nodes::node::LocalNode;
use otto_nodes::node::build::this_build;
use otto_nodes::node::place::Place;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

const MEASURED: Duration = Duration::from_secs(4);
/// Clients that share a connection: a connection answers so many calls at a time.
const PER_CONNECTION: usize = 16;
/// About what a submission takes in the log.
const RECORD_BYTES: usize = 1024;

static KEYS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn measure() -> Result<(), String> {
    let (node, plan) = begin()?;
    runtime()?.block_on(async {
        for clients in [1, 64] {
            let bare = appends(&node, clients).await?;
            let ours = submissions(&node, &plan, clients).await?;
            println!(
                "  {clients:>2} clients: {:.0} submissions/s, p50 {:.2} ms, p99 {:.2} ms; \
                 synced appends {:.0}/s, p50 {:.2} ms; {:.2} of their rate; load {}",
                ours.rate(),
                ours.at(50),
                ours.at(99),
                bare.rate(),
                bare.at(50),
                ours.rate() / bare.rate(),
                load()
            );
        }
        Ok(())
    })
}

/// A running node, and a plan whose only stage is skipped.
pub(crate) fn begin() -> Result<(Node, Arc<Plan>), String> {
    let node = Node::new("pipeline { stage('S') { when ('a' == 'b')  steps { sh 'true' } } }\n")?;
    run(&mut node.otto(&["run"]))?;
    let bytes = run(&mut node.otto(&["explain", "--format", "msgpack"]))?;
    let plan = Plan::from_bytes(&bytes).map_err(|error| error.to_string())?;
    Ok((node, Arc::new(plan)))
}

/// What clients run on.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().map_err(|error| error.to_string())
}

/// A connection to a node.
pub(crate) fn connection(node: &Node) -> Result<Client, String> {
    let place = Place::new(node.home()).map_err(|refused| refused.what)?;
    let build = this_build().map_err(|error| error.to_string())?;
    Ok(Client::new(Arc::new(LocalNode::running(place)), build))
}

/// Connections for so many clients, by their number.
pub(crate) fn connections(node: &Node, clients: usize) -> Result<Vec<Client>, String> {
    let many = clients.div_ceil(PER_CONNECTION);
    let connections = (0..many).map(|_| connection(node)).collect::<Result<Vec<_>, _>>()?;
    Ok((0..clients).map(|client| connections[client / PER_CONNECTION].clone()).collect())
}

/// An idempotency key that was not used before.
pub(crate) fn fresh_key() -> String {
    format!("bench-{}", KEYS.fetch_add(1, Ordering::Relaxed))
}

/// How long each call took.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// So many calls a second.
    pub(crate) fn rate(&self) -> f64 {
        f64::from(u32::try_from(self.0.len()).unwrap_or(u32::MAX)) / MEASURED.as_secs_f64()
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Milliseconds within which so many of a hundred calls were answered.
    pub(crate) fn at(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get(last * percent / 100).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }
}

async fn submissions(node: &Node, plan: &Arc<Plan>, clients: usize) -> Result<Times, String> {
    submit(connections(node, clients)?, plan, |_| "bench".to_owned()).await
}

/// Lets clients submit as fast as they are answered, each to a project of its choice.
pub(crate) async fn submit(
    clients: impl IntoIterator<Item = Client>,
    plan: &Arc<Plan>,
    project: impl Fn(usize) -> String,
) -> Result<Times, String> {
    let end = Instant::now() + MEASURED;
    let mut tasks = JoinSet::new();
    for (index, connection) in clients.into_iter().enumerate() {
        let (plan, project) = (Arc::clone(plan), project(index));
        tasks.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let key = fresh_key();
                let start = Instant::now();
                let submitted = connection.submit_plan(&project, &key, &plan, None).await;
                submitted.map_err(|error| error.to_string())?;
                times.push(start.elapsed());
            }
            Ok(times)
        });
    }
    gather(tasks).await
}

/// The limit: one thread that writes the records that wait, and syncs them together.
async fn appends(node: &Node, clients: usize) -> Result<Times, String> {
    let path = node.home().join("bare-appends");
    let file = File::create(&path).map_err(|error| error.to_string())?;
    file.write_all_at(&vec![1; 64 << 20], 0).map_err(|error| error.to_string())?;
    file.sync_all().map_err(|error| error.to_string())?;
    let (orders, mut inbox) = mpsc::channel::<oneshot::Sender<()>>(1024);
    let writer = std::thread::Builder::new().spawn(move || {
        let mut offset = 0;
        while let Some(first) = inbox.blocking_recv() {
            let mut waiting = vec![first];
            while let Ok(next) = inbox.try_recv() {
                waiting.push(next);
            }
            let records = vec![7; RECORD_BYTES * waiting.len()];
            if file.write_all_at(&records, offset).and_then(|()| file.sync_data()).is_err() {
                return;
            }
            offset = (offset + records.len() as u64) % (60 << 20);
            for waiter in waiting {
                waiter.send(()).ok();
            }
        }
    });
    writer.map_err(|error| error.to_string())?;
    let end = Instant::now() + MEASURED;
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let orders = orders.clone();
        tasks.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                let (done, written) = oneshot::channel();
                orders.send(done).await.map_err(|error| error.to_string())?;
                written.await.map_err(|error| error.to_string())?;
                times.push(start.elapsed());
            }
            Ok(times)
        });
    }
    drop(orders);
    let times = gather(tasks).await;
    std::fs::remove_file(&path).map_err(|error| error.to_string())?;
    times
}

/// Lets clients submit so many in all, each as fast as it is answered.
pub(crate) async fn submit_so_many(
    clients: Vec<Client>,
    plan: &Arc<Plan>,
    count: usize,
    project: impl Fn(usize) -> String,
) -> Result<Times, String> {
    let many = clients.len();
    let mut tasks = JoinSet::new();
    for (index, connection) in clients.into_iter().enumerate() {
        let (plan, project) = (Arc::clone(plan), project(index));
        let own = count / many + usize::from(index < count % many);
        tasks.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..own {
                let key = fresh_key();
                let start = Instant::now();
                let submitted = connection.submit_plan(&project, &key, &plan, None).await;
                submitted.map_err(|error| error.to_string())?;
                times.push(start.elapsed());
            }
            Ok(times)
        });
    }
    gather(tasks).await
}

async fn gather(mut tasks: JoinSet<Result<Vec<Duration>, String>>) -> Result<Times, String> {
    let mut all = Vec::new();
    while let Some(times) = tasks.join_next().await {
        all.extend(times.map_err(|error| error.to_string())??);
    }
    Ok(Times(all))
}
