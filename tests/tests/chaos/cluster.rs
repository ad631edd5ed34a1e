//! A cluster of real nodes, and what is done to it.

use crate::clients::{Learnt, Nodes};
use crate::faults::Fault;
use crate::ground::{Ground, Net};
use crate::host::Host;
use otto_sim::history::Fact as Noted;
use otto_tests::programs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread::park_timeout;
use std::time::Duration;

/// How long to look away between two looks at a condition.
const TURN: Duration = Duration::from_millis(50);
/// After so many looks a condition is given up, so that a test that fails also ends.
const TURNS: u32 = 2_400;

/// The hosts, and what is between them.
#[derive(Debug)]
pub(crate) struct Cluster {
    hosts: Vec<Host>,
    net: Net,
    objects: String,
}

impl Cluster {
    /// Grows a cluster from one node, and waits until all take part.
    pub(crate) fn grow(ground: &Ground, hosts: usize, root: &Path) -> Self {
        let net = Net::new(ground, hosts);
        let shared = root.join("objects");
        std::fs::create_dir(&shared).expect("a folder");
        let objects = format!("file://{}", shared.display());
        let hosts = (0..hosts).map(|index| Host::new(ground, &net, index, root)).collect();
        let mut cluster = Self { hosts, net, objects };
        cluster.found();
        for index in 1..cluster.hosts.len() {
            cluster.join(index);
        }
        cluster.until("all nodes take part", Self::is_whole);
        cluster
    }

    fn found(&mut self) {
        let arguments = self.arguments("serve", 0);
        self.hosts[0].switch_on(&self.net, &arguments);
        self.until("the first node serves", |cluster| cluster.hosts[0].said().contains("OT1-"));
    }

    fn join(&mut self, index: usize) {
        let made = self.command(0, "otto-node", "token create --role control", Path::new("/"));
        let text = String::from_utf8_lossy(&made.stdout);
        let token = text.split_whitespace().find(|word| word.starts_with("OT1-"));
        let token = token.unwrap_or_else(|| panic!("no token: {made:?}")).to_owned();
        let first = self.hosts[0].address;
        let join = format!("join {first} --token {token} --listen {}", self.hosts[index].address);
        let arguments = format!("{join} --objects {}", self.objects);
        self.hosts[index].switch_on(&self.net, &arguments);
        self.until("a node joins", |cluster| cluster.hosts[index].socket().exists());
    }

    fn arguments(&self, command: &str, index: usize) -> String {
        let address = self.hosts[index].address;
        format!("{command} --listen {address} --objects {}", self.objects)
    }

    fn is_whole(&mut self) -> bool {
        let nodes = self.otto(0, "nodes --json", Path::new("/"));
        let Ok(seen) = serde_json::from_slice::<serde_json::Value>(&nodes.stdout) else {
            return false;
        };
        let voting = seen["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
        voting.iter().filter(|node| node["standing"] == "voter").count() == self.hosts.len()
    }

    /// Whom clients speak with.
    pub(crate) fn nodes(&self) -> Nodes {
        Nodes(self.hosts.iter().map(Host::socket).collect())
    }

    /// Submits a repository, as a person does it on the first host.
    pub(crate) fn submit(&self, repository: &Path) {
        let ended = self.otto(0, "run --detach", repository);
        assert!(ended.status.success(), "{ended:?}");
    }

    fn otto(&self, index: usize, arguments: &str, folder: &Path) -> Output {
        self.command(index, "otto", arguments, folder)
    }

    fn command(&self, index: usize, name: &str, arguments: &str, folder: &Path) -> Output {
        let mut command = Command::new(programs().join(name));
        command
            .args(arguments.split_whitespace())
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("HOME", folder)
            .env("OTTO_HOME", self.hosts[index].data());
        command.output().expect(name)
    }

    /// Lets a fault begin.
    pub(crate) fn begin(&mut self, fault: &Fault, learnt: &Learnt) {
        learnt.add("faults", Noted::Fault { what: fault.to_string() });
        eprintln!("  {fault}");
        match fault {
            Fault::Power(host) => self.hosts[*host].switch_off(),
            Fault::Kill(host, role) => self.hosts[*host].kill_role(role),
            Fault::Freeze(host, role) => self.hosts[*host].freeze(role, true),
            Fault::OneWay(from, to) => self.net.cut(*from, *to),
            Fault::Alone(host) => self.each_link(*host, Net::cut),
            Fault::FullDisk(host) => self.hosts[*host].fill_disk(),
        }
    }

    /// Undoes it.
    pub(crate) fn end(&mut self, fault: &Fault, learnt: &Learnt) {
        learnt.add("faults", Noted::Fault { what: format!("over: {fault}") });
        match fault {
            Fault::Power(host) => {
                let arguments = self.arguments("serve", *host);
                self.hosts[*host].switch_on(&self.net, &arguments);
            }
            Fault::Kill(..) => {}
            Fault::Freeze(host, role) => self.hosts[*host].freeze(role, false),
            Fault::OneWay(from, to) => self.net.mend(*from, *to),
            Fault::Alone(host) => self.each_link(*host, Net::mend),
            Fault::FullDisk(host) => self.hosts[*host].empty_disk(),
        }
    }

    fn each_link(&self, host: usize, change: fn(&Net, usize, usize)) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            change(&self.net, host, other);
            change(&self.net, other, host);
        }
    }

    /// What the nodes wrote down, for whoever looks for a cause.
    pub(crate) fn traces(&self) -> String {
        self.hosts.iter().map(Host::traces).collect()
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        for _ in 0..TURNS {
            if holds(self) {
                return;
            }
            park_timeout(TURN);
        }
        let said: Vec<String> = self.hosts.iter().map(Host::said).collect();
        panic!("waited in vain until {what}: {said:#?}\n{}", self.traces());
    }
}
