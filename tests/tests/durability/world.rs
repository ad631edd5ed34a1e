//! A node and a repository that nobody else uses, and the truth about what was executed.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use otto_tests::programs;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::park_timeout;
use std::time::Duration;
use tempfile::TempDir;

/// How long to look away between two looks at a condition.
const TURN: Duration = Duration::from_millis(10);
/// After so many looks a condition is given up, so that a test that fails also ends.
const TURNS: u32 = 9_000;

/// A repository called `shop`, the data folder of its node, and the truth.
pub(crate) struct World {
    root: TempDir,
    /// What keeps the namespaces of its commands, where they have some.
    holder: Option<Holder>,
    /// Processes of the node that were seen at some time, with when they started.
    family: RefCell<BTreeSet<(u32, u64)>>,
}

/// Namespaces that last as long as this process.
struct Holder(Child);

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command that goes on.
pub(crate) struct Started {
    line: String,
    child: Child,
    output: PathBuf,
}

/// A process, as `/proc` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    parent: u32,
    /// When it started: a number of its own among all that had or will have its id.
    started: u64,
    /// What it was started as: the last part of its first argument.
    name: String,
}

/// What the kernel lets the node do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kernel {
    AsItIs,
    /// It refuses namespaces, so that steps are kept apart less well.
    NoNamespaces,
}

impl Kernel {
    /// A world with such a kernel.
    pub(crate) fn world(self, ottofile: &str) -> World {
        match self {
            Self::AsItIs => World::new(ottofile),
            Self::NoNamespaces => World::without_namespaces(ottofile),
        }
    }
}

impl World {
    /// A world with this Ottofile, in which `OUT` stands for the folder of the truth.
    pub(crate) fn new(ottofile: &str) -> Self {
        let root = tempfile::Builder::new().prefix("otto-").tempdir().expect("a temporary folder");
        let world = Self { root, holder: None, family: RefCell::default() };
        for folder in ["shop", "otto", "out", "said"] {
            fs::create_dir(world.path(folder)).expect("a folder");
        }
        let out = world.path("out").display().to_string();
        fs::write(world.path("shop/Ottofile"), ottofile.replace("OUT", &out)).expect("a file");
        world
    }

    /// The same, with the data folder on a small file system of its own.
    pub(crate) fn with_small_disk(ottofile: &str) -> Self {
        let world = Self::new(ottofile);
        let folder = world.path("otto").display().to_string();
        world.in_namespaces(&format!("mount -t tmpfs -o size=16m,mode=700 tmpfs {folder}"))
    }

    /// The same, where the kernel refuses namespaces to whoever asks for some.
    pub(crate) fn without_namespaces(ottofile: &str) -> Self {
        Self::new(ottofile).in_namespaces("echo 0 > /proc/sys/user/max_user_namespaces")
    }

