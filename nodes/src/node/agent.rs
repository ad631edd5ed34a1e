//! The agent on this machine.

use super::build::this_build;
use super::child::Inheritance;
use super::identity;
use super::place::Place;
use super::process::orphaned;
use super::system::{SeededChance, SystemClock, seed};
use super::unix::PathConnector;
use crate::agent::host::Host;
use crate::agent::probe::NodeTools;
use crate::agent::spool::{DiskSpool, LOG_LIMIT_BYTES};
use crate::agent::stages::{GRACE, NodeStages, Settings as StageSettings};
use crate::rpc::agent_link::AgentLink;
use crate::wire::hello::Refused;
use otto_actors::agent::roads::Roads;
use otto_actors::agent::{AgentSide, Ports, Settings};
use otto_actors::ports::sabotage::NoSabotage;
use std::fmt;
use std::fs;
use std::io;
use std::sync::Arc;

/// The fewest stages that an agent takes at a time: they often wait for something else than a core.
const MIN_SLOTS: u32 = 2;

/// Runs the agent until its supervisor is gone; the launcher then ends what it had started.
pub(super) async fn run(place: &Place, inheritance: Inheritance) -> Result<(), Refused> {
    let folder = place.agent();
    let unfit = |error: &dyn fmt::Display| {
        Refused::trouble(
            format!("failed to start the agent in {}: {error}", folder.display()),
            "see that this user may write there and start more processes",
        )
    };
    let agent = identity::next(&folder).map_err(|error| unfit(&error))?;
    let build = this_build().map_err(|error| unfit(&error))?;
    let seed = seed().map_err(|error| unfit(&error))?;
    let connector = Arc::new(PathConnector(place.socket()));
    let roads = Roads::to(Arc::new(AgentLink::new(connector, build)));
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
    let settings = Settings { agent, name: name(), capabilities, slots };
    let ports = Ports {
        clock: Arc::new(SystemClock::new()),
        roads,
        stages: Arc::new(stages),
        tools: Arc::new(tools),
        spool,
        chance: Arc::new(SeededChance::new(seed)),
        sabotage: Arc::new(NoSabotage),
    };
    let side = AgentSide::start(settings, ports).await.map_err(|error| unfit(&error))?;
    orphaned(inheritance.supervisor).await;
    side.stop().await;
    Ok(())
}

/// Writes down how well steps are kept apart, for `otto run` and `otto doctor`.
fn tell_level(place: &Place, stages: &NodeStages) -> io::Result<()> {
    let Some(level) = stages.level() else { return Ok(()) };
    fs::write(place.sandbox(), serde_json::to_vec(&level)?)
}

/// The machine's name.
fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
