//! Three replicas of a cluster on one machine, over TCP on its loopback: what they cost when they
//! are idle, how long a failover takes, and what three cost against one. All are in this process
//! and share its cores and its disk, so figures mean something only as ratios within one run.
//!
//! ```text
//!     cargo bench -p otto-nodes --bench replicas            all of it
//!     cargo bench -p otto-nodes --bench replicas -- idle    9, 33 and 65 groups that do nothing
//!     cargo bench -p otto-nodes --bench replicas -- failover    from a leader's end to the next
//!     cargo bench -p otto-nodes --bench replicas -- submissions one replica against three
//! ```

use async_trait::async_trait;
use otto_actors::ports::clock::Clock;
use otto_core::ids::{NodeId, ShardId};
use otto_core::journal::{EntityId, EntityKind, Head, Item, Proposal, Verdict};
use otto_core::time::Timestamp;
use otto_nodes::network::{
    ConnectError, Connector, Listener, Principal, Routes, SharedConnector, Stream, Who,
};
use otto_nodes::replica::{ChangeError, Shards, ShardsConfig, Standing};
use otto_nodes::rpc::peer_link::PeerLinks;
use otto_nodes::rpc::porter::Porter;
use otto_nodes::rpc::server::serve_peers;
use otto_nodes::store::{Folder, Threads};
use otto_nodes::wire::hello::{Build, Hello, Role};
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long the replicas are left alone, and how long they are loaded.
const MEASURED: Duration = Duration::from_secs(10);
/// How often a leader is ended.
const FAILOVERS: usize = 30;
/// How many clients submit side by side.
const CLIENTS: u64 = 64;
/// How many bytes a submission has.
const ENTRY_BYTES: usize = 900;

fn main() -> Outcome<()> {
    let asked: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match asked.as_slice() {
        [] => runtime.block_on(async {
            idle().await?;
            failover().await?;
            submissions().await
        }),
        ["idle"] => runtime.block_on(idle()),
        ["failover"] => runtime.block_on(failover()),
        ["submissions"] => runtime.block_on(submissions()),
        other => {
            Err(format!("{other:?} is no bench; there are idle, failover and submissions").into())
        }
    }
}

/// Connections on the loopback. Who calls says its number first, for there are no certificates.
#[derive(Debug)]
struct Door(TcpListener);

#[async_trait]
impl Listener for Door {
    async fn accept(&self) -> io::Result<(Stream, Principal)> {
        let (mut stream, _) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        let node = NodeId(stream.read_u64().await?);
        let principal = Principal { name: node.to_string(), who: Who::Node(node), key: None };
        Ok((Box::pin(stream), principal))
    }
}

/// A node's ways to the others.
#[derive(Clone, Copy, Debug)]
struct Ways(u64);

#[derive(Debug)]
struct Way(u64, String);

impl Routes for Ways {
    fn to(&self, address: &str) -> SharedConnector {
        Arc::new(Way(self.0, address.to_owned()))
    }
}

#[async_trait]
impl Connector for Way {
    async fn connect(&self) -> Result<Stream, ConnectError> {
        let mut stream = TcpStream::connect(&self.1).await?;
        stream.set_nodelay(true)?;
        stream.write_u64(self.0).await?;
        Ok(Box::pin(stream))
    }
}

#[derive(Debug)]
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
}

/// A node that is up.
struct Node {
    shards: Arc<Shards>,
    answering: JoinHandle<()>,
}

/// Some nodes, of which all vote in all groups.
struct Cluster {
    folder: PathBuf,
    shards: u16,
    addresses: BTreeMap<u64, String>,
    nodes: BTreeMap<u64, Node>,
    /// The next start's number.
    starts: u64,
}

