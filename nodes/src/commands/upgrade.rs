//! `otto upgrade`: whether all live runs are the same under this build, and the cluster's level.
//!
//! A run is its journal, replayed. So a build is fit to take over where every journal leads to the
//! same run under it as under the one that serves now.

use super::fault::{Exit, Fault, Id};
use super::{Context, session};
use crate::client::{Client, ClientError};
use crate::control::stage_view;
use crate::rpc::api::{Follow, ListRuns, ListStages, Listed, StageView};
use crate::rpc::cluster::{ClusterView, NodeView};
use clap::Args;
use otto_core::journal::decode;
use otto_core::plan::Plan;
use otto_core::run::Run;
use otto_core::run::event::Entry;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  otto upgrade              the cluster's level, and what each node's build understands
  otto upgrade --check      with the new otto: do all live runs replay the same under it?
  otto upgrade --raise      when all nodes have the new release: there is no way back

A new release works at the old level, and can be rolled back, until the level is raised.")]
pub(super) struct Upgrade {
    /// Replay the journals of all live runs under this build, and say which would differ
    #[arg(long, conflicts_with = "raise")]
    check: bool,
    /// Also of those that have ended
    #[arg(long, requires = "check")]
    all: bool,
    /// Let everything be written that all nodes understand
    #[arg(long)]
    raise: bool,
}

/// What became of a run.
struct Verdict {
    run: Listed,
    /// What differs; nothing where it is the same.
    differs: Option<String>,
}

impl Upgrade {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        session::block_on(async {
            let client = session::connect(context).await?;
            if self.check {
                let verdicts = check(&client, self.all).await?;
                return tell(context, &verdicts, self.all);
            }
            let view = client.cluster().await.map_err(session::refusal)?;
            if !self.raise {
                return show(context, &view);
            }
            let to = view.possible_level();
            if let Some(reason) = in_the_way(&view).filter(|_| to == view.level) {
                let what = format!("the level stays at {to}: {reason}");
                return Err(Fault::usage(Id::Refused, what)
                    .help("upgrade that node, or remove it: `otto nodes remove`"));
            }
            client.raise_level(to).await.map_err(session::refusal)?;
            let view = client.cluster().await.map_err(session::refusal)?;
            context.screen.tell(format!("the cluster's level is {}", view.level));
            Ok(Exit::Done)
        })
    }
}

fn show(context: &Context, view: &ClusterView) -> Result<Exit, Fault> {
    let newest = view.possible_level();
    if context.json {
        let node = |node: &NodeView| {
            let (name, levels) = (node.node.to_string(), node.levels);
            json!({ "node": name, "levels": levels, "release": node.release })
        };
        let nodes: Vec<Value> = view.nodes.iter().map(node).collect();
        let page = json!({ "level": view.level, "possible": newest, "nodes": nodes });
        context.screen.data(format!("{page}\n"))?;
        return Ok(Exit::Done);
    }
    let mut lines = vec![format!("level {}\n", view.level)];
    for node in &view.nodes {
        let levels = node.levels.map_or_else(|| EARLIER.to_owned(), |levels| levels.to_string());
        let release = node.release.as_ref().map(|release| format!("   otto {release}"));
        let release = release.unwrap_or_default();
        lines.push(format!("{}  understands {levels}{release}\n", node.node));
    }
    context.screen.data(lines.concat())?;
    if newest > view.level {
        context.screen.tell(format!("it can be raised to {newest}: otto upgrade --raise"));
    } else if let Some(reason) = in_the_way(view) {
        context.screen.tell(reason);
    }
    Ok(Exit::Done)
}

/// What a node of a release that did not say so understands.
const EARLIER: &str = "what an earlier release does";

/// Which nodes keep the level from rising to what others understand, where that is so.
fn in_the_way(view: &ClusterView) -> Option<String> {
    let newest = |node: &NodeView| node.levels.map_or(view.level, |levels| levels.newest);
    let best = view.nodes.iter().map(newest).max().filter(|best| *best > view.level)?;
    let behind = view.nodes.iter().filter(|node| newest(node) <= view.level);
    let behind: Vec<String> = behind.map(|node| node.node.to_string()).collect();
    if behind.is_empty() {
        return None;
    }
    let (names, s) = (behind.join(", "), if behind.len() == 1 { "s" } else { "" });
    Some(format!("{names} keep{s} it from rising to {best}"))
}

