//! A cluster on one machine.

use crate::world::{Ended, Process, Started, World, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

/// A stage that only the agent can run that has the tool, and that is held in the middle of what it
/// prints.
pub(super) const HELD: &str = r"
pipeline {
  runtime { special }
  stage('Held') {
    steps {
      sh '''
        { set +x; } 2> /dev/null
        echo held >> OUT/truth
        seq 1 500
        touch OUT/begun
        until [ -e OUT/go ]; do sleep 0.05; done
        seq 501 1000
      '''
    }
  }
  stage('Last') { steps { sh 'echo last >> OUT/truth' } }
}
";

/// The nodes of a cluster, by their number in this test; the first one has the data folder that
/// commands of the world use.
pub(super) struct City {
    pub(super) world: World,
    /// A part of the addresses that no other city of this machine has.
    network: String,
    nodes: RefCell<BTreeMap<u8, Started>>,
    /// Those that are started as the release before this one.
    earlier: RefCell<BTreeSet<u8>>,
}

impl City {
    /// A world with this Ottofile, in which no node runs.
    pub(super) fn new(ottofile: &str) -> Self {
        static CITIES: AtomicU8 = AtomicU8::new(0);
        let city = CITIES.fetch_add(1, Ordering::Relaxed) % 64;
        let process = std::process::id();
        let (high, low) = ((process >> 8) % 256, process % 256);
        let network = format!("127.{}.{high}.{low}", 64 + city);
        let (nodes, earlier) = (RefCell::default(), RefCell::default());
        Self { world: World::new(ottofile), network, nodes, earlier }
    }

    /// A city of this many nodes, all of which vote.
    pub(super) fn of(nodes: u8, ottofile: &str) -> Self {
        let city = Self::new(ottofile);
        city.found();
        for node in 2..=nodes {
            city.join(node);
        }
        city.await_voters(nodes);
        city
    }

    /// A city of three nodes of which the first leads everything, and of an agent that alone can
    /// run the stage that is held.
    pub(super) fn under_one_leader() -> Self {
        let city = Self::of(3, HELD);
        for node in ["n2", "n3"] {
            city.succeed(1, &format!("otto nodes drain {node}"));
        }
        city.await_monarchy("n1");
        city.add_special_agent(4);
        city
    }

    /// Adds the agent that alone can run the stage that is held.
    pub(super) fn add_special_agent(&self, node: u8) {
        self.world.make_tool("special/special");
        let path = std::env::var("PATH").expect("a PATH");
        let path = format!("{}:{path}", self.world.path("special").display());
        self.serve_with(node, &self.invite("agent"), &[("PATH", &path)]);
    }

    /// Somebody runs that stage and follows its log; the leader dies in the middle, and neither the
    /// run nor whoever follows notices. `start` starts a command, at that node or elsewhere.
    pub(super) fn lose_leader_of_a_run(&self, start: impl Fn(u8, &str) -> Started) {
        let run = start(2, "otto run --progress plain");
        self.world.await_file("begun");
        let log = start(3, "otto logs 1 Held -f");
        until("the first half of the log", || log.said().contains("\n500\n"));
        for node in ["n2", "n3"] {
            self.succeed(1, &format!("otto nodes resume {node}"));
        }
        self.kill(1);
        self.world.make_file("go");
        self.await_whole(run, log);
    }

    /// Waits until the run has succeeded, and its log was shown without gap or double.
    pub(super) fn await_whole(&self, run: Started, log: Started) {
        let ended = run.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let log = log.ended();
        assert_eq!(log.code, Some(0), "{log:?}");
        let numbers: Vec<u32> = log.stdout.lines().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(numbers, (1..=1000).collect::<Vec<u32>>(), "no gap and no double");
        assert_eq!(self.world.truth(), ["held", "last"], "no step was executed twice");
    }

    /// Installs the release before this one on a node: it is of that from its next start on.
    pub(super) fn install_earlier(&self, node: u8) {
        let folder = self.world.path("earlier");
        if !folder.exists() {
            fs::create_dir(&folder).expect("a folder");
            let image = otto_tests::programs().join("otto-earlier");
            symlink(image, folder.join("otto-node")).expect("a link");
        }
        self.earlier.borrow_mut().insert(node);
    }

    /// Installs this release on a node.
    pub(super) fn install_present(&self, node: u8) {
        self.earlier.borrow_mut().remove(&node);
    }

    /// A line with the program that a node has.
    fn line_at(&self, node: u8, line: &str) -> String {
        if self.earlier.borrow().contains(&node) {
            format!("{}/{line}", self.world.path("earlier").display())
        } else {
            line.to_owned()
        }
    }

    /// The data folder of a node, as a path in the world.
    pub(super) fn folder(node: u8) -> String {
        if node == 1 { "otto".to_owned() } else { format!("n{node}") }
    }

    pub(super) fn data(&self, node: u8) -> PathBuf {
        self.world.path(&Self::folder(node))
    }

    pub(super) fn address(&self, node: u8) -> String {
        format!("{}:{}", self.network, 7300 + u16::from(node))
    }

    /// Runs a command that asks this node, to its end.
    pub(super) fn run(&self, node: u8, line: &str) -> Ended {
        self.world.start_at(&Self::folder(node), line).ended()
    }

    /// Runs a command that asks this node and must succeed.
    pub(super) fn succeed(&self, node: u8, line: &str) -> String {
        let ended = self.run(node, line);
        assert_eq!(ended.code, Some(0), "{line} at n{node}: {ended:?}");
        ended.stdout
    }

    /// Starts a command that asks this node.
    pub(super) fn start(&self, node: u8, line: &str) -> Started {
        self.world.start_at(&Self::folder(node), line)
    }

    /// Lets the first node found the cluster; answers with what it said.
    pub(super) fn found(&self) -> String {
        self.serve(1, &format!("otto-node serve --listen {}", self.address(1)))
    }

    /// Starts a node that has its place.
    pub(super) fn serve_again(&self, node: u8) {
        self.serve(node, "otto-node serve");
    }

    /// Lets another node join.
    pub(super) fn join(&self, node: u8) {
        let line = self.invite("control");
        self.serve(node, &format!("{line} --listen {}", self.address(node)));
    }

    /// The line with which somebody joins.
    pub(super) fn invite(&self, role: &str) -> String {
        let line = self.succeed(1, &format!("otto-node token create --role {role}"));
        line.trim().to_owned()
    }

    /// Starts a node and waits until it is ready.
    pub(super) fn serve(&self, node: u8, line: &str) -> String {
        self.serve_with(node, line, &[])
    }

    /// The same, with these variables.
    pub(super) fn serve_with(&self, node: u8, line: &str, set: &[(&str, &str)]) -> String {
        let line = self.line_at(node, line);
        let started = self.world.start_with(&Self::folder(node), &line, set);
        until(&format!("`{line}` to be ready"), || {
            assert!(!started.has_ended(), "{line}: {}", started.complained());
            started.said().contains("ready")
        });
        let said = started.said();
        self.nodes.borrow_mut().insert(node, started);
        said
    }

    /// Starts a node that does not come up; answers with how it ended.
    pub(super) fn serve_in_vain(&self, node: u8, line: &str) -> Ended {
        self.world.start_at(&Self::folder(node), &self.line_at(node, line)).ended()
    }

    /// Starts a node, and lets the test find out what becomes of it.
    pub(super) fn try_to_serve(&self, node: u8) {
        let line = self.line_at(node, "otto-node serve");
        let started = self.world.start_at(&Self::folder(node), &line);
        self.nodes.borrow_mut().insert(node, started);
    }

    /// What a node has said of what keeps it from working.
    pub(super) fn complained(&self, node: u8) -> String {
        self.nodes.borrow().get(&node).expect("the node was started").complained()
    }

    /// A node that ends by itself.
    pub(super) fn ended(&self, node: u8) -> Ended {
        let started = self.nodes.borrow_mut().remove(&node).expect("the node was started");
        started.ended()
    }

    /// Stops a node in good order.
    pub(super) fn stop(&self, node: u8) {
        self.succeed(node, "otto-node stop --busy");
        let ended = self.ended(node);
        // One that no control process can be asked of is ended by a signal.
        assert!(matches!(ended.code, Some(0) | None), "{ended:?}");
    }

    /// Kills all processes of a node at once.
    pub(super) fn kill(&self, node: u8) {
        for process in self.world.node_at(&Self::folder(node)) {
            crate::world::kill_process(process.pid);
        }
        self.ended(node);
        self.await_end(node);
    }

    /// Ends a node as whoever runs services does: with a signal to its first process.
    pub(super) fn terminate(&self, node: u8) {
        let family = self.world.node_at(&Self::folder(node));
        let first = Process::named(&family, "otto-node").expect("a supervisor");
        let first = i32::try_from(first).expect("a process id");
        kill(Pid::from_raw(first), Signal::SIGTERM).expect("it is ours");
        self.ended(node);
        self.await_end(node);
    }

    /// Stops the control process of a node where it is: its connections stay, and nothing answers.
    pub(super) fn freeze(&self, node: u8) {
        self.signal(node, Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub(super) fn thaw(&self, node: u8) {
        self.signal(node, Signal::SIGCONT);
    }

    fn signal(&self, node: u8, signal: Signal) {
        let family = self.world.node_at(&Self::folder(node));
        let control = Process::named(&family, "otto-control").expect("a control process");
        let control = i32::try_from(control).expect("a process id");
        kill(Pid::from_raw(control), signal).expect("it is ours");
    }

    fn await_end(&self, node: u8) {
        until(&format!("the end of n{node}"), || {
            self.world.marked("OTTO_HOME", &Self::folder(node)).is_empty()
        });
    }

    /// The cluster as `otto nodes` shows it at a node.
    pub(super) fn view(&self, node: u8) -> Value {
        let said = self.succeed(node, "otto nodes --json");
        serde_json::from_str(&said).expect("JSON")
    }

    /// One node of that.
    pub(super) fn seen(&self, at: u8, node: &str) -> Option<Value> {
        let view = self.view(at);
        let nodes = view["nodes"].as_array().expect("nodes");
        nodes.iter().find(|it| it["node"] == node).cloned()
    }

    /// Waits until so many nodes vote and can be reached.
    pub(super) fn await_voters(&self, nodes: u8) {
        until(&format!("{nodes} voters"), || {
            let view = self.view(1);
            view["voters"] == nodes && view["reachable_voters"] == nodes
        });
    }

    /// Waits until a node leads everything.
    pub(super) fn await_monarchy(&self, node: &str) {
        until(&format!("{node} to lead all"), || {
            let (view, seen) = (self.view(1), self.seen(1, node));
            // The cluster's own shard is one more.
            let shards = view["shards"].as_u64().expect("a number") + 1;
            seen.is_some_and(|seen| seen["leads"] == shards)
        });
    }

    /// Ends all nodes, after which nothing may be left of them.
    pub(super) fn end(self) {
        let nodes: Vec<u8> = self.nodes.borrow().keys().copied().collect();
        for node in &nodes {
            self.stop(*node);
            self.await_end(*node);
        }
    }
}

impl Drop for City {
    fn drop(&mut self) {
        let nodes = std::mem::take(&mut *self.nodes.borrow_mut());
        if std::thread::panicking() {
            for (node, started) in &nodes {
                eprintln!("── n{node}\n{}{}", started.said(), started.complained());
                for name in ["otto-control", "otto-agent"] {
                    let trace = self.data(*node).join("traces").join(format!("{name}.log"));
                    let text = fs::read_to_string(trace).unwrap_or_default();
                    let from = text.len().saturating_sub(4_000);
                    eprintln!("── n{node} {name}\n{}", text.get(from..).unwrap_or(&text));
                }
            }
        }
        for node in nodes.keys() {
            // One that has ended has nothing to stop.
            self.run(*node, "otto-node stop --busy");
        }
    }
}
