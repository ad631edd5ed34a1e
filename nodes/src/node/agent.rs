//! The agent on this machine.

use super::build::this_build;
use super::census::{cast_out, let_in_at};
use super::child::Inheritance;
use super::identity;
use super::place::Place;
use super::process::orphaned;
use super::report::Report;
use super::residence::{Residence, machine};
use super::system::{SeededChance, SystemClock, seed};
use super::unix::PathConnector;
use super::ways::Ways;
use crate::agent::host::Host;
use crate::agent::probe::NodeTools;
use crate::agent::spool::{DiskSpool, LOG_LIMIT_BYTES};
use crate::agent::stages::{GRACE, NodeStages, Settings as StageSettings};
use crate::identity::files::Folder;
use crate::identity::join::JoinLink;
use crate::identity::renewal::keep_valid;
use crate::identity::tls::Credentials;
use crate::rpc::agent_link::AgentLink;
use crate::wire::hello::Refused;
use otto_actors::agent::roads::Roads;
use otto_actors::agent::{AgentSide, Ports, Settings};
use otto_actors::ports::clock::SharedClock;
use otto_actors::ports::sabotage::NoSabotage;
use otto_core::cluster::state::{Holder, JoinRole};
use otto_core::ids::AgentId;
use std::fmt;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The fewest stages that an agent takes at a time: they often wait for something else than a core.
const MIN_SLOTS: u32 = 2;

/// The pause before the agent looks again whether the node beside it has put its identity there.
const PAUSE: Duration = Duration::from_millis(200);

/// How often the agent asks whether it still belongs to its cluster, which tells nobody whom it
/// removes.
const DOUBT: Duration = Duration::from_secs(5);

