//! `otto-sim`: runs, searches and replays simulations.

mod hunt;

use clap::{Args, Parser, Subcommand};
use hunt::{Seeds, crashes, find_planted, found_text, search, summarize, tally};
use otto_sim::history::TraceTime;
use otto_sim::report::{Report, timeline};
use otto_sim::search::Case;
use otto_sim::setup::Setup;
use otto_sim::{growth, page, planted, scenario, shrink, workload, world};
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
        /// Write what is simulated to this file, for `--setup` and for scenarios.
        #[arg(long, value_name = "FILE")]
        setup_to: Option<PathBuf>,
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
        /// Print the traces of all processes to standard error, with simulated time.
        #[arg(long)]
        traces: bool,
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
        /// So many control processes, in place of what each seed chooses.
        #[arg(long)]
        controls: Option<u8>,
        /// End when so many have failed.
        #[arg(long, default_value_t = 20)]
        failures: u64,
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
        /// So many control processes, in place of as many as each is known to be found with.
        #[arg(long)]
        controls: Option<u8>,
        /// Only this one.
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
        #[command(flatten)]
        jobs: Jobs,
    },
    /// Tell how fast it simulates, with more and more nodes, groups, agents and runs.
    Growth(GrowthArguments),
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
struct GrowthArguments {
    /// Only what there is more and more of: nodes, groups, agents, runs or stored.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["largest", "draw"])]
    only: Vec<String>,
    /// Only the largest: nine nodes, two hundred agents and a hundred thousand runs.
    #[arg(long, conflicts_with = "draw")]
    largest: bool,
    /// Write what was measured to this folder, as tables and as pictures.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Measure nothing, and draw the tables of this folder anew.
    #[arg(long, value_name = "FOLDER", conflicts_with = "to")]
    draw: Option<PathBuf>,
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
        Command::Run { case, json, setup_to } => {
            run(case.seed, &case.special, json, setup_to.as_deref())
        }
        Command::Replay { number, special, html, traces } => {
            if traces {
                trace();
            }
            replay(number, &special, html.as_deref())
        }
        Command::Shrink { number, special, to } => shrunk(number, &special, &to),
        Command::Search { seeds: count, from, controls, failures, jobs } => {
            search(&Seeds { count, from, controls, failures }, jobs)
        }
        Command::Crashes { pipeline, every, jobs } => crashes(pipeline.as_deref(), every, jobs),
        Command::Replicas { seed: Some(seed), plant, jobs, .. } => {
            replicas(seed, plant.as_deref(), jobs.json)
        }
        Command::Replicas { planted: true, jobs, .. } => find_planted_in_replicas(jobs),
        Command::Replicas { seeds, from, jobs, .. } => search_replicas(seeds, from, jobs),
        Command::Planted { controls, only, jobs } => find_planted(controls, only.as_deref(), jobs),
        Command::Growth(arguments) => growth(&arguments),
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
        (None, None, None) => Setup::from_seed(seed, &workload::names(), special.controls),
    };
    if let Some(bug) = &special.plant {
        let known = planted::named(bug).is_some();
        let error = || format!("there is no planted bug '{bug}'; `otto-sim scenarios` lists them");
        known.then_some(()).ok_or_else(error)?;
    }
    setup.asked_controls = special.controls.is_some();
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

fn run(seed: u64, special: &Special, json: bool, to: Option<&Path>) -> Result<ExitCode> {
    let setup = setup(seed, special)?;
    if let Some(to) = to {
        let told = |error| format!("write {}: {error}", to.display());
        std::fs::write(to, setup.to_json()).map_err(told)?;
    }
    let simulated = world::simulate(&setup)?;
    print(&as_text(&simulated.report, json)?)?;
    Ok(verdict(simulated.report.violations.is_empty()))
}

/// Prints traces from now on.
fn trace() {
    tracing_subscriber::fmt()
        .with_timer(TraceTime)
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
}

fn replay(seed: u64, special: &Special, html: Option<&Path>) -> Result<ExitCode> {
    let setup = setup(seed, special)?;
    let simulated =
        if html.is_some() { world::overhear(&setup)? } else { world::simulate(&setup)? };
    match html {
        Some(file) => {
            let page = page::page(&simulated.report, &simulated.history, &simulated.traffic);
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
    let tally = tally(cases.collect(), jobs)?;
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
    use otto_sim::replicas::{planted::ALL, report};
    let mut all_found = true;
    for bug in ALL {
        let found = bug.find::<report::Report>(report::COMMAND, &[], jobs.count());
        let found = found.map_err(|error| error.to_string())?;
        all_found &= found.is_some();
        print(&found_text(bug.name, bug.breaks, bug.within_seeds, found))?;
    }
    Ok(verdict(all_found))
}

fn growth(asked: &GrowthArguments) -> Result<ExitCode> {
    if let Some(folder) = &asked.draw {
        for table in growth::figure::draw_all(folder)? {
            print(&format!("{}\n", table.with_extension("svg").display()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let known = |name: &String| growth::AXES.iter().any(|axis| axis.name == *name);
    if let Some(name) = asked.only.iter().find(|name| !known(name)) {
        return Err(format!("measure growth by '{name}': `otto-sim growth --help` names what is"));
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut good = true;
    let mut measure = |size: growth::Size| {
        let report = growth::measure(size, folder.path())?;
        good &= report.violations.is_empty();
        print(&growth::line(size, &report))?;
        Ok((size, report))
    };
    let wanted = |axis: &&growth::Axis| {
        !asked.largest && (asked.only.is_empty() || asked.only.iter().any(|it| it == axis.name))
    };
    for axis in growth::AXES.iter().filter(wanted) {
        print(&format!("{}\n", axis.title))?;
        let measured: Vec<_> =
            axis.sizes.iter().map(|size| measure(*size)).collect::<Result<_>>()?;
        if let Some(to) = &asked.to {
            let name = format!("simulation-{}", axis.name);
            growth::figure::write(&growth::figure(axis, &measured), to, &name)?;
        }
    }
    if asked.only.is_empty() {
        measure(growth::LARGEST)?;
    }
    Ok(verdict(good))
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
