//! Simulated clients: they submit, submit again, cancel, watch and read, and note what they learn.

use crate::determinism::{self, random_below};
use crate::growth::stored;
use crate::history::{Answer, Fact, History, now_ms};
use crate::hosts::{client, client_of};
use crate::planted::{Bug, spoil_plan};
use crate::setup::PlannedSubmission;
use crate::world::CLIENT;
use otto_core::ids::{Attempt, CommandId, RunId, StageId};
use otto_core::plan::Plan;
use otto_nodes::client::{Client, ClientError};
use otto_nodes::rpc::api::{ApiError, ListRuns};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::sleep;

/// The project that all runs belong to.
const PROJECT: &str = "simulated";
/// How long one call may be repeated by the client itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause before the same wish is made again.
const PAUSE: Duration = Duration::from_millis(700);

/// How the keys begin of what is submitted when faults have stopped.
pub const PROBE: &str = "probe-";
/// The plan that is submitted then.
pub const PROBED: &str = "one";
/// How many runs are listed at once: the newest, where there are more.
pub const LISTED: u32 = 200;

/// How far the clients are.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    waiting: Arc<AtomicU64>,
    /// Since when all that is stored is there: in simulated time, and in the processor's.
    pub stored: Arc<OnceLock<(u64, Duration)>>,
    /// The world says: all faults are over.
    pub calm: Arc<AtomicBool>,
}

impl Progress {
    /// Whether every wish was answered and every run watched to its end.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }
}

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Work {
    /// The submissions.
    pub submissions: Vec<PlannedSubmission>,
    /// How many runs are stored before.
    pub stored: u32,
    /// The plans by their names.
    pub plans: BTreeMap<String, Plan>,
    /// How many machines there are that are or may become control nodes.
    pub machines: u8,
    /// The bug that is planted.
    pub bug: Option<Bug>,
    /// Where it is noted.
    pub history: History,
    /// How far it is.
    pub progress: Progress,
}

impl Work {
    /// Does all of it; each submission by a client of its own.
    ///
    /// # Errors
    /// None: what goes wrong is part of the history.
    pub async fn run(self) -> turmoil::Result {
        if self.stored > 0 {
            stored::submit(self.stored, || client(self.machines).patience(PATIENCE)).await?;
            let now = (now_ms(), determinism::processor_time());
            self.progress.stored.set(now).ok();
        }
        let reading = tokio::task::spawn_local(self.clone().list());
        let mut tasks = tokio::task::JoinSet::new();
        for submission in self.submissions.clone() {
            let times = if submission.doubled { 2 } else { 1 };
            if submission.doubled {
                self.history.mark(CLIENT, "submitted twice at once");
            }
            for copy in 0..times {
                self.progress.waiting.fetch_add(1, Ordering::Relaxed);
                let (work, submission) = (self.clone(), submission.clone());
                tasks.spawn_local(async move { work.accompany(submission, copy == 0).await });
            }
        }
        while tasks.join_next().await.is_some() {}
        while !self.progress.calm.load(Ordering::Relaxed) {
            sleep(PAUSE).await;
        }
        self.probe().await;
        reading.abort();
        Ok(())
    }

    /// Lists all runs, now of one node and now of another, until it is ended.
    async fn list(self) {
        let clients: Vec<Client> = (0..self.machines).map(client_of).collect();
        let wish = ListRuns { project: Some(PROJECT.to_owned()), before: None, limit: LISTED };
        loop {
            sleep(PAUSE + Duration::from_millis(random_below(2_000))).await;
            let chosen = usize::try_from(random_below(clients.len() as u64)).unwrap_or(0);
            let client = clients[chosen].clone().patience(Duration::from_secs(1));
            let asked_ms = now_ms();
            match client.runs(wish.clone()).await {
                Ok(listed) => {
                    let runs = listed.iter().map(|one| (one.run, one.summary.outcome)).collect();
                    self.history.add(CLIENT, Fact::Listed { asked_ms, runs });
                }
                Err(_) => client.disconnect().await,
            }
        }
    }

