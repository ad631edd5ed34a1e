//! Shipping: brings an attempt's log from the spool to the control side, until all of it is there
//! and durable.

use crate::agent::roads::Place;
use crate::agent::{Outside, within};
use crate::backoff;
use crate::ports::control::{Control, LinkError};
use crate::ports::logs::LogError;
use futures::stream::{FuturesOrdered, StreamExt};
use otto_core::lease::LeaseId;
use otto_core::time::Span;

/// How many bytes travel in one piece.
const PIECE_BYTES: usize = 192 * 1024;
/// How many pieces are on their way at a time, so that neither end waits for the other.
const WINDOW: usize = 4;
/// How long less than a whole piece gathers after another was sent. Whoever looks on does not
/// notice; a stage of many short steps would otherwise send a piece for each of them.
const GATHER: Span = Span(25);
/// How long a call may take.
const CALL: Span = Span::seconds(10);
/// The longest pause before a call is repeated.
const LONGEST: Span = Span::seconds(2);
/// How often the spool may fail before the rest of a log is given up.
const SPOOL_TRIES: u32 = 10;

/// The lease is stale: nobody takes the rest of the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("deliver the log: {0}")]
pub(crate) struct Stale(String);

/// Ships a log; answers its length when the control side has sealed it.
pub(super) async fn ship(outside: Outside, lease: LeaseId) -> Result<u64, Stale> {
    let place = outside.ports.roads.place_of(lease);
    Shipping { outside, lease, sent: 0, failures: 0, place }.ship().await
}

/// Closes a log. Its last line may say what is cut off, so it waits for a disk that takes nothing:
/// a log that lacks something without saying so is worse than a stage that ends late.
pub(super) async fn close(outside: &Outside, lease: LeaseId) {
    let mut failures = 0;
    while let Err(error) = outside.ports.spool.close(lease).await {
        if failures == 0 {
            tracing::warn!(%lease, %error, "a stage waits: its log cannot be ended");
        }
        let pause = backoff::pause(failures, LONGEST, outside.ports.chance.as_ref());
        failures = failures.saturating_add(1);
        tokio::time::sleep(pause.to_duration()).await;
    }
}

struct Shipping {
    outside: Outside,
    lease: LeaseId,
    /// How many bytes the control side has, by its last word.
    sent: u64,
    /// How many calls failed since one came through.
    failures: u32,
    /// Who leads the run's shard, when that was looked at last.
    place: Option<Place>,
}

impl Shipping {
    async fn ship(mut self) -> Result<u64, Stale> {
        let mut changes = self.outside.ports.roads.changes();
        loop {
            let grown = tokio::select! {
                biased;
                grown = self.grown() => grown,
                Ok(()) = changes.changed() => {
                    self.look_at_leader().await;
                    continue;
                }
            };
            let (length, closed) = match grown {
                Ok(grown) => grown,
                Err(error) => {
                    self.again().await;
                    if self.failures < SPOOL_TRIES {
                        continue;
                    }
                    // The disk under the spool is gone. What was delivered is the log.
                    tracing::error!(lease = %self.lease, %error, "the rest of a log is lost");
                    (self.sent, true)
                }
            };
            if self.sent < length {
                self.send().await?;
                if !closed {
                    self.gather().await;
                }
            } else if closed && self.seal(length).await? {
                return Ok(length);
            }
        }
    }

    /// Another leader may have less of the log than the last one: whoever reads it there wants the
    /// rest, although nothing new is printed.
    async fn look_at_leader(&mut self) {
        let place = self.outside.ports.roads.place_of(self.lease);
        if self.place != place {
            self.place = place;
            self.ask(self.sent).await;
        }
    }

    async fn grown(&self) -> Result<(u64, bool), LogError> {
        self.outside.ports.spool.grown(self.lease, self.sent).await
    }

    /// Waits until there is a whole piece to send, or the log is closed, but not for long.
    async fn gather(&self) {
        let less_than_a_piece = self.sent + PIECE_BYTES as u64 - 1;
        let grown = self.outside.ports.spool.grown(self.lease, less_than_a_piece);
        // Whatever is there by then is sent, and what fails here fails again where it is told.
        tokio::time::timeout(GATHER.to_duration(), grown).await.ok();
    }

    /// Sends what is there. Each answer says where to go on: behind its piece, or elsewhere where
    /// the control side was started anew and had not kept all; what follows is then sent again.
    async fn send(&mut self) -> Result<(), Stale> {
        let mut under_way = FuturesOrdered::new();
        let mut next = self.sent;
        loop {
            while under_way.len() < WINDOW {
                let read = self.outside.ports.spool.read(self.lease, next, PIECE_BYTES).await;
                let Ok(bytes) = read else {
                    self.again().await;
                    return Ok(());
                };
                if bytes.is_empty() {
                    break;
                }
                let offset = next;
                next += bytes.len() as u64;
                under_way.push_back(self.piece(offset, bytes));
            }
            let Some((end, answer)) = under_way.next().await else { return Ok(()) };
            match answer {
                Ok(length) => {
                    self.sent = length;
                    self.failures = 0;
                    if length != end {
                        return Ok(());
                    }
                }
                Err(LinkError::Unreachable(_) | LinkError::NotHere { .. }) => {
                    self.again().await;
                    return Ok(());
                }
                Err(LinkError::Refused(cause)) => return Err(Stale(cause)),
            }
        }
    }

    /// Sends one piece; answers where it ends, and how much the control side says that it has.
    fn piece(
        &self,
        offset: u64,
        bytes: Vec<u8>,
    ) -> impl Future<Output = (u64, Result<u64, LinkError>)> + use<> {
        let (control, lease) = (self.outside.ports.roads.clone(), self.lease);
        let (agent, end) = (self.outside.settings.agent, offset + bytes.len() as u64);
        async move { (end, within(CALL, control.log(agent, lease, offset, bytes)).await) }
    }

    async fn seal(&mut self, length: u64) -> Result<bool, Stale> {
        let control = &self.outside.ports.roads;
        let call = control.seal(self.outside.settings.agent, self.lease, length);
        match within(CALL, call).await {
            Ok(true) => Ok(true),
            Ok(false) => {
                // It has less than it said before: an empty piece asks how much.
                self.again().await;
                self.ask(length).await;
                Ok(false)
            }
            Err(LinkError::Unreachable(_) | LinkError::NotHere { .. }) => {
                self.again().await;
                Ok(false)
            }
            Err(LinkError::Refused(cause)) => Err(Stale(cause)),
        }
    }

    /// Asks how much is there, with an empty piece behind what should be.
    async fn ask(&mut self, length: u64) {
        let control = &self.outside.ports.roads;
        let call = control.log(self.outside.settings.agent, self.lease, length, Vec::new());
        if let Ok(there) = within(CALL, call).await {
            self.sent = there;
        }
    }

    async fn again(&mut self) {
        let chance = self.outside.ports.chance.as_ref();
        let pause = backoff::pause(self.failures, LONGEST, chance);
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(pause.to_duration()).await;
    }
}
