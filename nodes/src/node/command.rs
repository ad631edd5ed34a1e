//! The `otto-node` command: runs a node, or speaks with one.

use super::backup::{Backup, Restore};
use super::build::this_build;
use super::child::Role;
use super::join::{Join, make_way};
use super::lock::Lock;
use super::place::Place;
use super::residence::{Told, address};
use super::serve::{Circle, Lifetime, Serving, serve};
use super::start::LocalNode;
use super::token::TokenCommand;
use super::trouble::EXIT_INFRASTRUCTURE;
use crate::client::{Client, ClientError};
use crate::rpc::api::{NodeStatus, Stop, Stopped};
use crate::wire::hello::{HelloError, Refused};
use crate::wire::release::Release;
use clap::{Args, Parser, Subcommand};
use otto_core::time::Span;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Runs a node of Otto: the processes that keep runs, and execute them.
#[derive(Parser, Debug)]
#[command(name = "otto-node", version = Release::ours().version, arg_required_else_help = true, max_term_width = 100)]
struct OttoNode {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a node until it is stopped; the first one founds a cluster, which others can join
    Serve(Serve),
    /// Make this machine a node of a cluster, or an agent of it, and run it
    Join(Join),
    /// Show what a node says of itself
    Status(Status),
    /// Ask a node to leave; its runs go on when it is started again, but for steps that run now
    Stop(StopNode),
    /// Tokens that let nodes, agents and people in: create, revoke, list
    Token(TokenCommand),
    /// Copy the whole cluster's journals to a file, while it works
    Backup(Backup),
    /// Make the first node of a new cluster out of a backup, in an empty folder
    Restore(Restore),
}

#[derive(Args, Debug)]
struct Serve {
    #[command(flatten)]
    data: Data,
    /// Leave when no run is unfinished and nobody has asked anything for --idle
    #[arg(long)]
    local: bool,
    /// How long a local node stays idle
    #[arg(long, env = "OTTO_IDLE", default_value = "5m", value_parser = Span::parse)]
    idle: Span,
    /// Take no other machines: belong to no cluster, listen at a socket in the data folder alone
    #[arg(long, conflicts_with_all = ["local", "listen", "advertise"])]
    alone: bool,
    #[command(flatten)]
    listening: Listening,
    /// Leave the terminal, and report as lines of JSON
    #[arg(long, hide = true)]
    detached: bool,
}

/// Where a node is for others, and what it shares with them.
#[derive(Args, Debug)]
pub(super) struct Listening {
    /// Where to listen for other machines [default: port 7301 of all addresses, or as before]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Option<String>,
    /// Where other machines reach this one, where that is elsewhere
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    advertise: Option<String>,
    /// Keep artifacts and sealed logs at this URL of a folder (file) or a bucket (s3) that all
    /// nodes share, in place of the data folder
    #[arg(long, env = "OTTO_OBJECTS", value_name = "URL")]
    objects: Option<String>,
}

impl Listening {
    pub(super) fn told(&self) -> Told {
        let Self { listen, advertise, objects } = self;
        Told { listen: listen.clone(), advertise: advertise.clone(), objects: objects.clone() }
    }
}

#[derive(Args, Debug)]
struct Status {
    #[command(flatten)]
    data: Data,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct StopNode {
    #[command(flatten)]
    data: Data,
    /// Also while runs are unfinished
    #[arg(long)]
    busy: bool,
}

#[derive(Args, Debug)]
pub(super) struct Data {
    /// The folder of its data [default: that of the local node]
    #[arg(long = "data", value_name = "FOLDER", global = true)]
    folder: Option<PathBuf>,
}

impl Data {
    pub(super) fn place(&self) -> Result<Place, Refused> {
        self.folder.as_deref().map_or_else(Place::of_user, Place::new)
    }
}

/// Runs the command that the arguments name.
pub(super) fn main() -> ExitCode {
    let done = match OttoNode::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Join(join) => join.run(),
        Command::Status(status) => in_runtime(status.run()),
        Command::Stop(stop) => in_runtime(stop.run()),
        Command::Token(token) => in_runtime(token.run()),
        Command::Backup(backup) => in_runtime(backup.run()),
        Command::Restore(restore) => restore.run(),
    };
    done.unwrap_or_else(|refused| {
        // Where standard error is closed, the exit code is all that can be told.
        io::stderr().write_all(refused.text().as_bytes()).ok();
        ExitCode::from(EXIT_INFRASTRUCTURE)
    })
}

impl Serve {
    fn run(&self) -> Result<ExitCode, Refused> {
        let idle = self.idle.to_duration();
        let (lifetime, circle) = match (self.local, self.alone) {
            (true, _) => (Lifetime::Local { idle }, Circle::AsKept),
            (false, true) => (Lifetime::Service, Circle::Alone),
            (false, false) => (Lifetime::Service, Circle::Cluster(self.listening.told())),
        };
        let (objects, detached) = (self.listening.objects.clone(), self.detached);
        let place = self.data.place()?;
        if matches!(circle, Circle::Cluster(_)) {
            self.take_over(&place)?;
        }
        let serving = Serving { lifetime, circle, objects, detached };
        Ok(serve(&place, serving))
    }

