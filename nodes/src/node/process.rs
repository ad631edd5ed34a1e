//! The processes below the supervisor: what control and agent have in common.

use super::child::{Inheritance, Role};
use super::lock::Lock;
use super::place::Place;
use super::report::Report;
use super::trouble::EXIT_INFRASTRUCTURE;
use super::{agent, control, trace};
use crate::identity::files::Folder;
use crate::wire::hello::Refused;
use std::io;
use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use tokio::io::AsyncReadExt;
use tokio::runtime::Builder;

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
    let data = inheritance.orders.data.clone();
    match begin(role, inheritance) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            tracing::error!(what = trouble.what, help = trouble.help, "cannot work");
            if let Ok(mut supervisor) = supervisor {
                let report = if is_outcast(role, &data) {
                    Report::Outcast(trouble)
                } else {
                    Report::Trouble(trouble)
                };
                // Where the supervisor is gone, nobody is left to tell.
                report.send(&mut supervisor).ok();
            }
            ExitCode::from(EXIT_INFRASTRUCTURE)
        }
    }
}

/// Whether the identity that a role has here was cast out of its cluster.
fn is_outcast(role: Role, data: &Path) -> bool {
    let Ok(place) = Place::new(data) else { return false };
    let identity = match role {
        Role::Control => Folder::new(place.data()),
        Role::Agent => Folder::new(&place.agent()),
    };
    matches!(identity.outcast(), Ok(Some(_)))
}

fn begin(role: Role, inheritance: Inheritance) -> Result<(), Refused> {
    let place = Place::new(&inheritance.orders.data)?;
    place.make()?;
    let at = |doing: &'static str, path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| Refused::at(doing, &path, &error)
    };
    trace::begin(&place.traces(), role.name()).map_err(at("write to", &place.traces()))?;
    // An earlier one may not have noticed yet that its supervisor is gone.
    let lock = place.lock(role.name());
    Lock::take(&lock).map_err(at("write", &lock))?.hold();
    let runtime = match role {
        Role::Control => {
            Builder::new_multi_thread().worker_threads(control_threads()).enable_all().build()
        }
        Role::Agent => Builder::new_current_thread().enable_all().build(),
    };
    let runtime = runtime.map_err(at("start a runtime for", place.data()))?;
    let ended = match role {
        Role::Control => runtime.block_on(control::run(&place, inheritance)),
        Role::Agent => runtime.block_on(agent::run(&place, inheritance)),
    };
    // Nothing that still runs is worth waiting for: it is on disk, or it never was.
    runtime.shutdown_background();
    ended
}

/// How many threads the control process answers with, beside those that write: half of the cores.
/// The writers, the agent and those who ask need the others, and a thread more only costs wake-ups.
fn control_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    cores.div_ceil(2)
}

/// Returns when the supervisor is gone.
pub(super) async fn orphaned(supervisor: UnixStream) {
    let watched = supervisor.set_nonblocking(true);
    let Ok(mut supervisor) = watched.and_then(|()| tokio::net::UnixStream::from_std(supervisor))
    else {
        return;
    };
    let mut nothing = [0; 64];
    while let Ok(1..) = supervisor.read(&mut nothing).await {}
    tracing::info!("the supervisor is gone");
}
