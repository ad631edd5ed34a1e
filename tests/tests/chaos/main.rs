//! Chaos: three real nodes on three hosts of one machine, real clients, real steps, while a seed
//! takes hosts, processes, links and disks away; what happened is judged as a simulation is.
//!
//! `OTTO_CHAOS_SEED` names the first seed, `OTTO_CHAOS_SEEDS` how many there are, and
//! `OTTO_CHAOS_FAULTS` how many faults each has.

mod audit;
mod clients;
mod cluster;
mod faults;
mod ground;
mod host;
mod truth;

use clients::{Learnt, PROJECT, Work};
use cluster::Cluster;
use faults::Planned;
use ground::{Ground, on_ground};
use otto_sim::ending::Ending;
use otto_sim::history::Moment;
use otto_sim::invariants::judge;
use otto_sim::report::timeline;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::sleep;

/// How many hosts there are.
const HOSTS: usize = 3;
/// How many clients submit at once.
const CLIENTS: usize = 3;

#[test]
fn real_nodes_keep_their_word_under_faults() {
    on_ground("real_nodes_keep_their_word_under_faults", |ground| {
        let named = |name: &str, otherwise: u64| {
            let text = std::env::var(name).ok();
            text.map_or(otherwise, |text| text.parse().expect("a number"))
        };
        let first = named("OTTO_CHAOS_SEED", 1);
        let faults = usize::try_from(named("OTTO_CHAOS_FAULTS", 4)).expect("a small number");
        for seed in first..first + named("OTTO_CHAOS_SEEDS", 1) {
            eprintln!("chaos of OTTO_CHAOS_SEED={seed} OTTO_CHAOS_FAULTS={faults}");
            let violations = check(ground, seed, faults);
            assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
        }
    });
}

/// Runs one seed, and answers with everything that contradicts a property.
fn check(ground: &Ground, seed: u64, faults: usize) -> Vec<String> {
    let root = tempfile::Builder::new().prefix("otto-chaos-").tempdir().expect("a folder");
    let out = root.path().join("out");
    std::fs::create_dir(&out).expect("a folder");
    truth::prepare(&out);
    let planned = faults::plan(seed, HOSTS, faults, *ground == Ground::Namespaces);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut cluster = Cluster::grow(ground, HOSTS, root.path());
    let (learnt, ended) = runtime.block_on(scene(&mut cluster, root.path(), &out, planned, seed));
    let violations = verdict(&learnt, ended, &out);
    if !violations.is_empty() {
        eprintln!("{}", cluster.traces());
    }
    violations
}

/// Lets clients work while faults come and go, and waits until everything has ended.
async fn scene(
    cluster: &mut Cluster,
    root: &Path,
    out: &Path,
    planned: Vec<Planned>,
    seed: u64,
) -> (Learnt, Result<Ending, String>) {
    let learnt = Learnt::default();
    let nodes = cluster.nodes();
    let names = clients::prepare(root, out);
    let submit = |repository: &Path| cluster.submit(repository);
    let plans = clients::plans(&nodes, submit, root, &names).await;
    let plans = match plans {
        Ok(plans) => Arc::new(plans),
        Err(why) => return (learnt, Err(why)),
    };
    let faults = Arc::new(AtomicBool::new(true));
    let mut working = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (plans, learnt, faults) = (plans.clone(), learnt.clone(), faults.clone());
        let work = Work { nodes: nodes.clone(), plans, learnt, faults };
        working.spawn(work.run(client, seed));
    }
    for planned in planned {
        sleep(planned.after).await;
        cluster.begin(&planned.fault, &learnt);
        sleep(planned.lasts).await;
        cluster.end(&planned.fault, &learnt);
    }
    faults.store(false, Ordering::Relaxed);
    let mut failure = None;
    while let Some(worked) = working.join_next().await {
        failure =
            failure.or(worked.map_err(|error| error.to_string()).and_then(|ended| ended).err());
    }
    let ended = match failure {
        Some(why) => Err(why),
        None => audit::ending(&nodes, PROJECT).await,
    };
    (learnt, ended)
}

/// Judges what clients learnt, what steps did and what the cluster says of it.
fn verdict(learnt: &Learnt, ended: Result<Ending, String>, out: &Path) -> Vec<String> {
    let (executed, mut violations) = truth::read(out);
    let mut history = learnt.moments();
    history.extend(executed);
    match ended {
        Err(why) => violations.push(why),
        Ok(ending) => {
            history.extend(audit::attempts(&ending));
            history.sort_by_key(|moment| moment.at_ms);
            // What was submitted to fetch plans belongs to other projects.
            let project = otto_core::ids::ProjectId::of(PROJECT);
            history.retain(|moment| truth::project(moment).is_none_or(|of| of == project));
            violations.extend(judge(&history, &ending));
            violations.extend(audit::broken_numbers(&ending));
            eprintln!("  {:?}", audit::reached(&ending));
        }
    }
    if !violations.is_empty() {
        eprintln!("{}", timeline(&relative(history)));
    }
    violations
}

/// The same moments, counted from the first one.
fn relative(mut history: Vec<Moment>) -> Vec<Moment> {
    history.sort_by_key(|moment| moment.at_ms);
    let first = history.first().map_or(0, |moment| moment.at_ms);
    for moment in &mut history {
        moment.at_ms -= first;
    }
    history
}
