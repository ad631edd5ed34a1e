//! `otto-sim`: runs, searches and replays simulations.

use clap::{Args, Parser, Subcommand};
use otto_sim::report::{Report, timeline};
use otto_sim::search::{Case, Tally, run_all};
use otto_sim::setup::Setup;
use otto_sim::{page, planted, scenario, shrink, workload, world};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Simulates Otto's real processes in one process, from one seed, under faults.
#[derive(Parser)]
#[command(name = "otto-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one simulation.
    Run {
        #[command(flatten)]
        case: CaseArguments,
        /// Print the report as JSON; it holds `history_hash`.
        #[arg(long)]
        json: bool,
    },
    /// Run one simulation and print its timeline.
    Replay {
        /// The seed.
        #[arg(value_name = "SEED", default_value_t = 1)]
        number: u64,
        #[command(flatten)]
        special: Special,
        /// Write the timeline to this file as a page, with hosts as lanes.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Make a simulation that fails as small as it can be while it still fails.
    Shrink {
        /// The seed.
        #[arg(value_name = "SEED", default_value_t = 1)]
        number: u64,
        #[command(flatten)]
        special: Special,
        /// Where the small setup is written.
        #[arg(long, value_name = "FILE", default_value = "shrunk.json")]
        to: PathBuf,
    },
    /// Run many seeds on all cores; ends with 1 if one failed.
    Search {
        /// How many seeds.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// How many control processes.
        #[arg(long, default_value_t = 1)]
        controls: u8,
        #[command(flatten)]
        jobs: Jobs,
    },
    /// Crash the control disk at every write and sync of each pipeline; ends with 1 if one failed.
    Crashes {
        /// Only this pipeline.
        #[arg(long)]
        pipeline: Option<String>,
        /// Only every so many-th operation.
        #[arg(long, default_value_t = 1)]
        every: u64,
        #[command(flatten)]
        jobs: Jobs,
    },
    /// Simulate replicas alone: nodes with shards, without actors and agents.
    Replicas {
        /// Run this seed and print its timeline.
        #[arg(long)]
        seed: Option<u64>,
        /// Plant this bug.
        #[arg(long, requires = "seed")]
        plant: Option<String>,
        /// Run so many seeds on all cores; ends with 1 if one failed.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Plant each known bug of replication; ends with 1 if one is not found.
        #[arg(long, conflicts_with_all = ["seed", "from"])]
        planted: bool,
        #[command(flatten)]
        jobs: Jobs,
    },
    /// Plant each known bug; ends with 1 if one is not found.
    Planted {
        /// How many control processes.
        #[arg(long, default_value_t = 1)]
        controls: u8,
        #[command(flatten)]
        jobs: Jobs,
    },
    /// List the scenarios, pipelines, properties and the bugs that can be planted.
    Scenarios {
        /// Run each scenario: a setup that failed once, and must not fail again.
        #[arg(long)]
        run: bool,
        #[command(flatten)]
        jobs: Jobs,
    },
}

#[derive(Args)]
struct CaseArguments {
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    special: Special,
}

#[derive(Args, Clone)]
struct Special {
    /// Submit only this pipeline, and inject no faults but those asked for.
    #[arg(long)]
    pipeline: Option<String>,
    /// Crash the control disk at this operation.
    #[arg(long)]
    crash_at: Option<u64>,
    /// Plant this bug.
    #[arg(long)]
    plant: Option<String>,
    /// Read what is simulated from this file, as `otto-sim shrink` writes it, not from the seed.
    #[arg(long, value_name = "FILE")]
    setup: Option<PathBuf>,
    /// So many control processes, in place of what the seed chooses.
    #[arg(long)]
    controls: Option<u8>,
    /// Simulate this scenario.
    #[arg(long, value_name = "NAME", conflicts_with = "setup")]
    scenario: Option<String>,
}

