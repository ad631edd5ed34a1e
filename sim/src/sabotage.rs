//! Actors that die on purpose: the simulation lets one panic at a message of its choice.

use crate::history::{Fact, History};
use otto_actors::ports::sabotage::Sabotage;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a panic ends that the simulation wants.
const WANTED: &str = ", as the simulation wants";

/// Panics that nobody wanted, in the order in which they came.
static UNWANTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on panics are kept for the judge, in place of being printed.
pub fn watch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string();
        if !text.ends_with(WANTED) {
            UNWANTED.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }));
}

/// The panics that nobody wanted: each is a bug of ours.
#[must_use]
pub fn unwanted_panics() -> Vec<String> {
    UNWANTED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Panics once, in the actor that handles the so-manieth message from when it was set.
#[derive(Clone, Debug)]
pub struct Saboteur {
    host: String,
    history: History,
    countdown: Arc<AtomicU64>,
}

impl Saboteur {
    /// Nobody is to die yet, on this host.
    #[must_use]
    pub fn new(host: &str, history: History) -> Self {
        Self { host: host.to_owned(), history, countdown: Arc::default() }
    }

    /// Lets the actor die that handles the so-manieth message from now.
    pub fn set(&self, messages: u64) {
        self.countdown.store(messages, Ordering::Relaxed);
    }
}

impl Sabotage for Saboteur {
    fn strike(&self, actor: &'static str, message: &'static str) {
        let left = self.countdown.load(Ordering::Relaxed);
        self.countdown.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 1 {
            let what = format!("the actor {actor} panics at {message}");
            self.history.add(&self.host, Fact::Fault { what: what.clone() });
            self.history.mark(&self.host, "an actor panicked");
            panic!("{what}{WANTED}");
        }
    }
}
