//! Steps as they run: real processes with a real control socket, and fixtures in several languages.

mod artifacts;
mod authors;
mod book;
mod git;
mod manifests;
mod packages;
mod protocol;
mod small;

use otto_core::step::Library;
use otto_core::value::Value;
use otto_stdlib::trial::{self, Setup, Trial, TrialError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The executable that answers to the names of the image's steps.
const IMAGE: &str = env!("CARGO_BIN_EXE_otto-step");

/// A workspace, and what a step in it is started with.
struct Bench {
    folder: tempfile::TempDir,
    settings: BTreeMap<String, String>,
    artifacts: BTreeMap<String, Vec<u8>>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("workspace")).expect("made");
        Self { folder, settings: BTreeMap::new(), artifacts: BTreeMap::new() }
    }

    fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    /// Writes a file in the workspace, and the folders that it lies in.
    fn write(&self, path: &str, content: &str) {
        let path = self.workspace().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.workspace().join(path)).expect("there")
    }

    /// Runs a step of Otto's own.
    fn step(&self, symbol: &str, arguments: &[(&str, Value)]) -> Trial {
        self.run(otto_stdlib::builtin(), Path::new("/"), symbol, arguments).expect("it runs")
    }

    fn run(
        &self,
        library: &Library,
        repository: &Path,
        symbol: &str,
        arguments: &[(&str, Value)],
    ) -> Result<Trial, TrialError> {
        let scratch = tempfile::tempdir().expect("a folder");
        trial::run(&Setup {
            library,
            symbol,
            repository,
            arguments: arguments
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            configuration: BTreeMap::new(),
            settings: self.settings.clone(),
            workspace: &self.workspace(),
            scratch: scratch.path(),
            image: Path::new(IMAGE),
            artifacts: self.artifacts.clone(),
            random: &[7; 32],
        })
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}
