//! What agents ask: the control side's end of [`ports::control::Control`].
//!
//! Every call names a lease and is checked against it first: what comes under a stale epoch, or
//! from somebody else, has no effect.
//!
//! [`ports::control::Control`]: crate::ports::control::Control

use super::ControlSide;
use super::answers::Denial;
use super::homes::Home;
use crate::address::Unanswered;
use crate::matchmaker::{self, leases::Standing};
use crate::ports::blobs::BlobError;
use crate::ports::control::{
    Bid, BidAnswer, BlobPart, Control, LinkError, Order, Report, ReportAnswer,
};
use crate::ports::logs::{LogError, LogId};
use crate::shard;
use async_trait::async_trait;
use otto_core::ids::{AgentRef, Digest, ShardId};
use otto_core::lease::LeaseId;
use otto_core::run::command::{Command, Wish};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

#[async_trait]
impl Control for ControlSide {
    async fn bid(&self, bid: Bid) -> Result<BidAnswer, LinkError> {
        let bid = Box::new(bid);
        let question = |reply| matchmaker::Message::Bid(bid, reply);
        let BidAnswer { orders, routes } =
            self.parts.matchmaker.ask(question).await.map_err(unreachable)??;
        Ok(BidAnswer { orders: self.due(orders).await, routes })
    }

