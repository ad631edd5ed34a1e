//! Ports in memory: what the actors of these tests take for the outside.

pub(crate) mod ground;
pub(crate) mod journal;
pub(crate) mod stores;

use otto_actors::ports::chance::Chance;
use otto_actors::ports::clock::Clock;
use otto_actors::ports::sabotage::Sabotage;
use otto_core::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// A clock over the runtime's paused time.
#[derive(Debug)]
pub(crate) struct TokioClock {
    start: Instant,
}

impl TokioClock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap();
        Timestamp(1_700_000_000_000 + passed)
    }
}

/// Chance from a seed: a splitmix generator.
#[derive(Debug)]
pub(crate) struct Seeded(pub(crate) AtomicU64);

impl Chance for Seeded {
    fn below(&self, bound: u64) -> u64 {
        let state = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        if bound == 0 { 0 } else { (mixed ^ (mixed >> 27)) % bound }
    }
}

/// What an actor handles: its kind and the message's name.
pub(crate) type Act = (&'static str, &'static str);

/// The how-manieth time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Which {
    Nth(u32),
    Every,
}

/// Counts what actors handle, and lets one die where it was told to.
#[derive(Debug, Default)]
pub(crate) struct Saboteur {
    target: Option<(Act, Which)>,
    pub(crate) seen: Mutex<BTreeMap<Act, u32>>,
}

impl Saboteur {
    /// Lets the actor die that handles this message for the `nth` time, counted from 1.
    pub(crate) fn at(act: Act, nth: u32) -> Self {
        Self { target: Some((act, Which::Nth(nth))), seen: Mutex::default() }
    }

    /// Lets every actor die that handles this message.
    pub(crate) fn always(act: Act) -> Self {
        Self { target: Some((act, Which::Every)), seen: Mutex::default() }
    }

    /// Whether it came to that.
    pub(crate) fn struck(&self) -> bool {
        let seen = self.seen.lock().unwrap();
        self.target.is_none_or(|(act, which)| {
            let least = if let Which::Nth(nth) = which { nth } else { 1 };
            seen.get(&act).is_some_and(|count| *count >= least)
        })
    }
}

impl Sabotage for Saboteur {
    fn strike(&self, actor: &'static str, message: &'static str) {
        let act = (actor, message);
        let count = {
            let mut seen = self.seen.lock().unwrap();
            let count = seen.entry(act).or_insert(0);
            *count += 1;
            *count
        };
        let struck = self.target.is_some_and(|(target, which)| {
            target == act && (which == Which::Every || which == Which::Nth(count))
        });
        assert!(!struck, "sabotage: {actor} at {message} {count}");
    }
}
