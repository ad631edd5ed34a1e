//! What this machine has: its cores, its memory, and the tools on the path with their versions.
//!
//! Asking a tool for its version takes longer than starting a node may, so that answers are kept in
//! a file, by the tool's path and what its file looks like. [`present`] only uses what is kept;
//! [`probe`] asks the tools that are not known yet, all at once and each for a limited time.

use super::host::Host;
use futures::future::join_all;
use otto_core::capability::{Capabilities, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::net::unix::pipe;

/// How long a tool may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(5);
/// As much of a tool's answer as is read.
const ANSWER_BYTES: usize = 4096;

/// The tools that are looked for, and the argument by which each tells its version.
const TOOLS: &[(&str, &str)] = &[
    ("ant", "-version"),
    ("bash", "--version"),
    ("bundle", "--version"),
    ("bun", "--version"),
    ("cargo", "--version"),
    ("cargo-clippy", "--version"),
    ("clang", "--version"),
    ("cmake", "--version"),
    ("curl", "--version"),
    ("deno", "--version"),
    ("docker", "--version"),
    ("dotnet", "--version"),
    ("g++", "--version"),
    ("gcc", "--version"),
    ("git", "--version"),
    ("go", "version"),
    ("gradle", "--version"),
    ("helm", "version"),
    ("java", "-version"),
    ("just", "--version"),
    ("kubectl", "version"),
    ("make", "--version"),
    ("mvn", "--version"),
    ("ninja", "--version"),
    ("node", "--version"),
    ("npm", "--version"),
    ("php", "--version"),
    ("pip", "--version"),
    ("pip3", "--version"),
    ("pnpm", "--version"),
    ("podman", "--version"),
    ("poetry", "--version"),
    ("psql", "--version"),
    ("python", "--version"),
    ("python3", "--version"),
    ("rake", "--version"),
    ("ruby", "--version"),
    ("rustc", "--version"),
    ("rustfmt", "--version"),
    ("rustup", "--version"),
    ("terraform", "version"),
    ("tox", "--version"),
    ("uv", "--version"),
    ("yarn", "--version"),
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

/// What the machine has as far as it is known without asking any tool: new ones have no version.
#[must_use]
pub fn present(host: &Host, memory: &Path) -> Capabilities {
    let known = recall(memory);
    let tools = tools(host).into_iter().map(|(tool, path, _)| {
        let version = current(&known, &path).and_then(|known| known.version.clone());
        (tool.to_owned(), version)
    });
    Capabilities { tools: tools.collect(), ..machine() }
}

/// What the machine has. Tools that are new or changed are asked for their version.
pub async fn probe(host: &Host, memory: &Path) -> Capabilities {
    let known = recall(memory);
    let asked = tools(host).into_iter().map(async |(tool, path, argument)| {
        let mut about = current(&known, &path).cloned();
        if about.is_none() {
            let version = ask(&path, argument, host).await;
            about = look(&path).map(|looks| Known { version, ..looks });
        }
        (tool, path, about)
    });
    let mut tools = BTreeMap::new();
    let mut learnt = Memory::new();
    for (tool, path, about) in join_all(asked).await {
        let version = about.as_ref().and_then(|about| about.version.clone());
        tools.insert(tool.to_owned(), version);
        learnt.extend(about.map(|about| (path, about)));
    }
    if learnt != known
        && let Err(error) = keep(memory, &learnt)
    {
        tracing::warn!(%error, "tools are asked for their versions again at the next start");
    }
    Capabilities { tools, ..machine() }
}

fn machine() -> Capabilities {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let system = rustix::system::sysinfo();
    Capabilities {
        cores,
        memory: system.totalram.saturating_mul(system.mem_unit.into()),
        arch: std::env::consts::ARCH.to_owned(),
        os: std::env::consts::OS.to_owned(),
        tools: BTreeMap::new(),
    }
}

/// The tools on the path: name, file, and the argument that asks for the version.
fn tools(host: &Host) -> Vec<(&'static str, PathBuf, &'static str)> {
    let folders: Vec<&Path> = host.path.split(':').map(Path::new).collect();
    let executable = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|about| about.is_file() && about.mode() & 0o111 != 0)
    };
    TOOLS
        .iter()
        .filter_map(|(tool, argument)| {
            let mut candidates = folders.iter().map(|folder| folder.join(tool));
            Some((*tool, candidates.find(executable)?, *argument))
        })
        .collect()
}