    /// Submits something new when all faults are over, and sees it end.
    async fn probe(&self) {
        let Some(plan) = self.plans.get(PROBED) else { return };
        self.progress.waiting.fetch_add(1, Ordering::Relaxed);
        let probe = PlannedSubmission {
            at_ms: 0,
            key: format!("{PROBE}0"),
            plan: PROBED.to_owned(),
            doubled: false,
            cancel_after_ms: None,
        };
        let client = client(self.machines).patience(PATIENCE);
        if let Some(run) = self.submit(&client, &probe, plan).await {
            self.watch(&client, run, plan).await;
        }
        self.progress.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Submits until there is an answer, and accompanies the run to its end.
    async fn accompany(self, submission: PlannedSubmission, first: bool) {
        sleep(Duration::from_millis(submission.at_ms)).await;
        let client = client(self.machines).patience(PATIENCE);
        let Some(plan) = self.plans.get(&submission.plan) else { return };
        if let Some(run) = self.submit(&client, &submission, plan).await
            && first
        {
            let cancel = async {
                if let Some(after) = submission.cancel_after_ms {
                    sleep(Duration::from_millis(after)).await;
                    self.cancel(&client, run).await;
                }
            };
            futures::future::join(cancel, self.watch(&client, run, plan)).await;
        }
        self.progress.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    async fn submit(
        &self,
        client: &Client,
        submission: &PlannedSubmission,
        plan: &Plan,
    ) -> Option<RunId> {
        let PlannedSubmission { key, plan: name, .. } = submission;
        let sent = spoil_plan(self.bug, plan.clone());
        loop {
            let (key, plan) = (key.clone(), name.clone());
            self.history.add(CLIENT, Fact::Submits { key: key.clone(), plan });
            let answered = client.submit_plan(PROJECT, &key, &sent, None).await;
            let answer = answer(answered.map(|submitted| submitted.run));
            self.history.add(CLIENT, Fact::Submitted { key, answer: answer.clone() });
            match answer {
                Answer::Ok(run) => return Some(run),
                Answer::Refused(_) => return None,
                Answer::Unknown => {
                    // Another node may do better.
                    client.disconnect().await;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn cancel(&self, client: &Client, run: RunId) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&run.number.to_be_bytes());
        loop {
            self.history.add(CLIENT, Fact::Cancels { run });
            let answer = answer(client.cancel(run, CommandId(id), None).await);
            let again = answer == Answer::Unknown;
            if answer == Answer::Ok(()) {
                self.history.mark(CLIENT, "cancelled while running");
            }
            self.history.add(CLIENT, Fact::Cancelled { run, answer });
            if !again {
                return;
            }
            client.disconnect().await;
            sleep(PAUSE).await;
        }
    }

    /// Looks at the run and its logs again and again, until it owes nothing any more.
    async fn watch(&self, client: &Client, run: RunId, plan: &Plan) {
        let mut read: BTreeMap<(StageId, Attempt), u64> = BTreeMap::new();
        loop {
            let asked_ms = now_ms();
            let mut retired = false;
            if let Ok(listed) = client.run(run).await {
                let outcome = listed.summary.outcome;
                self.history.add(CLIENT, Fact::Read { run, asked_ms, outcome });
                retired = listed.summary.retired;
            } else {
                client.disconnect().await;
            }
            self.read_logs(client, run, plan, &mut read).await;
            let safe = self.progress.calm.load(Ordering::Relaxed);
            if retired {
                return;
            }
            sleep(if safe { PAUSE * 4 } else { PAUSE }).await;
        }
    }

    async fn read_logs(
        &self,
        client: &Client,
        run: RunId,
        plan: &Plan,
        read: &mut BTreeMap<(StageId, Attempt), u64>,
    ) {
        for stage in plan.ids().filter(|id| !plan.stage(*id).work.steps().is_empty()) {
            let attempt = Attempt::FIRST;
            let offset = read.entry((stage, attempt)).or_default();
            let wish = otto_nodes::rpc::api::ReadLog {
                run,
                stage,
                attempt,
                offset: *offset,
                limit: 4096,
                wait_ms: 0,
                measure: false,
            };
            let Ok(part) = client.log_part(wish).await else { continue };
            if !part.bytes.is_empty() {
                let text = String::from_utf8_lossy(&part.bytes).into_owned();
                let path = plan.stage(stage).path.clone();
                self.history.add(CLIENT, Fact::LogRead { path, run, offset: *offset, text });
                *offset += part.bytes.len() as u64;
            }
        }
    }
}

fn answer<T>(result: Result<T, ClientError>) -> Answer<T> {
    match result {
        Ok(value) => Answer::Ok(value),
        Err(ClientError::Api(ApiError::Refused(why) | ApiError::Invalid(why))) => {
            Answer::Refused(why)
        }
        Err(_) => Answer::Unknown,
    }
}
