//! Where the hosts of one machine stand: each in a network namespace of its own, joined by a
//! bridge, or, where the kernel allows none, side by side on loopback addresses.
//!
//! Everything happens inside of namespaces that this program enters first, so that whatever it
//! leaves behind goes with them: processes, links, mounts.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Set within the namespaces.
const INSIDE: &str = "OTTO_CHAOS_INSIDE";
/// An address that no machine has: what is sent to it is lost without a word.
const NOWHERE: &str = "02:00:00:00:00:99";

/// What the hosts stand on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ground {
    /// Hosts have links that can be cut, disks that can be full, and process tables of their own.
    Namespaces,
    /// Hosts are folders and addresses. Why it is so.
    Loopback(String),
}

/// Runs a test on the best ground that there is. `test` is its name, under which it is started
/// once more within the namespaces.
pub(crate) fn on_ground(test: &str, run: impl FnOnce(&Ground)) {
    if std::env::var_os(INSIDE).is_some() {
        return run(&Ground::Namespaces);
    }
    if let Err(why) = namespaces_are_allowed() {
        eprintln!("no namespaces here ({why}): hosts are loopback addresses, no link is cut");
        return run(&Ground::Loopback(why));
    }
    let this = std::env::current_exe().expect("this program has a path");
    let mut inside = apart();
    inside.arg(this).args([test, "--exact", "--nocapture"]).env(INSIDE, "1");
    let status = inside.status().expect("the command `unshare`");
    assert!(status.success(), "it failed within its namespaces: {status}");
}

/// A command that runs the program that follows in new namespaces, and ends all in them with
/// itself.
fn apart() -> Command {
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

/// Tries everything that a ground of namespaces needs.
fn namespaces_are_allowed() -> Result<(), String> {
    let needed = "ip link add name trial type bridge && ip neigh show && mount -t tmpfs tmpfs /mnt";
    let tried = apart().args(["sh", "-c", needed]).output();
    let tried = tried.map_err(|error| format!("unshare: {error}"))?;
    if tried.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    Err(said.lines().last().unwrap_or("a command failed without a word").to_owned())
}

/// The links among the hosts.
#[derive(Debug)]
pub(crate) struct Net {
    keepers: Vec<Child>,
}

impl Net {
    /// Links as many hosts with each other; none where there are no namespaces.
    pub(crate) fn new(ground: &Ground, hosts: usize) -> Self {
        if let Ground::Loopback(_) = ground {
            return Self { keepers: Vec::new() };
        }
        run("ip", "link add name chaos type bridge");
        run("ip", "link set chaos up");
        run("ip", "link set lo up");
        let keepers = (0..hosts).map(keep).collect();
        Self { keepers }
    }

    /// The address of a host.
    pub(crate) fn address(&self, host: usize) -> Ipv4Addr {
        let last = u8::try_from(host + 1).expect("few hosts");
        if self.keepers.is_empty() {
            Ipv4Addr::new(127, 0, 0, last)
        } else {
            Ipv4Addr::new(10, 77, 0, last)
        }
    }

    /// A command that runs a program as process 1 of a host; all of them end with it.
    pub(crate) fn machine(&self, host: usize, program: &Path) -> Command {
        let Some(keeper) = self.keepers.get(host) else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", keeper.id()))
            .args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            // Whoever is process 1 has to wait for orphans, which a shell does.
            .args(["sh", "-c", r#""$@" & wait $!"#, "host"])
            .arg(program);
        command
    }

    /// What one host sends another is lost from now on.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        let to = self.address(to);
        self.at(from, &format!("neigh replace {to} lladdr {NOWHERE} nud permanent dev eth0"));
    }

    /// It arrives again.
    pub(crate) fn mend(&self, from: usize, to: usize) {
        let to = self.address(to);
        self.at(from, &format!("neigh del {to} dev eth0"));
    }

    fn at(&self, host: usize, arguments: &str) {
        let keeper = &self.keepers[host];
        run("nsenter", &format!("--net=/proc/{}/ns/net ip {arguments}", keeper.id()));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if self.keepers.is_empty() {
            return;
        }
        for (host, keeper) in self.keepers.iter_mut().enumerate() {
            run("ip", &format!("link del port{host}"));
            // Namespaces last as long as somebody is in them.
            keeper.kill().ok();
            keeper.wait().ok();
        }
        run("ip", "link del chaos");
    }
}

/// Makes the namespace of a host, and its link to the others.
fn keep(host: usize) -> Child {
    let mut keeper = Command::new("unshare");
    keeper.args(["--net", "sh", "-c", "echo there && exec cat"]);
    keeper.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut keeper = keeper.spawn().expect("the command `unshare`");
    let mut said = String::new();
    let output = keeper.stdout.take().expect("its output is ours");
    BufReader::new(output).read_line(&mut said).expect("its output can be read");
    assert_eq!(said, "there\n", "a host needs a network namespace");
    let pid = keeper.id();
    run("ip", &format!("link add port{host} type veth peer name eth0 netns {pid}"));
    run("ip", &format!("link set port{host} master chaos up"));
    let within = format!("--net=/proc/{pid}/ns/net ip");
    run("nsenter", &format!("{within} addr add 10.77.0.{}/24 dev eth0", host + 1));
    run("nsenter", &format!("{within} link set eth0 up"));
    run("nsenter", &format!("{within} link set lo up"));
    keeper
}

/// Runs a command that must succeed.
pub(crate) fn run(program: &str, arguments: &str) {
    let status = Command::new(program).args(arguments.split_whitespace()).status();
    let status = status.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{program} {arguments}: {status}");
}
