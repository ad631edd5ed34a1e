//! The plan: what a run may do, known completely before anything runs.
//!
//! A plan is checked, acyclic, fully expanded, and free of anything that differs between machines.
//! It is stored once, by the hash of its canonical bytes. All stages lie in one list, parents
//! before their children and siblings in written order; stage 0 is the pipeline itself.
//!
//! Gates, environments, credentials and caches have their place here; see [`crate::gate`] for what
//! holds a run.

use crate::capability::Need;
use crate::gate::{Condition, Decided, Gate, Gates};
use crate::ids::{PlanHash, StageId};
use crate::journal::{Unreadable, decode, encode};
use crate::step::{Library, Signature};
use crate::time::Span;
use crate::value::{Value, ValueType};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The version of the plan's shape; a plan of a later format is refused.
pub const FORMAT: u32 = 1;
/// The most stages that a plan may have.
pub const MAX_STAGES: usize = 10_000;
/// How deep a condition over run values may nest, so that the plan's bytes can be read back.
pub const MAX_CONDITION_DEPTH: usize = 16;
/// How long a stage waits for an agent unless it says otherwise.
pub const DEFAULT_QUEUE: Span = Span::hours(24);

/// A whole plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT`] of the build that made it.
    pub format: u32,
    /// The pipeline's name: `default`, or the name of its file.
    pub pipeline: String,
    /// Where the pipeline was written.
    pub origin: Origin,
    /// What it was planned for.
    pub revision: Revision,
    /// The values of its parameters.
    pub parameters: BTreeMap<String, Value>,
    /// The environments that its stages name.
    pub environments: BTreeMap<String, Environment>,
    /// The step libraries that it uses, by name, each with only the steps that are called.
    pub libraries: BTreeMap<String, Library>,
    /// All stages; see the module's documentation for their order.
    pub stages: Vec<Stage>,
}

impl Plan {
    /// The bytes that are hashed and stored: MessagePack with named fields in declared order. A
    /// field that is added later is left out while it has its default, so that a plan that was
    /// stored before keeps its bytes and its hash.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// The content hash: the same on every machine for the same plan.
    #[must_use]
    pub fn hash(&self) -> PlanHash {
        PlanHash::of(&self.to_bytes())
    }

    /// Reads a stored or received plan, and checks that its stages form a tree with backward needs.
    ///
    /// # Errors
    /// When the bytes are no plan, of a later format, or do not hold together.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let plan: Self = decode("plan", bytes)?;
        let wrong = |cause: String| Unreadable { what: "plan", cause };
        if plan.format > FORMAT {
            return Err(wrong(format!(
                "format {} is newer than this build's {FORMAT}",
                plan.format
            )));
        }
        plan.check().map_err(wrong)?;
        Ok(plan)
    }

    /// The stage at a place.
    ///
    /// # Panics
    /// When the place is not of this plan.
    #[must_use]
    pub fn stage(&self, id: StageId) -> &Stage {
        &self.stages[id.index()]
    }

    /// The stage with this exact path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<StageId> {
        self.ids().find(|id| self.stage(*id).path == path)
    }

    /// The path of a stage, for people. The pipeline itself goes by its name.
    #[must_use]
    pub fn path(&self, id: StageId) -> &str {
        match self.stages.get(id.index()) {
            Some(stage) if !stage.path.is_empty() => &stage.path,
            Some(_) | None => &self.pipeline,
        }
    }

    /// Whether a stage is a group, which the author gave no name; see [`is_group`].
    #[must_use]
    pub fn is_group(&self, id: StageId) -> bool {
        is_group(&self.stages, id)
    }

    /// Whether a stage is another one or inside of it.
    #[must_use]
    pub fn is_within(&self, id: StageId, outer: StageId) -> bool {
        let mut at = Some(id);
        while let Some(stage) = at.filter(|at| *at > outer) {
            at = self.stages.get(stage.index()).and_then(|stage| stage.parent);
        }
        at == Some(outer)
    }

    /// All places, parents before children.
    pub fn ids(&self) -> impl Iterator<Item = StageId> + use<> {
        (0..u32::try_from(self.stages.len()).unwrap_or(u32::MAX)).map(StageId)
    }

    /// The signature behind a step.
    #[must_use]
    pub fn signature(&self, step: &StepCall) -> Option<&Signature> {
        self.libraries.get(&step.library)?.steps.get(&step.symbol)
    }

    /// Checks what every reader of a plan relies on.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self) -> Result<(), String> {
        let Some(root) = self.stages.first() else {
            return Err("it has no stages".to_owned());
        };
        if self.stages.len() > MAX_STAGES {
            return Err(format!("it has more than {MAX_STAGES} stages"));
        }
        if root.parent.is_some() {
            return Err("its first stage has a parent".to_owned());
        }
        let mut is_listed = vec![false; self.stages.len()];
        for (id, stage) in self.ids().zip(&self.stages) {
            if id != StageId::ROOT && !is_listed[id.index()] {
                return Err(format!("stage {id} is not among the children of an earlier stage"));
            }
            for child in stage.work.children() {
                let is_ours = *child > id
                    && self.stages.get(child.index()).is_some_and(|it| it.parent == Some(id));
                if !is_ours {
                    return Err(format!("stage {id} lists {child}, which is no child of its"));
                }
                if std::mem::replace(&mut is_listed[child.index()], true) {
                    return Err(format!("stage {id} lists {child} twice"));
                }
            }
            self.check_stage(id, stage).map_err(|cause| format!("stage {id} {cause}"))?;
        }
        Ok(())
    }

    fn check_stage(&self, id: StageId, stage: &Stage) -> Result<(), String> {
        let is_beside = |need: &StageId| {
            let parent = stage.parent.and_then(|parent| self.stages.get(parent.index()));
            let side_by_side =
                parent.is_some_and(|it| matches!(it.work, Work::Parallel(_) | Work::Fanout(_)));
            side_by_side
                && *need < id
                && self.stages.get(need.index()).is_some_and(|it| it.parent == stage.parent)
        };
        if !stage.needs.iter().all(is_beside) {
            return Err("needs a stage that is no earlier one beside it".to_owned());
        }
        let steps = stage.work.steps().iter().chain(&stage.finally);
        if let Some(step) = steps.into_iter().find(|step| self.signature(step).is_none()) {
            return Err(format!("calls '{}', which is in no library", step.symbol));
        }
        let gates = stage.gates.enter.iter().chain(&stage.gates.exit);
        let bare = gates.filter_map(|gate| match gate {
            Gate::Condition(condition) => Some(condition),
            Gate::Wait(_) => None,
        });
        for condition in stage.when.iter().chain(bare) {
            let Decided::Run(expression) = &condition.decided else { continue };
            if expression.depth() > MAX_CONDITION_DEPTH {
                return Err(format!("has a condition deeper than {MAX_CONDITION_DEPTH}"));
            }
            if expression.stages().iter().any(|named| named.index() >= self.stages.len()) {
                return Err("has a condition over a stage that does not exist".to_owned());
            }
        }
        Ok(())
    }
}

