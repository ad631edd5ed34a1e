//! Who is connected, and when nobody has been for long enough.

use otto_actors::control::ControlSide;
use std::time::Duration;
use tokio::sync::watch;

/// Counts the clients that are connected. Agents do not count: they are always there.
#[derive(Clone, Debug)]
pub struct Presence(watch::Sender<Count>);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Count {
    here: u32,
    /// How many ever came, so that one who came and left is noticed.
    came: u64,
}

impl Default for Presence {
    fn default() -> Self {
        Self(watch::Sender::new(Count::default()))
    }
}

/// A client's presence, until it is dropped.
#[derive(Debug)]
pub struct Visit(watch::Sender<Count>);

impl Presence {
    /// A client came.
    #[must_use]
    pub fn enter(&self) -> Visit {
        self.0.send_modify(|count| {
            count.here += 1;
            count.came += 1;
        });
        Visit(self.0.clone())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.send_modify(|count| count.here -= 1);
    }
}

/// Returns when no client was there for so long and no run is unfinished; never without a limit.
pub(super) async fn idle(presence: &Presence, side: &ControlSide, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    let mut count = presence.0.subscribe();
    loop {
        // The time starts anew with each client, so that it is no longer than it is said to be.
        let nobody = count.wait_for(|count| count.here == 0).await.is_ok();
        let came = tokio::time::timeout(limit, count.changed()).await;
        let quiet = nobody && came.is_err();
        if quiet && side.unfinished().await == Ok(0) {
            tracing::info!(?limit, "idle: the node leaves");
            return;
        }
    }
}
