//! Errands: futures that an actor has under way while it goes on handling messages.
//!
//! An errand's answer comes back as a message; so does its panic. It ends with the actor that holds
//! it, because the actor's state owns it.

use futures::FutureExt;
use ractor::{ActorRef, Message};
use std::future::Future;
use std::panic::AssertUnwindSafe;

/// An errand panicked: our bug, told to the actor instead of being lost with a task.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("finish an errand: it panicked: {0}")]
pub(crate) struct Panicked(pub(crate) String);

/// A future under way; dropping this ends it.
#[derive(Debug)]
pub(crate) struct Errand(tokio::task::JoinHandle<()>);

impl Errand {
    /// Whether its answer is still to come.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.0.is_finished()
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts `future`; its answer reaches `actor` as the message that `tell` makes of it.
pub(crate) fn start<M: Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    future: impl Future<Output = T> + Send + 'static,
    tell: impl FnOnce(Result<T, Panicked>) -> M + Send + 'static,
) -> Errand {
    let actor = actor.clone();
    Errand(tokio::spawn(async move {
        let done = AssertUnwindSafe(future).catch_unwind().await;
        // An actor that has ended needs no answer.
        actor.cast(tell(done.map_err(|panic| Panicked(words(panic.as_ref()))))).ok();
    }))
}

/// Sends `message` to `actor` after a pause, unless the errand is dropped before.
pub(crate) fn after<M: Message>(
    actor: &ActorRef<M>,
    pause: std::time::Duration,
    message: M,
) -> Errand {
    let actor = actor.clone();
    Errand(tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        actor.cast(message).ok();
    }))
}

/// What a panic said.
pub(crate) fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it did not say why".to_owned())
}