    /// Lets all commands run in namespaces that were prepared so.
    fn in_namespaces(mut self, prepare: &str) -> Self {
        let mut holder = Command::new("unshare");
        holder
            .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
            .arg(format!("{prepare} && echo prepared && exec cat"))
            .current_dir(self.path("shop"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut holder = holder.spawn().expect("this test needs the command `unshare`");
        let mut said = String::new();
        let output = holder.stdout.take().expect("its output is ours");
        BufReader::new(output).read_line(&mut said).expect("its output can be read");
        self.holder = Some(Holder(holder));
        assert_eq!(said, "prepared\n", "this test needs user namespaces");
        self
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// A path in the data folder, seen from outside of its file system.
    pub(crate) fn data(&self, path: &str) -> PathBuf {
        let folder = self.path("otto");
        let folder = match &self.holder {
            Some(Holder(holder)) => {
                let inside = folder.strip_prefix("/").expect("it is an absolute path");
                Path::new(&format!("/proc/{}/root", holder.id())).join(inside)
            }
            None => folder,
        };
        folder.join(path)
    }

    /// A command of this world.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a command");
        let program = programs().join(program);
        let mut command = self.inside(&program);
        command
            .args(words)
            .current_dir(self.path("shop"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("HOME", self.root.path())
            .env("OTTO_HOME", self.path("otto"))
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    /// A program that sees the data folder as this world has it.
    pub(crate) fn inside(&self, program: &Path) -> Command {
        let Some(Holder(holder)) = &self.holder else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command
            .args(["--user", "--mount", "--preserve-credentials", "--wd", "--target"])
            .arg(holder.id().to_string())
            .arg("--")
            .arg(program);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, line: &str) -> Ended {
        self.start(line).ended()
    }

    /// Runs a command that must succeed, and answers with its standard output.
    pub(crate) fn succeed(&self, line: &str) -> String {
        let ended = self.run(line);
        assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
        ended.stdout
    }

    /// Starts a command in a process group of its own, as a shell does.
    pub(crate) fn start(&self, line: &str) -> Started {
        self.start_at("otto", line)
    }

    /// The same, with a data folder of this name.
    pub(crate) fn start_at(&self, data: &str, line: &str) -> Started {
        self.start_with(data, line, &[])
    }

    /// The same, with these variables.
    pub(crate) fn start_with(&self, data: &str, line: &str, set: &[(&str, &str)]) -> Started {
        let said = tempfile::Builder::new().tempdir_in(self.path("said")).expect("a folder");
        let output = said.keep();
        let file = |name: &str| File::create(output.join(name)).expect("a file");
        let mut command = self.command(line);
        command.env("OTTO_HOME", self.path(data)).envs(set.iter().copied());
        command.stdout(file("stdout")).stderr(file("stderr")).process_group(0);
        Started { line: line.to_owned(), child: command.spawn().expect(line), output }
    }

    /// What was executed, in its order.
    pub(crate) fn truth(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("out/truth")).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// Waits for a file of the folder of the truth.
    pub(crate) fn await_file(&self, name: &str) {
        let path = self.path("out").join(name);
        until(&path.display().to_string(), || path.exists());
    }

    /// Makes a file in the folder of the truth.
    pub(crate) fn make_file(&self, name: &str) {
        File::create(self.path("out").join(name)).expect("a file");
    }

    /// Makes a tool that does nothing.
    pub(crate) fn make_tool(&self, path: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, "#!/bin/sh\n").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// The runs as `otto runs` tells them.
    pub(crate) fn runs(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.succeed("otto runs --json")).expect("JSON")
    }

    /// The outcome of a run; nothing while it goes on.
    pub(crate) fn outcome(&self, number: u64) -> Option<String> {
        let runs = self.runs();
        let run = runs.iter().find(|run| run["run"] == number).expect("the run is listed");
        run["outcome"].as_str().map(ToOwned::to_owned)
    }

    /// The supervisor and all below it.
    pub(crate) fn node(&self) -> Vec<Process> {
        Self::node_in(&self.data(""))
    }

    /// The same, of the node with a data folder of this name.
    pub(crate) fn node_at(&self, data: &str) -> Vec<Process> {
        Self::node_in(&self.path(data))
    }

    fn node_in(data: &Path) -> Vec<Process> {
        let written = fs::read_to_string(data.join("node.lock")).unwrap_or_default();
        let Ok(supervisor) = written.trim().parse::<u32>() else { return Vec::new() };
        let all = processes();
        let mut family: Vec<Process> =
            all.iter().filter(|process| process.pid == supervisor).cloned().collect();
        let mut next = 0;
        while let Some(parent) = family.get(next).map(|process| process.pid) {
            family.extend(all.iter().filter(|process| process.parent == parent).cloned());
            next += 1;
        }
        family
    }

    /// Remembers who belongs to the node now: nobody of them may be left in the end.
    pub(crate) fn note_family(&self) {
        let family = self.node().into_iter().map(|process| (process.pid, process.started));
        self.family.borrow_mut().extend(family);
    }

    /// Those of the node's processes that were noted and are still there.
    pub(crate) fn left_of_the_family(&self) -> Vec<Process> {
        let noted = self.family.borrow();
        let left = processes().into_iter();
        left.filter(|process| noted.contains(&(process.pid, process.started))).collect()
    }

    /// The processes of this world in whose environment a variable has this value.
    pub(crate) fn marked(&self, variable: &str, value: &str) -> Vec<Process> {
        let wanted = format!("{variable}={}", self.path(value).display());
        let is_marked = |process: &Process| {
            let environment = fs::read(format!("/proc/{}/environ", process.pid));
            let environment = environment.unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes())
        };
        processes().into_iter().filter(is_marked).collect()
    }

    /// Ends the node, after which nothing of this world may be left.
    pub(crate) fn end(self) {
        self.note_family();
        self.succeed("otto-node stop --busy");
        until("the end of all that the node started", || {
            self.marked("OTTO_HOME", "otto").is_empty() && self.left_of_the_family().is_empty()
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A node that never was, or has ended, has nothing to stop.
        let _ = self.command("otto-node stop --busy").output();
        if std::thread::panicking() {
            for name in ["otto-node", "otto-control", "otto-agent"] {
                let trace = self.data("traces").join(name);
                let text = fs::read_to_string(trace.with_extension("log")).unwrap_or_default();
                let from = text.len().saturating_sub(4_000);
                eprintln!("── {name}\n{}", text.get(from..).unwrap_or(&text));
            }
            eprintln!("── truth\n{:?}", self.truth());
        }
        if let Some(Holder(holder)) = &mut self.holder {
            // It may have failed to mount, and have ended.
            holder.kill().ok();
            holder.wait().ok();
        }
    }
}

impl Started {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard output by now.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.output.join("stdout")).unwrap_or_default()
    }

    /// What it has written to its standard error by now.
    pub(crate) fn complained(&self) -> String {
        fs::read_to_string(self.output.join("stderr")).unwrap_or_default()
    }

    /// Whether it holds a socket that is connected to something.
    pub(crate) fn is_connected(&self) -> bool {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).into_iter().flatten();
        let target = |entry: io::Result<fs::DirEntry>| fs::read_link(entry.ok()?.path()).ok();
        open.filter_map(target).any(|to| to.to_string_lossy().starts_with("socket:"))
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        process(self.child.id()).is_none()
    }

    /// Ends the terminal that it was started from.
    pub(crate) fn hang_up(&self) {
        let group = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(-group), Signal::SIGHUP).expect("the command is there");
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let process = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(process), Signal::SIGINT).expect("the command is there");
    }

