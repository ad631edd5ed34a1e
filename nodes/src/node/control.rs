//! The control process on this machine.

use super::build::this_build;
use super::child::Inheritance;
use super::member;
use super::place::Place;
use super::process::orphaned;
use super::report::Report;
use super::residence::Residence;
use super::system::{SeededChance, SystemClock, seed};
use super::unix::OwnerListener;
use crate::control::{ControlConfig, Ending, Outside, Platform, run_control};
use crate::logs::{FileLogs, SealedLogs};
use crate::objects::{ObjectBlobs, SharedObjects};
use crate::replica::{Alone, ShardsConfig};
use crate::store::{Folder, Threads};
use crate::wire::hello::Refused;
use otto_actors::ports::blobs::SharedBlobs;
use otto_actors::ports::logs::SharedLogs;
use otto_actors::ports::sabotage::NoSabotage;
use otto_core::time::Span;
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long a node of a cluster has to let others lead when it is ended.
const PARTING: Duration = Duration::from_secs(6);

/// How long a lease holds at a node that is alone. Nobody else could take it over, so its agent
/// works on while this process is away, above all while the disk is full or the machine sleeps.
const LEASE_ALONE: Span = Span::hours(1);

/// Runs the control process until it leaves, or its supervisor is gone.
pub(super) async fn run(place: &Place, inheritance: Inheritance) -> Result<(), Refused> {
    let Inheritance { orders, supervisor, input } = inheritance;
    let system = |error: io::Error| {
        Refused::trouble(
            format!("failed to start the control process: {error}"),
            "see that this user may open more files",
        )
    };
    let listener = OwnerListener::new(UnixListener::from(input)).map_err(system)?;
    let residence = if orders.member { Residence::load(place)? } else { None };
    let (blobs, logs) = objects(place, orders.objects.as_deref()).await?;
    let seed = seed().map_err(system)?;
    let build = this_build().map_err(system)?;
    let superseded = build != orders.node_build;
    let outside = Outside {
        listener: Arc::new(listener),
        clock: Arc::new(SystemClock::new()),
        chance: Arc::new(SeededChance::new(seed)),
        blobs,
        logs,
        sabotage: Arc::new(NoSabotage),
        membership: None,
        neighbours: None,
    };
    let idle = orders.idle_ms.map(Duration::from_millis);
    let config = ControlConfig {
        build,
        node_build: orders.node_build,
        shards: ShardsConfig { seed, ..ShardsConfig::default() },
        lease: LEASE_ALONE,
        // The agent is of another build: as soon as nothing goes on, all of the node is renewed.
        idle: if superseded { idle.map(|idle| idle.min(Duration::from_secs(1))) } else { idle },
        data: place.data().display().to_string(),
        address: place.socket().display().to_string(),
    };
    let mut said = supervisor.try_clone().map_err(system)?;
    let mut reports = supervisor.try_clone().map_err(system)?;
    let tell = move |report: Report| {
        // Where the supervisor is gone, `orphaned` ends this process.
        report.send(&mut reports).ok();
    };
    let (leave, leaves) = watch::channel(false);
    let is_member = residence.is_some();
    let ended = async {
        tokio::select! {
            biased;
            () = orphaned(supervisor) => {}
            () = terminated() => {}
        }
        leave.send_replace(true);
        if is_member {
            // It lets others lead first, and leaves by itself.
            tokio::time::sleep(PARTING).await;
        }
    };
    let ending = tokio::select! {
        biased;
        ending = work(place, residence, outside, config, tell, leaves) => ending?,
        () = ended => return Ok(()),
    };
    if *leave.borrow() {
        return Ok(());
    }
    let report = match ending {
        Ending::Leave => Report::Leave,
        Ending::Successor(successor) => {
            Report::Successor { path: successor.path.into(), build: successor.build }
        }
    };
    report.send(&mut said).map_err(system)
}

/// Returns when somebody ends this process, who may have ended the supervisor, too.
async fn terminated() {
    let watched = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = watched else {
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Does the work of a control process: alone, or as a node of a cluster.
async fn work(
    place: &Place,
    residence: Option<Residence>,
    outside: Outside,
    config: ControlConfig,
    mut tell: impl FnMut(Report) + Send,
    leaves: watch::Receiver<bool>,
) -> Result<Ending, Refused> {
    if let Some(residence) = residence {
        return member::run(place, &residence, outside, config, tell, leaves).await;
    }
    let disk = Folder::lock(place.store()).map_err(|error| Refused::from(&error))?;
    let platform = Platform {
        disk: Box::new(disk),
        executor: Box::new(Threads),
        peers: Arc::new(Alone),
        outside,
    };
    run_control(platform, config, || tell(Report::Ready)).await
}

/// Where blobs and logs are: in the data folder, or in a store that several nodes share.
async fn objects(place: &Place, url: Option<&str>) -> Result<(SharedBlobs, SharedLogs), Refused> {
    let logs: SharedLogs = Arc::new(FileLogs::new(place.logs()));
    let Some(url) = url else {
        let blobs = ObjectBlobs::in_folder(&place.blobs());
        let blobs =
            blobs.map_err(|error| Refused::trouble(error.to_string(), "look at that folder"))?;
        return Ok((Arc::new(blobs), logs));
    };
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let variables = env::vars_os().filter_map(text);
    let shared = SharedObjects::at(url, variables)?;
    shared.try_out(&std::process::id().to_string()).await?;
    let blobs = Arc::new(ObjectBlobs::new(shared.part("blobs")));
    Ok((blobs, Arc::new(SealedLogs::new(logs, shared.part("logs")))))
}
