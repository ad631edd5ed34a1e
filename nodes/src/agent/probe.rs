//! What this machine has: its cores, its memory, and the tools on the path with their versions.
//!
//! Asking a tool for its version takes longer than starting a node may, so that a tool is asked
//! when somebody needs it. Answers are kept in a file, by the tool's path and what its file looks
//! like: what is known from there, the agent bids with from its start on.

use super::host::Host;
use async_trait::async_trait;
use futures::future::join_all;
use otto_actors::ports::tools::Tools;
use otto_core::capability::{Capabilities, Found, Version};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::unix::pipe;

/// How long a tool may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(5);
/// As much of a tool's answer as is read.
const ANSWER_BYTES: usize = 4096;
/// How many tools are asked at a time.
const AT_ONCE: usize = 8;

/// How tools are asked for their version that do not know `--version`.
const ARGUMENTS: &[(&str, &[&str])] = &[
    ("ant", &["-version"]),
    ("ffmpeg", &["-version"]),
    ("go", &["version"]),
    ("helm", &["version"]),
    ("hugo", &["version"]),
    ("java", &["-version"]),
    ("javac", &["-version"]),
    ("kubectl", &["version", "--client"]),
    ("openssl", &["version"]),
    ("ssh", &["-V"]),
    ("terraform", &["version"]),
    ("unzip", &["-v"]),
    ("zig", &["version"]),
    ("zip", &["-v"]),
];

/// What a tool's file looked like when it told its version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Known {
    length: u64,
    modified_s: i64,
    modified_ns: i64,
    inode: u64,
    version: Option<Version>,
}

/// Versions by the tool's path.
type Memory = BTreeMap<PathBuf, Known>;

/// The tools of this machine, as a port.
#[derive(Debug)]
pub struct NodeTools {
    host: Host,
    file: PathBuf,
    memory: Mutex<Memory>,
}

impl NodeTools {
    /// The tools on a host's path; what they answer is kept in a file.
    #[must_use]
    pub fn open(host: Host, file: PathBuf) -> Self {
        let mut memory = recall(&file);
        memory.retain(|path, known| known.is_current(path));
        Self { host, file, memory: Mutex::new(memory) }
    }

