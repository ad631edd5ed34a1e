//! A control side and agents in one process, over ports in memory.

use crate::memory::ground::{Ground, OnGround};
use crate::memory::journal::MemoryJournal;
use crate::memory::stores::{MemoryBlobs, MemoryLogs};
use crate::memory::{Saboteur, Seeded, TokioClock};
use crate::wire::Wire;
use otto_actors::agent::roads::Roads;
use otto_actors::agent::{self, AgentSide};
use otto_actors::control::answers::{Denial, Source, SubmitRequest, Submitted};
use otto_actors::control::{self, ControlSide};
use otto_actors::ports::logs::LogId;
use otto_actors::ports::sabotage::SharedSabotage;
use otto_core::capability::{Capabilities, Version};
use otto_core::ids::{AgentId, AgentRef, Attempt, RunId, ShardId, StageId};
use otto_core::lease::{LEASE, MARGIN};
use otto_core::plan::Plan;
use otto_core::run::Run;
use otto_core::run::outcome::Outcome;
use otto_core::time::Span;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A cluster with one shard.
pub(crate) const SETTINGS: control::Settings =
    control::Settings { shards: 1, lease: LEASE, margin: MARGIN };

/// Everything together.
pub(crate) struct House {
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) logs: Arc<MemoryLogs>,
    pub(crate) sabotage: Arc<Saboteur>,
    pub(crate) wire: Arc<Wire>,
    pub(crate) control: ControlSide,
    clock: Arc<TokioClock>,
    chance: Arc<Seeded>,
    blobs: Arc<MemoryBlobs>,
}

