//! The heart: one run as a pure state machine.
//!
//! `decide` holds all policy and changes nothing; `evolve` takes in a fact and cannot fail; `owed`
//! is what the outside should be doing now. Replaying a journal is `evolve` and nothing else.
//!
//! ```text
//!   decide.rs    wishes: what each leads to at first, or why not
//!   cascade.rs   consequences: what follows from a fact, until nothing does
//!   evolve.rs    facts: how each changes the state below
//!   state.rs     stages, attempts, steps       owed.rs      duties and their changes
//!   shape.rs     what the plan's tree implies  summary.rs   what lists show
//!   why.rs       what a stage waits for, or how it ended, in words
//! ```
//!
//! All state lies in persistent structures, so a clone is cheap and shares what did not change.
//! `decide` evolves such a clone with each fact that it finds, and looks there for what follows:
//! the meaning of facts is written once. An event costs what it changes, whatever the plan's size.

mod cascade;
pub mod command;
mod decide;
pub mod duty;
pub mod event;
mod evolve;
pub mod outcome;
pub mod owed;
mod shape;
pub mod state;
pub mod summary;
#[cfg(test)]
mod tests;
pub mod why;

pub use decide::Decided;

use crate::gate::Known;
use crate::ids::{CommandId, Epoch, RunId, StageId};
use crate::plan::{Plan, Stage, ended_before};
use crate::time::{Span, Timestamp};
use crate::value::Value;
use command::{Continuation, Submission};
use event::{ArtifactKept, Entry};
use outcome::Outcome;
use owed::Owed;
use rpds::{QueueSync, RedBlackTreeMapSync, RedBlackTreeSetSync, VectorSync};
use shape::Shape;
use state::{Phase, StageState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use summary::Counts;

/// How many granted wishes a run remembers.
pub const REMEMBERED_COMMANDS: usize = 64;

/// A run that owes nothing before this has passed needs no actor until then.
pub const DORMANT: Span = Span::seconds(60);

/// One execution of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    id: RunId,
    plan: Arc<Plan>,
    shape: Arc<Shape>,
    begun: Option<Arc<Begun>>,
    stages: VectorSync<StageState>,
    cancelled: Option<Arc<Cancelled>>,
    /// The stage of which a step ended the run, and when.
    ended_by: Option<(StageId, Timestamp)>,
    settled: Option<(Outcome, Timestamp)>,
    retired_at: Option<Timestamp>,
    /// The epoch of the last award.
    epoch: Epoch,
    captured: RedBlackTreeMapSync<StageId, Arc<BTreeMap<String, Value>>>,
    artifacts: RedBlackTreeMapSync<String, ArtifactKept>,
    answered: QueueSync<CommandId>,
    owed: Owed,
    deadlines: RedBlackTreeSetSync<(Timestamp, StageId)>,
    counts: Counts,
    /// When the last entry was decided.
    last_at: Timestamp,
    /// The number of entries that were applied.
    version: u64,
}

/// What the run began with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Begun {
    /// The submission.
    pub submission: Submission,
    /// When it was accepted.
    pub at: Timestamp,
    /// The stages that are taken over from an earlier run.
    carried: BTreeSet<StageId>,
}

