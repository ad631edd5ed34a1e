//! Frames: how many bytes may come at once, and how they are cut.

use crate::network::Stream;
use bytes::{Bytes, BytesMut};
use std::io;
use tokio_util::codec::{Decoder, Encoder, Framed, LengthDelimitedCodec};

/// The most bytes of a hello.
pub const MAX_HELLO: usize = 64 << 10;
/// The most bytes that a control process takes in one frame.
pub const MAX_REQUEST: usize = 1 << 20;
/// The most bytes that a client or an agent takes in one frame from its control process: enough for
/// the largest plan and for the largest entry of its journal.
pub const MAX_ANSWER: usize = 16 << 20;
/// The most bytes that control processes send each other in one frame: an entry of a log is as
/// large as the largest proposal.
pub const MAX_PEER: usize = 16 << 20;
/// The most bytes of a log that travel in one frame.
pub const MAX_LOG_PART: usize = 256 << 10;
/// The most bytes of a blob that travel in one frame.
pub const MAX_BLOB_PART: usize = 512 << 10;

/// A connection cut into frames.
pub type Frames = Framed<Stream, FrameCodec>;

/// Cuts a connection into frames. Longer ones are an error before they are read.
#[must_use]
pub fn frames(stream: Stream, limits: Limits) -> Frames {
    Framed::with_capacity(stream, FrameCodec::new(limits), READ_BUFFER)
}

/// The most bytes of a frame, by direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Of what this end reads.
    pub reads: usize,
    /// Of what this end writes.
    pub writes: usize,
}

impl Limits {
    /// Until the hello is over, on both ends.
    pub const HELLO: Self = Self { reads: MAX_HELLO, writes: MAX_HELLO };
    /// Of whoever calls.
    pub const CALLER: Self = Self { reads: MAX_ANSWER, writes: MAX_REQUEST };
    /// Of whoever answers.
    pub const ANSWERER: Self = Self { reads: MAX_REQUEST, writes: MAX_ANSWER };
    /// Of control processes among themselves.
    pub const PEER: Self = Self { reads: MAX_PEER, writes: MAX_PEER };
}

/// Four bytes of length, most significant first, and that many bytes.
#[derive(Debug)]
pub struct FrameCodec {
    reads: LengthDelimitedCodec,
    writes: LengthDelimitedCodec,
}

impl FrameCodec {
    fn new(limits: Limits) -> Self {
        let codec = |limit| LengthDelimitedCodec::builder().max_frame_length(limit).new_codec();
        Self { reads: codec(limits.reads), writes: codec(limits.writes) }
    }

    /// Changes the limits, from the next frame on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.reads.set_max_frame_length(limits.reads);
        self.writes.set_max_frame_length(limits.writes);
    }
}

impl Decoder for FrameCodec {
    type Item = BytesMut;
    type Error = io::Error;

    fn decode(&mut self, source: &mut BytesMut) -> io::Result<Option<BytesMut>> {
        self.reads.decode(source)
    }
}

impl Encoder<Bytes> for FrameCodec {
    type Error = io::Error;

    fn encode(&mut self, frame: Bytes, target: &mut BytesMut) -> io::Result<()> {
        self.writes.encode(frame, target)
    }
}

/// How much of a connection is read at once.
const READ_BUFFER: usize = 16 << 10;
