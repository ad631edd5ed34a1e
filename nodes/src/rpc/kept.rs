//! What control nodes ask of each other's folders, where no store is shared by all.

use super::api::ReadBlob;
use otto_actors::ports::control::BlobPart;
use otto_core::ids::{Attempt, Digest, RunId, StageId};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Asks for what a node keeps itself. It asks nobody else for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskKept {
    /// Whether a blob is there.
    HasBlob(Digest),
    /// A part of a blob.
    ReadBlob(ReadBlob),
    /// Keep a part of a blob, too.
    KeepBlob(BlobPart),
    /// A part of an attempt's log.
    ReadLog {
        /// The run.
        run: RunId,
        /// The stage.
        stage: StageId,
        /// The attempt.
        attempt: Attempt,
        /// From this byte on.
        offset: u64,
        /// At most so many bytes.
        limit: u32,
    },
    /// How long an attempt's log is.
    LogLength {
        /// The run.
        run: RunId,
        /// The stage.
        stage: StageId,
        /// The attempt.
        attempt: Attempt,
    },
}

/// A part of an attempt's log that another node has sealed, for this one to keep, too.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeepLog {
    /// The run.
    pub run: RunId,
    /// The stage.
    pub stage: StageId,
    /// The attempt.
    pub attempt: Attempt,
    /// Where these bytes belong.
    pub offset: u64,
    /// None of them only asks how much of it is there.
    pub bytes: ByteBuf,
    /// How many bytes all of it has, for good.
    pub length: u64,
}

/// What a node keeps.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// It is there.
    There,
    /// It is not.
    Absent,
    /// Bytes of it; empty at its end.
    Bytes(ByteBuf),
    /// How many bytes it has.
    Length(u64),
}
