//! Stages that no agent can serve, and what the node says of them.

use crate::client::{Client, ClientError};
use crate::rpc::api::Why;
use otto_core::capability::Need;
use otto_core::ids::{RunId, StageId};
use otto_core::run::Run;
use otto_core::run::state::Phase;
use otto_core::time::{Span, Timestamp};
use std::collections::BTreeMap;

/// How long a stage is offered before anybody asks: agents take most within moments.
const MOMENTS: Span = Span::seconds(2);

/// Why stages wait, in the node's words.
pub(super) type Reasons = BTreeMap<StageId, String>;

/// What nobody took within moments: for each need, the first stage that has it. Others with the
/// same need wait for the same reason.
pub(super) fn waiting(run: &Run, now: Timestamp) -> BTreeMap<Need, StageId> {
    let mut waiting = BTreeMap::new();
    for (id, stage, state) in run.stages() {
        if let Phase::Offered { since, .. } = &state.phase
            && now.since(*since) >= MOMENTS
            && !waiting.contains_key(&stage.runtime)
        {
            waiting.insert(stage.runtime.clone(), id);
        }
    }
    waiting
}

/// Asks the node about those that no agent can serve. Who waits for a free slot has only to wait.
///
/// # Errors
/// When the node cannot be reached.
pub(super) async fn reasons(
    client: Client,
    run: RunId,
    waiting: BTreeMap<Need, StageId>,
) -> Result<Reasons, ClientError> {
    let mut reasons = Reasons::new();
    let agents = client.agents().await?;
    for (need, stage) in waiting {
        if agents.iter().any(|agent| agent.capabilities.lacks(&need).is_empty()) {
            continue;
        }
        let why = client.why(Why { run, stage: Some(stage) }).await?;
        let words: Vec<String> = why.into_iter().map(|reason| reason.text).collect();
        reasons.insert(stage, words.join("; "));
    }
    Ok(reasons)
}
