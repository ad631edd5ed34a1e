//! From a file to an empty data folder: the first node of a new cluster, with all that was kept.
//!
//! The file is read twice: once to see that it is whole, before anything is made, and once to fill
//! a store, which gets its name when all of it is on disk.

use super::file::{FileError, Part, Reader};
use crate::identity::files::Folder;
use crate::identity::founding::{self, Founder};
use crate::identity::join::Introduction;
use crate::replica::archive::{Last, Restoration};
use crate::rpc::backup::Picture;
use crate::store::{Fault, StoreConfig, Threads};
use crate::wire::hello::Refused;
use otto_core::cluster::Cluster;
use otto_core::cluster::state::Holder;
use otto_core::ids::{NodeId, ShardId};
use otto_core::journal::{EntityId, Item, Proposal, StoredHead, encode};
use otto_core::time::Timestamp;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// What a backup is restored as.
pub(crate) struct Restoring<'r> {
    /// The backup.
    pub(crate) file: &'r Path,
    /// Where the store is to be; nothing is there yet.
    pub(crate) store: &'r Path,
    /// Where the node's identity is to be.
    pub(crate) identity: &'r Folder,
    /// What the node says of itself.
    pub(crate) introduction: Introduction,
    /// A number that no other store has.
    pub(crate) birth: u64,
    /// The time of day.
    pub(crate) now: Timestamp,
}

/// What was restored.
#[derive(Debug)]
pub(crate) struct Restored {
    /// What the backup held.
    pub(crate) picture: Picture,
    /// The node that goes on; the first one where the backup is of a node that was alone.
    pub(crate) node: NodeId,
    /// Whether that node is the first of a cluster.
    pub(crate) is_cluster: bool,
}

/// Makes the first node of a new cluster out of a backup.
///
/// # Errors
/// What is wrong with the file or the folder, for people. Nothing that serves was made then.
pub(crate) async fn restore(restoring: Restoring<'_>) -> Result<Restored, Refused> {
    let (picture, cluster) = look(restoring.file)?;
    let unreadable = |error: &dyn std::fmt::Display| {
        Refused::trouble(
            format!("failed to restore {}: {error}", restoring.file.display()),
            "restore it with the release that wrote it, or a later one",
        )
    };
    let cluster = Cluster::from_head(cluster.as_ref().map(|stored| &stored.head));
    let cluster = cluster.map_err(|error| unreadable(&error))?;
    if cluster.founded().is_none() {
        fill(&restoring, NodeId::FIRST, Vec::new()).await?;
        return Ok(Restored { picture, node: NodeId::FIRST, is_cluster: false });
    }
    let founder = founding::begin(restoring.identity, &restoring.introduction, restoring.now)?;
    let (cluster, proposal) = refound(cluster, &founder, restoring.now)?;
    let node = cluster.nodes().next().map_or(NodeId::FIRST, |(node, _)| node);
    fill(&restoring, node, vec![proposal]).await?;
    let (stored, _) = founder.finish(&cluster)?;
    debug_assert_eq!(stored.said.subject.holder, Holder::Node(node));
    Ok(Restored { picture, node, is_cluster: true })
}

/// Reads all of the file; answers what it says of itself, and the cluster's head.
fn look(file: &Path) -> Result<(Picture, Option<StoredHead>), Refused> {
    let mut reader = Reader::open(file)?;
    let meta = reader.picture.contents.iter().position(|it| it.shard == ShardId::META);
    let mut cluster = None;
    while let Some(Part { shard, rows }) = reader.next()? {
        if Some(shard) == meta {
            cluster = rows.head(EntityId::CLUSTER).or(cluster);
        }
    }
    Ok((reader.picture, cluster))
}

/// The cluster as it goes on with its one node, and what is journaled of that.
fn refound(
    mut cluster: Cluster,
    founder: &Founder,
    now: Timestamp,
) -> Result<(Cluster, Proposal), Refused> {
    let expected = cluster.version();
    let decided = cluster.decide_all(&[founder.restore()], now);
    for answer in decided.answers {
        answer
            .map_err(|refusal| Refused::trouble(format!("failed to {refusal}"), refusal.help()))?;
    }
    let Some(entry) = decided.entry else {
        return Ok((cluster, Proposal { items: Vec::new() }));
    };
    cluster.apply(&entry);
    let (entity, entry, head) = (EntityId::CLUSTER, encode(&entry), cluster.to_head());
    let item = Item { entity, expected, entry, head };
    Ok((cluster, Proposal { items: vec![item] }))
}

/// Fills a store, which gets its name when it is whole.
async fn fill(
    restoring: &Restoring<'_>,
    node: NodeId,
    proposals: Vec<Proposal>,
) -> Result<(), Refused> {
    let mut reader = Reader::open(restoring.file)?;
    let picture = reader.picture.clone();
    let place = restoring.store;
    let fresh = place.with_extension("restoring");
    let at = |doing: &'static str, path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| Refused::at(doing, &path, &error)
    };
    match fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(at("remove", &fresh)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let disk = crate::store::Folder::lock(&fresh).map_err(|error| Refused::from(&error))?;
    let config = StoreConfig {
        node: node.0,
        shards: picture.shards,
        birth: restoring.birth,
        incarnation: picture.incarnation.saturating_add(1),
    };
    let opened = Restoration::begin(Box::new(disk), &Threads, config);
    let restoration = opened.map_err(|error| Refused::from(&error))?;
    let filled = fill_shards(&restoration, &mut reader, &picture, proposals).await;
    let finished = restoration.finish().await.map_err(Refill::Store);
    filled.and(finished).map_err(|error| match error {
        Refill::File(error) => error.into(),
        Refill::Store(fault) => Refused::of_store(&fault, &fresh.display().to_string()),
    })?;
    fs::rename(&fresh, place).map_err(at("rename", &fresh))?;
    let parent = place.parent().unwrap_or(Path::new("."));
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(at("write", parent))
}

/// Why a store was not filled.
enum Refill {
    File(FileError),
    Store(Fault),
}

impl From<Fault> for Refill {
    fn from(fault: Fault) -> Self {
        Self::Store(fault)
    }
}

impl From<FileError> for Refill {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

async fn fill_shards(
    restoration: &Restoration,
    reader: &mut Reader,
    picture: &Picture,
    proposals: Vec<Proposal>,
) -> Result<(), Refill> {
    let mut next = reader.next()?;
    for (place, content) in picture.contents.iter().enumerate() {
        let last = Last { shard: content.shard, term: content.term, index: content.index };
        let on_top = if content.shard == ShardId::META { proposals.clone() } else { Vec::new() };
        let rows = || {
            let Some(part) = next.take_if(|part| part.shard == place) else { return Ok(None) };
            next = reader.next()?;
            Ok::<_, Refill>(Some(part.rows))
        };
        restoration.shard(last, on_top, rows).await?;
    }
    Ok(())
}

impl From<FileError> for Refused {
    fn from(error: FileError) -> Self {
        Self::trouble(format!("failed to {error}"), error.help())
    }
}