    /// What the machine has as far as it is known without asking any tool.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let memory = self.memory();
        let tools = memory.iter().filter_map(|(path, known)| {
            let tool = path.file_name()?.to_str()?;
            let first = self.find(tool)? == *path && known.is_current(path);
            first.then(|| (tool.to_owned(), known.version.clone()))
        });
        let tools = tools.collect();
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let system = rustix::system::sysinfo();
        Capabilities {
            cores,
            memory: system.totalram.saturating_mul(system.mem_unit.into()),
            arch: std::env::consts::ARCH.to_owned(),
            os: std::env::consts::OS.to_owned(),
            tools,
            absent: BTreeSet::new(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program of this name that comes first on the path.
    fn find(&self, tool: &str) -> Option<PathBuf> {
        let folders = self.host.path.split(':').map(Path::new).filter(|path| path.is_absolute());
        folders.map(|folder| folder.join(tool)).find(|path| {
            fs::metadata(path).is_ok_and(|about| about.is_file() && about.mode() & 0o111 != 0)
        })
    }

    /// Looks for one tool; asks it for its version unless that is known.
    async fn look_for(&self, tool: &str) -> Found {
        let Some(path) = self.find(tool) else { return Found::Absent };
        let known = self.memory().get(&path).filter(|known| known.is_current(&path)).cloned();
        if let Some(known) = known {
            return Found::Present(known.version);
        }
        let looks = Known::look(&path);
        let (answer, whole) = ask(&path, arguments(tool), &self.host).await.unwrap_or_default();
        let version = version_in(&String::from_utf8_lossy(&answer));
        // One that had no time to answer is asked again by the next agent.
        if let Some(looks) = looks.filter(|_| whole || version.is_some()) {
            self.memory().insert(path, Known { version: version.clone(), ..looks });
        }
        Found::Present(version)
    }
}

#[async_trait]
impl Tools for NodeTools {
    async fn look(&self, tools: &[String]) -> BTreeMap<String, Found> {
        let before = self.memory().clone();
        let mut found = BTreeMap::new();
        for some in tools.chunks(AT_ONCE) {
            let answers = join_all(some.iter().map(|tool| self.look_for(tool))).await;
            found.extend(some.iter().cloned().zip(answers));
        }
        let memory = self.memory();
        if *memory != before
            && let Err(error) = keep(&self.file, &memory)
        {
            tracing::warn!(%error, "tools are asked for their versions again at the next start");
        }
        found
    }
}

impl Known {
    fn look(path: &Path) -> Option<Self> {
        let about = fs::metadata(path).ok()?;
        Some(Self {
            length: about.len(),
            modified_s: about.mtime(),
            modified_ns: about.mtime_nsec(),
            inode: about.ino(),
            version: None,
        })
    }

    /// Whether the file still looks as it did when it told its version.
    fn is_current(&self, path: &Path) -> bool {
        Self::look(path)
            .is_some_and(|looks| Self { version: self.version.clone(), ..looks } == *self)
    }
}

fn arguments(tool: &str) -> &'static [&'static str] {
    let known = ARGUMENTS.iter().find(|(name, _)| *name == tool);
    known.map_or(&["--version"], |(_, arguments)| *arguments)
}

/// The version in a tool's answer: in the first line with a number the first dotted one, else the
/// first.
fn version_in(answer: &str) -> Option<Version> {
    let line = answer.lines().find(|line| line.contains(|c: char| c.is_ascii_digit()))?;
    let numbers = line.split(|c: char| !c.is_ascii_digit() && c != '.');
    let mut dotted = numbers.map(|number| number.trim_matches('.')).filter(|n| n.contains('.'));
    dotted.next().and_then(Version::parse).or_else(|| Version::parse(line))
}

/// A tool that was started; dropping this ends it and what it started.
#[derive(Debug)]
struct Asked(Child);

impl Drop for Asked {
    fn drop(&mut self) {
        // What has ended already needs no end.
        kill_process_group(Pid::from_child(&self.0), Signal::KILL).ok();
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Asks a tool for its version. Answers what it said, and whether that is all.
async fn ask(path: &Path, arguments: &[&str], host: &Host) -> Option<(Vec<u8>, bool)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).ok()?;
    let reader = pipe::Receiver::from_owned_fd(reader).ok()?;
    let tool = Command::new(path)
        .args(arguments)
        .env_clear()
        .envs(&host.tool_folders)
        .env("PATH", &host.path)
        .env("HOME", &host.home)
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(writer.try_clone().ok()?)
        .stderr(writer)
        .spawn();
    // It has said what it had to say, or had its time: dropped, it is waited for no longer.
    let _tool = Asked(tool.ok()?);
    let mut answer = Vec::new();
    let whole = tokio::time::timeout(PATIENCE, read(&reader, &mut answer)).await.is_ok();
    Some((answer, whole))
}

async fn read(reader: &pipe::Receiver, answer: &mut Vec<u8>) {
    let mut buffer = [0; ANSWER_BYTES];
    while answer.len() < ANSWER_BYTES && reader.readable().await.is_ok() {
        match reader.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
}

/// What earlier searches found out. What cannot be read is found out again.
fn recall(file: &Path) -> Memory {
    let known: Option<Vec<(PathBuf, Known)>> =
        fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    known.unwrap_or_default().into_iter().collect()
}

fn keep(file: &Path, memory: &Memory) -> io::Result<()> {
    let bytes = serde_json::to_vec(&memory.iter().collect::<Vec<_>>())?;
    let fresh = file.with_extension("new");
    fs::write(&fresh, bytes)?;
    fs::rename(fresh, file)
}

#[cfg(test)]
mod tests {
    use super::{NodeTools, PATIENCE, version_in};
    use crate::agent::host::Host;
    use otto_actors::ports::tools::Tools;
    use otto_core::capability::{Found, Version};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use tokio::io::AsyncReadExt;
    use tokio::net::unix::pipe::OpenOptions;

    fn host(folder: &Path) -> Host {
        Host { path: format!("{}:/bin", folder.display()), ..Host::of_this_process() }
    }

    fn install(folder: &Path, name: &str, body: &str) {
        let tool = folder.join(name);
        let asked = folder.join("asked");
        fs::write(&tool, format!("#!/bin/sh\necho >>{}\n{body}\n", asked.display())).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[tokio::test]
    async fn a_tool_is_asked_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tools.json");
        let asked = || fs::read(folder.path().join("asked")).map_or(0, |lines| lines.len());
        let open = || NodeTools::open(host(folder.path()), file.clone());
        install(folder.path(), "go", "[ $1 = version ] && echo go version go1.22.3");
        install(folder.path(), "ansible", "[ $1 = --version ] && echo '[core 2.14]'");
        install(folder.path(), "deno", "echo no number");
        assert!(open().capabilities().tools.is_empty(), "nobody needed any yet");
        assert_eq!(asked(), 0);
        let check = async |version: &[u64], times: usize| {
            let tools = open();
            let wanted = ["go", "ansible", "deno", "nonesuch"].map(str::to_owned);
            let found = tools.look(&wanted).await;
            let expected = [
                ("ansible", Found::Present(Some(Version(vec![2, 14])))),
                ("deno", Found::Present(None)),
                ("go", Found::Present(Some(Version(version.to_vec())))),
                ("nonesuch", Found::Absent),
            ];
            assert!(found.iter().map(|(tool, found)| (tool.as_str(), found.clone())).eq(expected));
            let known = open().capabilities();
            assert_eq!(known.tools.get("go"), Some(&Some(Version(version.to_vec()))));
            assert_eq!(known, tools.capabilities(), "remembered");
            assert_eq!((known.tools.len(), known.absent.len()), (3, 0));
            assert_eq!(asked(), times);
            assert!(known.cores > 0 && known.memory > 0);
        };
        check(&[1, 22, 3], 3).await;
        check(&[1, 22, 3], 3).await;
        install(folder.path(), "go", "echo go version go1.23; exit 1");
        assert_eq!(open().capabilities().tools.len(), 2, "what has changed is not known for sure");
        check(&[1, 23], 4).await;
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_tool_that_nobody_waits_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // The tool and what it starts hold the pipe open: it ends when both are gone.
        let body = format!("exec 3>{}; echo x >&3; sleep 1000 & sleep 1000", pipe.display());
        install(folder.path(), "slow", &body);
        let mut alive = OpenOptions::new().open_receiver(&pipe).unwrap();
        let tools = NodeTools::open(host(folder.path()), folder.path().join("tools.json"));
        let began = async {
            while alive.read(&mut [0; 2]).await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
        };
        let wanted = ["slow".to_owned()];
        tokio::select! { biased;
            found = tools.look(&wanted) => panic!("{found:?}"),
            () = began => {}
        }
        let end = tokio::time::timeout(PATIENCE, alive.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "something is left");
    }

    #[test]
    fn a_version_is_read_from_the_line_that_tells_it() {
        let check = |answer: &str, expected: Option<&[u64]>| {
            assert_eq!(
                version_in(answer).map(|version| version.0).as_deref(),
                expected,
                "{answer}"
            );
        };
        check("7-Zip 23.01 (x64)", Some(&[23, 1]));
        check("\n---\nGradle 8.5\n---\n", Some(&[8, 5]));
        check("openjdk version \"21\" 2023-09-19\nRuntime (build 21.0.1+12)", Some(&[21]));
        check("go version go1.22.", Some(&[1, 22]));
        check("less 590 (GNU regular expressions)", Some(&[590]));
        check("usage: ...", None);
        check("", None);
    }
}
