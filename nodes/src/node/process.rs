//! The processes below the supervisor: control and agent, from their first instruction on.

use super::build::this_build;
use super::child::{Inheritance, Role};
use super::lock::Lock;
use super::place::Place;
use super::report::Report;
use super::system::{SeededChance, SystemClock, seed};
use super::trace;
use super::trouble::EXIT_INFRASTRUCTURE;
use super::unix::OwnerListener;
use crate::control::{ControlConfig, Ending, Outside, Platform, run_control};
use crate::logs::FileLogs;
use crate::objects::ObjectBlobs;
use crate::replica::ShardsConfig;
use crate::store::{Folder, Threads};
use crate::wire::hello::Refused;
use otto_actors::ports::sabotage::NoSabotage;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// The control process, or the agent: what it is told is its only argument.
pub(super) fn main(role: Role, argument: Option<String>) -> ExitCode {
    let inheritance = match Inheritance::take(argument) {
        Ok(inheritance) => inheritance,
        Err(error) => {
            eprintln!("error: failed to begin as {}: {error}", role.name());
            return ExitCode::from(EXIT_INFRASTRUCTURE);
        }
    };
    let supervisor = inheritance.supervisor.try_clone();
    match begin(role, inheritance) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            tracing::error!(what = trouble.what, help = trouble.help, "cannot work");
            if let Ok(mut supervisor) = supervisor {
                // Where the supervisor is gone, nobody is left to tell.
                Report::Trouble(trouble).send(&mut supervisor).ok();
            }
            ExitCode::from(EXIT_INFRASTRUCTURE)
        }
    }
}

fn begin(role: Role, inheritance: Inheritance) -> Result<(), Refused> {
    let place = Place::new(&inheritance.orders.data)?;
    place.make()?;
    let at = |doing: &'static str, path: &std::path::Path| {
        let path = path.to_owned();
        move |error: io::Error| Refused::at(doing, &path, &error)
    };
    trace::begin(&place.traces(), role.name()).map_err(at("write to", &place.traces()))?;
    // An earlier one may not have noticed yet that its supervisor is gone.
    let lock = place.lock(role.name());
    let _lock = Lock::take(&lock).map_err(at("write", &lock))?;
    let runtime = match role {
        Role::Control => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
        }
        Role::Agent => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    };
    let runtime = runtime.map_err(at("start a runtime for", place.data()))?;
    let ended = match role {
        Role::Control => runtime.block_on(control(&place, inheritance)),
        Role::Agent => runtime.block_on(agent(inheritance)),
    };
    // Nothing that still runs is worth waiting for: it is on disk, or it never was.
    runtime.shutdown_background();
    ended
}

async fn control(place: &Place, inheritance: Inheritance) -> Result<(), Refused> {
    let Inheritance { orders, supervisor, input } = inheritance;
    let system = |error: io::Error| {
        Refused::trouble(
            format!("failed to start the control process: {error}"),
            "see that this user may open more files",
        )
    };
    let listener = OwnerListener::new(UnixListener::from(input)).map_err(system)?;
    let disk = Folder::lock(place.store()).map_err(|error| Refused::from(&error))?;
    let blobs = ObjectBlobs::in_folder(&place.blobs());
    let blobs =
        blobs.map_err(|error| Refused::trouble(error.to_string(), "look at that folder"))?;
    let seed = seed().map_err(system)?;
    let build = this_build().map_err(system)?;
    let superseded = build != orders.node_build;
    let outside = Outside {
        listener: Arc::new(listener),
        clock: Arc::new(SystemClock::new()),
        chance: Arc::new(SeededChance::new(seed)),
        blobs: Arc::new(blobs),
        logs: Arc::new(FileLogs::new(place.logs())),
        sabotage: Arc::new(NoSabotage),
    };
    let platform = Platform { disk: Box::new(disk), executor: Box::new(Threads), outside };
    let idle = orders.idle_ms.map(Duration::from_millis);
    let config = ControlConfig {
        build,
        node_build: orders.node_build,
        shards: ShardsConfig { seed, ..ShardsConfig::default() },
        // The agent is of another build: as soon as nothing goes on, all of the node is renewed.
        idle: if superseded { idle.map(|idle| idle.min(Duration::from_secs(1))) } else { idle },
        data: place.data().display().to_string(),
        address: place.socket().display().to_string(),
    };
    let mut reports = supervisor.try_clone().map_err(system)?;
    let ready = || {
        // Where the supervisor is gone, `orphaned` ends this process.
        Report::Ready.send(&mut reports).ok();
    };
    let mut said = supervisor.try_clone().map_err(system)?;
    let ending = tokio::select! {
        biased;
        ending = run_control(platform, config, ready) => ending?,
        () = orphaned(supervisor) => return Ok(()),
    };
    let report = match ending {
        Ending::Leave => Report::Leave,
        Ending::Successor(successor) => {
            Report::Successor { path: successor.path.into(), build: successor.build }
        }
    };
    report.send(&mut said).map_err(system)
}

async fn agent(inheritance: Inheritance) -> Result<(), Refused> {
    orphaned(inheritance.supervisor).await;
    Ok(())
}

/// Returns when the supervisor is gone.
async fn orphaned(supervisor: UnixStream) {
    let watched = supervisor.set_nonblocking(true);
    let Ok(mut supervisor) = watched.and_then(|()| tokio::net::UnixStream::from_std(supervisor))
    else {
        return;
    };
    let mut nothing = [0; 64];
    while let Ok(1..) = supervisor.read(&mut nothing).await {}
    tracing::info!("the supervisor is gone");
}