fn tell(context: &Context, verdicts: &[Verdict], ended_too: bool) -> Result<Exit, Fault> {
    let differing = verdicts.iter().filter(|verdict| verdict.differs.is_some()).count();
    if context.json {
        let one = |verdict: &Verdict| {
            json!({
                "run": verdict.run.run.number,
                "project": verdict.run.summary.project,
                "entries": verdict.run.version,
                "same": verdict.differs.is_none(),
                "differs": verdict.differs,
            })
        };
        let page: Vec<Value> = verdicts.iter().map(one).collect();
        context.screen.data(format!("{}\n", Value::Array(page)))?;
    }
    for verdict in verdicts {
        let Some(differs) = &verdict.differs else { continue };
        let (number, project) = (verdict.run.run.number, &verdict.run.summary.project);
        let word = context.screen.err.error("differs");
        context.screen.tell(format!("{word}: run {number} of {project}: {differs}"));
    }
    let runs = if ended_too { "runs" } else { "live runs" };
    context.screen.tell(match (verdicts.len(), differing) {
        (0, _) => format!("there are no {runs}"),
        (all, 0) => format!("{all} of {all} {runs} replay the same under this build"),
        (all, some) => format!("{some} of {all} {runs} would differ: keep the present build"),
    });
    Ok(if differing == 0 { Exit::Done } else { Exit::RunFailed })
}

/// Replays all runs that still owe something; or all that there are.
async fn check(client: &Client, ended_too: bool) -> Result<Vec<Verdict>, Fault> {
    let mut verdicts = Vec::new();
    let mut before = None;
    loop {
        let list = ListRuns { project: None, before, limit: PAGE };
        let page = client.runs(list).await.map_err(session::fault)?;
        for listed in &page {
            if ended_too || !listed.summary.retired {
                verdicts.push(compare(client, listed).await?);
            }
        }
        before = page.last().map(|listed| listed.run);
        if page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
            return Ok(verdicts);
        }
    }
}

/// How many runs are listed at once.
const PAGE: u32 = 100;
/// How many stages are listed at once.
const STAGES: u32 = 1000;
/// How often a run is looked at again that goes on while it is looked at.
const LOOKS: u32 = 10;

/// Compares a run as the node has it with what its journal leads to here.
async fn compare(client: &Client, listed: &Listed) -> Result<Verdict, Fault> {
    let mut look = 0;
    loop {
        look += 1;
        let first = client.run(listed.run).await.map_err(session::fault)?;
        let theirs = stages(client, listed).await?;
        let differs = match entries(client, &first).await {
            Ok(entries) => match session::plan(client, &first).await {
                Ok(plan) => difference(&Arc::new(plan), &first, &theirs, &entries),
                Err(_) => Some("its plan cannot be read".to_owned()),
            },
            Err(Unread::Client(error)) => return Err(session::fault(error)),
            Err(Unread::Entry(cause)) => Some(cause),
        };
        let last = client.run(listed.run).await.map_err(session::fault)?;
        // What moved meanwhile was not compared with itself.
        if differs.is_none() || last.version == first.version || look == LOOKS {
            return Ok(Verdict { run: last, differs });
        }
    }
}

async fn stages(client: &Client, listed: &Listed) -> Result<Vec<StageView>, Fault> {
    let mut all = Vec::new();
    loop {
        let from = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let list = ListStages { run: listed.run, from, limit: STAGES };
        let page = client.stages(list).await.map_err(session::fault)?;
        let over = page.is_empty();
        all.extend(page);
        if over {
            return Ok(all);
        }
    }
}

/// Why a journal was not read.
enum Unread {
    Client(ClientError),
    Entry(String),
}

/// The entries of a run, up to what lists show of it.
async fn entries(client: &Client, listed: &Listed) -> Result<Vec<Entry>, Unread> {
    let mut entries = Vec::new();
    while (entries.len() as u64) < listed.version {
        let follow = Follow { run: listed.run, after: entries.len() as u64, wait_ms: 0 };
        let part = client.entries(follow).await.map_err(Unread::Client)?;
        if part.entries.is_empty() {
            break;
        }
        for bytes in &part.entries {
            let entry: Result<Entry, _> = decode("journal entry", bytes);
            let number = entries.len() + 1;
            let unread = |error| Unread::Entry(format!("entry {number}: failed to {error}"));
            entries.push(entry.map_err(unread)?);
        }
    }
    entries.truncate(usize::try_from(listed.version).unwrap_or(usize::MAX));
    Ok(entries)
}

