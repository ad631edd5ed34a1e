//! `otto-node join`: makes this machine a node of a cluster, or an agent of it, and serves.

use super::build::{IMAGE, this_build};
use super::command::{Data, Listening, client, in_runtime, wait_until_gone};
use super::lock::Lock;
use super::member::unbound;
use super::place::{Filling, Place};
use super::residence::{Residence, address, machine};
use super::serve::taken;
use super::system::SystemClock;
use super::ways;
use crate::identity::files::Folder;
use crate::identity::join::{Introduction, Member, join};
use crate::identity::token::{Purpose, Token};
use crate::replica::{Alone, Shards, ShardsConfig};
use crate::rpc::api::{NodeStatus, Stop, Stopped};
use crate::store::{self, Threads};
use crate::wire::hello::Refused;
use crate::wire::release::Release;
use clap::Args;
use otto_actors::ports::journal::{Journal, JournalError};
use otto_core::cluster::state::{Holder, JoinRole};
use otto_core::ids::ShardId;
use otto_core::journal::EntityKind;
use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;

/// The variable in which the token may be, in place of an argument that others can see.
const TOKEN: &str = "OTTO_JOIN_TOKEN";

/// The command's arguments.
#[derive(Args, Debug)]
pub(super) struct Join {
    #[command(flatten)]
    data: Data,
    /// Where a node of the cluster listens
    #[arg(value_parser = address)]
    address: String,
    /// What lets this machine in, and says whether it becomes a node or an agent: see `otto-node
    /// token create`
    #[arg(long, env = TOKEN, hide_env_values = true)]
    token: String,
    #[command(flatten)]
    listening: Listening,
    /// Join only: `otto-node serve` starts it
    #[arg(long)]
    only: bool,
}

impl Join {
    pub(super) fn run(self) -> Result<ExitCode, Refused> {
        let token = Token::parse(&self.token).map_err(|error| {
            Refused::trouble(
                format!("failed to {error}"),
                "paste the whole line that `otto-node token create` printed",
            )
        })?;
        let Purpose::Join(role) = token.purpose else { return Err(not_for_joining()) };
        let place = self.data.place()?;
        let filling = Filling::of(&place);
        let joined = self.begin(&place, role, &token).inspect_err(|_| filling.undo())?;
        tell(&format!("this machine belongs to the cluster as {joined}"));
        if self.only {
            return Ok(ExitCode::SUCCESS);
        }
        Err(become_served(&place))
    }

    /// Joins in a folder that nobody else uses meanwhile.
    fn begin(&self, place: &Place, role: JoinRole, token: &Token) -> Result<Holder, Refused> {
        place.make()?;
        let lock = Lock::try_take(&place.lock("node"))
            .map_err(|error| Refused::at("write", &place.lock("node"), &error))?;
        let lock = match lock {
            Some(lock) => lock,
            None => make_way(&self.data, place, |status| status.idle_ms.is_some())?,
        };
        let member = self.join(place, role, token)?;
        drop(lock);
        Ok(member.stored.said.subject.holder)
    }

    fn join(&self, place: &Place, role: JoinRole, token: &Token) -> Result<Member, Refused> {
        let (node, agent) = (Folder::new(place.data()), Folder::new(&place.agent()));
        let (folder, other) = match role {
            JoinRole::Control => (node, agent),
            JoinRole::Agent => (agent, node),
        };
        let is_fresh = !folder.has_joined() && !other.has_joined();
        if is_fresh && place.has_store() {
            clear(place)?;
        }
        if other.has_joined() && !folder.has_joined() {
            return Err(belongs(place));
        }
        let residence = Residence::of_founder().told(self.listening.told());
        let residence = Residence { role, joined_at: Some(self.address.clone()), ..residence };
        let introduction = Introduction {
            name: machine(),
            addresses: advertised(role, &residence)?,
            levels: Release::ours().levels,
            build: this_build()
                .map_err(|error| Refused::at("look at", "/proc".as_ref(), &error))?,
        };
        // What was asked for is kept first: whoever has an identity finds where it lives.
        if is_fresh {
            residence.keep(place)?;
        }
        let clock = Arc::new(SystemClock::new());
        let joining = join(&self.address, token, &introduction, &folder, clock);
        let member = in_runtime(joining)?;
        let (shards, incarnation) = (member.facts.shards, member.facts.incarnation);
        Residence { shards, incarnation, ..residence }.keep(place)?;
        let known = member.facts.nodes.iter().flat_map(|node| node.addresses.clone());
        let known: Vec<String> = known.chain([self.address.clone()]).collect();
        ways::remember(place, &known)?;
        Ok(member)
    }
}