#[derive(Args, Clone, Copy)]
struct Jobs {
    /// How many simulations at a time; as many as there are cores by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Jobs {
    fn count(self) -> usize {
        self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { case, json } => run(case.seed, &case.special, json),
        Command::Replay { number, special, html } => replay(number, &special, html.as_deref()),
        Command::Shrink { number, special, to } => shrunk(number, &special, &to),
        Command::Search { seeds, from, controls, jobs } => search(seeds, from, controls, jobs),
        Command::Crashes { pipeline, every, jobs } => crashes(pipeline.as_deref(), every, jobs),
        Command::Replicas { seed: Some(seed), plant, jobs, .. } => {
            replicas(seed, plant.as_deref(), jobs.json)
        }
        Command::Replicas { planted: true, jobs, .. } => find_planted_in_replicas(jobs),
        Command::Replicas { seeds, from, jobs, .. } => search_replicas(seeds, from, jobs),
        Command::Planted { controls, jobs } => find_planted(controls, jobs),
        Command::Scenarios { run: false, .. } => scenarios(),
        Command::Scenarios { run: true, jobs } => run_scenarios(jobs),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: failed to simulate: {error}");
        ExitCode::from(5)
    })
}

type Result<T> = std::result::Result<T, String>;

fn setup(seed: u64, special: &Special) -> Result<Setup> {
    let mut setup = match (&special.setup, &special.scenario, &special.pipeline) {
        (Some(file), ..) => read_setup(file)?,
        (None, Some(name), _) => scenario::named(name)?.setup()?,
        (None, None, Some(name)) => Setup::only(seed, name),
        (None, None, None) => {
            Setup::from_seed(seed, &workload::names(), special.controls.unwrap_or(1))
        }
    };
    if let Some(bug) = &special.plant {
        let known = planted::named(bug).is_some();
        let error = || format!("there is no planted bug '{bug}'; `otto-sim scenarios` lists them");
        known.then_some(()).ok_or_else(error)?;
    }
    setup.controls = special.controls.unwrap_or(setup.controls);
    setup.crash_at = special.crash_at.or(setup.crash_at);
    setup.planted = special.plant.clone().or(setup.planted);
    Ok(setup)
}

