//! What answers clients: each call is handed to the actors, or read from what they left.

use super::council::Council;
use super::{ControlConfig, Ending, Neighbours};
use crate::backup::source::Pictures;
use crate::network::Principal;
use crate::rpc::api::{
    AgentView, ApiError, Ask, ClientWish, Follow, Followed, ListRuns, ListStages, Listed, LogPart,
    NodeStatus, ReadBlob, ReadLog, Reason, Retry, StagePhase, StageView, Stop, Stopped, Submit,
    Submitted, Why,
};
use crate::rpc::backup::{BackUp, BackedUp};
use crate::rpc::client_door::ClientSide;
use crate::rpc::cluster::{ChangeMember, ClusterView, NewToken, TokenView};
use crate::wire::deadline::LONG_POLL;
use crate::wire::frame::{MAX_ANSWER, MAX_BLOB_PART, MAX_LOG_PART};
use async_trait::async_trait;
use otto_actors::control::ControlSide;
use otto_actors::control::answers::{Source, SubmitRequest};
use otto_actors::ports::blobs::BlobError;
use otto_actors::ports::control::BlobPart;
use otto_actors::ports::logs::LogId;
use otto_core::ids::{Digest, PlanHash, RunId, StageId, TokenHash};
use otto_core::run::Run;
use otto_core::run::command::{Command, Continuation, Wish};
use otto_core::run::state::{Phase, StageState};
use otto_core::time::{Span, Timestamp};
use serde_bytes::ByteBuf;
use tokio::sync::mpsc;

/// The most runs that are listed at once.
const MAX_RUNS: u32 = 200;
/// The most stages that are listed at once.
const MAX_STAGES: u32 = 1000;

/// Answers clients.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) side: ControlSide,
    pub(super) council: Council,
    pub(super) config: ControlConfig,
    /// Since when this process answers.
    pub(super) since: Timestamp,
    /// Where it is said that this process shall end.
    pub(super) endings: mpsc::Sender<Ending>,
    /// The other control nodes; `None` where there can be none.
    pub(super) neighbours: Option<Neighbours>,
    /// What copies everything; `None` where nothing is on disk.
    pub(super) pictures: Option<Pictures>,
}

impl Desk {
    /// The bytes of a plan that was put as a blob; `None` where the journals must have it.
    async fn plan_blob(&self, plan: PlanHash) -> Result<Option<Vec<u8>>, ApiError> {
        let (blobs, digest) = (self.side.blobs(), Digest(plan.0));
        if !blobs.has(digest).await? {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        loop {
            let limit = u32::try_from(MAX_BLOB_PART).unwrap_or(u32::MAX);
            let part = blobs.get(digest, bytes.len() as u64, limit).await?;
            if part.is_empty() {
                return Ok(Some(bytes));
            }
            bytes.extend_from_slice(&part);
            if bytes.len() > MAX_ANSWER {
                let most = MAX_ANSWER >> 20;
                return Err(ApiError::Invalid(format!("the plan is longer than {most} MiB")));
            }
        }
    }

    /// Refuses a snapshot that is nowhere. Where a node does not answer that may have it, that is
    /// not known.
    async fn must_be_there(&self, snapshot: Digest) -> Result<(), ApiError> {
        let blobs = self.side.blobs();
        if blobs.has(snapshot).await? {
            return Ok(());
        }
        let absent = || ApiError::Invalid(format!("snapshot {snapshot} was not put before"));
        blobs.get(snapshot, 0, 1).await.map(drop).map_err(|error| match error {
            BlobError::Absent(_) => absent(),
            BlobError::Unfit(_) | BlobError::Store(_) => ApiError::NotReady(error.to_string()),
        })
    }

    async fn begin(&self, request: SubmitRequest) -> Result<Submitted, ApiError> {
        let submitted = self.side.submit(request).await?;
        Ok(Submitted { run: submitted.run, repeated: submitted.existing })
    }
}

#[async_trait]
impl ClientSide for Desk {
    async fn submit(&self, by: &Principal, submit: Submit) -> Result<Submitted, ApiError> {
        let Submit { project, key, plan, plan_bytes, snapshot } = submit;
        if let Some(snapshot) = snapshot {
            self.must_be_there(snapshot).await?;
        }
        let bytes = match plan_bytes {
            Some(bytes) => Some(bytes.into_vec()),
            None => self.plan_blob(plan).await?,
        };
        let source = Source { plan, bytes, snapshot, continues: None };
        self.begin(SubmitRequest { key, project, by: by.name.clone(), source }).await
    }

    async fn retry(&self, by: &Principal, retry: Retry) -> Result<Submitted, ApiError> {
        let earlier = self.side.view(retry.run).await?;
        let Some(begun) = earlier.begun().filter(|_| earlier.outcome().is_some()) else {
            return Err(ApiError::Refused("retry a run that goes on: cancel it first".to_owned()));
        };
        let whole = Continuation {
            number: retry.run.number,
            carried: Vec::new(),
            captured: std::collections::BTreeMap::new(),
            artifacts: std::collections::BTreeMap::new(),
        };
        let continues = if retry.everything { whole } else { earlier.continuation() };
        let source = Source {
            plan: begun.submission.plan,
            bytes: None,
            snapshot: begun.submission.snapshot,
            continues: Some(continues),
        };
        let project = begun.submission.project.clone();
        self.begin(SubmitRequest { key: retry.key, project, by: by.name.clone(), source }).await
    }

