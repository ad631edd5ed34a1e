//! MessagePack with struct fields by name, for tarpc's transport.
//!
//! tokio-serde's own codec writes fields by position, which no other language could read and no
//! later release could extend.

use super::deadline;
use bytes::{Bytes, BytesMut};
use otto_core::journal::MAX_DEPTH;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;
use tarpc::{ClientMessage, Request, Response, trace};

/// Encodes a value into one frame's bytes.
///
/// # Errors
/// When the value cannot be represented.
pub fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    rmp_serde::to_vec_named(value).map_err(io::Error::other)
}

/// Decodes one frame's bytes.
///
/// # Errors
/// When they are no MessagePack, nest too deep, or hold something else.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    decoder.set_max_depth(MAX_DEPTH);
    T::deserialize(&mut decoder).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("read a frame: {error}"))
    })
}

/// The codec of whoever calls: writes requests, reads answers.
#[derive(Debug)]
pub struct CallerCodec<Req, Resp>(PhantomData<fn(Req) -> Resp>);

impl<Req, Resp> Default for CallerCodec<Req, Resp> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Req, Resp: DeserializeOwned> tokio_serde::Deserializer<Response<Resp>>
    for CallerCodec<Req, Resp>
{
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, bytes: &BytesMut) -> io::Result<Response<Resp>> {
        decode(bytes)
    }
}

impl<Req: Serialize, Resp> tokio_serde::Serializer<ClientMessage<Req>> for CallerCodec<Req, Resp> {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, message: &ClientMessage<Req>) -> io::Result<Bytes> {
        encode(message).map(Bytes::from)
    }
}

/// The codec of whoever answers: reads requests, writes answers.
///
/// It reads tarpc's envelope through `Envelope`, since tarpc itself would add whatever deadline a
/// peer names to its clock, and panic where that overflows.
#[derive(Debug)]
pub struct AnswererCodec<Req, Resp>(PhantomData<fn(Req) -> Resp>);

impl<Req, Resp> Default for AnswererCodec<Req, Resp> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Req: DeserializeOwned, Resp> tokio_serde::Deserializer<ClientMessage<Req>>
    for AnswererCodec<Req, Resp>
{
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, bytes: &BytesMut) -> io::Result<ClientMessage<Req>> {
        Ok(match decode(bytes)? {
            Envelope::Request { context, id, message } => {
                let context = deadline::context(context.deadline, context.trace_context);
                ClientMessage::Request(Request { context, id, message })
            }
            Envelope::Cancel { trace_context, request_id } => {
                ClientMessage::Cancel { trace_context, request_id }
            }
        })
    }
}

impl<Req, Resp: Serialize> tokio_serde::Serializer<Response<Resp>> for AnswererCodec<Req, Resp> {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, response: &Response<Resp>) -> io::Result<Bytes> {
        encode(response).map(Bytes::from)
    }
}

/// What a caller sends, as tarpc writes it; what it may leave out has defaults.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
enum Envelope<T> {
    Request {
        #[serde(default)]
        context: EnvelopeContext,
        id: u64,
        message: T,
    },
    Cancel {
        #[serde(default)]
        trace_context: trace::Context,
        request_id: u64,
    },
}

#[derive(Deserialize)]
struct EnvelopeContext {
    #[serde(default = "usual_deadline")]
    deadline: Duration,
    #[serde(default)]
    trace_context: trace::Context,
}

impl Default for EnvelopeContext {
    fn default() -> Self {
        Self { deadline: usual_deadline(), trace_context: trace::Context::default() }
    }
}

fn usual_deadline() -> Duration {
    deadline::USUAL
}
