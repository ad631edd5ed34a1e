//! In the control process: pictures of all shards, handed out part by part.

use crate::control::{Hops, Neighbours};
use crate::replica::Archive;
use crate::replica::archive::{Portrait, Reach};
use crate::rpc::api::ApiError;
use crate::rpc::backup::{BackUp, BackedUp, Content, Cursor, Picture};
use crate::store::{Fault, Taken};
use crate::wire::hello::Build;
use otto_actors::ports::clock::SharedClock;
use otto_core::cluster::Cluster;
use otto_core::ids::ShardId;
use otto_core::journal::{EntityId, encode};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The most pictures at a time. Each keeps the state from using its pages anew.
const MOST: usize = 4;
/// A picture of which nobody asks for a part for so long is let go.
const PATIENCE: Duration = Duration::from_mins(1);
/// One of which nobody asked for a part for so long gives way to a new one.
const IDLE: Duration = Duration::from_secs(10);
/// How long this node may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(20);
/// The pause before it is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes pictures, and hands them out. Clones are the same.
#[derive(Clone)]
pub struct Pictures {
    archive: Archive,
    neighbours: Option<Neighbours>,
    build: Build,
    clock: SharedClock,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    latest: u64,
    pictures: BTreeMap<u64, One>,
}

/// One picture.
struct One {
    portrait: Arc<Portrait>,
    /// When somebody last asked for a part of it.
    asked: Instant,
    /// All of it was handed out; whoever lost the last answer may ask again.
    over: bool,
}

impl fmt::Debug for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pictures").field(&self.archive).finish()
    }
}

impl Pictures {
    /// Pictures of what a node has, which asks the others how far it should be.
    #[must_use]
    pub fn new(
        archive: Archive,
        neighbours: Option<Neighbours>,
        build: Build,
        clock: SharedClock,
    ) -> Self {
        Self { archive, neighbours, build, clock, kept: Arc::default() }
    }

    /// Answers whoever copies.
    ///
    /// # Errors
    /// That this node lags behind, has let go of the picture, or cannot read its store.
    pub async fn answer(&self, ask: BackUp) -> Result<BackedUp, ApiError> {
        match ask {
            BackUp::Begin => {
                self.catch_up().await?;
                self.begin().map(BackedUp::Begun)
            }
            BackUp::Part { picture, cursor } => self.part(picture, cursor),
        }
    }

    /// Returns when this node has everything that was agreed on when it was asked.
    async fn catch_up(&self) -> Result<(), ApiError> {
        let deadline = Instant::now() + CATCH_UP;
        for view in self.archive.views() {
            let shard = view.shard;
            let upto = self.agreed(shard).await?;
            loop {
                let views = self.archive.views();
                let applied = views.iter().find(|view| view.shard == shard).map(|it| it.applied);
                let applied = applied.unwrap_or(0);
                if applied >= upto {
                    break;
                }
                if Instant::now() > deadline {
                    let lag = upto - applied;
                    let what = format!("this node lacks {lag} entries of shard {shard}");
                    return Err(ApiError::NotReady(what));
                }
                sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Up to which entry a shard is agreed on now.
    async fn agreed(&self, shard: ShardId) -> Result<u64, ApiError> {
        let nobody = |cause| {
            ApiError::NotReady(format!("what shard {shard} has agreed on is not known ({cause})"))
        };
        let leader = match self.archive.reach(shard).await.map_err(nobody)? {
            Reach::Here(index) => return Ok(index),
            Reach::LedBy(leader) => leader,
        };
        let unknown = || ApiError::NotReady(format!("where {leader} is, is not known"));
        let neighbours = self.neighbours.as_ref().ok_or_else(unknown)?;
        let address = neighbours.directory.borrow().nodes.get(&leader).cloned();
        let hops: &dyn Hops = neighbours.hops.as_ref();
        let reached = hops.reach(&address.ok_or_else(unknown)?, shard).await;
        reached.map_err(|error| ApiError::NotReady(error.to_string()))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.pictures.retain(|_, one| one.asked.elapsed() < PATIENCE);
        kept
    }

    fn begin(&self) -> Result<Picture, ApiError> {
        let unreadable = |error: &dyn fmt::Display| ApiError::Store(error.to_string());
        let portrait = self.archive.portrait().map_err(|fault| unread(&fault))?;
        let head = portrait.head(ShardId::META, EntityId::CLUSTER).map_err(|it| unread(&it))?;
        let cluster = Cluster::from_head(head.as_ref().map(|stored| &stored.head));
        let cluster = cluster.map_err(|error| unreadable(&error))?;
        let contents = portrait.contents().into_iter();
        let contents =
            contents.map(|it| Content { shard: it.shard, term: it.term, index: it.index });
        let mut kept = self.kept();
        if kept.pictures.len() >= MOST {
            // Whoever copies asks all the time; who stopped has most likely failed.
            kept.pictures.retain(|_, one| !one.over && one.asked.elapsed() < IDLE);
        }
        if kept.pictures.len() >= MOST {
            let retry_after_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
            return Err(ApiError::Busy { retry_after_ms });
        }
        kept.latest += 1;
        let picture = kept.latest;
        let one = One { portrait: Arc::new(portrait), asked: Instant::now(), over: false };
        kept.pictures.insert(picture, one);
        Ok(Picture {
            picture,
            build: self.build.clone(),
            at: self.clock.now(),
            cluster: cluster.founded().map(|founded| founded.cluster),
            level: cluster.level(),
            shards: self.archive.count,
            incarnation: self.archive.incarnation,
            contents: contents.collect(),
        })
    }

    fn part(&self, number: u64, cursor: Cursor) -> Result<BackedUp, ApiError> {
        let gone = || ApiError::Refused("go on with this backup: begin it anew".to_owned());
        let portrait = {
            let mut kept = self.kept();
            let one = kept.pictures.get_mut(&number).ok_or_else(gone)?;
            one.asked = Instant::now();
            Arc::clone(&one.portrait)
        };
        let place = usize::try_from(cursor.shard).unwrap_or(usize::MAX);
        let mut taken = Taken::upto(cursor.head, cursor.entry);
        let rows = portrait.rows(place, &mut taken).map_err(|fault| unread(&fault))?;
        let next = match rows {
            Some(_) => Some(Cursor { head: taken.head(), entry: taken.entry(), ..cursor }),
            None if place + 1 < portrait.contents().len() => {
                Some(Cursor { shard: cursor.shard + 1, ..Cursor::default() })
            }
            None => {
                if let Some(one) = self.kept().pictures.get_mut(&number) {
                    one.over = true;
                }
                None
            }
        };
        let rows = rows.map(|rows| encode(&rows)).unwrap_or_default();
        Ok(BackedUp::Part { rows: ByteBuf::from(rows), next })
    }
}

fn unread(fault: &Fault) -> ApiError {
    ApiError::Store(fault.to_string())
}
