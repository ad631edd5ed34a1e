//! Three nodes beside one: submissions, how long nobody is served when one dies, and idle cost.
//!
//! All nodes are on this machine, at loopback addresses, and share its cores and its disk: what is
//! measured is what replication costs, not what more machines bring.

use crate::idle::processor_ticks;
use crate::node::processes_of;
use crate::submissions::{Times, fresh_key, runtime, submit};
use crate::{load, median, ms, otto, run};
use otto_core::plan::Plan;
use otto_nodes::client::Client;
use otto_nodes::node::build::this_build;
use otto_nodes::node::unix::PathConnector;
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const CLIENTS: usize = 64;
/// Clients that share a connection.
const PER_CONNECTION: usize = 16;
/// How often a node is killed.
const KILLS: usize = 9;
/// Enough projects that every shard is home to some.
const PROJECTS: usize = 40;
/// The pause before something is looked at again.
const AGAIN: Duration = Duration::from_millis(2);
/// How long one attempt at a submission may take while a node is dead.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a cluster may take to become whole.
const GROWING: Duration = Duration::from_mins(1);
/// How long processors are watched.
const WATCHED: Duration = Duration::from_secs(10);

pub(crate) fn measure() -> Result<(), String> {
    let runtime = runtime()?;
    let alone = runtime.block_on(Cluster::grow(1))?;
    let one = runtime.block_on(alone.submissions())?;
    let one_idle = runtime.block_on(alone.idle())?;
    drop(alone);
    let mut cluster = runtime.block_on(Cluster::grow(3))?;
    let three = runtime.block_on(cluster.submissions())?;
    println!(
        "  {CLIENTS} clients: 1 node {:.0} submissions/s, p50 {:.2} ms, p99 {:.2} ms; 3 nodes \
         {:.0}/s, p50 {:.2} ms, p99 {:.2} ms: {:.2} of the rate; load {}",
        one.rate(),
        one.at(50),
        one.at(99),
        three.rate(),
        three.at(50),
        three.at(99),
        three.rate() / one.rate(),
        load()
    );
    let three_idle = runtime.block_on(cluster.idle())?;
    println!(
        "  9 groups that do nothing: 1 node {one_idle:.2} % of a core, 3 nodes {three_idle:.2} % \
         in all; load {}",
        load()
    );
    let mut gaps = runtime.block_on(cluster.failovers())?;
    gaps.sort_unstable();
    let at = |percent: usize| ms(gaps[(gaps.len() - 1) * percent / 100]);
    println!(
        "  kill -9 of one node of three, {} times, to the first submission that each shard it led \
         accepts: {} shards, shortest {}, median {}, 90 % within {}, longest {}; load {}",
        KILLS,
        gaps.len(),
        at(0),
        ms(median(gaps.clone())),
        at(90),
        at(100),
        load()
    );
    Ok(())
}

/// Nodes on this machine.
pub(crate) struct Cluster {
    folder: TempDir,
    nodes: Vec<Machine>,
    plan: Arc<Plan>,
}

/// One node.
struct Machine {
    home: PathBuf,
    address: String,
    supervisor: Option<Child>,
}

impl Machine {
    fn start(&mut self, arguments: &[&str]) -> Result<(), String> {
        let mut node = Command::new(otto().with_file_name("otto-node"));
        node.args(arguments).args(["--listen", &self.address]).env("OTTO_HOME", &self.home);
        node.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = node.spawn().map_err(|error| error.to_string())?;
        self.supervisor = Some(child);
        Ok(())
    }

    fn client(&self) -> Result<Client, String> {
        let build = this_build().map_err(|error| error.to_string())?;
        Ok(Client::new(Arc::new(PathConnector(self.home.join("otto.sock"))), build))
    }

    /// Ends all of its processes at once.
    fn kill(&mut self) {
        for process in processes_of(&self.home) {
            let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
            // One that has ended already is none the worse.
            pid.map(|pid| kill_process(pid, Signal::KILL).ok());
        }
        if let Some(mut supervisor) = self.supervisor.take() {
            supervisor.wait().ok();
        }
    }
}

