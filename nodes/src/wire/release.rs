//! Of which release this image is: what it calls itself, and what it understands.
//!
//! A program says so first thing in its `main`. What belongs to a later release than the one that
//! it is, it does not do: so tests run an earlier one beside the present one, from one source.

use otto_core::cluster::level;
use otto_core::cluster::state::Levels;
use std::sync::OnceLock;

/// A release of Otto.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// Its number: `0.1.0`.
    pub version: &'static str,
    /// What it understands of what a cluster writes.
    pub levels: Levels,
    /// The methods of this source that it does not have yet, by their names on the wire.
    pub lacks: &'static [&'static str],
}

/// What this process is.
static OURS: OnceLock<Release> = OnceLock::new();

impl Release {
    /// The release that this source is.
    pub const NEWEST: Self =
        Self { version: env!("CARGO_PKG_VERSION"), levels: level::UNDERSTOOD, lacks: &[] };

    /// The one that this process is of: the newest, where nobody said otherwise.
    #[must_use]
    pub fn ours() -> &'static Self {
        OURS.get_or_init(|| Self::NEWEST)
    }

    /// Makes this process one of this release. Only what comes first can say so.
    ///
    /// # Panics
    /// Where it is of one already.
    pub(crate) fn begin(self) {
        assert!(OURS.set(self).is_ok(), "a process is of one release");
    }

    /// Whether it has a method, by its name on the wire.
    #[must_use]
    pub fn has(&self, method: &str) -> bool {
        !self.lacks.contains(&method)
    }
}