fn look(path: &Path) -> Option<Known> {
    let about = fs::metadata(path).ok()?;
    Some(Known {
        length: about.len(),
        modified_s: about.mtime(),
        modified_ns: about.mtime_nsec(),
        inode: about.ino(),
        version: None,
    })
}

/// What is known of a tool, where its file still looks the same.
fn current<'a>(memory: &'a Memory, path: &Path) -> Option<&'a Known> {
    let looks = look(path)?;
    let known = memory.get(path)?;
    (Known { version: known.version.clone(), ..looks } == *known).then_some(known)
}

/// Asks a tool for its version.
async fn ask(path: &Path, argument: &str, host: &Host) -> Option<Version> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).ok()?;
    let mut tool = Command::new(path)
        .arg(argument)
        .env_clear()
        .env("PATH", &host.path)
        .env("HOME", &host.home)
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().ok()?)
        .stderr(writer)
        .spawn()
        .ok()?;
    let answer = match pipe::Receiver::from_owned_fd(reader) {
        Ok(reader) => tokio::time::timeout(PATIENCE, read(&reader)).await.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    // It has said what it had to say, or had its time: killed, it is waited for no longer.
    tool.kill().ok();
    tool.wait().ok();
    Version::parse(&String::from_utf8_lossy(&answer))
}

async fn read(reader: &pipe::Receiver) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut buffer = [0; ANSWER_BYTES];
    while answer.len() < ANSWER_BYTES && reader.readable().await.is_ok() {
        match reader.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    answer
}

/// What earlier probes found out. What cannot be read is found out again.
fn recall(memory: &Path) -> Memory {
    let known: Option<Vec<(PathBuf, Known)>> =
        fs::read(memory).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    known.unwrap_or_default().into_iter().collect()
}

fn keep(memory: &Path, learnt: &Memory) -> io::Result<()> {
    let bytes = serde_json::to_vec(&learnt.iter().collect::<Vec<_>>())?;
    let fresh = memory.with_extension("new");
    fs::write(&fresh, bytes)?;
    fs::rename(fresh, memory)
}

#[cfg(test)]
mod tests {
    use super::{present, probe};
    use crate::agent::host::Host;
    use otto_core::capability::Version;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_tool_is_asked_once_until_it_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = folder.path().join("tools.json");
        let path = folder.path().to_string_lossy().into_owned();
        let host = Host { path: format!("{path}:/bin"), ..Host::of_this_process() };
        let install = |name: &str, body: &str| {
            let tool = folder.path().join(name);
            fs::write(&tool, format!("#!/bin/sh\necho >>{path}/asked\n{body}\n")).expect("a tool");
            fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("a mode");
        };
        let asked = || fs::read(folder.path().join("asked")).map_or(0, |lines| lines.len());
        install("go", "echo go version go1.22.3");
        install("deno", "echo no number");
        assert_eq!(present(&host, &memory).tools.get("go"), Some(&None), "not asked yet");
        assert_eq!(asked(), 0);
        let check = async |version: &[u64], times: usize| {
            let found = probe(&host, &memory).await;
            assert_eq!(found.tools.get("go"), Some(&Some(Version(version.to_vec()))));
            assert_eq!(found.tools.get("deno"), Some(&None));
            assert_eq!(found.tools.get("ant"), None);
            assert_eq!(present(&host, &memory), found, "remembered");
            assert_eq!(asked(), times);
            assert!(found.cores > 0 && found.memory > 0);
        };
        check(&[1, 22, 3], 2).await;
        check(&[1, 22, 3], 2).await;
        install("go", "echo go version go1.23; exit 1");
        check(&[1, 23], 3).await;
    }
}
