//! The intake of a shard: submissions that come together are decided and journaled together.
//!
//! A submission is one entry of its project, the first entry of its run, the record behind its key,
//! and its plan where that is new: one proposal, applied whole or not at all. That the proposal
//! expects a key without a record makes submitting idempotent; nothing is read to find out.

use crate::control::answers::{Denial, Submitted};
use crate::pipeline;
use crate::plans::{self, Plans};
use crate::ports::clock::SharedClock;
use crate::ports::journal::{JournalError, SharedJournal};
use otto_core::ids::{PlanHash, ProjectId, RunId};
use otto_core::journal::{EntityId, EntityKind, Head, Item, Proposal, Verdict, decode, encode};
use otto_core::plan::Plan;
use otto_core::project::{Admission, KeyRecord, Project, ProjectEvent};
use otto_core::run::Run;
use otto_core::run::command::{Command, Submission, Wish};
use otto_core::time::Timestamp;
use ractor::RpcReplyPort;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The most submissions that are proposed together.
const MOST: usize = 1000;
/// About how many bytes of plans are proposed together at most.
const HEAVIEST: usize = 1 << 20;

/// The most submissions that wait in a shard, and half of that the most of one project.
const WAITING: usize = 4096;
/// About how many bytes of plans wait at most.
const WAITING_BYTES: usize = 64 << 20;

/// The answer to a submission.
pub(crate) type Answer = Result<Submitted, Denial>;

/// A submission whose plan was read and checked.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The idempotency key.
    pub(crate) key: String,
    /// What the run begins with.
    pub(crate) submission: Submission,
    /// Its plan.
    pub(crate) plan: Arc<Plan>,
    /// The plan's bytes, where it is not known to be stored in this shard.
    pub(crate) bytes: Option<Vec<u8>>,
    /// Where the answer goes.
    pub(crate) reply: RpcReplyPort<Answer>,
}

impl Wanted {
    fn project(&self) -> ProjectId {
        ProjectId::of(&self.submission.project)
    }

    /// About how many bytes it takes.
    fn weight(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len)
    }

    fn key(&self) -> EntityId {
        EntityId::key(self.project(), &self.key)
    }
}

/// What a shard knows of its projects: the number of entries in each one's journal, and its state.
pub(super) type Projects = BTreeMap<ProjectId, (u64, Project)>;

/// What became of submissions.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// What the shard knows of the projects now.
    pub(super) projects: Projects,
    /// The new runs, as their first entries left them.
    pub(super) runs: Vec<Run>,
    /// The answers, which are sent when the runs have their actors.
    pub(super) answers: Vec<(RpcReplyPort<Answer>, Answer)>,
    /// Runs may have been journaled that are not among these.
    pub(super) unknown: bool,
}

/// Submissions that wait. A project that floods its shard leaves room for the others.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Wanted>,
    bytes: usize,
    by_project: BTreeMap<ProjectId, usize>,
}

impl Queue {
    /// Lines a submission up; gives it back where there is no room.
    pub(super) fn push(&mut self, wanted: Box<Wanted>) -> Result<(), Box<Wanted>> {
        let weight = wanted.weight();
        let of_project = self.by_project.get(&wanted.project()).copied().unwrap_or_default();
        let full = self.waiting.len() >= WAITING
            || of_project >= WAITING / 2
            || (self.bytes > 0 && self.bytes + weight > WAITING_BYTES);
        if full {
            return Err(wanted);
        }
        self.bytes += weight;
        *self.by_project.entry(wanted.project()).or_default() += 1;
        self.waiting.push_back(*wanted);
        Ok(())
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes what is proposed together: the oldest.
    pub(super) fn gather(&mut self) -> Vec<Wanted> {
        let mut gathered: Vec<Wanted> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            bytes += next.weight();
            let fits = gathered.is_empty() || (gathered.len() < MOST && bytes <= HEAVIEST);
            let Some(wanted) = fits.then(|| self.waiting.pop_front()).flatten() else { break };
            self.bytes -= wanted.weight();
            if let Entry::Occupied(mut count) = self.by_project.entry(wanted.project()) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
            gathered.push(wanted);
        }
        gathered
    }
}

