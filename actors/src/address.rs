//! Addresses: where an actor is found that its supervisor may have started anew.
//!
//! They are handed around; there is no global registry, which simulated hosts would share.

use crate::ports::clock::SharedClock;
use otto_core::time::Span;
use ractor::rpc::CallResult;
use ractor::{ActorRef, Message, RpcReplyPort};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// Nobody answered: the actor died, or is being started. Whether the question had an effect is not
/// known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("get an answer: what is asked is being started again")]
pub(crate) struct Unanswered;

/// The address of one actor, whichever process of it lives now.
pub(crate) struct Address<M> {
    now: Arc<watch::Sender<Option<ActorRef<M>>>>,
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { now: Arc::clone(&self.now) }
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address")
    }
}

impl<M: Message> Address<M> {
    /// An address at which nobody lives yet.
    pub(crate) fn vacant() -> Self {
        Self { now: Arc::new(watch::Sender::new(None)) }
    }

    /// From now on this actor lives here.
    pub(crate) fn set(&self, actor: ActorRef<M>) {
        self.now.send_replace(Some(actor));
    }

    /// Sends a message; it is lost where nobody lives, as it would be with an actor that dies.
    pub(crate) fn tell(&self, message: M) {
        if let Some(actor) = self.now.borrow().as_ref() {
            actor.cast(message).ok();
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(RpcReplyPort<T>) -> M,
    ) -> Result<T, Unanswered> {
        let actor = self.now.borrow().clone().ok_or(Unanswered)?;
        ask(&actor, question).await
    }
}

/// Asks an actor, and waits for the answer.
pub(crate) async fn ask<M: Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    question: impl FnOnce(RpcReplyPort<T>) -> M,
) -> Result<T, Unanswered> {
    match actor.call(question, None).await {
        Ok(CallResult::Success(answer)) => Ok(answer),
        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => Err(Unanswered),
    }
}

/// How long a question is repeated while what is asked is being started again.
const PATIENCE: Span = Span::seconds(10);
/// The pause before it is repeated.
const PAUSE: Span = Span(50);

/// Asks, and asks again for some seconds while the answer is that there is none.
pub(crate) async fn patiently<T, E, F>(
    clock: &SharedClock,
    unanswered: impl Fn(&E) -> bool,
    mut ask: impl FnMut() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let deadline = clock.now().after(PATIENCE);
    loop {
        match ask().await {
            Err(denial) if unanswered(&denial) && clock.now() < deadline => {
                tokio::time::sleep(PAUSE.to_duration()).await;
            }
            answer => return answer,
        }
    }
}
