//! The clocks of simulated machines: each may be off, drift, and jump both ways.
//!
//! A machine has a wall clock, which can be set, and a count of the time since it was started,
//! which cannot, but runs as fast as its crystal. A process reads both as the real one does: the
//! wall clock when it starts, and from then on the time that has passed. So a jump shows after the
//! next start, and drift at once.

use crate::determinism::WALL_START_S;
use otto_actors::ports::clock::Clock;
use otto_core::time::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The clock of one machine. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct MachineClock(Arc<Mutex<Hands>>);

#[derive(Clone, Copy, Debug, Default)]
struct Hands {
    /// How far somebody set the wall clock ahead.
    set_ms: i64,
    /// How much faster than true time it runs, in millionths.
    drift_ppm: i64,
    /// Since when it does.
    drifts_since_ms: u64,
    /// How far it was ahead by then, because of drift alone.
    drifted_ms: i64,
    /// How far the wall clock was ahead when the process that lives now read it.
    process_set_ms: i64,
}

impl Hands {
    fn drifted_at(&self, true_ms: u64) -> i64 {
        let since = signed(true_ms.saturating_sub(self.drifts_since_ms));
        self.drifted_ms + since * self.drift_ppm / 1_000_000
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// Simulated milliseconds since the start, while a host is at work.
fn true_ms() -> Option<u64> {
    let elapsed = turmoil::sim_elapsed()?;
    u64::try_from(elapsed.as_millis()).ok()
}

impl MachineClock {
    fn lock(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the wall clock ahead, or back, by so much.
    pub fn jump(&self, by_ms: i64) {
        let mut hands = self.lock();
        hands.set_ms = hands.set_ms.saturating_add(by_ms);
    }

    /// Lets the clock run faster or slower from now on.
    pub fn drift(&self, ppm: i64, now_ms: u64) {
        let mut hands = self.lock();
        hands.drifted_ms = hands.drifted_at(now_ms);
        hands.drifts_since_ms = now_ms;
        hands.drift_ppm = ppm;
    }

    /// Puts the clock right, as a time service would; what it had drifted is gone.
    pub fn put_right(&self, now_ms: u64) {
        let mut hands = self.lock();
        *hands = Hands {
            drifts_since_ms: now_ms,
            // The process that lives keeps its own count.
            process_set_ms: hands.process_set_ms + hands.drifted_at(now_ms),
            ..Hands::default()
        };
    }

    /// Whether the wall clock shows another time than there is.
    #[must_use]
    pub fn is_set_wrong(&self) -> bool {
        self.lock().set_ms != 0
    }

    /// A process starts, and reads the wall clock.
    #[must_use]
    pub fn start_process(&self) -> ProcessClock {
        let mut hands = self.lock();
        hands.process_set_ms = hands.set_ms;
        ProcessClock(self.clone())
    }

    /// How far the time of the process that lives is ahead of the truth.
    #[must_use]
    pub fn process_ahead_ms(&self, now_ms: u64) -> i64 {
        let hands = self.lock();
        hands.process_set_ms.saturating_add(hands.drifted_at(now_ms))
    }
}

/// The time as a process tells it.
#[derive(Clone, Debug)]
pub struct ProcessClock(MachineClock);

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        let true_ms = true_ms().unwrap_or_default();
        let ahead = self.0.process_ahead_ms(true_ms);
        Timestamp((WALL_START_S * 1000 + true_ms).saturating_add_signed(ahead))
    }
}

/// The true time as a timestamp.
#[must_use]
pub fn at(true_ms: u64) -> Timestamp {
    Timestamp(WALL_START_S * 1000 + true_ms)
}

#[cfg(test)]
mod tests {
    use super::MachineClock;

    #[test]
    fn jumps_show_at_the_next_start_and_drift_at_once() {
        let clock = MachineClock::default();
        drop(clock.start_process());
        clock.jump(5_000);
        assert_eq!(clock.process_ahead_ms(10_000), 0);
        drop(clock.start_process());
        assert_eq!(clock.process_ahead_ms(10_000), 5_000);
        clock.drift(-100_000, 10_000);
        assert_eq!(clock.process_ahead_ms(20_000), 4_000);
        clock.drift(0, 20_000);
        assert_eq!(clock.process_ahead_ms(90_000), 4_000);
        clock.put_right(90_000);
        assert_eq!(clock.process_ahead_ms(99_000), 4_000, "the process goes on as it was");
        drop(clock.start_process());
        assert_eq!(clock.process_ahead_ms(99_000), 0);
    }
}
