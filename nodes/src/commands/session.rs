//! The way to a node: connecting, naming runs and stages, and what may go wrong on it.

use super::Context;
use super::ansi::on_one_line;
use super::contexts::{Contexts, LOCAL};
use super::fault::{Fault, Id};
use crate::client::{AnyNode, Client, ClientError};
use crate::identity::token::Token;
use crate::node::build::this_build;
use crate::node::local_client;
use crate::node::place::Place;
use crate::node::system::SystemClock;
use crate::rpc::api::{ApiError, Follow, ListRuns, Listed};
use crate::wire::hello::{HelloError, RefusedKind};
use clap::Args;
use otto_core::ids::{CommandId, ProjectId, RunId, StageId};
use otto_core::journal::decode;
use otto_core::plan::{Plan, long_path};
use otto_core::run::Run;
use otto_core::run::event::Entry;
use std::future::Future;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

/// Runs what asks a node, to its end.
///
/// # Errors
/// Whatever it meets, or when the machine refuses even that.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Fault::infrastructure(Id::NodeUnreachable, format!("cannot use the network: {error}"))
    })?;
    runtime.block_on(work)
}

/// Where the local node is.
///
/// # Errors
/// When the environment names no folder for it.
pub(super) fn place() -> Result<Place, Fault> {
    Place::of_user()
        .map_err(|trouble| Fault::infrastructure(Id::DataFolder, trouble.what).help(trouble.help))
}

/// Connects to the cluster of the context that counts, else to the local node, which is started
/// where none is running.
///
/// # Errors
/// When there is no such context, or no node to work with.
pub(super) async fn connect(context: &Context) -> Result<Client, Fault> {
    let name = context.settings.context.value.as_str();
    if name == LOCAL {
        let place = place()?;
        let mode = place.open_to_others();
        let client = local_client(place.clone()).await.map_err(fault)?;
        if let Some(mode) = mode.filter(|_| place.open_to_others().is_none()) {
            let folder = place.data().display().to_string();
            let note = context.screen.err.help("note");
            let what =
                format!("closed {} to other users (it had mode {mode:o})", on_one_line(&folder));
            context.screen.tell(format!("{note}: {what}: it holds the node's data"));
        }
        return Ok(client);
    }
    let contexts = Contexts::of_user()?;
    let mut signed = contexts.load(name)?;
    let way = Way::new(signed.addresses.clone(), &signed.token(name)?);
    let client = way.connect(&format!("the context '{name}'")).await?;
    if way.learn(&client, &signed.named).await {
        signed.addresses = way.addresses();
        // Where that cannot be kept, it is learned again the next time.
        contexts.save(name, &signed).ok();
    }
    Ok(client)
}

/// A way to a cluster, for whoever has a token.
pub(super) struct Way {
    doors: Arc<AnyNode>,
    token: Token,
}

/// How long a first answer of a cluster is waited for.
const FIRST: Duration = Duration::from_secs(10);
/// How long a run is followed on while nobody answers: whoever follows it is told, and may leave.
pub(super) const FOLLOWING: Duration = Duration::from_hours(1);
/// How long the addresses of the other nodes are worth waiting for.
const LEARNING: Duration = Duration::from_secs(2);

impl Way {
    /// A way by these addresses.
    pub(super) fn new(addresses: Vec<String>, token: &Token) -> Self {
        let clock = Arc::new(SystemClock::new());
        let doors = Arc::new(AnyNode::new(addresses, token.pin, clock));
        Self { doors, token: token.clone() }
    }

    /// Connects to whichever node answers.
    ///
    /// # Errors
    /// When none does, or they do not take the token.
    pub(super) async fn connect(&self, place: &str) -> Result<Client, Fault> {
        let ours = this_build().map_err(|error| {
            let what = format!("cannot look at otto's own image: {error}");
            Fault::infrastructure(Id::NodeUnreachable, what)
        })?;
        let doors = Arc::clone(&self.doors);
        let client = Client::signed_in(doors, ours, self.token.reveal().as_str());
        let hello = client.clone().patience(FIRST).connect().await;
        hello.map_err(|error| away(error, place))?;
        Ok(client)
    }

    /// Learns where the other nodes are; answers whether anything is new.
    pub(super) async fn learn(&self, client: &Client, named: &str) -> bool {
        let asked = client.clone().patience(LEARNING);
        let addresses = tokio::time::timeout(LEARNING, asked.addresses()).await;
        addresses.is_ok_and(|known| known.is_ok_and(|known| self.doors.learn(known, named)))
    }

    /// Where its nodes are, as far as is known.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.doors.addresses()
    }
}

