//! The ground under an agent: stages whose steps follow a script, their spool, and the truth about
//! what ran.

use async_trait::async_trait;
use otto_actors::ports::control::Assignment;
use otto_actors::ports::logs::{LogError, Spool};
use otto_actors::ports::stages::{Stage, StageError, Stages, StepEnd};
use otto_actors::ports::tools::Tools;
use otto_core::capability::{Found, Version};
use otto_core::lease::LeaseId;
use otto_core::plan::StepCall;
use otto_core::run::duty::EndReason;
use otto_core::run::outcome::{Outcome, Section, StepPlace};
use otto_core::time::Span;
use otto_core::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// What one log in the spool holds.
#[derive(Debug, Default)]
struct SpoolLog {
    bytes: Vec<u8>,
    closed: bool,
}

/// The truth.
#[derive(Debug, Default)]
struct Truth {
    /// The steps that were started, in order.
    started: Vec<(LeaseId, StepPlace)>,
    /// The stages that have processes now.
    open: BTreeSet<LeaseId>,
    /// What should never have happened.
    sins: Vec<String>,
    logs: BTreeMap<LeaseId, SpoolLog>,
    /// The tools that can be found.
    installed: BTreeMap<String, Option<Version>>,
    /// What was looked for, in order.
    looked_for: Vec<String>,
}

/// A machine that runs steps, as far as these tests need one.
#[derive(Debug, Default)]
pub(crate) struct Ground {
    truth: Mutex<Truth>,
    grown: Notify,
    /// Raised by a kill: what was opened before has ended.
    killed: tokio::sync::watch::Sender<u64>,
}

impl Ground {
    /// The steps that were started, in order.
    pub(crate) fn started(&self) -> Vec<(LeaseId, StepPlace)> {
        self.truth.lock().unwrap().started.clone()
    }

    /// Whether any stage has processes.
    pub(crate) fn is_still(&self) -> bool {
        self.truth.lock().unwrap().open.is_empty()
    }

    /// How many stages have processes.
    pub(crate) fn working(&self) -> usize {
        self.truth.lock().unwrap().open.len()
    }

    /// Logs that are still spooled.
    pub(crate) fn spooled(&self) -> usize {
        self.truth.lock().unwrap().logs.len()
    }

    /// What should never have happened.
    pub(crate) fn sins(&self) -> Vec<String> {
        self.truth.lock().unwrap().sins.clone()
    }

    /// The launcher ends all process trees, because its agent is gone.
    pub(crate) fn kill(&self) {
        self.killed.send_modify(|kills| *kills += 1);
        let mut truth = self.truth.lock().unwrap();
        truth.open.clear();
        truth.logs.clear();
    }

    /// Installs a tool.
    pub(crate) fn install(&self, tool: &str, version: &str) {
        self.truth.lock().unwrap().installed.insert(tool.to_owned(), Version::parse(version));
    }

    /// What was looked for, in order.
    pub(crate) fn looked_for(&self) -> Vec<String> {
        self.truth.lock().unwrap().looked_for.clone()
    }

    fn begins(&self, lease: LeaseId, place: StepPlace) {
        let mut truth = self.truth.lock().unwrap();
        if truth.started.contains(&(lease, place)) {
            truth.sins.push(format!("{lease} {place:?} started twice"));
        }
        truth.started.push((lease, place));
    }

    fn print(&self, lease: LeaseId, text: &str) {
        let mut truth = self.truth.lock().unwrap();
        let log = truth.logs.entry(lease).or_default();
        if log.closed {
            truth.sins.push(format!("{lease} prints after its log was closed"));
            return;
        }
        log.bytes.extend_from_slice(text.as_bytes());
        log.bytes.push(b'\n');
        drop(truth);
        self.grown.notify_waiters();
    }
}

/// The machine as a port.
#[derive(Clone, Debug)]
pub(crate) struct OnGround(pub(crate) Arc<Ground>);

#[async_trait]
impl Stages for OnGround {
    async fn open(&self, assignment: &Assignment) -> Result<Arc<dyn Stage>, StageError> {
        let lease = assignment.lease;
        let script = assignment.steps.first().map(script).unwrap_or_default();
        if script == "unfit" {
            return Err(StageError::Unfit("the snapshot does not unpack".to_owned()));
        }
        let mut truth = self.0.truth.lock().unwrap();
        let rival = truth
            .open
            .iter()
            .find(|open| (open.run, open.stage) == (lease.run, lease.stage))
            .copied();
        if let Some(rival) = rival {
            truth.sins.push(format!("{lease} begins while {rival} runs"));
        }
        truth.open.insert(lease);
        truth.logs.entry(lease).or_default();
        let killed = self.0.killed.subscribe();
        Ok(Arc::new(Scripted {
            ground: Arc::clone(&self.0),
            assignment: assignment.clone(),
            interrupted: Notify::new(),
            killed: tokio::sync::Mutex::new(killed),
        }))
    }

    fn renewed(&self, _lease: LeaseId, _sent_ago: Span) {}

