//! Where the store's writers run in a simulation: as tasks, with simulated time for each commit.

use otto_nodes::store::{Executor, Writer};
use std::io;
use std::time::Duration;

/// Runs each writer as a task of the host that opens the store.
#[derive(Clone, Copy, Debug)]
pub struct Tasks {
    /// How long a commit takes.
    pub commit: Duration,
}

impl Default for Tasks {
    /// About what an fdatasync takes.
    fn default() -> Self {
        Self { commit: Duration::from_micros(300) }
    }
}

impl Executor for Tasks {
    fn run(&self, _name: &'static str, mut writer: Box<dyn Writer>) -> io::Result<()> {
        let commit = self.commit;
        tokio::spawn(async move {
            while writer.ready().await {
                tokio::time::sleep(commit).await;
                if !writer.work() {
                    break;
                }
            }
        });
        Ok(())
    }
}