/// Decides and journals submissions.
pub(super) struct Intake {
    pub(super) journal: SharedJournal,
    pub(super) plans: Plans,
    pub(super) clock: SharedClock,
    pub(super) projects: Projects,
    pub(super) wanted: Vec<Wanted>,
    pub(super) answers: Vec<(RpcReplyPort<Answer>, Answer)>,
}

/// What submissions come to when they are decided on what is known of their projects.
struct Draft {
    projects: Projects,
    runs: Vec<Run>,
    proposal: Proposal,
    /// Who gets which run, and whether it is an earlier one's.
    accepted: Vec<(Wanted, Submitted)>,
}

impl Intake {
    /// Does it. Where a version differed from what was expected, what is there is read and all is
    /// decided again; each turn settles one difference at least.
    pub(super) async fn admit(mut self) -> Admitted {
        for _ in 0..3 * self.wanted.len() + 3 {
            if let Err(error) = self.read_projects().await {
                return self.give_up(&error);
            }
            let mut draft = self.draft();
            if draft.accepted.is_empty() {
                break;
            }
            match self.journal.propose(std::mem::take(&mut draft.proposal)).await {
                Ok(Verdict::Applied) => return self.applied(draft),
                Ok(Verdict::Conflict { entity, .. }) => {
                    self.wanted = draft.accepted.into_iter().map(|(wanted, _)| wanted).collect();
                    if let Err(error) = self.differs(entity).await {
                        return self.give_up(&error);
                    }
                }
                Err(error) => {
                    self.wanted = draft.accepted.into_iter().map(|(wanted, _)| wanted).collect();
                    return self.give_up(&error);
                }
            }
        }
        self.give_up(&JournalError::Store("others kept coming first".to_owned()))
    }

    async fn read_projects(&mut self) -> Result<(), JournalError> {
        for id in self.wanted.iter().map(Wanted::project).collect::<Vec<_>>() {
            if !self.projects.contains_key(&id) {
                let stored = self.journal.head(EntityId::project(id)).await?;
                let version = stored.as_ref().map_or(0, |stored| stored.version);
                let project = Project::from_head(stored.as_ref().map(|stored| &stored.head));
                let project = project.map_err(|error| JournalError::Store(error.to_string()))?;
                self.projects.insert(id, (version, project));
            }
        }
        Ok(())
    }

    /// Decides all submissions; those that are refused are answered.
    fn draft(&mut self) -> Draft {
        let now = self.clock.now();
        let mut projects = self.projects.clone();
        let mut keys: BTreeMap<EntityId, RunId> = BTreeMap::new();
        let mut plans: BTreeMap<PlanHash, Vec<u8>> = BTreeMap::new();
        let mut facts: BTreeMap<ProjectId, Vec<ProjectEvent>> = BTreeMap::new();
        let most = self.wanted.len();
        let mut runs = Vec::with_capacity(most);
        let mut accepted = Vec::with_capacity(most);
        let mut items = Vec::with_capacity(2 * most + 2);
        for wanted in std::mem::take(&mut self.wanted) {
            let key = wanted.key();
            let known = keys.get(&key).map(|run| KeyRecord { run: *run });
            let (_, project) = projects.entry(wanted.project()).or_default();
            match project.admit(&wanted.submission.project, known, now) {
                Admission::Known(run) => accepted.push((wanted, Submitted { run, existing: true })),
                Admission::New { run: id, event } => match first_entry(id, &wanted, now) {
                    Ok((run, item)) => {
                        project.evolve(&event);
                        facts.entry(id.project).or_default().push(event);
                        if let Some(bytes) = &wanted.bytes {
                            plans.entry(wanted.submission.plan).or_insert_with(|| bytes.clone());
                        }
                        keys.insert(key, id);
                        items.push(item);
                        runs.push(run);
                        accepted.push((wanted, Submitted { run: id, existing: false }));
                    }
                    Err(denial) => self.answers.push((wanted.reply, Err(denial))),
                },
            }
        }
        items.extend(facts.iter().map(|(id, facts)| project_item(*id, facts, &mut projects)));
        items.extend(keys.into_iter().map(|(key, run)| once(key, encode(&KeyRecord { run }))));
        items.extend(plans.into_iter().map(|(hash, bytes)| once(plans::entity(hash), bytes)));
        Draft { projects, runs, proposal: Proposal { items }, accepted }
    }

