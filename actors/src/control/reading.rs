//! What people read: runs, their journals and logs, agents, and reasons.

use super::ControlSide;
use super::answers::{AgentView, Denial, Followed, Listed, LogEnd, LogMeasure, LogPiece, Why};
use super::homes::Home;
use crate::matchmaker::{self, market::OfferId};
use crate::ports::blobs::SharedBlobs;
use crate::ports::logs::{LogError, LogId};
use crate::shard;
use otto_core::ids::{PlanHash, ProjectId, RunId, StageId};
use otto_core::journal::{EntityId, EntityKind, decode};
use otto_core::lease::LeaseId;
use otto_core::run::Run;
use otto_core::run::duty::Duty;
use otto_core::time::{Span, Timestamp};
use std::collections::BTreeSet;
use std::future::Future;

/// How many places of the index of wake-ups are read at a time.
const PAGE: usize = 1000;

impl ControlSide {
    /// The blobs, which clients write and read without a lease.
    pub fn blobs(&self) -> &SharedBlobs {
        &self.parts.blobs
    }

    /// A run as it is in the journal now.
    ///
    /// # Errors
    /// There is no such run, it cannot be replayed, its shard is led elsewhere, or no answer came
    /// in time.
    pub async fn view(&self, run: RunId) -> Result<Run, Denial> {
        self.patiently(|| async {
            let home = self.home(run.project)?;
            home.confirm().await?;
            home.ask(|reply| shard::Message::View(run, reply)).await
        })
        .await
    }

    /// The entries of a run's journal behind the first `after`. Where there are none yet, waits for
    /// some, at most for `wait`.
    ///
    /// # Errors
    /// There is no such run, or no answer came in time.
    pub async fn follow(&self, run: RunId, after: u64, wait: Span) -> Result<Followed, Denial> {
        let home = self.home(run.project)?;
        let entity = EntityId::run(run);
        let look = || async {
            let stored = home.read(home.journal.head(entity).await)?;
            let stored = stored.ok_or(Denial::NoSuchRun(run))?;
            let entries = home.read(home.journal.entries(entity, after).await)?;
            let known = after.saturating_add(entries.len() as u64);
            // A retired run's journal does not grow: the head says whether these are the last.
            let retired = stored.head.wake.is_none() && known >= stored.version;
            Ok(Followed { entries, retired })
        };
        let bell = self.parts.outside.grown.of(run);
        let enough = |followed: &Followed| !followed.entries.is_empty() || followed.retired;
        self.grown(&home, &bell, wait, look, enough).await
    }

