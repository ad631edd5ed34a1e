//! Scripted processes: an agent's stages, steps and spool without a kernel.
//!
//! A step's script is a list of small words, so that a plan says what its processes do:
//!
//! ```text
//! print hello; sleep 200ms; capture color=green; exit 0
//! ```
//!
//! What really happens to the processes goes into the history as ground truth.

use crate::history::{Fact, History, now_ms};
use crate::planted::Bug;
use async_trait::async_trait;
use otto_actors::ports::control::Assignment;
use otto_actors::ports::logs::{LogError, Spool};
use otto_actors::ports::stages::{Stage, StageError, Stages, StepEnd};
use otto_actors::ports::tools::Tools;
use otto_core::capability::Found;
use otto_core::ids::AgentRef;
use otto_core::lease::LeaseId;
use otto_core::plan::StepCall;
use otto_core::run::duty::EndReason;
use otto_core::run::outcome::{Outcome, Section, StepPlace};
use otto_core::time::Span;
use otto_core::value::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The tools that a simulated machine has.
const TOOLS: [&str; 2] = ["git", "make"];
/// How long it takes to look for some.
const LOOK: Span = Span(300);

/// One word of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Act {
    Print(String),
    Sleep(Span),
    Capture(String, String),
    Exit(i32),
}

/// Reads a script; words that it does not know print themselves, as a shell's trace would.
fn read(script: &str) -> Vec<Act> {
    script
        .split(';')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|word| match word.split_once(' ') {
            Some(("print", text)) => Act::Print(text.to_owned()),
            Some(("sleep", span)) => Act::Sleep(Span::parse(span).unwrap_or_default()),
            Some(("exit", code)) => Act::Exit(code.parse().unwrap_or(1)),
            Some(("capture", pair)) => {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Act::Capture(name.to_owned(), value.to_owned())
            }
            _ => Act::Print(word.to_owned()),
        })
        .collect()
}

/// The scripted processes of one agent process. They die with it.
#[derive(Clone, Debug)]
pub struct Processes {
    host: String,
    agent: AgentRef,
    history: History,
    spool: Arc<MemorySpool>,
    alive: Arc<Mutex<BTreeMap<LeaseId, Alive>>>,
    bug: Option<Bug>,
}

/// A stage's processes.
#[derive(Clone, Copy, Debug)]
struct Alive {
    /// The step that runs now.
    step: Option<StepPlace>,
    /// How long its lease holds without renewal.
    span: Span,
    /// When the launcher ends it, in simulated milliseconds.
    until_ms: u64,
}

impl Processes {
    /// No processes yet, on a host, for the agent process that starts them.
    #[must_use]
    pub fn new(host: &str, agent: AgentRef, history: History, bug: Option<Bug>) -> Self {
        let alive = Arc::default();
        Self { host: host.to_owned(), agent, history, spool: Arc::default(), alive, bug }
    }

    /// The spool that these processes print to.
    #[must_use]
    pub fn spool(&self) -> Arc<MemorySpool> {
        self.spool.clone()
    }

    /// The agent died: its launcher ends everything that runs.
    pub fn kill_all(&self) {
        for (lease, alive) in std::mem::take(&mut *locked(&self.alive)) {
            self.gone(lease, alive);
        }
    }

    /// The launcher ends what was not renewed in time, whatever its agent does.
    pub fn end_overdue(&self, now_ms: u64) {
        let mut all = locked(&self.alive);
        let overdue: Vec<LeaseId> =
            all.iter().filter(|(_, it)| it.until_ms <= now_ms).map(|(lease, _)| *lease).collect();
        for lease in overdue {
            if let Some(alive) = all.remove(&lease) {
                self.history.mark(&self.host, "a launcher ended what was not renewed");
                self.gone(lease, alive);
            }
        }
    }