    async fn run(&self, run: RunId) -> Result<Listed, ApiError> {
        let view = self.side.view(run).await?;
        Ok(Listed { run, version: view.version(), summary: view.summary() })
    }

    async fn runs(&self, list: ListRuns) -> Result<Vec<Listed>, ApiError> {
        let limit = usize::try_from(list.limit.min(MAX_RUNS)).unwrap_or(0);
        Ok(self.side.list(list.project.as_deref(), list.before, limit).await?)
    }

    async fn stages(&self, list: ListStages) -> Result<Vec<StageView>, ApiError> {
        let run = self.side.view(list.run).await?;
        let from = usize::try_from(list.from).unwrap_or(usize::MAX);
        let limit = usize::try_from(list.limit.min(MAX_STAGES)).unwrap_or(0);
        Ok(run.stages().skip(from).take(limit).map(|(id, ..)| stage_view(&run, id)).collect())
    }

    async fn follow(&self, follow: Follow) -> Result<Followed, ApiError> {
        let wait = long_poll(follow.wait_ms);
        let followed = self.side.follow(follow.run, follow.after, wait).await?;
        let all = followed.entries.len();
        // What does not fit into an answer comes with the next one.
        let mut left = MAX_ANSWER / 2;
        let fitting = followed.entries.into_iter().enumerate().take_while(|(index, entry)| {
            let fits = *index == 0 || entry.len() <= left;
            left = left.saturating_sub(entry.len());
            fits
        });
        let entries: Vec<ByteBuf> = fitting.map(|(_, entry)| ByteBuf::from(entry)).collect();
        let retired = followed.retired && entries.len() == all;
        Ok(Followed { entries, retired })
    }

    async fn plan(&self, plan: PlanHash) -> Result<Vec<u8>, ApiError> {
        Ok(self.side.plan(plan).await?)
    }

    async fn log(&self, read: ReadLog) -> Result<LogPart, ApiError> {
        let ReadLog { run, stage, attempt, offset, limit, wait_ms, measure } = read;
        let log = LogId { run, stage, attempt };
        let limit = usize::try_from(limit).unwrap_or(MAX_LOG_PART).min(MAX_LOG_PART);
        let piece = self.side.log_read(log, offset, limit, long_poll(wait_ms)).await?;
        let measure = if measure { Some(self.side.log_measure(log, offset).await?) } else { None };
        Ok(LogPart { bytes: piece.bytes, end: piece.end, measure })
    }

    async fn ask(&self, by: &Principal, ask: Ask) -> Result<(), ApiError> {
        let ClientWish::Cancel { reason } = ask.wish;
        let wish = Wish::Cancel { by: by.name.clone(), reason };
        Ok(self.side.command(ask.run, Command { id: Some(ask.id), wish }).await?)
    }

    async fn why(&self, why: Why) -> Result<Vec<Reason>, ApiError> {
        let run = self.side.view(why.run).await?;
        let asked = match why.stage {
            Some(stage) => vec![stage],
            None => open_leaves(&run),
        };
        let mut reasons = Vec::new();
        for stage in asked {
            let Some(planned) = run.plan().stages.get(stage.index()) else {
                return Err(ApiError::NotFound(format!("stage {stage} of run {}", why.run.number)));
            };
            let path = &planned.path;
            let texts = reasons_of(&self.side, &run, stage).await?;
            reasons.extend(texts.into_iter().map(|text| Reason {
                stage,
                path: path.clone(),
                text,
            }));
        }
        Ok(reasons)
    }

    async fn agents(&self) -> Result<Vec<AgentView>, ApiError> {
        Ok(self.side.agents().await?)
    }

    async fn has(&self, digest: Digest) -> Result<bool, ApiError> {
        Ok(self.side.blobs().has(digest).await?)
    }

    async fn put(&self, part: BlobPart) -> Result<(), ApiError> {
        Ok(self.side.blobs().put(part).await?)
    }

    async fn get(&self, read: ReadBlob) -> Result<Vec<u8>, ApiError> {
        let limit = read.limit.min(u32::try_from(MAX_BLOB_PART).unwrap_or(u32::MAX));
        Ok(self.side.blobs().get(read.digest, read.offset, limit).await?)
    }