    /// Has a node make way that a command started here, and where nothing goes on.
    fn take_over(&self, place: &Place) -> Result<(), Refused> {
        if place.on_demand().exists() && place.lock("node").exists() {
            let lock = Lock::try_take(&place.lock("node"))
                .map_err(|error| Refused::at("write", &place.lock("node"), &error))?;
            if lock.is_none() {
                make_way(&self.data, place, |_| true)?;
            }
        }
        Ok(())
    }
}

impl Status {
    async fn run(&self) -> Result<ExitCode, Refused> {
        let status = client(&self.data)?.status().await.map_err(refused)?;
        let text = if self.json { json(&status)? } else { describe(&status) };
        print(&text)
    }
}

impl StopNode {
    async fn run(&self) -> Result<ExitCode, Refused> {
        let client = client(&self.data)?;
        let pid = match client.connect().await {
            Ok(hello) => hello.pid,
            Err(ClientError::Hello(HelloError::Refused(trouble))) => {
                return end_in_trouble(&self.data.place()?, trouble);
            }
            Err(error) => return Err(refused(error)),
        };
        let stop = Stop { pid, busy_too: self.busy, successor: None };
        match client.stop(stop).await.map_err(refused)? {
            Stopped::Leaves | Stopped::ControlRestarts => wait_until_gone(&self.data.place()?),
            Stopped::Stays => Err(Refused::trouble(
                "failed to stop the node: it has unfinished runs",
                "wait for them, cancel them, or stop it with --busy: they go on when it starts again, but \
                 steps that run now are lost",
            )),
        }
    }
}

/// Ends a node whose control process cannot work, and therefore cannot be asked.
fn end_in_trouble(place: &Place, trouble: Refused) -> Result<ExitCode, Refused> {
    let path = place.lock("node");
    let holder = Lock::signature(&path).and_then(|pid| i32::try_from(pid).ok());
    let Some(holder) = holder.and_then(Pid::from_raw) else { return Err(trouble) };
    // A process descriptor stays with its process; the lock says that this one is the node's still.
    let Ok(process) = pidfd_open(holder, PidfdFlags::empty()) else { return Err(trouble) };
    let held = Lock::try_take(&path).is_ok_and(|lock| lock.is_none());
    if !held || Lock::signature(&path) != Some(holder.as_raw_nonzero().get().unsigned_abs()) {
        return Err(trouble);
    }
    pidfd_send_signal(process, Signal::TERM)
        .map_err(|error| Refused::at("end the node of", place.data(), &error.into()))?;
    wait_until_gone(place)
}

/// Its processes hold these locks as long as they live.
pub(super) fn wait_until_gone(place: &Place) -> Result<ExitCode, Refused> {
    for name in ["node", Role::Control.name(), Role::Agent.name()] {
        let path = place.lock(name);
        Lock::take(&path).map_err(|error| Refused::at("write", &path, &error))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn client(data: &Data) -> Result<Client, Refused> {
    let build = this_build().map_err(|error| Refused::at("look at", "/proc".as_ref(), &error))?;
    let client = Client::new(Arc::new(LocalNode::running(data.place()?)), build);
    Ok(client.patience(Duration::from_secs(10)))
}

fn refused(error: ClientError) -> Refused {
    error.into_refused()
}

pub(super) fn in_runtime<T>(work: impl Future<Output = Result<T, Refused>>) -> Result<T, Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Refused::trouble(
            format!("failed to start: {error}"),
            "see that this user may open more files",
        )
    })?;
    runtime.block_on(work)
}

fn json(status: &NodeStatus) -> Result<String, Refused> {
    let text = serde_json::to_string_pretty(status);
    text.map(|text| text + "\n").map_err(|error| {
        Refused::trouble(
            format!("failed to write JSON: {error}"),
            "report this: it is a mistake in otto",
        )
    })
}

fn describe(status: &NodeStatus) -> String {
    let mut text = format!("node      otto {} (pid {})\n", status.build, status.pid);
    if status.build != status.node_build {
        // Writing to a string cannot fail.
        writeln!(text, "          supervised by an earlier build").ok();
    }
    writeln!(text, "data      {}", status.data).ok();
    writeln!(text, "address   {}", status.address).ok();
    writeln!(text, "runs      {} unfinished", status.unfinished_runs).ok();
    if let Some(idle_ms) = status.idle_ms {
        writeln!(text, "leaves    when idle for {}", Span(idle_ms)).ok();
    }
    for agent in &status.agents {
        let (leases, free) = (agent.leases.len(), agent.free_slots);
        writeln!(text, "agent     {} works on {leases}, has {free} free slots", agent.name).ok();
    }
    text
}

pub(super) fn print(text: &str) -> Result<ExitCode, Refused> {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Refused::trouble(
            format!("failed to write to standard output: {error}"),
            "see where it goes",
        )),
    }
}
