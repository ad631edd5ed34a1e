//! Deadlines of calls. Every call has one; it travels with the call as the time that is left.

use std::time::Duration;
use tarpc::{context, trace};

/// What a call gets that is answered at once.
pub const USUAL: Duration = Duration::from_secs(10);
/// The longest that a call may wait for something to happen before it is answered with nothing.
pub const LONG_POLL: Duration = Duration::from_secs(5);
/// What a caller allows a long poll: its wait, and the usual time for the answer.
pub const FOLLOW: Duration = Duration::from_secs(15);
/// What a renewal gets: an agent must know in time that it cannot renew.
pub const RENEWAL: Duration = Duration::from_secs(5);
/// What a call gets that waits for a disk to keep a lot.
pub const DISK: Duration = Duration::from_mins(1);
/// The most that a peer is granted, whatever it asks for.
pub const MOST: Duration = Duration::from_mins(5);

/// The context of a call that may take `left` from now.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "tarpc counts deadlines on this clock; the simulation interposes it"
)]
pub fn context(left: Duration, trace_context: trace::Context) -> context::Context {
    let mut context = context::current();
    context.deadline = std::time::Instant::now() + left.min(MOST);
    context.trace_context = trace_context;
    context
}
