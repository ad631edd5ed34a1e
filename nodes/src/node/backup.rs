//! `otto-node backup` and `otto-node restore`: a whole cluster into a file, and out of it.

use super::build::this_build;
use super::command::{Data, Listening, client, in_runtime, print};
use super::lock::Lock;
use super::place::{Filling, Place};
use super::residence::{Residence, machine};
use super::serve::taken;
use super::system::{SystemClock, seed};
use crate::backup::{Restored, Restoring, restore, take};
use crate::identity::files::Folder;
use crate::identity::join::Introduction;
use crate::rpc::backup::Picture;
use crate::wire::hello::Refused;
use crate::wire::release::Release;
use clap::Args;
use otto_actors::ports::clock::Clock;
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments of `backup`.
#[derive(Args, Debug)]
#[command(after_help = "\
The file holds everything that is journaled of the whole cluster: runs, plans, numbers, nodes,
tokens. It holds no logs, no artifacts, no snapshots of repositories and no key. Those in a shared
store (--objects) stay there; those in a node's data folder are copied with other tools.")]
pub(super) struct Backup {
    #[command(flatten)]
    data: Data,
    /// The file to write; it must not be there yet
    file: PathBuf,
}

impl Backup {
    pub(super) async fn run(&self) -> Result<ExitCode, Refused> {
        if self.file.exists() {
            return Err(Refused::trouble(
                format!("failed to write {}: it is there already", self.file.display()),
                "name another file, or move that one away",
            ));
        }
        let (picture, bytes) = take(&client(&self.data)?, &self.file).await?;
        let what = described(&picture);
        print(&format!("{} holds {what} ({bytes} bytes)\n", self.file.display()))
    }
}

/// The arguments of `restore`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  otto-node restore otto.backup --data /var/lib/otto
  otto-node serve --data /var/lib/otto

The node is the first one of a new cluster: it has an authority of its own, nobody who belonged to
the earlier cluster comes back, and no token counts any more. Leases that were open settle as lost.")]
pub(super) struct Restore {
    #[command(flatten)]
    data: Data,
    /// What `otto-node backup` wrote
    file: PathBuf,
    #[command(flatten)]
    listening: Listening,
}

impl Restore {
    pub(super) fn run(&self) -> Result<ExitCode, Refused> {
        let place = self.data.place()?;
        let filling = Filling::of(&place);
        self.fill(&place).inspect_err(|_| filling.undo())
    }

    fn fill(&self, place: &Place) -> Result<ExitCode, Refused> {
        place.make()?;
        let path = place.lock("node");
        let lock = Lock::try_take(&path).map_err(|error| Refused::at("write", &path, &error))?;
        let _lock = lock.ok_or_else(|| taken(place))?;
        let identity = Folder::new(place.data());
        if place.has_store() || identity.load()?.is_some() {
            return Err(Refused::trouble(
                format!("failed to restore: {} is not empty", place.data().display()),
                "name an empty folder with --data, or move away what is in this one",
            ));
        }
        let clock = SystemClock::new();
        let at_proc = |error: std::io::Error| Refused::at("look at", "/proc".as_ref(), &error);
        let restoring = Restoring {
            file: &self.file,
            store: &place.store(),
            identity: &identity,
            introduction: Introduction {
                name: machine(),
                addresses: Vec::new(),
                levels: Release::ours().levels,
                build: this_build().map_err(at_proc)?,
            },
            birth: seed().map_err(at_proc)?,
            now: clock.now(),
        };
        let Restored { picture, node, is_cluster } = in_runtime(restore(restoring))?;
        if is_cluster {
            let residence = Residence::of_founder().told(self.listening.told());
            let incarnation = picture.incarnation.saturating_add(1);
            Residence { shards: picture.shards, incarnation, ..residence }.keep(place)?;
        }
        let (what, data) = (described(&picture), place.data().display());
        let who = if is_cluster { format!(" as {node} of a new cluster") } else { String::new() };
        let alone = if is_cluster { "" } else { " --alone" };
        print(&format!(
            "restored {what}{who}\nstart it:\n    otto-node serve{alone} --data {data}\n"
        ))
    }
}

/// What a backup holds, for people.
fn described(picture: &Picture) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(picture.at.0).unwrap_or(i64::MAX));
    let at = at.map(|at| at.to_string()).unwrap_or_default();
    let shards = picture.shards;
    match picture.cluster {
        Some(cluster) => format!("cluster {cluster} in {shards} shards, as of {at}"),
        None => format!("a node that is alone, in {shards} shards, as of {at}"),
    }
}
