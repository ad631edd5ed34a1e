//! The calls of the client API, one for each method of the client service.

use super::{Client, ClientError, LogFollow, RunFollow};
use crate::rpc::api::{
    AgentView, ApiError, Ask, ClientWish, Follow, Followed, ListRuns, ListStages, Listed, LogPart,
    NodeStatus, ReadBlob, ReadLog, Reason, Retry, StageView, Stop, Stopped, Submit, Submitted, Why,
};
use crate::rpc::backup::{BackUp, BackedUp};
use crate::rpc::cluster::{ChangeMember, ClusterView, NewToken, TokenView};
use crate::rpc::service::ClientCallsClient;
use crate::wire::deadline::{DISK, FOLLOW, USUAL};
use crate::wire::frame::MAX_BLOB_PART;
use otto_actors::ports::control::BlobPart;
use otto_core::ids::{Attempt, CommandId, Digest, PlanHash, RunId, StageId, TokenHash};
use otto_core::plan::Plan;
use serde_bytes::ByteBuf;
use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::path::Path;

/// How often a blob is sent: each node that answers in the middle needs it from the beginning.
const SENDS: u32 = 5;

/// What a blob is read from, again where it has to be.
pub trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

impl Client {
    /// Submits a run of a plan. Repeats with the same `key` in the same project get the first run.
    ///
    /// # Errors
    /// When the node refuses the plan or cannot be reached; then the run may exist, and a repeat
    /// with the same key tells.
    pub async fn submit_plan(
        &self,
        project: &str,
        key: &str,
        plan: &Plan,
        snapshot: Option<Digest>,
    ) -> Result<Submitted, ClientError> {
        let bytes = plan.to_bytes();
        let hash = PlanHash::of(&bytes);
        let inline = bytes.len() <= MAX_BLOB_PART;
        if !inline {
            self.put_bytes(&bytes).await?;
        }
        let submit = Submit {
            project: project.to_owned(),
            key: key.to_owned(),
            plan: hash,
            plan_bytes: inline.then(|| ByteBuf::from(bytes)),
            snapshot,
        };
        self.submit(submit).await
    }

    /// Submits a run.
    ///
    /// # Errors
    /// As [`Client::submit_plan`].
    pub async fn submit(&self, submit: Submit) -> Result<Submitted, ClientError> {
        self.call(USUAL, |calls, context| {
            let submit = submit.clone();
            async move { calls.submit(context, submit).await }
        })
        .await
    }

    /// Submits a run that goes on where an earlier one ended.
    ///
    /// # Errors
    /// When the earlier run goes on or is not known, or the node cannot be reached.
    pub async fn retry(&self, retry: Retry) -> Result<Submitted, ClientError> {
        self.call(USUAL, |calls, context| {
            let retry = retry.clone();
            async move { calls.retry(context, retry).await }
        })
        .await
    }

    /// What lists show of a run.
    ///
    /// # Errors
    /// When there is no such run, or the node cannot be reached.
    pub async fn run(&self, run: RunId) -> Result<Listed, ClientError> {
        self.call(USUAL, |calls, context| async move { calls.run(context, run).await }).await
    }

    /// Runs, newest first within their project.
    ///
    /// # Errors
    /// When the node cannot be reached.
    pub async fn runs(&self, list: ListRuns) -> Result<Vec<Listed>, ClientError> {
        self.call(USUAL, |calls, context| {
            let list = list.clone();
            async move { calls.runs(context, list).await }
        })
        .await
    }

    /// Stages of a run, as they are now.
    ///
    /// # Errors
    /// When there is no such run, or the node cannot be reached.
    pub async fn stages(&self, list: ListStages) -> Result<Vec<StageView>, ClientError> {
        self.call(USUAL, |calls, context| {
            let list = list.clone();
            async move { calls.stages(context, list).await }
        })
        .await
    }

    /// Follows a run's journal behind its first `after` entries.
    #[must_use]
    pub fn follow(&self, run: RunId, after: u64) -> RunFollow {
        RunFollow::new(self.clone(), run, after)
    }