/// An agent and the machine under it.
pub(crate) struct Hand {
    pub(crate) side: AgentSide,
    pub(crate) ground: Arc<Ground>,
    pub(crate) settings: agent::Settings,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(Saboteur::default()).await
    }

    pub(crate) async fn with(sabotage: Saboteur) -> Self {
        let journal = Arc::new(MemoryJournal::default());
        let logs = Arc::new(MemoryLogs::default());
        let sabotage = Arc::new(sabotage);
        let clock = Arc::new(TokioClock::new());
        let chance = Arc::new(Seeded(AtomicU64::new(7)));
        let blobs = Arc::new(MemoryBlobs::default());
        let ports = control::Ports {
            clock: clock.clone(),
            logs: logs.clone(),
            blobs: blobs.clone(),
            chance: chance.clone(),
            sabotage: sabotage.clone(),
        };
        let control = ControlSide::start(SETTINGS, ports).await.unwrap();
        control.lead(ShardId(0), journal.clone(), 0).await;
        let wire = Arc::new(Wire::to(control.clone()));
        Self { journal, logs, sabotage, wire, control, clock, chance, blobs }
    }

    /// Kills the control side.
    pub(crate) async fn stop_control(&self) {
        self.wire.cut();
        self.control.stop().await;
    }

    /// Starts it again over the same journal.
    pub(crate) async fn start_control(&mut self) {
        let ports = control::Ports {
            clock: self.clock.clone(),
            logs: self.logs.clone(),
            blobs: self.blobs.clone(),
            chance: self.chance.clone(),
            sabotage: self.sabotage.clone(),
        };
        self.control = ControlSide::start(SETTINGS, ports).await.unwrap();
        self.control.lead(ShardId(0), self.journal.clone(), 0).await;
        self.mend();
    }

    /// Cuts the way between agents and the control side.
    pub(crate) fn cut(&self) {
        self.wire.cut();
    }

    /// Mends it.
    pub(crate) fn mend(&self) {
        self.wire.mend(self.control.clone());
    }

    /// Starts an agent with some slots and tools.
    pub(crate) async fn hire(&self, name: &str, slots: u32, tools: &[&str]) -> Hand {
        let ground = Arc::new(Ground::default());
        let tool = |tool: &&str| ((*tool).to_owned(), Version::parse("1.0"));
        let capabilities =
            Capabilities { tools: tools.iter().map(tool).collect(), ..Capabilities::default() };
        let id = AgentId::of(name.as_bytes());
        let settings = agent::Settings {
            agent: AgentRef { agent: id, incarnation: 1 },
            name: name.to_owned(),
            capabilities,
            slots,
        };
        let side = self.start_agent(&settings, &ground).await;
        Hand { side, ground, settings }
    }

    async fn start_agent(&self, settings: &agent::Settings, ground: &Arc<Ground>) -> AgentSide {
        let sabotage: SharedSabotage = self.sabotage.clone();
        let ports = agent::Ports {
            clock: self.clock.clone(),
            roads: Roads::to(self.wire.clone()),
            stages: Arc::new(OnGround(Arc::clone(ground))),
            tools: Arc::new(OnGround(Arc::clone(ground))),
            spool: Arc::new(OnGround(Arc::clone(ground))),
            chance: self.chance.clone(),
            sabotage,
        };
        AgentSide::start(settings.clone(), ports).await.unwrap()
    }

    /// Kills an agent; its launcher ends what it had started.
    pub(crate) async fn fell(&self, hand: &Hand) {
        hand.side.stop().await;
        hand.ground.kill();
    }

    /// Starts a killed agent again, as a new process.
    pub(crate) async fn raise(&self, hand: &mut Hand) {
        hand.settings.agent.incarnation += 1;
        hand.side = self.start_agent(&hand.settings, &hand.ground).await;
    }

    /// Submits a plan under a key.
    pub(crate) async fn submit(&self, key: &str, plan: &Plan) -> Result<Submitted, Denial> {
        self.control.submit(request(key, plan)).await
    }

    /// Submits a plan and answers its run.
    pub(crate) async fn run(&self, plan: &Plan) -> RunId {
        self.submit("first", plan).await.unwrap().run
    }

    /// Waits until a run owes nothing, at most an hour of its time.
    pub(crate) async fn retired(&self, run: RunId) -> Run {
        let hour = Span::hours(1).to_duration();
        let waiting = async {
            let mut version = 0;
            loop {
                match self.control.follow(run, version, Span::seconds(5)).await {
                    Ok(followed) if followed.retired => break,
                    Ok(followed) => version += followed.entries.len() as u64,
                    Err(_) => tokio::time::sleep(Span::seconds(1).to_duration()).await,
                }
            }
            self.control.view(run).await.unwrap()
        };
        let retired = tokio::time::timeout(hour, waiting).await;
        retired.unwrap_or_else(|_| panic!("{run} does not end"))
    }

    /// Waits until something holds, at most an hour of the test's time.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        for _ in 0..36_000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Span(100).to_duration()).await;
        }
        panic!("it never came to this: {what}");
    }

    /// A whole log, with the word that ends it.
    pub(crate) async fn log(&self, run: RunId, stage: u32, attempt: u32) -> String {
        let log = LogId { run, stage: StageId(stage), attempt: Attempt(attempt) };
        let mut text = Vec::new();
        for _ in 0..10_000 {
            let offset = text.len() as u64;
            let piece = self.control.log_read(log, offset, 7, Span::seconds(5)).await.unwrap();
            text.extend(piece.bytes);
            if let Some(end) = piece.end {
                return format!("{}[{end:?}]", String::from_utf8(text).unwrap());
            }
        }
        panic!("the log of stage {stage} does not end")
    }
}

/// The wish for a run of this plan.
pub(crate) fn request(key: &str, plan: &Plan) -> SubmitRequest {
    SubmitRequest {
        key: key.to_owned(),
        project: "shop".to_owned(),
        by: "ada".to_owned(),
        source: Source {
            plan: plan.hash(),
            bytes: Some(plan.to_bytes()),
            snapshot: None,
            continues: None,
        },
    }
}

/// How a run and its stages ended, by path.
pub(crate) fn outcomes(run: &Run) -> BTreeMap<String, Outcome> {
    let stages =
        run.stages().filter_map(|(_, stage, state)| Some((stage.path.clone(), state.outcome()?)));
    stages.chain([("run".to_owned(), run.outcome().unwrap())]).collect()
}