/// What somebody who follows a run is told when answers fail to come, or come again.
pub(super) fn waits(trouble: Option<&str>) -> String {
    match trouble {
        Some(cause) => format!("waiting for an answer; the run goes on ({cause})"),
        None => "answers come again".to_owned(),
    }
}

/// What it is to a person that a cluster cannot be spoken with.
fn away(error: ClientError, place: &str) -> Fault {
    match error {
        ClientError::Hello(HelloError::Refused(refused))
            if refused.kind == RefusedKind::Forbidden =>
        {
            Fault::signed_out(refused.what).at(place).help(refused.help)
        }
        ClientError::Unreachable { cause } => {
            Fault::infrastructure(Id::NodeUnreachable, format!("cannot reach the cluster: {cause}"))
                .at(place)
                .help("see that a node of it runs, and that this machine reaches it")
                .help("`otto ctx` shows its addresses; `otto login` gives it another one")
        }
        other => fault(other).at(place),
    }
}

/// What a client's error is to a person.
pub(super) fn fault(error: ClientError) -> Fault {
    match error {
        ClientError::Hello(HelloError::Refused(refused))
            if refused.kind == RefusedKind::Forbidden =>
        {
            Fault::signed_out(refused.what).help(refused.help)
        }
        ClientError::Hello(HelloError::Refused(refused)) => {
            Fault::infrastructure(Id::DataFolder, refused.what).help(refused.help)
        }
        ClientError::Api(error) => match error {
            ApiError::NotFound(what) => {
                Fault::usage(Id::UnknownRun, format!("there is no {what}")).help("see `otto runs`")
            }
            ApiError::Refused(_) | ApiError::Invalid(_) => {
                Fault::usage(Id::Refused, format!("failed to {error}"))
                    .help("`otto runs` and `otto why` say how far runs are")
            }
            ApiError::NotReady(_)
            | ApiError::NotHere { .. }
            | ApiError::Busy { .. }
            | ApiError::Unknown(_)
            | ApiError::Store(_) => {
                Fault::infrastructure(Id::NodeUnreachable, format!("failed to {error}"))
                    .help("see `otto doctor`; runs are safe, and go on when it is over")
            }
        },
        ClientError::Unreachable { .. }
        | ClientError::Hello(_)
        | ClientError::Garbled(_)
        | ClientError::Local { .. } => {
            Fault::infrastructure(Id::NodeUnreachable, format!("failed to {error}"))
                .help("see `otto doctor`; runs are safe, and go on when it is over")
        }
    }
}

/// What an error is to a person who was following a run: one that is gone went with its node's
/// data, and who asks for it again was answered by another node.
pub(super) fn lost(context: &Context, number: u64, error: ClientError) -> Fault {
    if !matches!(error, ClientError::Api(ApiError::NotFound(_))) {
        return fault(error);
    }
    let what = format!("run {number} is not there any more: its node's data was moved or removed");
    let fault = Fault::infrastructure(Id::DataFolder, what);
    match place() {
        Ok(place) if context.settings.context.value == LOCAL => fault
            .at(place.data().display().to_string())
            .help(format!(
                "if you still have that folder: `otto-node stop`, put it back, `otto watch {number}`"
            ))
            .help("else `otto run` starts it anew"),
        Ok(_) | Err(_) => fault.help("ask who looks after the cluster"),
    }
}

/// What a cluster's refusal is to a person.
pub(super) fn refusal(error: ClientError) -> Fault {
    let ClientError::Api(ApiError::Refused(text)) = error else { return fault(error) };
    let (what, help) = text.rsplit_once("; ").unwrap_or((&text, "see `otto nodes`"));
    Fault::usage(Id::Refused, format!("failed to {what}")).help(help)
}

/// Which run is meant, and which of its stages.
#[derive(Args, Debug)]
pub(super) struct Target {
    /// The run's number [default: the latest]
    run: Option<String>,
    /// The stage: its path, or the end of it [default: all]
    stage: Option<String>,
}

impl Target {
    /// The run's number and the stage. A first word that is no number is a stage of the latest run.
    ///
    /// # Errors
    /// When two words are given, and the first is no number.
    pub(super) fn read(self) -> Result<(Option<u64>, Option<String>), Fault> {
        let Some(first) = self.run else { return Ok((None, None)) };
        match (run_number(&first), self.stage) {
            (Ok(number), stage) => Ok((Some(number), stage)),
            (Err(_), None) => Ok((None, Some(first))),
            (Err(why), Some(_)) => Err(Fault::usage(Id::BadArgument, why).at(first)),
        }
    }
}

