//! Sabotage, as a port: tests and the simulation let actors die on purpose.

use std::fmt;
use std::sync::Arc;

/// Asked by every actor before it handles a message. Whoever implements it may panic.
pub trait Sabotage: fmt::Debug + Send + Sync + 'static {
    /// An actor of this kind is about to handle a message of this name.
    fn strike(&self, actor: &'static str, message: &'static str);
}

/// Nobody is out to harm: what production uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSabotage;

impl Sabotage for NoSabotage {
    fn strike(&self, _actor: &'static str, _message: &'static str) {}
}

/// A sabotage that several actors ask.
pub type SharedSabotage = Arc<dyn Sabotage>;