/// What is another under this build; nothing where all is the same.
fn difference(
    plan: &Arc<Plan>,
    listed: &Listed,
    theirs: &[StageView],
    entries: &[Entry],
) -> Option<String> {
    let replay = || Run::replay(listed.run, Arc::clone(plan), entries);
    let Ok(run) = catch_unwind(AssertUnwindSafe(replay)) else {
        return Some("its replay ends in a panic".to_owned());
    };
    let ours: Vec<StageView> = run.stages().map(|(id, ..)| stage_view(&run, id)).collect();
    let stage = ours.iter().zip(theirs).find(|(ours, theirs)| ours != theirs);
    if let Some((ours, theirs)) = stage {
        let path = if ours.path.is_empty() { "the whole" } else { &ours.path };
        Some(format!("{path} is {:?} here, {:?} there", ours.phase, theirs.phase))
    } else if ours.len() != theirs.len() {
        Some(format!("it has {} stages here, {} there", ours.len(), theirs.len()))
    } else if run.summary() != listed.summary {
        Some("what lists show of it".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{difference, in_the_way};
    use crate::control::{stage_view, tests};
    use crate::rpc::api::{Listed, StagePhase, StageView};
    use crate::rpc::cluster::{ClusterView, Live, NodeView};
    use otto_core::cluster::state::{Levels, Standing, Wanted};
    use otto_core::cluster::survival::Survival;
    use otto_core::ids::{ClusterId, KeyId, NodeId, ProjectId, RunId};
    use otto_core::run::Run;
    use otto_core::run::command::{Command, Submission, Wish};
    use otto_core::run::event::Entry;
    use otto_core::time::Timestamp;
    use std::sync::Arc;

    #[test]
    fn whatever_another_build_makes_of_a_journal_is_told() {
        let plan = Arc::new(tests::plan(10));
        let run = RunId { project: ProjectId(1), number: 7 };
        let mut live = Run::new(run, Arc::clone(&plan));
        let submission = Submission {
            plan: plan.hash(),
            project: "shop".to_owned(),
            by: "bob".to_owned(),
            snapshot: None,
            continues: None,
        };
        let submit = Command::from(Wish::Submit(submission));
        let entry = Entry { at: Timestamp(5), events: live.decide(&submit, Timestamp(5)).unwrap() };
        live.apply(&entry);
        let listed = Listed { run, version: 1, summary: live.summary() };
        let stages: Vec<StageView> = live.stages().map(|(id, ..)| stage_view(&live, id)).collect();
        let entries = [entry];
        assert_eq!(difference(&plan, &listed, &stages, &entries), None);
        let mut settled = stages.clone();
        settled[1].phase = StagePhase::Settled;
        let mut renamed = listed.clone();
        renamed.summary.by = "eve".to_owned();
        for (listed, theirs, entries, part) in [
            (&listed, &settled[..], &entries[..], "Build is Queued here, Settled there"),
            (&listed, &stages[..1], &entries[..], "it has 2 stages here, 1 there"),
            (&renamed, &stages[..], &entries[..], "what lists show of it"),
            (&listed, &stages[..], &entries[..0], "Pending here"),
        ] {
            let told = difference(&plan, listed, theirs, entries).unwrap_or_default();
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    fn view(level: u32, nodes: &[Option<u32>]) -> ClusterView {
        let node = |(place, newest): (usize, &Option<u32>)| NodeView {
            node: NodeId(place as u64 + 1),
            name: "m".to_owned(),
            addresses: Vec::new(),
            standing: Standing::Voter,
            wanted: Wanted::Serve,
            joined: Timestamp(0),
            certificate_until: Timestamp(0),
            live: Live::default(),
            levels: newest.map(|newest| Levels { oldest: 1, newest }),
            release: None,
        };
        ClusterView {
            cluster: ClusterId([7; 16]),
            authority: KeyId([1; 32]),
            shards: 8,
            level,
            nodes: nodes.iter().enumerate().map(node).collect(),
            agents: Vec::new(),
            survival: Survival::of(1, 1),
            shared_store: false,
            recalled_by: None,
        }
    }

    #[test]
    fn the_level_rises_to_what_all_understand() {
        for (level, nodes, to) in [
            (1, vec![Some(1), Some(1)], 1),
            (1, vec![Some(2), Some(1)], 1),
            (1, vec![Some(3), Some(2)], 2),
            (2, vec![Some(2)], 2),
        ] {
            assert_eq!(view(level, &nodes).possible_level(), to, "{level} {nodes:?}");
        }
    }

    #[test]
    fn who_keeps_the_level_from_rising_is_named() {
        for (nodes, told) in [
            (vec![Some(1), Some(1)], None),
            (vec![Some(2), Some(2)], None),
            (vec![Some(2), Some(1)], Some("n2 keeps it from rising to 2")),
            (vec![Some(3), None, Some(1)], Some("n2, n3 keep it from rising to 3")),
        ] {
            assert_eq!(in_the_way(&view(1, &nodes)).as_deref(), told, "{nodes:?}");
        }
    }
}
