//! Whom a token signs in, as the cluster knows it now: a node's own register may be behind by any
//! time, for it may be cut off.
//!
//! Nobody is turned away for a token of which this node did not hear yet, and nobody is answered
//! for one that was revoked more than [`TRUSTED`] ago: the register counts for so long after
//! whoever leads the cluster was asked for it. So a revocation is in force everywhere when that has
//! passed.

use crate::control::Majority;
use crate::identity::door::Admission;
use otto_core::cluster::register::Register;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long what the leader told is acted on.
pub const TRUSTED: Duration = Duration::from_millis(500);
/// How long the leader has to answer: less than whoever says hello waits.
const ALLOWED: Duration = Duration::from_secs(3);

/// Asks whoever leads the cluster.
#[derive(Clone, Debug)]
pub struct Fresh {
    asked: Arc<dyn Admission>,
    majority: Majority,
    latest: Arc<Mutex<Latest>>,
    /// One asks at a time, and the others get the same answer.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Latest {
    register: Arc<Register>,
    /// When that was asked for.
    asked: Option<Instant>,
    /// When it was last not to be had.
    failed: Option<Instant>,
}

impl Fresh {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(asked: Arc<dyn Admission>, majority: Majority) -> Self {
        Self { asked, majority, latest: Arc::default(), turn: Arc::default() }
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest register that was asked for, whenever that was.
    pub(super) fn known(&self) -> Arc<Register> {
        Arc::clone(&self.latest().register)
    }

    /// The register, asked for no longer than `age` before this call.
    ///
    /// # Errors
    /// Why it is not to be had, for people.
    pub(super) async fn within(&self, age: Duration) -> Result<Arc<Register>, String> {
        let called = Instant::now();
        let from = called.checked_sub(age).unwrap_or(called);
        if let Some(register) = self.asked_since(from) {
            return Ok(register);
        }
        let _turn = self.turn.lock().await;
        if let Some(register) = self.asked_since(from) {
            return Ok(register);
        }
        let lack = || {
            let nobody = || "nobody leads the cluster at the moment".to_owned();
            self.majority.lack().unwrap_or_else(nobody)
        };
        if self.latest().failed.is_some_and(|failed| failed >= called) {
            return Err(lack());
        }
        let asked = Instant::now();
        let answer = tokio::select! {
            biased;
            answer = timeout(ALLOWED, self.asked.view()) => answer.ok().and_then(Result::ok),
            () = self.majority.is_lost() => None,
        };
        let mut latest = self.latest();
        let Some(cluster) = answer else {
            latest.failed = Some(Instant::now());
            drop(latest);
            return Err(lack());
        };
        latest.register = Arc::new(cluster.register());
        latest.asked = Some(asked);
        Ok(Arc::clone(&latest.register))
    }

    fn asked_since(&self, from: Instant) -> Option<Arc<Register>> {
        let latest = self.latest();
        latest.asked.is_some_and(|asked| asked >= from).then(|| Arc::clone(&latest.register))
    }
}