    async fn status(&self) -> Result<NodeStatus, ApiError> {
        let ControlConfig { build, node_build, idle, data, address, .. } = self.config.clone();
        Ok(NodeStatus {
            build,
            node_build,
            pid: std::process::id(),
            address,
            data,
            since: self.since,
            unfinished_runs: self.side.unfinished().await?,
            idle_ms: idle.map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX)),
            agents: self.side.agents().await?,
        })
    }

    async fn stop(&self, stop: Stop) -> Result<Stopped, ApiError> {
        if stop.pid != std::process::id() {
            return Ok(Stopped::Leaves);
        }
        if stop.successor.is_some() && self.config.idle.is_none() {
            // Who runs a node as a service says when it goes on from another image.
            return Ok(Stopped::Stays);
        }
        let busy = self.side.unfinished().await? > 0;
        let (ending, stopped) = match stop.successor {
            _ if !busy || stop.busy_too => (Ending::Leave, Stopped::Leaves),
            Some(successor) => (Ending::Successor(successor), Stopped::ControlRestarts),
            None => return Ok(Stopped::Stays),
        };
        // Where the channel is full, this process is on its way out already.
        self.endings.try_send(ending).ok();
        Ok(stopped)
    }

    async fn cluster(&self) -> Result<ClusterView, ApiError> {
        self.council.view().await
    }

    async fn change_member(&self, by: &Principal, change: ChangeMember) -> Result<(), ApiError> {
        self.council.change(by, change).await
    }

    async fn tokens(&self) -> Result<Vec<TokenView>, ApiError> {
        self.council.tokens().await
    }

    async fn create_token(&self, by: &Principal, new: NewToken) -> Result<(), ApiError> {
        self.council.create_token(by, new).await
    }

    async fn revoke_token(&self, by: &Principal, token: TokenHash) -> Result<(), ApiError> {
        self.council.revoke_token(by, token).await
    }

    async fn addresses(&self) -> Result<Vec<String>, ApiError> {
        let known = self.neighbours.as_ref().map(|neighbours| neighbours.directory.borrow());
        Ok(known.map(|known| known.nodes.values().cloned().collect()).unwrap_or_default())
    }

    async fn raise_level(&self, by: &Principal, to: u32) -> Result<(), ApiError> {
        self.council.raise_level(by, to).await
    }

    async fn back_up(&self, ask: BackUp) -> Result<BackedUp, ApiError> {
        let nothing = || ApiError::Refused("copy a node that keeps nothing".to_owned());
        self.pictures.as_ref().ok_or_else(nothing)?.answer(ask).await
    }
}

fn long_poll(wait_ms: u32) -> Span {
    let most = u64::try_from(LONG_POLL.as_millis()).unwrap_or(u64::MAX);
    Span(u64::from(wait_ms).min(most))
}

/// The stages that hold the run now: at work, or looking for somebody to do it.
fn open_leaves(run: &Run) -> Vec<StageId> {
    let open = run.stages().filter(|(_, _, state)| match state.phase {
        Phase::Offered { .. }
        | Phase::Leased { .. }
        | Phase::Ended { .. }
        | Phase::Paused { .. } => true,
        Phase::Pending | Phase::Open | Phase::Settled { .. } | Phase::Skipped { .. } => false,
    });
    let open: Vec<StageId> = open.map(|(id, ..)| id).collect();
    if open.is_empty() { vec![StageId::ROOT] } else { open }
}

/// What the run says of a stage, and what the actors add to it.
async fn reasons_of(
    side: &ControlSide,
    run: &Run,
    stage: StageId,
) -> Result<Vec<String>, ApiError> {
    let seen = side.why(run.id(), stage).await?;
    let mut texts = Vec::new();
    match (&seen.search, run.why(stage)) {
        (Some(search), _) => texts.push(search.to_string()),
        (None, Some(why)) => texts.push(why.to_string()),
        (None, None) => {}
    }
    for chore in seen.chores.iter().filter(|chore| chore.deaths > 0) {
        let stuck = if chore.stuck { "stuck: " } else { "" };
        let (deaths, cause) = (chore.deaths, &chore.cause);
        texts.push(format!("{stuck}what works on it died {deaths} times, last of: {cause}"));
    }
    Ok(texts)
}

/// A stage as clients without a replica of the run see it.
pub(crate) fn stage_view(run: &Run, id: StageId) -> StageView {
    let path = run.plan().stage(id).path.clone();
    let state = run.stage(id);
    let outcome = state.and_then(StageState::outcome);
    let phase = state.map_or(StagePhase::Pending, |state| match &state.phase {
        Phase::Pending => StagePhase::Pending,
        Phase::Open => StagePhase::Open,
        Phase::Offered { .. } => StagePhase::Queued,
        Phase::Leased { .. } | Phase::Ended { .. } => StagePhase::Running,
        Phase::Paused { .. } => StagePhase::Pausing,
        Phase::Settled { .. } | Phase::Skipped { .. } => StagePhase::Settled,
    });
    let settled = state.and_then(|state| match &state.phase {
        Phase::Settled { at, .. } | Phase::Skipped { at, .. } => Some(*at),
        Phase::Pending
        | Phase::Open
        | Phase::Offered { .. }
        | Phase::Leased { .. }
        | Phase::Ended { .. }
        | Phase::Paused { .. } => None,
    });
    StageView {
        stage: id,
        path,
        phase,
        outcome,
        cause: run.why(id).map(|why| why.to_string()).unwrap_or_default(),
        attempt: state.and_then(|state| state.attempts.last()).map(|attempt| attempt.attempt),
        opened: state.and_then(|state| state.opened_at),
        settled,
    }
}