    /// Runs, newest first within their project: those of one project, or of all whose shards are
    /// led here; behind `before` in that order.
    ///
    /// # Errors
    /// A stored head cannot be read, or no answer came in time.
    pub async fn list(
        &self,
        project: Option<&str>,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<Listed>, Denial> {
        let project = project.map(ProjectId::of);
        let homes = match project {
            Some(project) => vec![self.home(project)?],
            None => self.parts.homes.all(),
        };
        let last = project.map(|project| RunId { project, number: u64::MAX });
        let before = [before, last].into_iter().flatten().min().map(EntityId::run);
        let mut found = Vec::new();
        for home in homes {
            let heads = home.journal.heads(EntityKind::Run, before, limit).await;
            found.extend(home.read(heads)?);
        }
        found.sort_by(|(a, _), (b, _)| b.cmp(a));
        let runs = found.iter().filter_map(|(entity, stored)| Some((entity.as_run()?, stored)));
        let runs = runs.filter(|(run, _)| project.is_none_or(|project| run.project == project));
        runs.take(limit)
            .map(|(run, stored)| {
                let summary = decode("summary", &stored.head.summary);
                let summary = summary.map_err(|error| Denial::Unfit(error.to_string()))?;
                Ok(Listed { run, version: stored.version, summary })
            })
            .collect()
    }

    /// How many runs still owe something, of those whose shards are led here.
    ///
    /// # Errors
    /// No answer came in time.
    pub async fn unfinished(&self) -> Result<u64, Denial> {
        let mut count = 0;
        for home in self.parts.homes.all() {
            let mut after = None;
            loop {
                let latest = Timestamp(u64::MAX);
                let page = home.read(home.journal.due(latest, after, PAGE).await)?;
                count += page.len() as u64;
                after = page.last().copied();
                if page.len() < PAGE {
                    break;
                }
            }
        }
        Ok(count)
    }

    /// The bytes of a plan that a run was submitted with whose shard is led here.
    ///
    /// # Errors
    /// It is not stored here, or no answer came in time.
    pub async fn plan(&self, plan: PlanHash) -> Result<Vec<u8>, Denial> {
        for home in self.parts.homes.all() {
            if let Some(bytes) = home.read(home.plans.bytes(plan).await)? {
                return Ok(bytes);
            }
        }
        Err(Denial::Unfit(format!("find plan {}", plan.short())))
    }

    /// Why a stage is where it is, as far as its actors know: what the run itself knows is in its
    /// [`ControlSide::view`].
    ///
    /// # Errors
    /// There is no such run, it cannot be replayed, or no answer came in time.
    pub async fn why(&self, run: RunId, stage: StageId) -> Result<Why, Denial> {
        let mut why = self
            .patiently(|| async {
                let home = self.home(run.project)?;
                home.ask(|reply| shard::Message::Why(run, stage, reply)).await
            })
            .await?;
        let matchmaker = &self.parts.matchmaker;
        for duty in why.chores.iter().map(|chore| chore.duty.clone()).collect::<BTreeSet<_>>() {
            match duty {
                Duty::Offer { stage, attempt, .. } => {
                    let offer = OfferId { run, stage, attempt };
                    let search = |reply| matchmaker::Message::Search(offer, reply);
                    why.search = matchmaker.ask(search).await.ok().flatten();
                }
                Duty::Attend { stage, attempt, epoch, .. }
                | Duty::End { stage, attempt, epoch, .. } => {
                    let lease = LeaseId { run, stage, attempt, epoch };
                    let holder = |reply| matchmaker::Message::Holder(lease, reply);
                    why.holder = matchmaker.ask(holder).await.ok().flatten();
                }
                Duty::Alarm { .. } => {}
            }
        }
        Ok(why)
    }

    /// The agents that bid here lately.
    ///
    /// # Errors
    /// No answer came in time.
    pub async fn agents(&self) -> Result<Vec<AgentView>, Denial> {
        self.patiently(|| async {
            let agents = self.parts.matchmaker.ask(matchmaker::Message::Agents).await;
            agents.map_err(|unanswered| Denial::Unanswered(unanswered.to_string()))
        })
        .await
    }

    /// Bytes of an attempt's log from `offset` on. Where there are none yet, waits for some, at
    /// most for `wait`.
    ///
    /// # Errors
    /// There is no such run, its log cannot be read, or no answer came in time.
    pub async fn log_read(
        &self,
        log: LogId,
        offset: u64,
        limit: usize,
        wait: Span,
    ) -> Result<LogPiece, Denial> {
        let home = self.home(log.run.project)?;
        let bell = self.parts.outside.printed.of(log);
        let look = || async {
            let bytes = self
                .parts
                .logs
                .read(log, offset, limit)
                .await
                .map_err(|error| unreadable(&error))?;
            let end = if bytes.is_empty() { self.log_end(log, offset).await? } else { None };
            Ok(LogPiece { offset, bytes, end })
        };
        let enough = |piece: &LogPiece| !piece.bytes.is_empty() || piece.end.is_some();
        self.grown(&home, &bell, wait, look, enough).await
    }

    /// How long a log is now, and how many line ends are in front of one of its bytes.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn log_measure(&self, log: LogId, offset: u64) -> Result<LogMeasure, Denial> {
        let logs = &self.parts.logs;
        let length = logs.length(log).await.map_err(|error| unreadable(&error))?;
        let lines = logs.lines_before(log, offset).await.map_err(|error| unreadable(&error))?;
        Ok(LogMeasure { length, lines })
    }

    /// How a log ends that has `shown` bytes; `None` while its attempt goes on.
    async fn log_end(&self, log: LogId, shown: u64) -> Result<Option<LogEnd>, Denial> {
        let run = self.view(log.run).await?;
        let Some(stage) = run.stage(log.stage) else {
            return Err(Denial::Unfit(format!("find stage {} of run {}", log.stage, log.run)));
        };
        let attempt = stage.attempts.iter().find(|attempt| attempt.attempt == log.attempt);
        let Some(attempt) = attempt else {
            let over = run.outcome().is_some() || stage.outcome().is_some();
            return Ok(over.then_some(LogEnd::Whole));
        };
        // What the agent delivered after this was first read is read before its end is told.
        let length = self.parts.logs.length(log).await.map_err(|error| unreadable(&error))?;
        Ok(attempt.ended.as_ref().filter(|_| length <= shown).map(|end| match end.log_bytes {
            None => LogEnd::Torn,
            Some(counted) if counted > shown => LogEnd::Cut { missing_bytes: counted - shown },
            Some(_) => LogEnd::Whole,
        }))
    }

    /// Looks at something that grows until it is `enough`, whenever its bell rings. Where its shard
    /// is led elsewhere meanwhile, whoever waits is told at once, and goes on there.
    async fn grown<T, F>(
        &self,
        home: &Home,
        bell: &tokio::sync::Notify,
        wait: Span,
        look: impl Fn() -> F,
        enough: impl Fn(&T) -> bool,
    ) -> Result<T, Denial>
    where
        F: Future<Output = Result<T, Denial>>,
    {
        let deadline = tokio::time::Instant::now() + wait.to_duration();
        loop {
            let mut rung = std::pin::pin!(bell.notified());
            rung.as_mut().enable();
            let found = look().await?;
            if enough(&found) {
                return Ok(found);
            }
            tokio::select! {
                biased;
                () = home.tenure.over() => {
                    return Err(Denial::NotHere { shard: home.tenure.shard() });
                }
                () = rung => {}
                () = tokio::time::sleep_until(deadline) => return look().await,
            }
        }
    }
}

fn unreadable(error: &LogError) -> Denial {
    Denial::Unfit(error.to_string())
}
