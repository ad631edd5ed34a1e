//! Frames: how many bytes may come at once, and how they are cut.

use crate::network::Stream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// The most bytes of a hello.
pub const MAX_HELLO: usize = 64 << 10;
/// The most bytes that a control process takes in one frame.
pub const MAX_REQUEST: usize = 1 << 20;
/// The most bytes that a client or an agent takes in one frame from its control process: enough for
/// the largest plan and for the largest entry of its journal.
pub const MAX_ANSWER: usize = 16 << 20;
/// The most bytes of a log that travel in one frame.
pub const MAX_LOG_PART: usize = 256 << 10;
/// The most bytes of a blob that travel in one frame.
pub const MAX_BLOB_PART: usize = 512 << 10;

/// A connection cut into frames.
pub type Frames = Framed<Stream, LengthDelimitedCodec>;

/// Cuts a connection into frames of at most `limit` bytes. Longer ones are an error before they are
/// read.
#[must_use]
pub fn frames(stream: Stream, limit: usize) -> Frames {
    Framed::with_capacity(stream, codec(limit), READ_BUFFER)
}

/// The codec of [`frames`].
#[must_use]
pub fn codec(limit: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(limit).new_codec()
}

/// How much of a connection is read at once.
const READ_BUFFER: usize = 16 << 10;
