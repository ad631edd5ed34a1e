//! What agents ask: the control side's end of [`ports::control::Control`].
//!
//! Every call names a lease and is checked against it first: what comes under a stale epoch, or
//! from somebody else, has no effect.
//!
//! [`ports::control::Control`]: crate::ports::control::Control

use super::ControlSide;
use super::answers::Denial;
use crate::address::Unanswered;
use crate::matchmaker::{self, leases::Standing};
use crate::ports::blobs::BlobError;
use crate::ports::control::{Bid, BlobPart, Control, LinkError, Order, Report, ReportAnswer};
use crate::ports::logs::{LogError, LogId};
use crate::shard;
use async_trait::async_trait;
use otto_core::ids::{AgentRef, Digest, ShardId};
use otto_core::journal::EntityId;
use otto_core::lease::LeaseId;
use otto_core::run::command::{Command, Wish};
use std::collections::BTreeMap;

#[async_trait]
impl Control for ControlSide {
    async fn bid(&self, bid: Bid) -> Result<Vec<Order>, LinkError> {
        let bid = Box::new(bid);
        let question = |reply| matchmaker::Message::Bid(bid, reply);
        self.parts.outside.matchmaker.ask(question).await.map_err(unreachable)?
    }

    async fn renew(
        &self,
        agent: AgentRef,
        leases: Vec<LeaseId>,
    ) -> Result<Vec<LeaseId>, LinkError> {
        self.ready_for(&leases).await?;
        let question = |reply| matchmaker::Message::Renew(agent, leases.clone(), reply);
        let standings = self.parts.outside.matchmaker.ask(question).await.map_err(unreachable)?;
        let mut ended = Vec::new();
        for (lease, standing) in leases.into_iter().zip(standings) {
            if !self.settle(agent, lease, standing).await? {
                ended.push(lease);
            }
        }
        Ok(ended)
    }

    async fn report(
        &self,
        agent: AgentRef,
        reports: Vec<Report>,
    ) -> Result<Vec<ReportAnswer>, LinkError> {
        let mut held = BTreeMap::new();
        for lease in reports.iter().map(Report::lease) {
            held.insert(lease, self.held(agent, lease).await?);
        }
        // All are handed over before the first answer is awaited, so that they are decided together
        // and in order.
        let mut pending = Vec::new();
        for report in reports {
            let lease = report.lease();
            pending.push(if held.get(&lease) == Some(&true) {
                Some(self.hand_over(report)?)
            } else {
                None
            });
        }
        let mut answers = Vec::new();
        for answer in pending {
            answers.push(match answer {
                None => ReportAnswer::Stale,
                Some(answer) => answered(answer.await)?,
            });
        }
        Ok(answers)
    }

    async fn log(
        &self,
        agent: AgentRef,
        lease: LeaseId,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<u64, LinkError> {
        self.must_hold(agent, lease).await?;
        let log = LogId::from(lease);
        let length =
            self.parts.logs.append(log, offset, &bytes).await.map_err(|error| unkept(&error))?;
        self.parts.outside.printed.ring(log);
        Ok(length)
    }

    async fn seal(&self, agent: AgentRef, lease: LeaseId, length: u64) -> Result<bool, LinkError> {
        self.must_hold(agent, lease).await?;
        self.parts.logs.seal(LogId::from(lease), length).await.map_err(|error| unkept(&error))
    }

    async fn blob(&self, digest: Digest, offset: u64, limit: u32) -> Result<Vec<u8>, LinkError> {
        self.parts.blobs.get(digest, offset, limit).await.map_err(|error| blobless(&error))
    }

    async fn keep(&self, agent: AgentRef, lease: LeaseId, part: BlobPart) -> Result<(), LinkError> {
        self.must_hold(agent, lease).await?;
        self.parts.blobs.put(part).await.map_err(|error| blobless(&error))
    }
}

/// What a run answers to a report.
type Handed = tokio::sync::oneshot::Receiver<Result<(), Denial>>;

impl ControlSide {
    /// Returns when each shard that has one of the leases has shown, after this was called, that it
    /// still leads: a deposed leader must not renew.
    async fn ready_for(&self, leases: &[LeaseId]) -> Result<(), LinkError> {
        let shards = u16::try_from(self.parts.shards.len()).unwrap_or(u16::MAX);
        let mut one_of_each: BTreeMap<ShardId, LeaseId> = BTreeMap::new();
        for lease in leases {
            one_of_each.insert(lease.run.project.home(shards), *lease);
        }
        for lease in one_of_each.into_values() {
            let home = self.home(lease.run.project).map_err(|denial| denied(&denial))?;
            let head = home.journal.head(EntityId::run(lease.run)).await;
            head.map_err(|error| LinkError::Unreachable(error.to_string()))?;
        }
        Ok(())
    }

