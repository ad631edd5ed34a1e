//! Processes that are stopped and go on later, as SIGSTOP and SIGCONT do it.
//!
//! ```text
//!   running ──stop──▶ stopping ──tick──▶ stopped ──go_on──▶ going on ──tick──▶ running
//! ```
//!
//! turmoil gives every host its time in every tick. A stopped host gets it too, but its clock does
//! not move, so that none of its timers rings and nothing of it acts; the world holds its links
//! meanwhile. When it goes on, its clock shows what has passed, and everything is due at once.

use crate::determinism::StoppedClock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// So far a stopped clock moves for the tick itself, which would never end otherwise: further than
/// any tick is long.
const TICK: Duration = Duration::from_millis(5);

/// Stops the process of one host. Clones are the same brake.
#[derive(Clone, Debug, Default)]
pub struct Brake {
    state: Arc<Mutex<State>>,
    turn: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Running,
    Stopping,
    Stopped {
        clock: StoppedClock,
        since_ms: u64,
    },
    GoingOn(StoppedClock),
}

impl Brake {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process is to be stopped.
    pub fn stop(&self) {
        *self.lock() = State::Stopping;
    }

    /// The process goes on.
    pub fn go_on(&self, now_ms: u64) {
        let mut state = self.lock();
        *state = match *state {
            State::Running | State::Stopping => State::Running,
            State::Stopped { clock, since_ms } => {
                clock.show(Duration::from_millis(now_ms.saturating_sub(since_ms)));
                State::GoingOn(clock)
            }
            State::GoingOn(clock) => State::GoingOn(clock),
        };
    }

    /// Whether the process is stopped, or about to be.
    #[must_use]
    pub fn is_on(&self) -> bool {
        matches!(*self.lock(), State::Stopping | State::Stopped { .. })
    }

    /// A tick begins: called by the world, before each.
    pub fn tick(&self, now_ms: u64) {
        let mut state = self.lock();
        match &mut *state {
            State::Running => return,
            State::Stopping | State::GoingOn(_) => {}
            State::Stopped { clock, since_ms } => {
                clock.show(Duration::ZERO);
                if *since_ms == 0 {
                    *since_ms = now_ms;
                }
            }
        }
        self.turn.notify_one();
    }

    /// The process was killed: another one starts without a brake.
    pub fn release(&self) {
        let before = std::mem::take(&mut *self.lock());
        match before {
            State::Running | State::Stopping => {}
            State::Stopped { clock, .. } | State::GoingOn(clock) => clock.forget(),
        }
    }

    /// Brakes, for ever: a local task of the host, so that it has its turn before any other.
    pub async fn attend(self) {
        loop {
            self.turn.notified().await;
            let mut state = self.lock();
            match *state {
                State::Running => {}
                State::Stopping => {
                    let clock = StoppedClock::stop();
                    clock.show(TICK);
                    *state = State::Stopped { clock, since_ms: 0 };
                }
                State::Stopped { clock, .. } => clock.show(TICK),
                State::GoingOn(clock) => {
                    clock.go_on();
                    *state = State::Running;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Brake;
    use crate::determinism::{enter, leave};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tokio::time::Instant;

    /// When a host that counts seconds counted, while it is stopped from 2.5 s to almost 9.2 s.
    fn counted() -> Vec<u128> {
        enter(1);
        let counts = Arc::new(Mutex::new(Vec::new()));
        let brake = Brake::default();
        let mut sim = turmoil::Builder::new().simulation_duration(Duration::from_secs(30)).build();
        let host = {
            let (counts, brake) = (counts.clone(), brake.clone());
            move || {
                let (counts, brake) = (counts.clone(), brake.clone());
                async move {
                    tokio::task::spawn_local(brake.attend());
                    let start = Instant::now();
                    let mut interval = tokio::time::interval(Duration::from_secs(1));
                    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                    let counting = tokio::spawn(async move {
                        loop {
                            interval.tick().await;
                            counts.lock().unwrap().push(start.elapsed().as_millis() / 100);
                        }
                    });
                    counting.await.unwrap();
                    Ok(())
                }
            }
        };
        sim.host("counts", host);
        sim.client("waits", async {
            tokio::time::sleep(Duration::from_secs(11)).await;
            Ok(())
        });
        for now_ms in 1_u64.. {
            match now_ms {
                2_500 => brake.stop(),
                9_200 => brake.go_on(now_ms),
                _ => {}
            }
            brake.tick(now_ms);
            if sim.step().unwrap() {
                break;
            }
        }
        drop(sim);
        leave();
        let counts = counts.lock().unwrap();
        counts.clone()
    }

    #[test]
    fn a_stopped_process_does_nothing_and_finds_that_time_has_passed() {
        let counted = std::thread::scope(|scope| scope.spawn(counted).join().unwrap());
        assert_eq!(counted, [0, 10, 20, 91, 101]);
    }
}
