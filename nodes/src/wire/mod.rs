//! The wire: length-delimited frames of MessagePack, greeted by a hello both ways.
//!
//! A frame is four bytes of length, most significant first, and that many bytes of MessagePack with
//! struct fields by name. Its length is checked before anything is read or allocated, and its depth
//! while it is decoded. Whatever breaks these rules closes its own connection and nothing else.

pub mod codec;
pub mod deadline;
pub mod frame;
pub mod hello;
pub mod release;
#[cfg(test)]
mod tests;

use codec::{AnswererCodec, CallerCodec};
use frame::Frames;
use serde::{Serialize, de::DeserializeOwned};
use tarpc::{ClientMessage, Response};

/// What tarpc calls through.
pub type Caller<Req, Resp> =
    tokio_serde::Framed<Frames, Response<Resp>, ClientMessage<Req>, CallerCodec<Req, Resp>>;

/// What tarpc answers through.
pub type Answerer<Req, Resp> =
    tokio_serde::Framed<Frames, ClientMessage<Req>, Response<Resp>, AnswererCodec<Req, Resp>>;

/// Lets tarpc call over a greeted connection.
#[must_use]
pub fn caller<Req, Resp>(frames: Frames) -> Caller<Req, Resp>
where
    Req: Serialize,
    Resp: DeserializeOwned,
{
    tokio_serde::Framed::new(frames, CallerCodec::default())
}

/// Lets tarpc answer over a greeted connection.
#[must_use]
pub fn answerer<Req, Resp>(frames: Frames) -> Answerer<Req, Resp>
where
    Req: DeserializeOwned,
    Resp: Serialize,
{
    tokio_serde::Framed::new(frames, AnswererCodec::default())
}
