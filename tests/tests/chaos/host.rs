//! A machine with a node on it: what it runs, its disk, and what can happen to both.

use crate::ground::{Ground, Net, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use otto_tests::programs;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where nodes listen.
const PORT: u16 = 7301;
/// What a disk of its own holds.
const DISK: &str = "size=192m,mode=700";

/// A machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    folder: PathBuf,
    /// Whether its data folder is a disk of its own.
    has_disk: bool,
    machine: Option<Child>,
    /// How often it was started.
    starts: u32,
}

impl Host {
    /// A machine that is off, with an empty disk below `root`.
    pub(crate) fn new(ground: &Ground, net: &Net, index: usize, root: &Path) -> Self {
        let name = format!("host{index}");
        let folder = root.join(&name);
        fs::create_dir(&folder).expect("a folder");
        fs::create_dir(folder.join("data")).expect("a folder");
        let has_disk = *ground == Ground::Namespaces;
        if has_disk {
            run("mount", &format!("-t tmpfs -o {DISK} tmpfs {}", folder.join("data").display()));
        }
        let address = SocketAddr::from((net.address(index), PORT));
        Self { index, name, address, folder, has_disk, machine: None, starts: 0 }
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The socket for whoever is on this machine.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data().join("otto.sock")
    }

    /// Switches it on: its node runs `otto-node` with these arguments.
    pub(crate) fn switch_on(&mut self, net: &Net, arguments: &str) {
        self.starts += 1;
        let mut machine = net.machine(self.index, &programs().join("otto-node"));
        machine
            .args(arguments.split_whitespace())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("HOME", &self.folder)
            .env("OTTO_HOME", self.data())
            .stdin(Stdio::null())
            .stdout(self.file("stdout"))
            .stderr(self.file("stderr"));
        self.machine = Some(machine.spawn().expect("a machine"));
    }

    /// What its node has printed since it was last switched on.
    pub(crate) fn said(&self) -> String {
        let text = |name: &str| {
            let path = self.folder.join(format!("{}.{name}", self.starts));
            fs::read_to_string(path).unwrap_or_default()
        };
        text("stdout") + &text("stderr")
    }

    /// Switches it off without a word to anybody: all of its processes are gone at once.
    pub(crate) fn switch_off(&mut self) {
        for process in self.node() {
            signal(process.pid, Signal::SIGKILL);
        }
        if let Some(mut machine) = self.machine.take() {
            machine.kill().ok();
            machine.wait().expect("it is our child");
        }
    }

    /// Stops the processes of one role where they are, or lets them go on.
    pub(crate) fn freeze(&self, role: &str, frozen: bool) {
        let how = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        for process in self.node().into_iter().filter(|process| process.name == role) {
            signal(process.pid, how);
        }
    }

    /// Kills the processes of one role, such as `otto-agent`.
    pub(crate) fn kill_role(&self, role: &str) {
        for process in self.node().into_iter().filter(|process| process.name == role) {
            signal(process.pid, Signal::SIGKILL);
        }
    }

    /// Fills its disk to the last byte, where it has one.
    pub(crate) fn fill_disk(&self) {
        if !self.has_disk {
            return;
        }
        let mut ballast = File::create(self.data().join("ballast")).expect("a file");
        let block = vec![0; 1 << 16];
        // What ends this is that no byte fits any more.
        while ballast.write_all(&block).is_ok() {}
    }

    /// Makes room again.
    pub(crate) fn empty_disk(&self) {
        // There is none where the disk was never filled.
        fs::remove_file(self.data().join("ballast")).ok();
    }

    /// The processes of its node: all that were given its data folder.
    fn node(&self) -> Vec<Process> {
        let mark = format!("OTTO_HOME={}", self.data().display());
        let entries = fs::read_dir("/proc").expect("the process table").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter_map(|pid| Process::marked(pid, &mark)).collect()
    }

    fn file(&self, name: &str) -> File {
        let path = self.folder.join(format!("{}.{name}", self.starts));
        OpenOptions::new().create(true).append(true).open(path).expect("a file")
    }

    /// The last lines of what its processes wrote down, for whoever looks for a cause.
    pub(crate) fn traces(&self) -> String {
        let traces = ["otto-node", "otto-control", "otto-agent"].map(|name| {
            let path = self.data().join("traces").join(name).with_extension("log");
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(25).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            format!("── {} {name}\n{}\n", self.name, lines.join("\n"))
        });
        traces.concat()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.switch_off();
        if self.has_disk {
            // What still writes there is killed, and the disk goes with the namespaces at last.
            Command::new("umount").arg("-l").arg(self.data()).status().ok();
        }
    }
}

/// A process of a node.
struct Process {
    pid: i32,
    name: String,
}

impl Process {
    fn marked(pid: i32, mark: &str) -> Option<Self> {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        environment.split(|byte| *byte == 0).find(|one| *one == mark.as_bytes())?;
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let first = arguments.split(|byte| *byte == 0).next()?;
        let name = String::from_utf8_lossy(first.rsplit(|byte| *byte == b'/').next()?);
        Some(Self { pid, name: name.into_owned() })
    }
}

/// Sends a signal; a process that has ended already is none the worse.
fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).ok();
}
