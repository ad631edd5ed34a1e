//! A local node of its own for a measurement, with its data in a temporary folder.

use crate::idle::name;
use crate::{otto, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder for the node's data and one for a repository; the node leaves with it.
pub(crate) struct Node {
    home: TempDir,
    repository: TempDir,
}

impl Node {
    /// Nothing runs yet: the first command starts the node.
    pub(crate) fn new(ottofile: &str) -> Result<Self, String> {
        let folder = || tempfile::tempdir().map_err(|error| error.to_string());
        let node = Self { home: folder()?, repository: folder()? };
        let path = node.repository.path().join("Ottofile");
        std::fs::write(path, ottofile).map_err(|error| error.to_string())?;
        Ok(node)
    }

    /// An `otto` command of this node, in its repository.
    pub(crate) fn otto(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(otto());
        command.args(arguments).current_dir(self.repository.path());
        command.env("OTTO_HOME", self.home.path());
        command
    }

    /// Where the node's data is.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where the repository is.
    pub(crate) fn repository(&self) -> &Path {
        self.repository.path()
    }

    /// The processes of this node.
    pub(crate) fn processes(&self) -> Vec<u32> {
        processes_of(self.home.path())
    }

    /// Its control process.
    pub(crate) fn control(&self) -> Option<u32> {
        self.processes().into_iter().find(|pid| name(*pid).starts_with("otto-control"))
    }

    /// Ends the node.
    pub(crate) fn stop(&self) -> Result<(), String> {
        let node = otto().with_file_name("otto-node");
        let mut command = Command::new(node);
        command.args(["stop", "--busy"]).env("OTTO_HOME", self.home.path());
        run(&mut command).map(drop)
    }
}

/// The processes of the node with this data folder: their environment or arguments name it.
pub(crate) fn processes_of(home: &Path) -> Vec<u32> {
    let home = home.as_os_str().as_encoded_bytes();
    let names_home = |pid: &u32| {
        ["environ", "cmdline"].iter().any(|file| {
            let path = PathBuf::from(format!("/proc/{pid}/{file}"));
            std::fs::read(path).is_ok_and(|text| text.windows(home.len()).any(|w| w == home))
        })
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id()).filter(names_home).collect()
}

impl Drop for Node {
    fn drop(&mut self) {
        // The node may have left by itself; there is nobody to tell.
        drop(self.stop());
    }
}
