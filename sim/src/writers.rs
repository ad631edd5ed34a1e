//! Where the store's writers run in a simulation: as tasks, with simulated time for each commit.

use otto_nodes::store::{Executor, Writer};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// About what an fdatasync takes.
const COMMIT: Duration = Duration::from_micros(300);

/// Runs each writer as a task of the host that opens the store.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    /// How many milliseconds longer a commit takes.
    pub slower_ms: Arc<AtomicU64>,
}

impl Executor for Tasks {
    fn run(&self, _name: &'static str, mut writer: Box<dyn Writer>) -> io::Result<()> {
        let slower_ms = Arc::clone(&self.slower_ms);
        tokio::spawn(async move {
            while writer.ready().await {
                let slower = Duration::from_millis(slower_ms.load(Ordering::Relaxed));
                tokio::time::sleep(COMMIT + slower).await;
                if !writer.work() {
                    break;
                }
            }
        });
        Ok(())
    }
}
