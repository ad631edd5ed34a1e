//! Carries what a step prints from its pipe into the spool.

use super::spool::{Log, Writer};
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::unix::pipe;

/// What is read at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// What the kernel holds between a step and the pump, where it lets us have so much.
const PIPE_BYTES: usize = 1 << 20;
/// After so many reads without a wait, others have their turn.
const TURN_READS: usize = 8;
/// How long to wait before a disk that took nothing is tried again.
pub(super) const DISK_PAUSE: Duration = Duration::from_millis(500);

/// One step's output on its way. [`Pump::run`] may be dropped and called again: nothing is lost.
#[derive(Debug)]
pub(super) struct Pump {
    output: pipe::Receiver,
    log: Writer,
    buffer: Vec<u8>,
    /// What was read and is not in the spool yet.
    pending: Range<usize>,
    /// The disk took nothing when it was last tried.
    stuck: bool,
    done: bool,
}

impl Pump {
    /// Makes the pipe: the pump on its reading end, and the end to write into.
    pub(super) fn new(log: Arc<Log>) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // A user has only so much for large pipes; the smaller one works too.
        rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES).ok();
        let output = pipe::Receiver::from_owned_fd(reader)?;
        let buffer = Vec::with_capacity(BUFFER_BYTES);
        let log = Writer::of(log);
        Ok((Self { output, log, buffer, pending: 0..0, stuck: false, done: false }, writer))
    }

    /// Whether nobody can print any more and all of it is in the spool.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the disk took nothing when it was last tried.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Carries until nobody can print any more.
    pub(super) async fn run(&mut self) {
        while !self.done {
            if self.stuck {
                tokio::time::sleep(DISK_PAUSE).await;
            } else if self.output.readable().await.is_err() {
                self.done = true;
                return;
            }
            for _ in 0..TURN_READS {
                if !self.carry() {
                    break;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads once and writes it; answers whether there may be more at once.
    fn carry(&mut self) -> bool {
        self.stuck = !self.flush();
        if self.stuck {
            return false;
        }
        self.buffer.clear();
        match self.output.try_read_buf(&mut self.buffer) {
            Ok(0) => self.done = true,
            Ok(read) => self.pending = 0..read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => self.done = true,
        }
        self.stuck = !self.flush();
        !self.stuck && !self.done
    }

    /// Writes what is pending; answers whether all of it is written.
    fn flush(&mut self) -> bool {
        while !self.pending.is_empty() {
            match self.log.print(&self.buffer[self.pending.clone()]) {
                Ok(taken) => self.pending.start += taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if !self.stuck {
                        tracing::warn!(%error, "a step waits: its log cannot be written");
                    }
                    return false;
                }
            }
        }
        true
    }
}

impl Drop for Pump {
    /// Passes over what cannot be written any more, so that the log says how much that is: it is
    /// not closed before.
    fn drop(&mut self) {
        let mut left = self.pending.len();
        // A pipe holds no more than this, however fast somebody may go on writing.
        while !self.done && left < PIPE_BYTES {
            self.buffer.clear();
            match self.output.try_read_buf(&mut self.buffer) {
                Ok(0) | Err(_) => break,
                Ok(read) => left += read,
            }
        }
        self.log.pass_over(left);
    }
}
