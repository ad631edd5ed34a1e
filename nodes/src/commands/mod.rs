//! The `otto` command: the person's tool. It reads, explains and asks; it holds no state.
//!
//! ```text
//!   mod.rs         arguments, and which command they mean
//!   <command>.rs   one file for each command
//!   screen, fault, clock, settings          what all of them speak with
//!   repository, revision, snapshot, tools   the folder they were started in
//!   draft          from that folder to a plan
//!   session        from there to a node
//!   contexts       the clusters that a person is signed in to
//!   view/          a run as it goes on
//! ```
//!
//! Standard output holds data only; everything else goes to standard error.

mod agents;
mod ansi;
mod cancel;
mod check;
mod clock;
mod completions;
mod config;
mod contexts;
mod ctx;
mod doctor;
mod draft;
mod explain;
mod fault;
mod following;
mod help;
mod init;
mod login;
mod logs;
mod nodes;
mod replay;
mod repository;
mod retry;
mod revision;
mod run;
mod runs;
mod sandbox;
mod screen;
mod session;
mod settings;
mod snapshot;
mod steps;
mod tools;
mod upgrade;
mod view;
mod waiting;
mod watch;
mod why;

use crate::wire::release::Release;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};
use fault::{Exit, Fault};
use otto_core::time::Span;
use repository::Repository;
use screen::{Color, Progress, Screen};
use settings::{Flags, Settings};
use std::process::ExitCode;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Runs pipelines: from an Ottofile, or from what the repository holds.
#[derive(Parser, Debug)]
#[command(
    name = "otto",
    version = Release::ours().version,
    styles = STYLES,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "First steps: `otto run` in any repository; `otto init` writes down what it inferred.\n\
                  Exit codes: `otto help exit-codes`."
)]
pub struct Otto {
    #[command(flatten)]
    general: General,
    #[command(subcommand)]
    command: Command,
}

/// Arguments that every command takes.
#[derive(Args, Clone, Debug)]
struct General {
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN")]
    color: Option<Color>,
    /// How to show a run
    #[arg(long, global = true, value_name = "HOW")]
    progress: Option<Progress>,
    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,
    /// The project whose runs are meant: the folder of its repository's root [default: this one's]
    #[arg(long, global = true, value_name = "FOLDER")]
    project: Option<String>,
    /// The cluster to speak with: a context of `otto ctx`, or local [default: the chosen one]
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Write down the pipeline that this repository's contents suggest
    Init(init::Init),
    /// Run the pipeline of this repository
    Run(run::RunCommand),
    /// Show the whole plan before anything runs, or what an error means
    Explain(explain::Explain),
    /// Find everything that is wrong with the pipelines of this repository
    Check(check::Check),
    /// List runs
    Runs(runs::Runs),
    /// Print what the steps of a run printed
    Logs(logs::Logs),
    /// Show a run until it ends
    Watch(watch::Watch),
    /// Ask a run to end
    Cancel(cancel::Cancel),
    /// Go on where an earlier run ended
    Retry(retry::RetryCommand),
    /// Say why a run or a stage is where it is
    Why(why::Why),
    /// Show the cluster's nodes and agents: list, drain, resume, remove
    Nodes(nodes::Nodes),
    /// Show the exact state of a run at any time
    Replay(replay::Replay),
    /// Find out whether this build may take over, and raise the cluster's level
    Upgrade(upgrade::Upgrade),
    /// Step libraries: list, docs, new, test, pack
    Steps(steps::Steps),
    /// Sign in to a cluster
    Login(login::Login),
    /// List the clusters that you are signed in to, and switch between them
    Ctx(ctx::Ctx),
    /// Show all settings
    Config(config::Config),
    /// Find out whether this machine can run pipelines
    Doctor(doctor::Doctor),
    /// Print the completions of a shell
    Completions(completions::Completions),
    /// Explain a command or a topic
    Help(help::Help),
}

/// What every command is given.
struct Context {
    screen: Screen,
    settings: Settings,
    json: bool,
    project: Option<String>,
    /// The repository around the working folder; nothing where that folder is gone.
    here: Option<Repository>,
}

impl Context {
    /// Whether commands speak with this machine's own node.
    fn is_local(&self) -> bool {
        self.settings.context.value == contexts::LOCAL
    }

