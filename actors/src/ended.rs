//! Which child of a supervisor has ended, and of what.

use ractor::{ActorCell, SupervisionEvent};

/// A child that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Which.
    pub(crate) child: ActorCell,
    /// What it died of, in words.
    pub(crate) cause: String,
    /// It failed, and did not stop by itself.
    pub(crate) failed: bool,
}

impl Ended {
    /// What an event says of a child's end; `None` where it says something else.
    pub(crate) fn of(event: SupervisionEvent) -> Option<Self> {
        match event {
            SupervisionEvent::ActorFailed(child, cause) => {
                Some(Self { child, cause: cause.to_string(), failed: true })
            }
            SupervisionEvent::ActorTerminated(child, _, cause) => {
                let cause = cause.unwrap_or_else(|| "it ended early".to_owned());
                Some(Self { child, cause, failed: false })
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => None,
        }
    }
}