impl Cluster {
    /// So many nodes that vote, grown from one.
    pub(crate) async fn grow(nodes: u8) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let text = |error: std::io::Error| error.to_string();
        let repository = folder.path().join("repository");
        std::fs::create_dir(&repository).map_err(text)?;
        let ottofile = "pipeline { stage('S') { when ('a' == 'b')  steps { sh 'true' } } }\n";
        std::fs::write(repository.join("Ottofile"), ottofile).map_err(text)?;
        let mut explain = Command::new(otto());
        explain.args(["explain", "--format", "msgpack"]).current_dir(&repository);
        let plan = Plan::from_bytes(&run(&mut explain)?).map_err(|error| error.to_string())?;
        let mut cluster = Self { folder, nodes: Vec::new(), plan: Arc::new(plan) };
        for index in 0..nodes {
            cluster.add(index)?;
            cluster.becomes_whole().await?;
        }
        Ok(cluster)
    }

    fn add(&mut self, index: u8) -> Result<(), String> {
        let home = self.folder.path().join(format!("node{index}"));
        std::fs::create_dir(&home).map_err(|error| error.to_string())?;
        let address = format!("127.0.0.{}:7341", index + 1);
        let mut machine = Machine { home, address, supervisor: None };
        match self.nodes.first() {
            None => machine.start(&["serve"])?,
            Some(first) => {
                let mut token = Command::new(otto().with_file_name("otto-node"));
                token.args(["token", "create", "--role", "control"]);
                let made = run(token.env("OTTO_HOME", &first.home))?;
                let made = String::from_utf8_lossy(&made).into_owned();
                let token = made.split_whitespace().find(|word| word.starts_with("OT1-"));
                let token = token.ok_or("there is no token in the answer")?;
                machine.start(&["join", &first.address, "--token", token])?;
            }
        }
        self.nodes.push(machine);
        Ok(())
    }

    /// Waits until all nodes vote and answer.
    async fn becomes_whole(&self) -> Result<(), String> {
        let until = Instant::now() + GROWING;
        while !self.is_whole().await {
            if Instant::now() > until {
                return Err("the cluster did not become whole".to_owned());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Asks as a client, not by a command: that would start a node of its own where none runs yet.
    async fn is_whole(&self) -> bool {
        for machine in &self.nodes {
            let Ok(client) = machine.client() else { return false };
            let Ok(view) = client.patience(PATIENCE).cluster().await else { return false };
            if usize::try_from(view.survival.reachable) != Ok(self.nodes.len()) {
                return false;
            }
        }
        true
    }

    pub(crate) async fn submissions(&self) -> Result<Times, String> {
        let mut connections = Vec::new();
        for index in 0..CLIENTS.div_ceil(PER_CONNECTION) {
            connections.push(self.nodes[index % self.nodes.len()].client()?);
        }
        let clients = (0..CLIENTS).map(|client| connections[client / PER_CONNECTION].clone());
        submit(clients, &self.plan, |client| format!("bench-{}", client % PROJECTS)).await
    }

    /// The share of a core that all processes take, in percent.
    async fn idle(&self) -> Result<f64, String> {
        // What the load before has left to do is done meanwhile.
        sleep(Duration::from_secs(3)).await;
        let processes: Vec<u32> =
            self.nodes.iter().flat_map(|node| processes_of(&node.home)).collect();
        let before = processor_ticks(&processes);
        sleep(WATCHED).await;
        let used = processor_ticks(&processes).saturating_sub(before);
        // The kernel counts in hundredths of a second.
        Ok(f64::from(u32::try_from(used).unwrap_or(u32::MAX)) / WATCHED.as_secs_f64())
    }

    /// Kills one node after the other, and brings each back; how long the shards of each that died
    /// took nobody's submissions.
    async fn failovers(&mut self) -> Result<Vec<Duration>, String> {
        let mut gaps = Vec::new();
        for round in 0..KILLS {
            let victim = round % self.nodes.len();
            let other = (victim + 1) % self.nodes.len();
            let client = self.nodes[other].client()?.patience(PATIENCE);
            self.nodes[victim].kill();
            let start = Instant::now();
            let mut waiting = JoinSet::new();
            for project in 0..PROJECTS {
                let (client, plan) = (client.clone(), Arc::clone(&self.plan));
                waiting.spawn(async move { gap(&client, project, &plan, start).await });
            }
            while let Some(gap) = waiting.join_next().await {
                gaps.extend(gap.map_err(|error| error.to_string())?);
            }
            self.nodes[victim].start(&["serve"])?;
            self.becomes_whole().await?;
            // Leaders are spread again only after a while; without any there is nothing to lose.
            sleep(Duration::from_secs(20)).await;
        }
        Ok(gaps)
    }
}

/// How long it takes until a submission to a project is accepted; nothing where its shard goes on
/// as if nothing had happened.
async fn gap(client: &Client, project: usize, plan: &Plan, start: Instant) -> Option<Duration> {
    let key = fresh_key();
    let project = format!("bench-{project}");
    let mut failed = false;
    while client.submit_plan(&project, &key, plan, None).await.is_err() {
        failed = true;
        sleep(AGAIN).await;
    }
    let took = start.elapsed();
    (failed || took > PATIENCE).then_some(took)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
        }
    }
}