    /// The repository around the working folder.
    fn repository(&self) -> Result<Repository, Fault> {
        self.here.clone().map_or_else(Repository::here, Ok)
    }

    /// The project whose runs are meant.
    fn project(&self) -> Result<String, Fault> {
        match &self.project {
            Some(folder) => Ok(Repository::find(std::path::Path::new(folder))
                .map_or_else(|_| folder.clone(), |repository| repository.project())),
            None => Ok(self.repository()?.project()),
        }
    }
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let otto = match Otto::try_parse() {
        Ok(otto) => otto,
        Err(error) => {
            // Help and version are data; the rest is a wrong usage.
            error.print().ok();
            let wrong = error.use_stderr();
            if wrong && std::env::args_os().any(|argument| argument == "--json") {
                let text = error.to_string();
                let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
                if let Fault::Told(told) = Fault::usage(fault::Id::BadArgument, what) {
                    let screen = Screen::new(Color::Never, Progress::Quiet);
                    screen.data(format!("{}\n", told.page())).ok();
                }
            }
            return code(if wrong { Exit::Usage } else { Exit::Done });
        }
    };
    let general = &otto.general;
    let early =
        Screen::new(general.color.unwrap_or_default(), general.progress.unwrap_or_default());
    let context = match context(&otto) {
        Ok(context) => context,
        Err(fault) => return code(early.report(&fault, otto.general.json)),
    };
    match dispatch(otto.command, &context) {
        Ok(exit) => code(exit),
        Err(fault) => code(context.screen.report(&fault, context.json)),
    }
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

fn context(otto: &Otto) -> Result<Context, Fault> {
    let general = &otto.general;
    let (strict, timeout) = otto.command.limits();
    let (color, progress) = (general.color, general.progress);
    let flags = Flags { color, progress, strict, timeout, context: general.context.clone() };
    let here = Repository::here().ok();
    let root = here.as_ref().map(|repository| repository.root.as_path());
    let settings = Settings::gather(&flags, root)?;
    Ok(Context {
        screen: Screen::new(settings.color.value, settings.progress.value),
        settings,
        json: general.json,
        project: general.project.clone(),
        here,
    })
}

impl Command {
    /// What the flags of commands that wait for a run say.
    fn limits(&self) -> (bool, Option<Span>) {
        match self {
            Self::Run(run) => run.watching.limits(),
            Self::Watch(watch) => watch.watching.limits(),
            Self::Retry(retry) => retry.watching.limits(),
            Self::Init(_)
            | Self::Explain(_)
            | Self::Check(_)
            | Self::Runs(_)
            | Self::Logs(_)
            | Self::Cancel(_)
            | Self::Why(_)
            | Self::Nodes(_)
            | Self::Replay(_)
            | Self::Upgrade(_)
            | Self::Steps(_)
            | Self::Login(_)
            | Self::Ctx(_)
            | Self::Config(_)
            | Self::Doctor(_)
            | Self::Completions(_)
            | Self::Help(_) => (false, None),
        }
    }
}

fn dispatch(command: Command, context: &Context) -> Result<Exit, Fault> {
    match command {
        Command::Init(init) => init.run(context),
        Command::Run(run) => run.run(context),
        Command::Explain(explain) => explain.run(context),
        Command::Check(check) => check.run(context),
        Command::Runs(runs) => runs.run(context),
        Command::Logs(logs) => logs.run(context),
        Command::Watch(watch) => watch.run(context),
        Command::Cancel(cancel) => cancel.run(context),
        Command::Retry(retry) => retry.run(context),
        Command::Why(why) => why.run(context),
        Command::Nodes(nodes) => nodes.run(context),
        Command::Replay(replay) => replay.run(context),
        Command::Upgrade(upgrade) => upgrade.run(context),
        Command::Steps(steps) => steps.run(context),
        Command::Login(login) => login.run(context),
        Command::Ctx(ctx) => ctx.run(context),
        Command::Config(config) => config.run(context),
        Command::Doctor(doctor::Doctor {}) => doctor::Doctor::run(context),
        Command::Completions(completions) => completions.run(context),
        Command::Help(help) => help.run(context),
    }
}