    /// Entries of a run's journal, as stored. [`Client::follow`] decodes and repeats this.
    ///
    /// # Errors
    /// When there is no such run, or the node cannot be reached.
    pub async fn entries(&self, follow: Follow) -> Result<Followed, ClientError> {
        self.call(FOLLOW, |calls, context| async move { calls.follow(context, follow).await }).await
    }

    /// The plan with this hash.
    ///
    /// # Errors
    /// When the node does not have it or cannot be reached, or this build cannot read it.
    pub async fn plan(&self, plan: PlanHash) -> Result<Plan, ClientError> {
        let bytes =
            self.call(USUAL, |calls, context| async move { calls.plan(context, plan).await });
        let bytes = bytes.await?;
        Plan::from_bytes(&bytes).map_err(|error| ClientError::Garbled(error.to_string()))
    }

    /// Follows an attempt's log from a byte on.
    #[must_use]
    pub fn log(&self, run: RunId, stage: StageId, attempt: Attempt, offset: u64) -> LogFollow {
        LogFollow::new(self.clone(), run, stage, attempt, offset)
    }

    /// Bytes of an attempt's log. [`Client::log`] repeats this.
    ///
    /// # Errors
    /// When there is no such attempt, or the node cannot be reached.
    pub async fn log_part(&self, read: ReadLog) -> Result<LogPart, ClientError> {
        self.call(FOLLOW, |calls, context| async move { calls.log(context, read).await }).await
    }

    /// Asks a run to end. A repeat under the same identity gets the first answer.
    ///
    /// # Errors
    /// When the run has ended or is not known, or the node cannot be reached.
    pub async fn cancel(
        &self,
        run: RunId,
        id: CommandId,
        reason: Option<String>,
    ) -> Result<(), ClientError> {
        let ask = Ask { run, id, wish: ClientWish::Cancel { reason } };
        self.call(USUAL, |calls, context| {
            let ask = ask.clone();
            async move { calls.ask(context, ask).await }
        })
        .await
    }

    /// Why a run or a stage is where it is.
    ///
    /// # Errors
    /// When there is no such run or stage, or the node cannot be reached.
    pub async fn why(&self, why: Why) -> Result<Vec<Reason>, ClientError> {
        self.call(USUAL, |calls, context| async move { calls.why(context, why).await }).await
    }

    /// The agents that the control side knows.
    ///
    /// # Errors
    /// When the node cannot be reached.
    pub async fn agents(&self) -> Result<Vec<AgentView>, ClientError> {
        self.call(USUAL, |calls, context| async move { calls.agents(context).await }).await
    }

    /// Sends bytes as a blob, unless the node has them, and answers with their digest.
    ///
    /// # Errors
    /// When the node cannot take or be reached.
    pub async fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, ClientError> {
        let digest = Digest::of(bytes);
        self.put(digest, &mut Cursor::new(bytes)).await?;
        Ok(digest)
    }

