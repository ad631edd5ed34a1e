//! The operating system's time and randomness, as ports.

use otto_actors::ports::chance::Chance;
use otto_actors::ports::clock::Clock;
use otto_core::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The wall clock when this was made, and boot time since: it neither jumps nor stops in suspend.
#[derive(Debug)]
pub struct SystemClock {
    wall: Duration,
    boot: Duration,
}

impl SystemClock {
    /// A clock that begins with the wall clock of now.
    #[must_use]
    pub fn new() -> Self {
        Self { wall: read(ClockId::Realtime), boot: read(ClockId::Boottime) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = self.wall + read(ClockId::Boottime).saturating_sub(self.boot);
        Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }
}

fn read(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or(Duration::ZERO)
}

/// A number from the operating system that nobody can guess.
///
/// # Errors
/// When `/dev/urandom` cannot be read.
pub fn seed() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

/// Numbers that follow from a seed (the sequence `SplitMix64`): good for jitter, not for secrets.
#[derive(Debug)]
pub struct SeededChance(AtomicU64);

impl SeededChance {
    /// The numbers that follow from this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Chance for SeededChance {
    fn below(&self, bound: u64) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut number = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^= number >> 31;
        let scaled = (u128::from(number) * u128::from(bound)) >> 64;
        u64::try_from(scaled).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::SeededChance;
    use otto_actors::ports::chance::Chance;

    #[test]
    fn numbers_stay_below_and_repeat_with_their_seed() {
        let draw = |seed| {
            let chance = SeededChance::new(seed);
            (0..1000).map(|_| chance.below(10)).collect::<Vec<u64>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!((0..10).all(|number| draw(3).contains(&number)));
        assert_eq!(SeededChance::new(1).below(0), 0);
    }
}