    /// Nothing of a stage is left.
    fn gone(&self, lease: LeaseId, alive: Alive) {
        if let Some(step) = alive.step {
            let outcome = Outcome::Lost;
            self.history.add(&self.host, Fact::StepEnded { lease, step, outcome });
        }
        self.history.add(&self.host, Fact::StageEnded { lease });
    }
}

#[async_trait]
impl Stages for Processes {
    async fn open(&self, assignment: &Assignment) -> Result<Arc<dyn Stage>, StageError> {
        let lease = assignment.lease;
        let span = assignment.lease_span;
        let alive = Alive { step: None, span, until_ms: now_ms().saturating_add(span.0) };
        locked(&self.alive).insert(lease, alive);
        let path = assignment.path.clone();
        let times = if self.bug == Some(Bug::StartTwice) { 2 } else { 1 };
        for _ in 0..times {
            self.history.add(&self.host, Fact::StageBegan { lease, path: path.clone() });
        }
        Ok(Arc::new(ScriptedStage {
            processes: self.clone(),
            lease,
            steps: assignment.steps.clone(),
            finally: assignment.finally.clone(),
            interrupted: watch::channel(None).0,
        }))
    }

    fn renewed(&self, lease: LeaseId, sent_ago: Span) {
        if let Some(alive) = locked(&self.alive).get_mut(&lease) {
            let until_ms = now_ms().saturating_sub(sent_ago.0).saturating_add(alive.span.0);
            alive.until_ms = alive.until_ms.max(until_ms);
        }
    }

    fn alive(&self) -> Vec<LeaseId> {
        locked(&self.alive).keys().copied().collect()
    }
}

#[async_trait]
impl Tools for Processes {
    async fn look(&self, tools: &[String]) -> BTreeMap<String, Found> {
        tokio::time::sleep(LOOK.to_duration()).await;
        let find = |tool: &String| {
            if TOOLS.contains(&tool.as_str()) { Found::Present(None) } else { Found::Absent }
        };
        tools.iter().map(|tool| (tool.clone(), find(tool))).collect()
    }
}

#[derive(Debug)]
struct ScriptedStage {
    processes: Processes,
    lease: LeaseId,
    steps: Vec<StepCall>,
    finally: Vec<StepCall>,
    interrupted: watch::Sender<Option<EndReason>>,
}

impl ScriptedStage {
    fn script(&self, place: StepPlace) -> Result<Vec<Act>, StageError> {
        let steps = match place.section {
            Section::Steps => &self.steps,
            Section::Finally => &self.finally,
        };
        let step = usize::try_from(place.index).ok().and_then(|index| steps.get(index));
        let script = step.and_then(|step| step.arguments.get("script"));
        match script {
            Some(Value::Text(script)) => Ok(read(script)),
            _ => Err(StageError::Unfit("a simulated step is an `sh` with a script".to_owned())),
        }
    }

    /// Works a script off; answers its exit code, or none where it was interrupted.
    async fn work(&self, script: &[Act], captured: &mut BTreeMap<String, Value>) -> Option<i32> {
        let mut interrupted = self.interrupted.subscribe();
        interrupted.mark_unchanged();
        for act in script {
            // Whom the launcher has ended does nothing more.
            if !locked(&self.processes.alive).contains_key(&self.lease) {
                return None;
            }
            match act {
                Act::Print(text) => {
                    let line = format!("{text}\n");
                    self.processes.spool.add(self.lease, line.as_bytes());
                    let fact = Fact::StepPrinted { lease: self.lease, text: line };
                    self.processes.history.add(&self.processes.host, fact);
                }
                Act::Sleep(span) => tokio::select! { biased;
                    _ = interrupted.changed() => return None,
                    () = tokio::time::sleep(span.to_duration()) => {}
                },
                Act::Capture(name, value) => {
                    captured.insert(name.clone(), Value::Text(value.clone()));
                }
                Act::Exit(code) => return Some(*code),
            }
        }
        Some(0)
    }
}