    /// Whether an agent holds a lease. What the matchmaker does not know, the run does.
    async fn held(&self, agent: AgentRef, lease: LeaseId) -> Result<bool, LinkError> {
        let question = |reply| matchmaker::Message::Standing(agent, lease, reply);
        let standing = self.parts.outside.matchmaker.ask(question).await.map_err(unreachable)?;
        self.settle(agent, lease, standing).await
    }

    async fn settle(
        &self,
        agent: AgentRef,
        lease: LeaseId,
        standing: Standing,
    ) -> Result<bool, LinkError> {
        match standing {
            Standing::Held => Ok(true),
            Standing::Over => Ok(false),
            Standing::Unknown => {
                let home = self.home(lease.run.project).map_err(|denial| denied(&denial))?;
                let question = |reply| shard::Message::Stands(agent, lease, reply);
                home.address.ask(question).await.map_err(unreachable)
            }
        }
    }

    async fn must_hold(&self, agent: AgentRef, lease: LeaseId) -> Result<(), LinkError> {
        if self.held(agent, lease).await? {
            return Ok(());
        }
        Err(LinkError::Refused(format!("act under lease {lease}: it is over")))
    }

    fn hand_over(&self, report: Report) -> Result<Handed, LinkError> {
        let run = report.lease().run;
        let home = self.home(run.project).map_err(|denial| denied(&denial))?;
        let (reply, answer) = tokio::sync::oneshot::channel();
        let command = Box::new(Command::from(wish(report)));
        home.address.tell(shard::Message::Command(run, command, reply.into()));
        Ok(answer)
    }
}

fn wish(report: Report) -> Wish {
    let LeaseId { run: _, stage, attempt, epoch } = report.lease();
    match report {
        Report::Declined { .. } => Wish::Decline { stage, attempt, epoch },
        Report::Steps { facts, .. } => Wish::Report { stage, attempt, epoch, facts },
        Report::Finished { facts, end, .. } => Wish::Finish { stage, attempt, epoch, facts, end },
    }
}

/// What a run's answer says to the agent. A refusal will not change: the lease is over.
fn answered(
    answer: Result<Result<(), Denial>, tokio::sync::oneshot::error::RecvError>,
) -> Result<ReportAnswer, LinkError> {
    match answer {
        Ok(Ok(())) => Ok(ReportAnswer::Taken),
        Ok(Err(Denial::Unanswered(cause))) => Err(LinkError::Unreachable(cause)),
        Ok(Err(
            Denial::Refused(_)
            | Denial::NoSuchRun(_)
            | Denial::Unfit(_)
            | Denial::Quarantined { .. },
        )) => Ok(ReportAnswer::Stale),
        Err(_) => Err(unreachable(Unanswered)),
    }
}

fn unreachable(unanswered: Unanswered) -> LinkError {
    LinkError::Unreachable(unanswered.to_string())
}

fn denied(denial: &Denial) -> LinkError {
    LinkError::Unreachable(denial.to_string())
}

fn unkept(error: &LogError) -> LinkError {
    LinkError::Unreachable(error.to_string())
}

fn blobless(error: &BlobError) -> LinkError {
    match error {
        BlobError::Store(_) => LinkError::Unreachable(error.to_string()),
        BlobError::Absent(_) | BlobError::Unfit(_) => LinkError::Refused(error.to_string()),
    }
}