impl Cluster {
    async fn new(name: &str, nodes: u64, shards: u16) -> Outcome<Self> {
        let folder = blank_folder(name)?;
        let mut cluster =
            Self { folder, shards, addresses: BTreeMap::new(), nodes: BTreeMap::new(), starts: 1 };
        for node in 1..=nodes {
            cluster.start(node).await?;
        }
        for shard in cluster.ids() {
            serves(&cluster.nodes[&1].shards, shard).await?;
            for node in 1..=nodes {
                cluster.join(shard, node).await?;
            }
        }
        Ok(cluster)
    }

    fn ids(&self) -> Vec<ShardId> {
        (0..self.shards).map(ShardId).chain([ShardId::META]).collect()
    }

    async fn start(&mut self, node: u64) -> Outcome<()> {
        let known = self.addresses.get(&node).map_or("127.0.0.1:0", String::as_str);
        let listener = TcpListener::bind(known).await?;
        self.addresses.insert(node, listener.local_addr()?.to_string());
        let build = Build::default();
        let links = PeerLinks::new(Arc::new(Ways(node)), build.clone());
        let folder = self.folder.join(node.to_string());
        std::fs::create_dir_all(&folder)?;
        self.starts += 1;
        let config = ShardsConfig {
            node,
            shards: self.shards,
            seed: self.starts << 8 | node,
            founds: node == 1,
            ..ShardsConfig::default()
        };
        let disk = Box::new(Folder::lock(&folder)?);
        let shards = Arc::new(Shards::open(disk, &Threads, config, Arc::new(links)).await?);
        let porter = Porter::alone(Arc::new(NoClock));
        let hello = Hello::new(Role::Control, build);
        let side = shards.peer_side();
        let answering = tokio::spawn(serve_peers(Arc::new(Door(listener)), hello, porter, side));
        self.nodes.insert(node, Node { shards, answering });
        Ok(())
    }

