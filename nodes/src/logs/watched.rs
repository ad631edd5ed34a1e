//! Logs whose growth can be waited for.

use async_trait::async_trait;
use otto_actors::ports::logs::{LogError, LogId, Logs, SharedLogs};
use tokio::sync::watch;

/// Passes on to other logs, and says whenever one of them grew.
#[derive(Debug)]
pub struct Watched {
    logs: SharedLogs,
    growth: watch::Sender<u64>,
}

impl Watched {
    /// Watches these logs. Only what passes through here is noticed.
    #[must_use]
    pub fn new(logs: SharedLogs) -> Self {
        Self { logs, growth: watch::Sender::new(0) }
    }

    /// Changes whenever some log grew or was sealed. Begin to listen, then read, then wait.
    #[must_use]
    pub fn growth(&self) -> watch::Receiver<u64> {
        self.growth.subscribe()
    }

    /// Wakes everybody who waits.
    pub fn stir(&self) {
        self.growth.send_modify(|count| *count = count.wrapping_add(1));
    }
}

#[async_trait]
impl Logs for Watched {
    async fn append(&self, log: LogId, offset: u64, bytes: &[u8]) -> Result<u64, LogError> {
        let length = self.logs.append(log, offset, bytes).await;
        self.stir();
        length
    }

    async fn seal(&self, log: LogId, length: u64) -> Result<bool, LogError> {
        let sealed = self.logs.seal(log, length).await;
        self.stir();
        sealed
    }

    async fn read(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError> {
        self.logs.read(log, offset, limit).await
    }

    async fn length(&self, log: LogId) -> Result<u64, LogError> {
        self.logs.length(log).await
    }
}