#[async_trait]
impl Stage for ScriptedStage {
    async fn step(
        &self,
        place: StepPlace,
        _captured: &BTreeMap<String, Value>,
    ) -> Result<StepEnd, StageError> {
        let script = self.script(place)?;
        let Processes { host, agent, history, alive, .. } = &self.processes;
        let lease = self.lease;
        let gone = || StageError::Machine("the stage process is gone".to_owned());
        locked(alive).get_mut(&lease).ok_or_else(gone)?.step = Some(place);
        history.add(host, Fact::StepBegan { lease, step: place, agent: *agent });
        let mut captured = BTreeMap::new();
        let code = self.work(&script, &mut captured).await;
        let (outcome, detail) = match code {
            Some(0) => (Outcome::Success, "exit code 0".to_owned()),
            Some(code) => (Outcome::Failed, format!("exit code {code}")),
            None => (Outcome::Cancelled, "signal 15".to_owned()),
        };
        {
            let mut alive = locked(alive);
            let running = alive.get_mut(&lease).ok_or_else(gone)?;
            running.step = None;
            history.add(host, Fact::StepEnded { lease, step: place, outcome });
        }
        let (dropped, artifacts) = (Vec::new(), BTreeMap::new());
        let (log_bytes, ends_run) = (None, false);
        Ok(StepEnd { outcome, detail, log_bytes, ends_run, captured, dropped, artifacts })
    }

    async fn interrupt(&self, reason: EndReason) {
        self.interrupted.send_replace(Some(reason));
    }

    async fn close(&self) {
        let processes = &self.processes;
        // The bug: what a stage started lives on behind it.
        if processes.bug == Some(Bug::ProcessesLeft) {
            return;
        }
        let removed = locked(&processes.alive).remove(&self.lease);
        if let Some(alive) = removed {
            processes.gone(self.lease, alive);
        }
    }
}

/// A spool in memory: it goes with its agent process, as its attempts do.
#[derive(Debug, Default)]
pub struct MemorySpool {
    logs: Mutex<BTreeMap<LeaseId, Spooled>>,
}

#[derive(Debug)]
struct Spooled {
    bytes: Vec<u8>,
    /// Its length, and whether it is closed.
    state: watch::Sender<(u64, bool)>,
}

impl Default for Spooled {
    fn default() -> Self {
        Self { bytes: Vec::new(), state: watch::channel((0, false)).0 }
    }
}

impl MemorySpool {
    fn add(&self, lease: LeaseId, bytes: &[u8]) {
        let mut logs = locked(&self.logs);
        let log = logs.entry(lease).or_default();
        log.bytes.extend_from_slice(bytes);
        let length = log.bytes.len() as u64;
        log.state.send_modify(|state| state.0 = length);
    }
}

#[async_trait]
impl Spool for MemorySpool {
    async fn read(&self, lease: LeaseId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError> {
        let logs = locked(&self.logs);
        let bytes = logs.get(&lease).map_or(&[][..], |log| &log.bytes);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes[from..bytes.len().min(from.saturating_add(limit))].to_vec())
    }

    async fn grown(&self, lease: LeaseId, length: u64) -> Result<(u64, bool), LogError> {
        let mut state = locked(&self.logs).entry(lease).or_default().state.subscribe();
        let grown = state.wait_for(|(now, closed)| *now > length || *closed).await;
        grown.map(|state| *state).map_err(|_| LogError("the spool is gone".to_owned()))
    }

    async fn note(&self, lease: LeaseId, line: &str) -> Result<(), LogError> {
        self.add(lease, format!("{line}\n").as_bytes());
        Ok(())
    }

    async fn close(&self, lease: LeaseId) -> Result<u64, LogError> {
        let mut logs = locked(&self.logs);
        let log = logs.entry(lease).or_default();
        log.state.send_modify(|state| state.1 = true);
        Ok(log.bytes.len() as u64)
    }

    async fn drop_log(&self, lease: LeaseId) -> Result<(), LogError> {
        locked(&self.logs).remove(&lease);
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