    /// Lets a node vote in a shard that the first one leads.
    async fn join(&self, shard: ShardId, node: u64) -> Outcome<()> {
        let leader = &self.nodes[&1].shards;
        loop {
            let added = leader.add_learner(shard, NodeId(node), &self.addresses[&node]).await;
            let joined = match added {
                Ok(()) => leader.promote(shard, NodeId(node)).await,
                Err(error) => Err(error),
            };
            match joined {
                Ok(()) => return Ok(()),
                Err(ChangeError::Behind { .. } | ChangeError::Unknown(..)) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends a node without a word to the others.
    async fn end(&mut self, node: u64) -> Outcome<()> {
        let Some(Node { shards, answering }) = self.nodes.remove(&node) else { return Ok(()) };
        answering.abort();
        answering.await.ok();
        shards.end().await?;
        Ok(())
    }

    /// A node that serves a shard, as soon as one does.
    async fn leader(&self, shard: ShardId) -> Outcome<u64> {
        let mut waiting = JoinSet::new();
        for (node, up) in &self.nodes {
            let (node, mut standing) = (*node, up.shards.standing(shard).ok_or("no such shard")?);
            waiting.spawn(async move {
                let serving = |now: &Standing| matches!(now, Standing::Serving { .. });
                standing.wait_for(serving).await.ok();
                node
            });
        }
        Ok(waiting.join_next().await.ok_or("there is no node")??)
    }

    async fn close(mut self) -> Outcome<()> {
        for node in 1..=self.addresses.len() as u64 {
            self.end(node).await?;
        }
        Ok(())
    }
}

fn blank_folder(name: &str) -> Outcome<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replicas-bench").join(name);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => std::fs::create_dir_all(&folder)?,
    }
    Ok(folder)
}

async fn serves(shards: &Shards, shard: ShardId) -> Outcome<()> {
    let mut standing = shards.standing(shard).ok_or("there is no such shard")?;
    standing.wait_for(|now| matches!(now, Standing::Serving { .. })).await?;
    Ok(())
}

fn load() -> String {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split(' ').next().unwrap_or("unknown").to_owned()
}

/// What three replicas cost that do nothing, by their groups.
async fn idle() -> Outcome<()> {
    let mut least = None;
    for groups in [9, 33, 65] {
        let cluster = Cluster::new(&format!("idle-{groups}"), 3, groups - 1).await?;
        // What came with the growth is over.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = processor_time()?;
        tokio::time::sleep(MEASURED).await;
        let used = processor_time()?.saturating_sub(before).as_secs_f64() / MEASURED.as_secs_f64();
        let first = *least.get_or_insert(used);
        println!(
            "idle, {groups:>2} groups of three: {:.2} % of a core a node ({:.2} of 9 groups); \
             load {}",
            used / 3.0 * 100.0,
            used / first,
            load(),
        );
        cluster.close().await?;
    }
    Ok(())
}

/// How long it takes from a leader's end until another replica serves.
async fn failover() -> Outcome<()> {
    let mut cluster = Cluster::new("failover", 3, 1).await?;
    let mut took = Vec::new();
    for _ in 0..FAILOVERS {
        let leader = cluster.leader(ShardId(0)).await?;
        let begun = Instant::now();
        cluster.end(leader).await?;
        cluster.leader(ShardId(0)).await?;
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
        cluster.start(leader).await?;
        let back = cluster.nodes[&leader].shards.standing(ShardId(0)).ok_or("no such shard")?;
        let follows = |now: &Standing| matches!(now, Standing::Following { leader: Some(_) });
        back.clone().wait_for(follows).await?;
        // It has heard from its leader for a while before the next one ends.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    took.sort_by(f64::total_cmp);
    let share = |thousandths: usize| took[(took.len() - 1) * thousandths / 1000];
    println!(
        "failover, {FAILOVERS} times: shortest {:.0} ms, p50 {:.0} ms ({:.2} of the shortest), p90 \
         {:.0} ms ({:.2}), longest {:.0} ms ({:.2}); load {}",
        share(0),
        share(500),
        share(500) / share(0),
        share(900),
        share(900) / share(0),
        share(1000),
        share(1000) / share(0),
        load(),
    );
    cluster.close().await
}

/// Submissions a second, all led by one node: alone, and with two that follow.
async fn submissions() -> Outcome<()> {
    const SHARDS: u16 = 8;
    let mut alone = None;
    for nodes in [1, 3] {
        let cluster = Cluster::new(&format!("submissions-{nodes}"), nodes, SHARDS).await?;
        let leader = &cluster.nodes[&1].shards;
        let done = Arc::new(AtomicU64::new(0));
        let end = Instant::now() + MEASURED;
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let shard = ShardId(u16::try_from(client)? % SHARDS);
            let journal = leader.journal(shard).ok_or("there is no such shard")?;
            let done = Arc::clone(&done);
            clients.spawn(async move {
                for number in 0.. {
                    if Instant::now() >= end {
                        break;
                    }
                    let proposal = submission(client, number);
                    if journal.propose(proposal).await? != Verdict::Applied {
                        return Err("a submission of its only submitter was refused".into());
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Ok(())
            });
        }
        while let Some(client) = clients.join_next().await {
            client??;
        }
        let done = u32::try_from(done.load(Ordering::Relaxed))?;
        let per_second = f64::from(done) / MEASURED.as_secs_f64();
        let first = *alone.get_or_insert(per_second);
        println!(
            "submissions, {CLIENTS} clients, {ENTRY_BYTES} B, {nodes} replicas: {per_second:.0}/s \
             ({:.2} of one replica); load {}",
            per_second / first,
            load(),
        );
        cluster.close().await?;
    }
    Ok(())
}

fn submission(client: u64, number: u64) -> Proposal {
    let id = u128::from(client) << 64 | u128::from(number);
    let head = Head { wake: None, summary: vec![2; 100] };
    let entity = EntityId { kind: EntityKind::Run, id };
    Proposal { items: vec![Item { entity, expected: 0, entry: vec![1; ENTRY_BYTES], head }] }
}

/// The time that this process has used processors for.
fn processor_time() -> Outcome<Duration> {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let schedule = std::fs::read_to_string(task?.path().join("schedstat"))?;
        total += schedule.split(' ').next().ok_or("no time")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total))
}
