//! The time of day, as a port. Sleeping goes through the runtime's timer, which simulation
//! controls.

use otto_core::time::Timestamp;
use std::fmt;
use std::sync::Arc;

/// Tells the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Now: the wall clock at take-over plus the time since boot; it never goes backwards.
    fn now(&self) -> Timestamp;
}

/// A clock that several actors read.
pub type SharedClock = Arc<dyn Clock>;