    async fn renew(
        &self,
        agent: AgentRef,
        leases: Vec<LeaseId>,
    ) -> Result<Vec<LeaseId>, LinkError> {
        let homes = self.homes_of(&leases)?;
        // A deposed leader must not renew: each shard shows that it is led here, and only then, so
        // that this is shown after the agent asked.
        for home in homes.values() {
            home.confirm().await.map_err(|denial| denied(&denial))?;
        }
        let question = |reply| matchmaker::Message::Renew(agent, leases.clone(), reply);
        let standings = self.parts.matchmaker.ask(question).await.map_err(unreachable)?;
        let mut ended = Vec::new();
        for (lease, standing) in leases.into_iter().zip(standings) {
            let home = &homes[&self.shard_of(lease.run.project)];
            if !settle(home, agent, lease, standing).await? {
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
                Some((home, answer)) => answered(&home, answer.await).await?,
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

    async fn blob(
        &self,
        agent: AgentRef,
        lease: LeaseId,
        digest: Digest,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<u8>, LinkError> {
        self.must_hold(agent, lease).await?;
        self.must_need(lease, digest).await?;
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
    /// The orders that may be given. The agent counts a lease from the bid that is answered with
    /// it, so what is said of renewals holds for orders to start: they are given by a shard that
    /// has shown, after the bid came, that it is led here. The others come again.
    async fn due(&self, mut orders: Vec<Order>) -> Vec<Order> {
        let project = |order: &Order| match order {
            Order::Start(assignment) => Some(assignment.lease.run.project),
            Order::End { .. } | Order::Look { .. } => None,
        };
        let mut led: BTreeMap<ShardId, bool> = BTreeMap::new();
        for project in orders.iter().filter_map(project) {
            if let Entry::Vacant(vacant) = led.entry(self.shard_of(project)) {
                let confirmed = match self.home(project) {
                    Ok(home) => home.confirm().await.is_ok(),
                    Err(_) => false,
                };
                vacant.insert(confirmed);
            }
        }
        orders.retain(|order| project(order).is_none_or(|project| led[&self.shard_of(project)]));
        orders
    }

    /// The shards that have one of the leases.
    fn homes_of(&self, leases: &[LeaseId]) -> Result<BTreeMap<ShardId, Arc<Home>>, LinkError> {
        let mut homes = BTreeMap::new();
        for lease in leases {
            let shard = self.shard_of(lease.run.project);
            if let Entry::Vacant(vacant) = homes.entry(shard) {
                vacant.insert(self.home(lease.run.project).map_err(|denial| denied(&denial))?);
            }
        }
        Ok(homes)
    }

    /// Whether an agent holds a lease. What the matchmaker does not know, the run does.
    async fn held(&self, agent: AgentRef, lease: LeaseId) -> Result<bool, LinkError> {
        let home = self.home(lease.run.project).map_err(|denial| denied(&denial))?;
        let question = |reply| matchmaker::Message::Standing(agent, lease, reply);
        let standing = self.parts.matchmaker.ask(question).await.map_err(unreachable)?;
        settle(&home, agent, lease, standing).await
    }

    async fn must_hold(&self, agent: AgentRef, lease: LeaseId) -> Result<(), LinkError> {
        if self.held(agent, lease).await? {
            return Ok(());
        }
        Err(LinkError::Refused(format!("act under lease {lease}: it is over")))
    }

    /// An agent is handed nothing but what the runs of its leases work on.
    async fn must_need(&self, lease: LeaseId, blob: Digest) -> Result<(), LinkError> {
        let home = self.home(lease.run.project).map_err(|denial| denied(&denial))?;
        let question = |reply| shard::Message::Needs(lease.run, blob, reply);
        if home.address.ask(question).await.map_err(unreachable)? {
            return Ok(());
        }
        // Another leader may know of more artifacts.
        home.confirm().await.map_err(|denial| denied(&denial))?;
        Err(LinkError::Refused(format!("read blob {blob} under lease {lease}: no part of its run")))
    }

    fn hand_over(&self, report: Report) -> Result<(Arc<Home>, Handed), LinkError> {
        let run = report.lease().run;
        let home = self.home(run.project).map_err(|denial| denied(&denial))?;
        let (reply, answer) = tokio::sync::oneshot::channel();
        let command = Box::new(Command::from(wish(report)));
        home.address.tell(shard::Message::Command(run, command, reply.into()));
        Ok((home, answer))
    }
}

/// Whether a lease is held, by what the matchmaker knows of it or else the run. Only a leader may
/// say that it is not: another one may have given it.
async fn settle(
    home: &Home,
    agent: AgentRef,
    lease: LeaseId,
    standing: Standing,
) -> Result<bool, LinkError> {
    let held = match standing {
        Standing::Held => return Ok(true),
        Standing::Over => false,
        Standing::Unknown => {
            let question = |reply| shard::Message::Stands(agent, lease, reply);
            home.address.ask(question).await.map_err(unreachable)?
        }
    };
    if !held {
        home.confirm().await.map_err(|denial| denied(&denial))?;
    }
    Ok(held)
}

fn wish(report: Report) -> Wish {
    let LeaseId { run: _, stage, attempt, epoch } = report.lease();
    match report {
        Report::Declined { .. } => Wish::Decline { stage, attempt, epoch },
        Report::Steps { facts, .. } => Wish::Report { stage, attempt, epoch, facts },
        Report::Finished { facts, end, .. } => Wish::Finish { stage, attempt, epoch, facts, end },
    }
}

/// What a run's answer says to the agent. A leader's refusal will not change: the lease is over.
async fn answered(
    home: &Home,
    answer: Result<Result<(), Denial>, tokio::sync::oneshot::error::RecvError>,
) -> Result<ReportAnswer, LinkError> {
    match answer {
        Ok(Ok(())) => Ok(ReportAnswer::Taken),
        Ok(Err(
            denial @ (Denial::Unanswered(_) | Denial::NotHere { .. } | Denial::Busy { .. }),
        )) => Err(denied(&denial)),
        Ok(Err(
            Denial::Refused(_)
            | Denial::NoSuchRun(_)
            | Denial::Unfit(_)
            | Denial::Quarantined { .. },
        )) => {
            home.confirm().await.map_err(|denial| denied(&denial))?;
            Ok(ReportAnswer::Stale)
        }
        Err(_) => Err(unreachable(Unanswered)),
    }
}

fn unreachable(unanswered: Unanswered) -> LinkError {
    LinkError::Unreachable(unanswered.to_string())
}

fn denied(denial: &Denial) -> LinkError {
    match denial {
        Denial::NotHere { shard } => LinkError::NotHere { shard: *shard },
        Denial::Refused(_)
        | Denial::NoSuchRun(_)
        | Denial::Unfit(_)
        | Denial::Quarantined { .. }
        | Denial::Busy { .. }
        | Denial::Unanswered(_) => LinkError::Unreachable(denial.to_string()),
    }
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