/// Whether a stage is a group, which the author gave no name: `parallel`, `fanout`, `choose` and
/// its arms.
#[must_use]
pub fn is_group(stages: &[Stage], id: StageId) -> bool {
    let Some(stage) = stages.get(id.index()) else { return false };
    let around = stage.parent.and_then(|parent| stages.get(parent.index()));
    let is_arm = around.is_some_and(|around| matches!(around.work, Work::Choose(_)));
    is_arm || matches!(stage.work, Work::Parallel(_) | Work::Fanout(_) | Work::Choose(_))
}

/// The longest path of a stage: with the names of all groups around it.
#[must_use]
pub fn long_path(stages: &[Stage], id: StageId) -> String {
    let mut names = Vec::new();
    let mut at = Some(id);
    while let Some(stage) = at.and_then(|at| stages.get(at.index())) {
        names.push(stage.name.as_str());
        at = stage.parent;
    }
    names.pop();
    names.reverse();
    names.join("/")
}

/// Whether a stage has surely ended, or will never begin, when another one's turn comes.
#[must_use]
pub fn ended_before(stages: &[Stage], earlier: StageId, later: StageId) -> bool {
    let line = |mut id: StageId| {
        let mut line = vec![id];
        while let Some(parent) = stages[id.index()].parent.filter(|parent| *parent < id) {
            line.push(parent);
            id = parent;
        }
        line.reverse();
        line
    };
    let (earlier, later) = (line(earlier), line(later));
    let shared = earlier.iter().zip(&later).take_while(|(a, b)| a == b).count();
    let (Some(first), Some(second)) = (earlier.get(shared), later.get(shared)) else {
        return false;
    };
    match &stages[earlier[shared - 1].index()].work {
        Work::Sequence(_) => first < second,
        Work::Parallel(_) | Work::Fanout(_) => needs(stages, *second, *first),
        Work::Choose(_) | Work::Steps(_) | Work::Nothing => false,
    }
}

/// Whether a stage needs a sibling, at first or at second hand.
fn needs(stages: &[Stage], stage: StageId, sibling: StageId) -> bool {
    let mut open = vec![stage];
    let mut met = BTreeSet::new();
    while let Some(next) = open.pop() {
        for need in &stages[next.index()].needs {
            if *need == sibling {
                return true;
            }
            if met.insert(*need) {
                open.push(*need);
            }
        }
    }
    false
}

/// Where a pipeline was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// In a file of the repository, from its root.
    File(String),
    /// Nowhere: it was inferred from what the repository holds.
    Convention {
        /// The conventions that matched, such as `rust`.
        names: Vec<String>,
        /// What was found, and what follows from it.
        reasons: Vec<String>,
    },
}

/// The state of the repository that a plan was made for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Revision {
    /// The branch that is checked out.
    pub branch: Option<String>,
    /// The tag that names the commit.
    pub tag: Option<String>,
    /// The full commit id.
    pub commit: Option<String>,
}