fn read_setup(file: &Path) -> Result<Setup> {
    let told = |error: &dyn std::fmt::Display| format!("read {}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| told(&error))?;
    let mut setup = Setup::from_json(&text).map_err(|error| told(&error))?;
    setup.origin = Some(format!("--setup {}", file.display()));
    Ok(setup)
}

fn run(seed: u64, special: &Special, json: bool) -> Result<ExitCode> {
    let simulated = world::simulate(&setup(seed, special)?)?;
    print(&as_text(&simulated.report, json)?)?;
    Ok(verdict(simulated.report.violations.is_empty()))
}

fn replay(seed: u64, special: &Special, html: Option<&Path>) -> Result<ExitCode> {
    let simulated = world::simulate(&setup(seed, special)?)?;
    match html {
        Some(file) => {
            let page = page::page(&simulated.report, &simulated.history);
            let told = |error| format!("write {}: {error}", file.display());
            std::fs::write(file, page).map_err(told)?;
        }
        None => print(&timeline(&simulated.history))?,
    }
    print(&simulated.report.text())?;
    Ok(verdict(simulated.report.violations.is_empty()))
}

/// Takes away from a setup what its failure does not need, and writes what is left.
fn shrunk(seed: u64, special: &Special, to: &Path) -> Result<ExitCode> {
    let small = shrink::shrink(setup(seed, special)?, |line| eprintln!("{line}"))?;
    std::fs::write(to, small.to_json()).map_err(|e| format!("write {}: {e}", to.display()))?;
    print(&format!(
        "{} submissions, {} faults, {} agents are left; replay: otto-sim replay --setup {}\n",
        small.submissions.len(),
        small.faults.len(),
        small.agents,
        to.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs every setup that failed once.
fn run_scenarios(jobs: Jobs) -> Result<ExitCode> {
    let cases = scenario::ALL
        .iter()
        .map(|scenario| -> Case { vec!["--scenario".to_owned(), scenario.name.to_owned()] });
    let tally = tally(cases, jobs)?;
    print(&format!("{} scenarios\n", tally.ran))?;
    summarize(&tally)
}

fn as_text(report: &Report, json: bool) -> Result<String> {
    if !json {
        return Ok(report.text());
    }
    let text = serde_json::to_string(report).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// Runs seeds, each twentieth of them twice, since the same seed must give the same history.
fn search(seeds: u64, from: u64, controls: u8, jobs: Jobs) -> Result<ExitCode> {
    let case = |seed: u64| -> Case {
        ["--seed", &seed.to_string(), "--controls", &controls.to_string()]
            .map(str::to_owned)
            .to_vec()
    };
    let cases = (from..from.saturating_add(seeds))
        .flat_map(|seed| std::iter::repeat_n(case(seed), if seed % 20 == 0 { 2 } else { 1 }));
    let tally = tally(cases, jobs)?;
    let mut missed: BTreeSet<&str> = tally.missed(world::MARKS);
    if controls > 1 {
        missed.extend(tally.missed(world::CLUSTER_MARKS));
    }
    if jobs.json {
        let line = serde_json::json!({
            "ran": tally.ran, "failed": tally.failed, "uneven": tally.uneven, "marks": tally.marks,
            "missed": missed,
        });
        print(&format!("{line}\n"))?;
    } else {
        print(&format!(
            "{} simulations, {} runs, {} simulated seconds\nmarks: {:?}\nmissed: {missed:?}\n",
            tally.ran,
            tally.runs,
            tally.simulated_ms / 1000,
            tally.marks
        ))?;
    }
    summarize(&tally)
}

/// Crashes at each operation of each pipeline, which a first run without a crash has counted.
fn crashes(only: Option<&str>, every: u64, jobs: Jobs) -> Result<ExitCode> {
    let mut all = Tally::default();
    let wanted = |name: &&str| only.is_none_or(|only| only == *name);
    for name in workload::names().into_iter().filter(wanted) {
        let base: Case = vec!["--pipeline".to_owned(), name.to_owned()];
        let mut operations = 0;
        run_all([base.clone()], 1, |report| {
            operations = report.disk_operations;
            all.add(report);
        })
        .map_err(|error| error.to_string())?;
        eprintln!("{name}: {operations} disk operations");
        let crash = |at: u64| {
            let mut case = base.clone();
            case.extend(["--crash-at".to_owned(), at.to_string()]);
            case
        };
        let at = (1..=operations).step_by(usize::try_from(every.max(1)).unwrap_or(1));
        run_all(at.map(crash), jobs.count(), |report| progress(&mut all, report))
            .map_err(|error| error.to_string())?;
    }
    print(&format!("{} simulations\n", all.ran))?;
    summarize(&all)
}

fn replicas(seed: u64, plant: Option<&str>, json: bool) -> Result<ExitCode> {
    let simulated = otto_sim::replicas::report::run(seed, plant)?;
    let report = simulated.report;
    if json {
        let text = serde_json::to_string(&report).map_err(|error| error.to_string())?;
        print(&(text + "\n"))?;
    } else {
        let setup = otto_sim::replicas::setup::Setup::from_seed(seed);
        print(&otto_sim::replicas::report::timeline(&setup, &simulated.history))?;
        print(&report.text())?;
    }
    Ok(verdict(report.violations.is_empty()))
}

fn search_replicas(seeds: u64, from: u64, jobs: Jobs) -> Result<ExitCode> {
    let tally = otto_sim::replicas::report::search(seeds, from, jobs.count());
    let tally = tally.map_err(|error| error.to_string())?;
    print(&tally.text())?;
    Ok(verdict(tally.good()))
}

fn find_planted_in_replicas(jobs: Jobs) -> Result<ExitCode> {
    let mut all_found = true;
    for bug in otto_sim::replicas::planted::ALL {
        let found = otto_sim::replicas::report::find(bug, jobs.count());
        let found = found.map_err(|error| error.to_string())?;
        all_found &= found.is_some();
        print(&found_text(bug.name, bug.breaks, bug.within_seeds, found))?;
    }
    Ok(verdict(all_found))
}

fn found_text(name: &str, breaks: &str, within: u64, found: Option<u64>) -> String {
    match found {
        Some(seed) => format!("✔ {name} breaks {breaks}: found with seed {seed}\n"),
        None => format!("✘ {name} breaks {breaks}: NOT found within {within} seeds\n"),
    }
}

/// Plants each bug, and looks for it within its number of seeds.
fn find_planted(controls: u8, jobs: Jobs) -> Result<ExitCode> {
    let mut all_found = true;
    for bug in planted::ALL {
        let found = first_seed_that_finds(bug, controls, jobs.count())?;
        all_found &= found.is_some();
        print(&found_text(bug.name, bug.breaks, bug.within_seeds, found))?;
    }
    Ok(verdict(all_found))
}

fn first_seed_that_finds(bug: &planted::Planted, controls: u8, jobs: usize) -> Result<Option<u64>> {
    let seeds: Vec<u64> = (1..=bug.within_seeds).collect();
    let violation = format!("{}:", bug.breaks);
    let mut found = None;
    for some in seeds.chunks(jobs) {
        let cases = some.iter().map(|seed| -> Case {
            let (seed, controls) = (seed.to_string(), controls.to_string());
            ["--seed", &seed, "--plant", bug.name, "--controls", &controls]
                .map(str::to_owned)
                .to_vec()
        });
        run_all(cases, jobs, |report| {
            let caught = report.violations.iter().any(|said| said.starts_with(&violation));
            found = found.or(caught.then_some(report.seed));
        })
        .map_err(|error| error.to_string())?;
        if found.is_some() {
            break;
        }
    }
    Ok(found)
}

fn scenarios() -> Result<ExitCode> {
    let named =
        scenario::ALL.iter().map(|scenario| format!("  {:<28} {}\n", scenario.name, scenario.what));
    let pipelines = workload::names().into_iter().map(|name| format!("  {name}\n"));
    let properties = otto_sim::invariants::ALL
        .iter()
        .map(|invariant| format!("  {:<4} {}\n", invariant.id, invariant.holds));
    let bugs = planted::ALL
        .iter()
        .map(|bug| format!("  {:<20} breaks {:<4} {}\n", bug.name, bug.breaks, bug.what));
    let text = ["scenarios:\n".to_owned()]
        .into_iter()
        .chain(named)
        .chain(["pipelines:\n".to_owned()])
        .chain(pipelines)
        .chain(["properties:\n".to_owned()])
        .chain(properties)
        .chain(["bugs that can be planted:\n".to_owned()])
        .chain(bugs)
        .collect::<String>();
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn tally(cases: impl IntoIterator<Item = Case>, jobs: Jobs) -> Result<Tally> {
    let mut tally = Tally::default();
    run_all(cases, jobs.count(), |report| progress(&mut tally, report))
        .map_err(|error| error.to_string())?;
    Ok(tally)
}

/// Takes in a report, and says at once when it failed or a round number is reached.
fn progress(tally: &mut Tally, report: Report) {
    if !report.violations.is_empty() {
        eprint!("{}", report.text());
    }
    tally.add(report);
    if tally.ran.is_multiple_of(100) {
        eprintln!("{} simulations, {} failed", tally.ran, tally.failed.len());
    }
}

fn summarize(tally: &Tally) -> Result<ExitCode> {
    for seed in &tally.uneven {
        print(&format!("✘ seed {seed} ran twice and gave two histories\n"))?;
    }
    for report in &tally.failed {
        print(&format!("✘ seed {} failed; replay: {}\n", report.seed, report.replay_command()))?;
    }
    Ok(verdict(tally.failed.is_empty() && tally.uneven.is_empty()))
}

fn verdict(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints to standard output; a reader that left early is no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}