    /// Sends a file as a blob, unless the node has it, and answers with its digest.
    ///
    /// # Errors
    /// When the file cannot be read, or changes meanwhile, or the node cannot take it.
    pub async fn put_file(&self, path: &Path) -> Result<Digest, ClientError> {
        let local =
            |source| ClientError::Local { what: format!("read {}", path.display()), source };
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path).map_err(local)?).map_err(local)?;
        let digest = Digest(*hasher.finalize().as_bytes());
        self.put(digest, &mut File::open(path).map_err(local)?).await?;
        Ok(digest)
    }

    /// Sends a blob of which the digest is known, unless the node has it. Where another node
    /// answers from the middle on, it is sent anew.
    ///
    /// # Errors
    /// When it cannot be read, has another digest, or the node cannot take it.
    pub async fn put(
        &self,
        digest: Digest,
        source: &mut (dyn Source + Send),
    ) -> Result<(), ClientError> {
        let has =
            self.call(USUAL, |calls, context| async move { calls.has(context, digest).await });
        if has.await? {
            return Ok(());
        }
        for attempt in 1.. {
            match self.send(digest, source).await {
                Err(ClientError::Api(ApiError::Invalid(_))) if attempt < SENDS => {}
                sent => return sent,
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        digest: Digest,
        source: &mut (dyn Source + Send),
    ) -> Result<(), ClientError> {
        let local = |source| ClientError::Local { what: "read what to send".into(), source };
        source.rewind().map_err(local)?;
        let mut offset = 0;
        loop {
            let mut bytes = Vec::new();
            let mut part = Read::take(&mut *source, MAX_BLOB_PART as u64);
            part.read_to_end(&mut bytes).map_err(local)?;
            let length = bytes.len();
            let part = BlobPart { digest, offset, bytes, last: length < MAX_BLOB_PART };
            self.call(USUAL, |calls, context| {
                let part = part.clone();
                async move { calls.put(context, part).await }
            })
            .await?;
            if part.last {
                return Ok(());
            }
            offset += length as u64;
        }
    }

    /// Reads a part of a blob; empty at its end.
    ///
    /// # Errors
    /// When there is no such blob, or the node cannot be reached.
    pub async fn blob(&self, read: ReadBlob) -> Result<Vec<u8>, ClientError> {
        let part = self.call(USUAL, |calls, context| async move { calls.get(context, read).await });
        part.await.map(ByteBuf::into_vec)
    }

    /// What the node says of itself.
    ///
    /// # Errors
    /// When the node cannot be reached.
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        self.call(USUAL, |calls, context| async move { calls.status(context).await }).await
    }

    /// Asks the node to leave, or to go on from another image.
    ///
    /// # Errors
    /// When the node cannot be reached.
    pub async fn stop(&self, stop: Stop) -> Result<Stopped, ClientError> {
        self.call(USUAL, |calls, context| {
            let stop = stop.clone();
            async move { calls.stop(context, stop).await }
        })
        .await
    }

    /// The cluster that the node belongs to.
    ///
    /// # Errors
    /// When it belongs to none, or cannot be reached.
    pub async fn cluster(&self) -> Result<ClusterView, ClientError> {
        self.call(USUAL, |calls, context| async move { calls.cluster(context).await }).await
    }

    /// Wishes something about a node or an agent of the cluster.
    ///
    /// # Errors
    /// When the cluster refuses, or no answer comes.
    pub async fn change_member(&self, change: ChangeMember) -> Result<(), ClientError> {
        let call = |calls: ClientCallsClient, context| async move {
            calls.change_member(context, change).await
        };
        self.call(FOLLOW, call).await
    }

    /// The cluster's tokens, without their secrets.
    ///
    /// # Errors
    /// When the node belongs to no cluster, or cannot be reached.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, ClientError> {
        self.call(USUAL, |calls, context| async move { calls.tokens(context).await }).await
    }

    /// Makes a token of a secret that the caller drew.
    ///
    /// # Errors
    /// When the cluster refuses, or no answer comes.
    pub async fn create_token(&self, new: NewToken) -> Result<(), ClientError> {
        self.call(FOLLOW, |calls, context| {
            let new = new.clone();
            async move { calls.create_token(context, new).await }
        })
        .await
    }

    /// Lets a token count no more.
    ///
    /// # Errors
    /// When the cluster refuses, or no answer comes.
    pub async fn revoke_token(&self, token: TokenHash) -> Result<(), ClientError> {
        let call = |calls: ClientCallsClient, context| async move {
            calls.revoke_token(context, token).await
        };
        self.call(FOLLOW, call).await
    }

    /// Where the cluster's control nodes can be reached, as far as the node knows; none where it is
    /// alone.
    ///
    /// # Errors
    /// When the node cannot be reached.
    pub async fn addresses(&self) -> Result<Vec<String>, ClientError> {
        self.call(USUAL, |calls, context| async move { calls.addresses(context).await }).await
    }

    /// Lets everything of a level be written from now on.
    ///
    /// # Errors
    /// When the cluster refuses, or no answer comes.
    pub async fn raise_level(&self, to: u32) -> Result<(), ClientError> {
        self.call(FOLLOW, |calls, context| async move { calls.raise_level(context, to).await })
            .await
    }

    /// Takes a picture of the whole cluster, or reads a part of one.
    ///
    /// # Errors
    /// When the node lags behind, has let go of the picture, or cannot be reached.
    pub async fn back_up(&self, ask: BackUp) -> Result<BackedUp, ClientError> {
        self.call(DISK, |calls, context| async move { calls.back_up(context, ask).await }).await
    }
}