/// What a stage does when its turn has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Runs steps on one agent.
    Steps(Vec<StepCall>),
    /// Runs stages one after another.
    Sequence(Vec<StageId>),
    /// Runs stages side by side, all of them to their end.
    Parallel(Vec<StageId>),
    /// Runs stages side by side until the first fails.
    Fanout(Vec<StageId>),
    /// Runs the first stage whose condition holds; the others are skipped.
    Choose(Vec<StageId>),
    /// Does nothing itself: its gates are what it is for.
    Nothing,
}

impl Work {
    /// The stages inside.
    #[must_use]
    pub fn children(&self) -> &[StageId] {
        match self {
            Self::Sequence(children)
            | Self::Parallel(children)
            | Self::Fanout(children)
            | Self::Choose(children) => children,
            Self::Steps(_) | Self::Nothing => &[],
        }
    }

    /// The steps of a stage that has steps.
    #[must_use]
    pub fn steps(&self) -> &[StepCall] {
        match self {
            Self::Steps(steps) => steps,
            Self::Sequence(_)
            | Self::Parallel(_)
            | Self::Fanout(_)
            | Self::Choose(_)
            | Self::Nothing => &[],
        }
    }
}

/// One stage of a plan, with everything that was inherited already filled in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// Its name among its siblings. A group's is its keyword and place, such as `parallel-1`.
    pub name: String,
    /// The names that the author gave, from the outside in: `Deliver/Production`. Groups are left
    /// out, unless an earlier stage has the same path. The root's is empty.
    pub path: String,
    /// The stage that holds it.
    pub parent: Option<StageId>,
    /// What it does.
    pub work: Work,
    /// The siblings that must have succeeded before it may open.
    pub needs: Vec<StageId>,
    /// The condition under which it is entered at all.
    pub when: Option<Condition>,
    /// What must hold before it is entered and left.
    pub gates: Gates,
    /// What its agent must have.
    pub runtime: Need,
    /// The environment variables of its steps.
    pub settings: BTreeMap<String, String>,
    /// Whether it starts with the repository's files.
    pub checkout: bool,
    /// Steps that run on the same lease however the steps before ended.
    pub finally: Vec<StepCall>,
    /// From the award to the end of the steps; for a stage with children, over all of them.
    pub timeout: Option<Span>,
    /// How long it waits for an agent.
    pub queue: Span,
    /// When its steps are repeated.
    pub retry: Option<Retry>,
    /// The values that its steps may capture for later stages.
    pub outputs: BTreeMap<String, ValueType>,
    /// The environment that it delivers to.
    pub environment: Option<String>,
    /// The credentials that its steps may retrieve: names only.
    pub credentials: BTreeSet<String>,
    /// The caches that it fills or uses.
    pub caches: BTreeMap<String, Cache>,
    /// What undoes it.
    pub rollback: Vec<StepCall>,
    /// Whom to tell how it ended.
    pub notify: BTreeMap<Occasion, Vec<StepCall>>,
}

/// One call of a step, with its arguments checked and defaults filled in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepCall {
    /// The word that calls it.
    pub symbol: String,
    /// The library in [`Plan::libraries`] that has it.
    pub library: String,
    /// Its arguments by parameter name.
    pub arguments: BTreeMap<String, Value>,
    /// The folder it runs in, from the workspace; empty is the workspace itself.
    pub folder: String,
    /// Environment variables for this step alone.
    pub settings: BTreeMap<String, String>,
    /// How long it may take.
    pub timeout: Option<Span>,
}

/// Why an attempt may be repeated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryReason {
    /// Its agent or its lease was lost.
    Lost,
    /// A step failed.
    Failed,
    /// It ran out of time.
    TimedOut,
}

/// When a stage's steps are repeated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Retry {
    /// The most attempts, the first one counted.
    pub attempts: u32,
    /// What is worth another attempt.
    pub on: BTreeSet<RetryReason>,
    /// The pause before the second attempt; it doubles with each further one, up to an hour.
    pub backoff: Span,
}

/// An environment that stages deliver to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Environment {
    /// Environment variables of the stages that deliver to it.
    pub settings: BTreeMap<String, String>,
    /// The environment to which the same commit must have been delivered before.
    pub after: Option<String>,
    /// One delivery at a time.
    pub lock: bool,
    /// The named window in which nothing is delivered.
    pub freeze: Option<String>,
    /// Who must approve.
    pub approvers: Vec<String>,
    /// Whether reaching it counts as a delivery.
    pub delivers: bool,
}

/// A cache of a stage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// The stage fills it after its steps succeeded.
    Define {
        /// The folders that are kept, from the workspace.
        paths: Vec<String>,
        /// What it is kept under across runs; without a key it is for this run only.
        key: Option<Value>,
    },
    /// The stage reads what another one filled.
    Use,
}

/// On which outcome somebody is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// It succeeded.
    Success,
    /// It was unstable.
    Unstable,
    /// It failed, timed out or was lost.
    Failure,
    /// It ended.
    Always,
}
