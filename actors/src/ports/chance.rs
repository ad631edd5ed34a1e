//! Chance, as a port: the jitter of back-offs comes from a seed, so that simulation repeats it.

use std::fmt;
use std::sync::Arc;

/// A source of seeded random numbers.
pub trait Chance: fmt::Debug + Send + Sync + 'static {
    /// A number from zero up to, but not including, `bound`; zero where `bound` is zero.
    fn below(&self, bound: u64) -> u64;
}

/// A source that several actors draw from.
pub type SharedChance = Arc<dyn Chance>;