/// Who ended the run before it was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cancelled {
    /// Who.
    pub by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Run {
    /// A run that was not submitted yet.
    #[must_use]
    pub fn new(id: RunId, plan: Arc<Plan>) -> Self {
        let stages: VectorSync<StageState> = plan
            .stages
            .iter()
            .map(|stage| StageState::new(stage.work.children().len(), stage.needs.len()))
            .collect();
        let leaves = plan.stages.iter().filter(|stage| stage.work.children().is_empty()).count();
        Self {
            id,
            shape: Arc::new(Shape::of(&plan)),
            plan,
            begun: None,
            stages,
            cancelled: None,
            ended_by: None,
            settled: None,
            retired_at: None,
            epoch: Epoch::default(),
            captured: RedBlackTreeMapSync::new_sync(),
            artifacts: RedBlackTreeMapSync::new_sync(),
            answered: QueueSync::new_sync(),
            owed: Owed::nothing(),
            deadlines: RedBlackTreeSetSync::new_sync(),
            counts: Counts::waiting(leaves),
            last_at: Timestamp::default(),
            version: 0,
        }
    }

    /// The run that a journal tells of.
    #[must_use]
    pub fn replay<'a>(
        id: RunId,
        plan: Arc<Plan>,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Self {
        let mut run = Self::new(id, plan);
        for entry in entries {
            run.apply(entry);
        }
        run
    }

    /// Takes in one entry of the journal.
    pub fn apply(&mut self, entry: &Entry) {
        for event in &entry.events {
            self.evolve(event);
        }
        self.last_at = self.last_at.max(entry.at);
        self.version += 1;
    }

    /// Its name.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// What it executes.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The number of entries that were applied: what the next one's proposal must expect.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What it began with; `None` before it was submitted.
    pub fn begun(&self) -> Option<&Begun> {
        self.begun.as_deref()
    }

    /// Who ended it before it was done.
    pub fn cancelled(&self) -> Option<&Cancelled> {
        self.cancelled.as_deref()
    }

    /// The stage of which a step ended the run before all was done.
    pub fn ended_by(&self) -> Option<StageId> {
        self.ended_by.map(|(stage, _)| stage)
    }

    /// Its outcome, which is for good. Agents may still be ending what they do.
    pub fn outcome(&self) -> Option<Outcome> {
        self.settled.map(|(outcome, _)| outcome)
    }

    /// When it got its outcome.
    pub fn settled_at(&self) -> Option<Timestamp> {
        self.settled.map(|(_, at)| at)
    }

    /// When it came to owe nothing any more.
    pub fn retired_at(&self) -> Option<Timestamp> {
        self.retired_at
    }

    /// What the outside should be doing for it now.
    pub fn owed(&self) -> &Owed {
        &self.owed
    }

    /// Whether the wish of this identity was granted already; the last 64 are remembered.
    pub fn answered(&self, id: &CommandId) -> bool {
        self.answered.iter().any(|answered| answered == id)
    }

    /// How many stages without stages inside are how far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How far a stage is; `None` where the plan has no such stage.
    pub fn stage(&self, id: StageId) -> Option<&StageState> {
        #[cfg(test)]
        tests::work::visited();
        self.stages.get(id.index())
    }

    /// All stages with how far they are, parents before their children.
    pub fn stages(&self) -> impl Iterator<Item = (StageId, &Stage, &StageState)> {
        let stages = self.plan.stages.iter().zip(self.stages.iter());
        self.plan.ids().zip(stages).map(|(id, (stage, state))| (id, stage, state))
    }

    /// What a stage captured.
    pub fn captured(&self, stage: StageId) -> Option<&BTreeMap<String, Value>> {
        self.captured.get(&stage).map(AsRef::as_ref)
    }

    /// What stages captured that have surely ended before this one: the later stage wins.
    #[must_use]
    pub fn captured_before(&self, stage: StageId) -> BTreeMap<String, Value> {
        let earlier = self.captured.iter().take_while(|(earlier, _)| **earlier < stage);
        let earlier = earlier.filter(|(earlier, _)| {
            self.stage(**earlier).is_some_and(|state| state.outcome().is_some())
                && ended_before(&self.plan.stages, **earlier, stage)
        });
        earlier
            .flat_map(|(_, values)| values.iter())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// The artifacts that were kept so far, by name.
    pub fn artifacts(&self) -> impl Iterator<Item = (&str, &ArtifactKept)> {
        self.artifacts.iter().map(|(name, kept)| (name.as_str(), kept))
    }

    /// When its last entry was decided. Its time never goes back behind that.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// When the run wants an actor: zero is "now and after every restart", a later time is the
    /// alarm that is all it owes for long, and `None` is "never again by itself".
    pub fn wake(&self) -> Option<Timestamp> {
        match (self.owed.len(), self.owed.alarm()) {
            (0, _) => None,
            (1, Some(alarm)) if alarm.since(self.last_at) > DORMANT => Some(alarm),
            _ => Some(Timestamp::default()),
        }
    }

    /// What a new run of the same plan can take over from this one: the stages with steps that
    /// succeeded, and what they left.
    #[must_use]
    pub fn continuation(&self) -> Continuation {
        let succeeded = |stage: StageId| {
            let leaf = self.plan.stages.get(stage.index());
            leaf.is_some_and(|stage| stage.work.children().is_empty())
                && self.stage(stage).and_then(StageState::outcome) == Some(Outcome::Success)
        };
        let carried: Vec<StageId> = self.plan.ids().filter(|id| succeeded(*id)).collect();
        let captured = self.captured.iter().filter(|(stage, _)| succeeded(**stage));
        let artifacts = self.artifacts.iter().filter(|(_, kept)| succeeded(kept.stage));
        Continuation {
            number: self.id.number,
            captured: captured.map(|(stage, values)| (*stage, BTreeMap::clone(values))).collect(),
            artifacts: artifacts.map(|(name, kept)| (name.clone(), kept.clone())).collect(),
            carried,
        }
    }

    /// The plan's words for a stage; `None` where the plan has no such stage.
    fn planned(&self, id: StageId) -> Option<&Stage> {
        self.plan.stages.get(id.index())
    }

    /// The path of a stage, for people. The pipeline itself has its name.
    fn path(&self, id: StageId) -> &str {
        self.plan.path(id)
    }

    fn phase(&self, id: StageId) -> Option<&Phase> {
        self.stage(id).map(|state| &state.phase)
    }
}

impl Known for Run {
    fn output(&self, stage: StageId, field: &str) -> Option<&Value> {
        self.captured(stage)?.get(field)
    }

    fn answer(&self, _gate: &str, _field: &str) -> Option<&Value> {
        // A plan with waits is refused at submission, so nobody has answered anything.
        None
    }

    fn path(&self, stage: StageId) -> &str {
        Run::path(self, stage)
    }
}
