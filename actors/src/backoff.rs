//! How long a supervisor waits before it starts a dead child again.

use crate::ports::chance::Chance;
use otto_core::time::Span;

/// The pause after the first death.
const SHORTEST: Span = Span(100);
/// The pause that no further death makes longer.
const LONGEST: Span = Span::seconds(30);
/// After so many deaths `why` says that a child is stuck.
const STUCK: u32 = 10;

/// How often a child died, and of what.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Deaths {
    /// How often.
    pub(crate) count: u32,
    /// What the last one died of.
    pub(crate) cause: String,
}

impl Deaths {
    /// Takes down one more death; answers the pause before the child is started again: doubled with
    /// each death, with up to a half of it left to chance.
    pub(crate) fn another(&mut self, cause: String, chance: &dyn Chance) -> Span {
        let pause = pause(self.count, LONGEST, chance);
        self.count = self.count.saturating_add(1);
        self.cause = cause;
        pause
    }

    /// Whether starting it again has not helped for long.
    pub(crate) fn stuck(&self) -> bool {
        self.count >= STUCK
    }
}

/// The pause before something is tried once more that failed `before` times before.
pub(crate) fn pause(before: u32, longest: Span, chance: &dyn Chance) -> Span {
    let full = (SHORTEST.0 << before.min(16)).min(longest.0);
    Span(full - chance.below(full / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Always(u64);

    impl Chance for Always {
        fn below(&self, bound: u64) -> u64 {
            self.0.min(bound.saturating_sub(1))
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let check = |chance: Always, expected: &[u64]| {
            let mut deaths = Deaths::default();
            let pauses = expected.iter().map(|_| deaths.another("x".to_owned(), &chance).0);
            assert_eq!(pauses.collect::<Vec<_>>(), expected);
        };
        check(Always(0), &[100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        check(Always(u64::MAX), &[51, 101, 201]);
    }

    #[test]
    fn the_tenth_death_makes_it_stuck() {
        let mut deaths = Deaths::default();
        let stuck: Vec<bool> = (0..11)
            .map(|_| {
                deaths.another("x".to_owned(), &Always(0));
                deaths.stuck()
            })
            .collect();
        assert_eq!(stuck.iter().filter(|stuck| !**stuck).count(), 9);
        assert!(stuck[9]);
    }
}
