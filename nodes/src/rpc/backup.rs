//! What is sent and got while a whole cluster is copied. Fields are only ever added, with defaults.

use crate::wire::hello::Build;
use otto_core::ids::{ClusterId, ShardId};
use otto_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Asks for a copy of everything, part by part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackUp {
    /// Take a picture of all shards at this moment.
    Begin,
    /// A part of the picture. The same cursor gets the same part.
    Part {
        /// Which picture.
        picture: u64,
        /// From where on.
        cursor: Cursor,
    },
}

/// A place in a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// In the how-manieth shard of the picture.
    pub shard: u32,
    /// Behind this head.
    #[serde(default)]
    pub head: Option<(u8, u128)>,
    /// Behind this entry of a journal.
    #[serde(default)]
    pub entry: Option<(u8, u128, u64)>,
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackedUp {
    /// The picture is taken.
    Begun(Picture),
    /// A part of it.
    Part {
        /// The rows, as [`crate::backup`] writes them to the file.
        rows: ByteBuf,
        /// Where the next part begins; nothing behind the last one.
        next: Option<Cursor>,
    },
}

/// A picture of a whole cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Picture {
    /// Its number, while the node keeps it.
    pub picture: u64,
    /// What the node was built from.
    pub build: Build,
    /// When it was taken.
    pub at: Timestamp,
    /// The cluster; nothing where a node is alone.
    pub cluster: Option<ClusterId>,
    /// The cluster's level; zero where a node is alone.
    pub level: u32,
    /// Into how many shards it is divided.
    pub shards: u16,
    /// Its incarnation.
    pub incarnation: u32,
    /// Up to where each shard is in it.
    pub contents: Vec<Content>,
}

/// A shard in a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Content {
    /// Which shard.
    pub shard: ShardId,
    /// The term of the last entry that is in it.
    pub term: u64,
    /// The number of the last entry that is in it.
    pub index: u64,
}