/// Runs the agent until its supervisor is gone; the launcher then ends what it had started.
pub(super) async fn run(place: &Place, inheritance: Inheritance) -> Result<(), Refused> {
    let system = |error: io::Error| unfit(place, &error);
    let watched = inheritance.supervisor.try_clone().map_err(system)?;
    let mut reports = inheritance.supervisor;
    let residence = if inheritance.orders.member { Residence::load(place)? } else { None };
    let serving = async {
        let member = match &residence {
            Some(_) => Some(Member::of_cluster(place).await?),
            None => None,
        };
        let side = start(place, member.as_ref()).await?;
        if let (Some(member), Some(JoinRole::Agent)) = (&member, residence.map(|it| it.role)) {
            let node = member.holder().to_string();
            let greeting = Report::Greeting { node, address: String::new(), token: None };
            for report in [greeting, Report::Ready] {
                // Where the supervisor is gone, that ends this process.
                report.send(&mut reports).ok();
            }
        }
        let belonging = async {
            match member {
                Some(member) => member.belong(place).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = side.ended() => Ok(()),
            refused = belonging => {
                side.stop().await;
                Err(refused)
            }
        }
    };
    tokio::select! {
        biased;
        ended = serving => ended,
        () = orphaned(watched) => Ok(()),
    }
}

/// An agent that belongs to a cluster.
struct Member {
    credentials: Credentials,
    ways: Ways,
    clock: SharedClock,
}

impl Member {
    /// The member that this agent is, as soon as its identity is there: what the node beside it
    /// asks of the cluster takes a moment.
    async fn of_cluster(place: &Place) -> Result<Self, Refused> {
        let folder = Folder::new(&place.agent());
        if let Some(why) = folder.outcast()? {
            return Err(cast_out(&why));
        }
        let stored = loop {
            match folder.load()? {
                Some(stored) => break stored,
                None => tokio::time::sleep(PAUSE).await,
            }
        };
        let credentials = Credentials::new(stored)?;
        let clock: SharedClock = Arc::new(SystemClock::new());
        let build = this_build().map_err(|error| unfit(place, &error))?;
        let ways = Ways::open(place, &credentials, clock.clone(), build)?;
        Ok(Self { credentials, ways, clock })
    }

    fn holder(&self) -> Holder {
        self.credentials.said().subject.holder
    }

    fn agent(&self) -> Option<AgentId> {
        match self.holder() {
            Holder::Agent(agent) => Some(agent),
            Holder::Node(_) => None,
        }
    }

    /// Keeps the certificate valid; returns when the agent was removed from its cluster.
    async fn belong(self, place: &Place) -> Refused {
        let (build, seed) = match (this_build(), seed()) {
            (Ok(build), Ok(seed)) => (build, seed),
            (Err(error), _) | (_, Err(error)) => return unfit(place, &error),
        };
        let folder = Folder::new(&place.agent());
        let link = JoinLink::new(Arc::new(self.ways.clone()), build.clone());
        let chance = Arc::new(SeededChance::new(seed));
        let renewing = keep_valid(self.credentials, folder.clone(), link, self.clock, chance);
        let removed = async {
            loop {
                tokio::time::sleep(DOUBT).await;
                if let Some(Err(why)) = let_in_at(&self.ways, &build).await {
                    return why;
                }
            }
        };
        tokio::select! {
            biased;
            why = removed => match folder.cast_out(&why) {
                Ok(()) => cast_out(&why),
                Err(error) => error.into(),
            },
            () = renewing => std::future::pending().await,
        }
    }
}

/// Starts the agent's actors: from now on it bids.
async fn start(place: &Place, member: Option<&Member>) -> Result<AgentSide, Refused> {
    let folder = place.agent();
    let unfit = |error: &dyn fmt::Display| unfit(place, error);
    let agent = identity::next(&folder, member.and_then(Member::agent));
    let agent = agent.map_err(|error| unfit(&error))?;
    let build = this_build().map_err(|error| unfit(&error))?;
    let seed = seed().map_err(|error| unfit(&error))?;
    let roads = if let Some(member) = member {
        Roads::new(Arc::new(member.ways.clone()))
    } else {
        let connector = Arc::new(PathConnector(place.socket()));
        Roads::to(Arc::new(AgentLink::new(connector, build)))
    };
    let spool = DiskSpool::open(&folder.join("spool"), LOG_LIMIT_BYTES);
    let spool = Arc::new(spool.map_err(|error| unfit(&error))?);
    let host = Host::of_this_process();
    let tools = NodeTools::open(host.clone(), folder.join("tools.json"));
    let capabilities = tools.capabilities();
    let settings = StageSettings {
        agent,
        folder: folder.clone(),
        hidden: place.hidden(),
        host,
        namespaces: true,
        grace: GRACE,
    };
    let stages = NodeStages::open(settings, Arc::clone(&spool), Arc::new(roads.clone())).await;
    let stages = stages.map_err(|error| unfit(&error))?;
    tell_level(place, &stages).map_err(|error| unfit(&error))?;
    let slots = u32::try_from(capabilities.cores).unwrap_or(u32::MAX).max(MIN_SLOTS);
    let settings = Settings { agent, name: machine(), capabilities, slots };
    let ports = Ports {
        clock: member.map_or_else(|| Arc::new(SystemClock::new()) as _, |it| it.clock.clone()),
        roads,
        stages: Arc::new(stages),
        tools: Arc::new(tools),
        spool,
        chance: Arc::new(SeededChance::new(seed)),
        sabotage: Arc::new(NoSabotage),
    };
    AgentSide::start(settings, ports).await.map_err(|error| unfit(&error))
}

fn unfit(place: &Place, error: &dyn fmt::Display) -> Refused {
    Refused::trouble(
        format!("failed to start the agent in {}: {error}", place.agent().display()),
        "see that this user may write there and start more processes",
    )
}

/// Writes down how well steps are kept apart, for `otto run` and `otto doctor`.
fn tell_level(place: &Place, stages: &NodeStages) -> io::Result<()> {
    let Some(level) = stages.level() else { return Ok(()) };
    fs::write(place.sandbox(), serde_json::to_vec(&level)?)
}