    fn alive(&self) -> Vec<LeaseId> {
        self.0.truth.lock().unwrap().open.iter().copied().collect()
    }
}

#[async_trait]
impl Tools for OnGround {
    async fn look(&self, tools: &[String]) -> BTreeMap<String, Found> {
        self.0.truth.lock().unwrap().looked_for.extend(tools.iter().cloned());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let truth = self.0.truth.lock().unwrap();
        let find = |tool: &String| match truth.installed.get(tool) {
            Some(version) => Found::Present(version.clone()),
            None => Found::Absent,
        };
        tools.iter().map(|tool| (tool.clone(), find(tool))).collect()
    }
}

/// A stage whose steps follow their scripts.
#[derive(Debug)]
struct Scripted {
    ground: Arc<Ground>,
    assignment: Assignment,
    interrupted: Notify,
    killed: tokio::sync::Mutex<tokio::sync::watch::Receiver<u64>>,
}

fn script(call: &StepCall) -> String {
    call.arguments.get("script").map(ToString::to_string).unwrap_or_default()
}

fn end(outcome: Outcome, detail: &str) -> StepEnd {
    StepEnd {
        outcome,
        detail: detail.to_owned(),
        log_bytes: None,
        ends_run: false,
        captured: BTreeMap::new(),
        dropped: Vec::new(),
        artifacts: BTreeMap::new(),
    }
}

impl Scripted {
    /// Follows a script: words by `; `, such as `print x; sleep 10s; capture a=b; fail`.
    async fn follow(&self, script: &str) -> StepEnd {
        let lease = self.assignment.lease;
        let mut captured = BTreeMap::new();
        for word in script.split("; ") {
            let (verb, rest) = word.split_once(' ').unwrap_or((word, ""));
            match verb {
                "print" => self.ground.print(lease, rest),
                "sleep" => {
                    let span = Span::parse(rest).unwrap();
                    tokio::time::sleep(span.to_duration()).await;
                }
                "capture" => {
                    let (name, value) = rest.split_once('=').unwrap();
                    captured.insert(name.to_owned(), Value::Text(value.to_owned()));
                }
                "fail" => return end(Outcome::Failed, "exit code 1"),
                "fail-first" if lease.attempt.0 == 1 => {
                    return end(Outcome::Failed, "exit code 1");
                }
                "ok" | "fail-first" => {}
                other => panic!("no script has the word {other}"),
            }
        }
        StepEnd { captured, ..end(Outcome::Success, "exit code 0") }
    }
}

#[async_trait]
impl Stage for Scripted {
    async fn step(
        &self,
        place: StepPlace,
        _captured: &BTreeMap<String, Value>,
    ) -> Result<StepEnd, StageError> {
        let steps = match place.section {
            Section::Steps => &self.assignment.steps,
            Section::Finally => &self.assignment.finally,
        };
        let script = script(&steps[place.index as usize]);
        self.ground.begins(self.assignment.lease, place);
        if script == "machine" {
            return Err(StageError::Machine("no processes left".to_owned()));
        }
        let mut killed = self.killed.lock().await;
        tokio::select! {
            biased;
            _ = killed.changed() => std::future::pending().await,
            () = self.interrupted.notified() => Ok(end(Outcome::Failed, "signal 15")),
            end = self.follow(&script) => Ok(end),
        }
    }

    async fn interrupt(&self, _reason: EndReason) {
        self.interrupted.notify_waiters();
    }

    async fn close(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.ground.truth.lock().unwrap().open.remove(&self.assignment.lease);
    }
}

#[async_trait]
impl Spool for OnGround {
    async fn read(&self, lease: LeaseId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError> {
        let truth = self.0.truth.lock().unwrap();
        let bytes = truth.logs.get(&lease).map_or(&[][..], |log| &log.bytes);
        Ok(bytes.iter().skip(usize::try_from(offset).unwrap()).take(limit).copied().collect())
    }

    async fn grown(&self, lease: LeaseId, length: u64) -> Result<(u64, bool), LogError> {
        loop {
            let mut grown = std::pin::pin!(self.0.grown.notified());
            grown.as_mut().enable();
            {
                let truth = self.0.truth.lock().unwrap();
                if let Some(log) = truth.logs.get(&lease)
                    && (log.closed || log.bytes.len() as u64 > length)
                {
                    return Ok((log.bytes.len() as u64, log.closed));
                }
            }
            grown.await;
        }
    }

    async fn note(&self, lease: LeaseId, line: &str) -> Result<(), LogError> {
        self.0.print(lease, line);
        Ok(())
    }

    async fn close(&self, lease: LeaseId) -> Result<u64, LogError> {
        let length = {
            let mut truth = self.0.truth.lock().unwrap();
            let log = truth.logs.entry(lease).or_default();
            log.closed = true;
            log.bytes.len() as u64
        };
        self.0.grown.notify_waiters();
        Ok(length)
    }

    async fn drop_log(&self, lease: LeaseId) -> Result<(), LogError> {
        self.0.truth.lock().unwrap().logs.remove(&lease);
        Ok(())
    }
}