    /// An entity has another version than was expected: takes in what that means.
    async fn differs(&mut self, entity: EntityId) -> Result<(), JournalError> {
        match entity.kind {
            EntityKind::Plan => {
                let same = |wanted: &&mut Wanted| plans::entity(wanted.submission.plan) == entity;
                for wanted in self.wanted.iter_mut().filter(same) {
                    wanted.bytes = None;
                }
            }
            EntityKind::Key => {
                let record = self.journal.entries(entity, 0).await?.into_iter().next();
                let record = record.map(|bytes| decode::<KeyRecord>("key", &bytes)).transpose();
                let record = record.map_err(|error| JournalError::Store(error.to_string()))?;
                let Some(KeyRecord { run }) = record else { return Ok(()) };
                let (known, rest) = std::mem::take(&mut self.wanted)
                    .into_iter()
                    .partition(|wanted| wanted.key() == entity);
                self.wanted = rest;
                let known: Vec<Wanted> = known;
                let answer = Ok(Submitted { run, existing: true });
                let answers = known.into_iter().map(|wanted| (wanted.reply, answer.clone()));
                self.answers.extend(answers);
            }
            EntityKind::Project | EntityKind::Run | EntityKind::Cluster | EntityKind::Agent => {
                self.projects.clear();
            }
        }
        Ok(())
    }

    fn applied(self, draft: Draft) -> Admitted {
        let mut answers = self.answers;
        answers.reserve(draft.accepted.len());
        for (wanted, submitted) in draft.accepted {
            self.plans.keep(wanted.submission.plan, &wanted.plan);
            answers.push((wanted.reply, Ok(submitted)));
        }
        Admitted { projects: draft.projects, runs: draft.runs, answers, unknown: false }
    }

    /// Nobody knows whether it was applied, or nothing could be: who still wants to asks again.
    fn give_up(self, error: &JournalError) -> Admitted {
        let mut answers = self.answers;
        let denial = Denial::Unanswered(error.to_string());
        let left = self.wanted.into_iter().map(|wanted| (wanted.reply, Err(denial.clone())));
        answers.extend(left);
        let unknown = matches!(error, JournalError::Unknown(_));
        Admitted { projects: Projects::new(), runs: Vec::new(), answers, unknown }
    }
}

/// A run with its first entry, as a part of a proposal.
fn first_entry(id: RunId, wanted: &Wanted, now: Timestamp) -> Result<(Run, Item), Denial> {
    let decide = || {
        let mut run = Run::new(id, Arc::clone(&wanted.plan));
        let submit = Command::from(Wish::Submit(wanted.submission.clone()));
        let decided = run.decide_all(&[submit], now);
        decided.answers.into_iter().collect::<Result<Vec<()>, _>>()?;
        let Some(entry) = decided.entry else {
            return Err(Denial::Unfit("its submission leads to nothing".to_owned()));
        };
        run.apply(&entry);
        let item = pipeline::item(&run, &entry);
        Ok((run, item))
    };
    // A plan that makes the run panic costs this submission, and not those that came with it.
    catch_unwind(AssertUnwindSafe(decide)).unwrap_or_else(|_| {
        Err(Denial::Unfit("this plan cannot be begun, which is a fault in Otto".to_owned()))
    })
}

/// The part of a proposal that is about a project. What is known of it is then one entry further.
fn project_item(id: ProjectId, facts: &[ProjectEvent], projects: &mut Projects) -> Item {
    let (version, project) = projects.entry(id).or_default();
    let expected = *version;
    *version += 1;
    let entity = EntityId::project(id);
    Item { entity, expected, entry: encode(&facts), head: project.to_head() }
}

/// The part of a proposal that writes a record once.
fn once(entity: EntityId, entry: Vec<u8>) -> Item {
    Item { entity, expected: 0, entry, head: Head::default() }
}