/// Has a local node leave that is idle: `otto` started it, and nothing goes on there.
pub(super) fn make_way(
    data: &Data,
    place: &Place,
    is_local: impl Fn(&NodeStatus) -> bool,
) -> Result<Lock, Refused> {
    in_runtime(async {
        let client = client(data)?;
        let status = client.status().await.map_err(|_| taken(place))?;
        if !is_local(&status) {
            return Err(taken(place));
        }
        let stop = Stop { pid: status.pid, busy_too: false, successor: None };
        match client.stop(stop).await {
            Ok(Stopped::Leaves) => Ok(()),
            Ok(Stopped::Stays | Stopped::ControlRestarts) | Err(_) => Err(taken(place)),
        }
    })?;
    wait_until_gone(place)?;
    tell("the local node that was idle here has left");
    let lock = Lock::try_take(&place.lock("node"))
        .map_err(|error| Refused::at("write", &place.lock("node"), &error))?;
    lock.ok_or_else(|| taken(place))
}

/// Removes the store of a local node that has seen no run; one that has seen some is in the way.
fn clear(place: &Place) -> Result<(), Refused> {
    if in_runtime(has_history(place))? {
        return Err(occupied(place));
    }
    fs::remove_dir_all(place.store())
        .map_err(|error| Refused::at("remove", &place.store(), &error))?;
    tell("the local node here had no runs: its empty store made way");
    Ok(())
}

/// Whether a store has runs, or is that of a cluster.
async fn has_history(place: &Place) -> Result<bool, Refused> {
    let disk = store::Folder::lock(place.store()).map_err(|error| Refused::from(&error))?;
    let shards = Shards::open(Box::new(disk), &Threads, ShardsConfig::default(), Arc::new(Alone));
    let shards = shards.await.map_err(|error| Refused::from(&error))?;
    let unread = |error: JournalError| {
        let what = format!("failed to look into {}: {error}", place.store().display());
        Refused::trouble(what, "name another folder with --data")
    };
    let mut found = false;
    for shard in (0..shards.count()).map(ShardId).chain([ShardId::META]) {
        shards.ready(shard).await.map_err(unread)?;
        for kind in [EntityKind::Project, EntityKind::Run, EntityKind::Cluster] {
            found |= !shards.glimpse(shard).heads(kind, None, 1).await.map_err(unread)?.is_empty();
        }
    }
    if let Err(fault) = shards.close().await {
        tracing::warn!(%fault, "the store was not closed in good order");
    }
    Ok(found)
}

fn tell(text: &str) {
    if let Err(error) = writeln!(io::stderr(), "{text}") {
        tracing::debug!(%error, "nobody reads standard error");
    }
}

/// Goes on as `otto-node serve`, so that no list of processes shows the token for as long as the
/// node lives. Returns where that cannot be.
fn become_served(place: &Place) -> Refused {
    let mut serve = Command::new(IMAGE);
    serve.arg0("otto-node").args(["serve", "--data"]).arg(place.data());
    let error = serve.env_remove(TOKEN).exec();
    Refused::trouble(
        format!("failed to start the node: {error}"),
        "it has joined; start it with otto-node serve",
    )
}

/// Where others will reach this node: it is tried before the token is used.
fn advertised(role: JoinRole, residence: &Residence) -> Result<Vec<String>, Refused> {
    if role == JoinRole::Agent {
        return Ok(Vec::new());
    }
    let listener = TcpListener::bind(&residence.listen);
    let bound = listener.and_then(|listener| listener.local_addr());
    let bound = bound.map_err(|error| unbound(&residence.listen, &error))?;
    Ok(vec![residence.advertised(bound)])
}

fn not_for_joining() -> Refused {
    Refused::trouble(
        "failed to join: this token is for signing in, not for joining",
        "make one on a node of the cluster: otto-node token create",
    )
}

fn occupied(place: &Place) -> Refused {
    Refused::trouble(
        format!(
            "failed to join: {} has the runs of a node that was alone, and a cluster has its own",
            place.data().display()
        ),
        "name another folder with --data, or move this one away; to keep these runs, let this \
         machine be the first of the cluster: otto-node serve",
    )
}

fn belongs(place: &Place) -> Refused {
    Refused::trouble(
        format!("failed to join: {} belongs to a cluster already", place.data().display()),
        "start it with otto-node serve, or name another folder with --data",
    )
}
