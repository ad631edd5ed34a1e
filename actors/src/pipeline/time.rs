//! A run's time: it goes on from where its journal is, whatever the clock of this node says.
//!
//! A node whose clock was ahead may have led the run before. What it wrote down is due by that
//! clock: by one that is right, a pause of a second would last for as long as the other was ahead.

use crate::ports::clock::{Clock, SharedClock};
use otto_core::time::{Span, Timestamp};
use std::sync::Arc;

/// A clock that is ahead of another one.
#[derive(Debug)]
struct Ahead {
    clock: SharedClock,
    by: Span,
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.clock.now().after(self.by)
    }
}

/// Has a clock go on from a run's last entry, where it is behind that; answers by how much it was.
pub(super) fn go_on(last: Timestamp, clock: &mut SharedClock) -> Span {
    let by = last.since(clock.now());
    if by > Span::default() {
        *clock = Arc::new(Ahead { clock: Arc::clone(clock), by });
    }
    by
}

#[cfg(test)]
mod tests {
    use super::go_on;
    use crate::ports::clock::{Clock, SharedClock};
    use otto_core::time::{Span, Timestamp};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A clock that is one millisecond on whenever it is read.
    #[derive(Debug)]
    struct Reading(AtomicU64);

    impl Clock for Reading {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    #[test]
    fn time_goes_on_from_the_last_entry() {
        for (last, ahead, then) in [(0, 0, 1_001), (1_000, 0, 1_001), (9_000, 8_000, 9_001)] {
            let mut clock: SharedClock = Arc::new(Reading(AtomicU64::new(1_000)));
            assert_eq!(go_on(Timestamp(last), &mut clock), Span(ahead), "{last}");
            assert_eq!(clock.now(), Timestamp(then), "{last}");
        }
    }
}
