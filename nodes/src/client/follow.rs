//! Follows: long polls, one behind the other, that remember where they are.

use super::{Client, ClientError};
use crate::rpc::api::{Follow, LogEnd, ReadLog};
use crate::wire::deadline::LONG_POLL;
use crate::wire::frame::MAX_LOG_PART;
use otto_core::ids::{Attempt, RunId, StageId};
use otto_core::journal::decode;
use otto_core::run::event::Entry;

/// Follows a run's journal.
#[derive(Debug)]
pub struct RunFollow {
    client: Client,
    run: RunId,
    after: u64,
    retired: bool,
}

impl RunFollow {
    pub(super) fn new(client: Client, run: RunId, after: u64) -> Self {
        Self { client, run, after, retired: false }
    }

    /// How many entries of the run were answered or passed over so far.
    pub fn version(&self) -> u64 {
        self.after
    }

    /// The next entries, as soon as there are any; `None` when the run is retired and all of its
    /// entries were answered. May be dropped and called again without a gap.
    ///
    /// # Errors
    /// When there is no such run, the node cannot be reached, or this build cannot read an entry.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, ClientError> {
        while !self.retired {
            let (run, after) = (self.run, self.after);
            let followed = self.client.entries(Follow { run, after, wait_ms: wait_ms() }).await?;
            let entries: Result<Vec<Entry>, _> =
                followed.entries.iter().map(|bytes| decode("journal entry", bytes)).collect();
            let entries = entries.map_err(|error| ClientError::Garbled(error.to_string()))?;
            self.after += entries.len() as u64;
            self.retired = followed.retired;
            if !entries.is_empty() {
                return Ok(Some(entries));
            }
        }
        Ok(None)
    }
}

/// Follows an attempt's log.
#[derive(Debug)]
pub struct LogFollow {
    client: Client,
    read: ReadLog,
    end: Option<LogEnd>,
}

impl LogFollow {
    pub(super) fn new(
        client: Client,
        run: RunId,
        stage: StageId,
        attempt: Attempt,
        offset: u64,
    ) -> Self {
        let limit = u32::try_from(MAX_LOG_PART).unwrap_or(u32::MAX);
        let read =
            ReadLog { run, stage, attempt, offset, limit, wait_ms: wait_ms(), measure: false };
        Self { client, read, end: None }
    }

    /// The byte behind the last one that was answered.
    pub fn offset(&self) -> u64 {
        self.read.offset
    }

    /// How the log ends, once [`LogFollow::next`] has answered `None`.
    pub fn end(&self) -> Option<LogEnd> {
        self.end
    }

    /// The next bytes, as soon as there are any; `None` at the end of an attempt that is over. May
    /// be dropped and called again without a gap.
    ///
    /// # Errors
    /// When there is no such attempt, or the node cannot be reached.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        while self.end.is_none() {
            let part = self.client.log_part(self.read).await?;
            self.read.offset += part.bytes.len() as u64;
            self.end = part.end;
            if !part.bytes.is_empty() {
                return Ok(Some(part.bytes));
            }
        }
        Ok(None)
    }
}

fn wait_ms() -> u32 {
    u32::try_from(LONG_POLL.as_millis()).unwrap_or(u32::MAX)
}