/// Reads the number of a run.
///
/// # Errors
/// When it is none, in words for the command line.
pub(super) fn run_number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a run goes by its number; `otto runs` lists them".to_owned())
}

/// A run of the project that is meant: the one with this number, else the latest.
///
/// # Errors
/// When there is none, or the node cannot be asked.
pub(super) async fn find_run(
    context: &Context,
    client: &Client,
    number: Option<u64>,
) -> Result<Listed, Fault> {
    let project = context.project()?;
    if let Some(number) = number {
        let run = RunId { project: ProjectId::of(&project), number };
        return client.run(run).await.map_err(|error| match error {
            ClientError::Api(ApiError::NotFound(_)) => {
                Fault::usage(Id::UnknownRun, format!("there is no run {number}"))
                    .at(project)
                    .help("see `otto runs`")
            }
            other => fault(other),
        });
    }
    let list = ListRuns { project: Some(project.clone()), before: None, limit: 1 };
    client.runs(list).await.map_err(fault)?.into_iter().next().ok_or_else(|| {
        Fault::usage(Id::UnknownRun, "this project has no runs yet")
            .at(project)
            .help("`otto run` makes one")
    })
}

/// The plan that a run executes.
///
/// # Errors
/// When the node cannot be asked, or holds what this build cannot read.
pub(super) async fn plan(client: &Client, listed: &Listed) -> Result<Plan, Fault> {
    match listed.summary.plan {
        Some(plan) => client.plan(plan).await.map_err(fault),
        None => Err(Fault::infrastructure(Id::UnknownRun, "the run was not submitted")),
    }
}

/// A run as its journal tells it, up to now, and the entries themselves.
///
/// # Errors
/// When the node cannot be asked, or holds what this build cannot read.
pub(super) async fn replay(client: &Client, listed: &Listed) -> Result<(Run, Vec<Entry>), Fault> {
    let plan = Arc::new(plan(client, listed).await?);
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.len() as u64;
        let follow = Follow { run: listed.run, after, wait_ms: 0 };
        let part = client.entries(follow).await.map_err(fault)?;
        if part.entries.is_empty() {
            return Ok((Run::replay(listed.run, plan, &entries), entries));
        }
        for bytes in &part.entries {
            entries.push(
                decode("journal entry", bytes)
                    .map_err(|error| fault(ClientError::Garbled(error.to_string())))?,
            );
        }
    }
}

/// The stage that a person means: by its path, or by the end of one, with or without the names of
/// groups, where only one stage has it.
///
/// # Errors
/// When no stage or several have it.
pub(super) fn find_stage(plan: &Plan, named: &str) -> Result<StageId, Fault> {
    let named = named.trim_matches('/');
    if let Some(id) = plan.find(named) {
        return Ok(id);
    }
    let all = || plan.ids().filter(|id| *id != StageId::ROOT);
    let ends = |path: &str| {
        let (path, named) = (path.to_lowercase(), named.to_lowercase());
        path.strip_suffix(&named).is_some_and(|outer| outer.is_empty() || outer.ends_with('/'))
    };
    let is_meant =
        |id: &StageId| ends(&plan.stage(*id).path) || ends(&long_path(&plan.stages, *id));
    let meant: Vec<StageId> = all().filter(is_meant).collect();
    let paths =
        |ids: &[StageId]| ids.iter().map(|id| plan.path(*id)).collect::<Vec<_>>().join(", ");
    match meant.as_slice() {
        [one] => Ok(*one),
        [] if named == plan.path(StageId::ROOT) => Ok(StageId::ROOT),
        [] => {
            let fault = Fault::usage(Id::UnknownStage, format!("there is no stage '{named}'"));
            let words = all().map(|id| plan.path(id));
            let near =
                otto_lang::nearest(named, words).map(|near| format!("did you mean '{near}'?"));
            let some: Vec<StageId> = all().filter(|id| !plan.is_group(*id)).take(20).collect();
            Err(fault.help(near.unwrap_or_else(|| format!("stages are: {}", paths(&some)))))
        }
        several => {
            Err(Fault::usage(Id::UnknownStage, format!("several stages are called '{named}'"))
                .help(format!(
                    "write the whole path: {}",
                    paths(&several[..several.len().min(20)])
                )))
        }
    }
}

/// An identity that nobody else uses, under which a wish may be repeated.
///
/// # Errors
/// When the system gives no randomness.
pub(super) fn identity() -> Result<CommandId, Fault> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).map_err(
        |error| {
            Fault::infrastructure(Id::Unreadable, format!("cannot read: {error}"))
                .at("/dev/urandom")
        },
    )?;
    Ok(CommandId(bytes))
}