    /// Waits until it ends.
    pub(crate) fn ended(mut self) -> Ended {
        let mut status = None;
        let line = format!("the end of `{}`", self.line);
        until(&line, || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        let text = |name: &str| {
            let bytes = fs::read(self.output.join(name)).expect("its output");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let code = status.and_then(|status| status.code());
        Ended { code, stdout: text("stdout"), stderr: text("stderr") }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to kill.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Process {
    /// The one with this name.
    pub(crate) fn named(all: &[Self], name: &str) -> Option<u32> {
        all.iter().find(|process| process.is(name)).map(|process| process.pid)
    }

    /// Whether it was started under this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// Kills a process; one that has ended already is none the worse.
pub(crate) fn kill_process(pid: u32) {
    let pid = i32::try_from(pid).expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..TURNS {
        if holds() {
            return;
        }
        park_timeout(TURN);
    }
    panic!("waited in vain for {what}");
}

/// Lets time go by, where a defect would show only then: nothing here waits for a condition.
pub(crate) fn wait(span: Duration) {
    for _ in 0..span.as_millis() / TURN.as_millis() {
        park_timeout(TURN);
    }
}

/// All processes.
fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("the process table").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(process).collect()
}

/// A process, unless it has ended.
fn process(pid: u32) -> Option<Process> {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = arguments.split(|byte| *byte == 0).next()?;
    let name = String::from_utf8_lossy(first.rsplit(|byte| *byte == b'/').next()?).into_owned();
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = status.rsplit(')').next()?.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Process { pid, parent, started, name })
}
