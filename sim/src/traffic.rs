//! What hosts say to each other: written down for people, and cut off in the middle of a frame.
//!
//! Connections pass through here between turmoil and the real code. Nothing is changed unless the
//! world says so; and what is written down decides nothing.

use crate::history::now_ms;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One frame from one host to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Who sent it.
    pub from: String,
    /// To whom.
    pub to: String,
    /// When, in simulated milliseconds.
    pub sent_ms: u64,
    /// When all of it had arrived; `None` where it never did.
    pub arrived_ms: Option<u64>,
    /// What it says, in a few words.
    pub what: String,
}

/// A frame by the ends of its connection and its number on it.
type Place = (SocketAddr, SocketAddr, u64);

#[derive(Default)]
struct Record {
    on: bool,
    messages: Vec<Message>,
    on_their_way: BTreeMap<Place, usize>,
    /// The hosts of which the next frame is cut in the middle.
    cutting: BTreeSet<String>,
}

thread_local! {
    static RECORD: RefCell<Record> = RefCell::default();
}

/// Writes down what is said from now on, in this thread's simulation.
pub fn write_down() {
    RECORD.with_borrow_mut(|record| record.on = true);
}

/// All that was written down.
#[must_use]
pub fn written_down() -> Vec<Message> {
    RECORD.with_borrow_mut(|record| std::mem::take(&mut record.messages))
}

/// Lets the next frame that a host sends be cut in the middle, and its connection break.
pub fn cut_next_frame(host: &str) {
    RECORD.with_borrow_mut(|record| record.cutting.insert(host.to_owned()));
}

/// A connection of a simulated host.
#[derive(Debug)]
pub struct Tapped {
    stream: turmoil::net::TcpStream,
    host: String,
    other: String,
    ends: Option<(SocketAddr, SocketAddr)>,
    sends: Frames,
    receives: Frames,
    broken: bool,
}

fn name_of(address: SocketAddr) -> String {
    turmoil::reverse_lookup(address.ip()).unwrap_or_default()
}

impl Tapped {
    /// A connection that the host has at which this is called.
    #[must_use]
    pub fn new(stream: turmoil::net::TcpStream) -> Self {
        let ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
        let name = |address: Option<SocketAddr>| address.map(name_of).unwrap_or_default();
        Self {
            host: name(ends.map(|ends| ends.0)),
            other: name(ends.map(|ends| ends.1)),
            stream,
            ends,
            sends: Frames::default(),
            receives: Frames::default(),
            broken: false,
        }
    }

    /// Whether the world wants what is written now to be cut off.
    fn is_to_break(&self, length: usize) -> bool {
        length > 1 && RECORD.with_borrow_mut(|record| record.cutting.remove(&self.host))
    }

    fn sent(&mut self, bytes: &[u8]) {
        let Some((ours, theirs)) = self.ends else { return };
        let (host, other) = (&self.host, &self.other);
        self.sends.feed(bytes, |number, frame| {
            let message = Message {
                from: host.clone(),
                to: other.clone(),
                sent_ms: now_ms(),
                arrived_ms: None,
                what: outline(frame),
            };
            RECORD.with_borrow_mut(|record| {
                record.on_their_way.insert((ours, theirs, number), record.messages.len());
                record.messages.push(message);
            });
        });
    }

    fn received(&mut self, bytes: &[u8]) {
        let Some((ours, theirs)) = self.ends else { return };
        self.receives.feed(bytes, |number, _| {
            RECORD.with_borrow_mut(|record| {
                let place = record.on_their_way.remove(&(theirs, ours, number));
                let message = place.and_then(|place| record.messages.get_mut(place));
                if let Some(message) = message {
                    message.arrived_ms = Some(now_ms());
                }
            });
        });
    }
}

fn is_written_down() -> bool {
    RECORD.with_borrow(|record| record.on)
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Err(broken()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let (Poll::Ready(Ok(())), true) = (&polled, is_written_down()) {
            let new = buffer.filled()[before..].to_vec();
            self.received(&new);
        }
        polled
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Err(broken()));
        }
        if self.is_to_break(bytes.len()) {
            self.broken = true;
            let half = &bytes[..bytes.len() / 2];
            return match Pin::new(&mut self.stream).poll_write(context, half) {
                Poll::Ready(Ok(_)) => Poll::Ready(Err(broken())),
                polled => polled,
            };
        }
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let (Poll::Ready(Ok(written)), true) = (&polled, is_written_down()) {
            self.sent(&bytes[..*written]);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Err(broken()));
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Cuts bytes into frames: four bytes of length, and that many bytes.
#[derive(Debug, Default)]
struct Frames {
    number: u64,
    pending: Vec<u8>,
}

impl Frames {
    fn feed(&mut self, bytes: &[u8], mut frame: impl FnMut(u64, &[u8])) {
        self.pending.extend_from_slice(bytes);
        while let Some((head, rest)) = self.pending.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
            let Some(content) = rest.get(..length) else { return };
            frame(self.number, content);
            self.number += 1;
            self.pending.drain(..4 + length);
        }
    }
}

/// What a frame says: the names on the way to what is asked or answered.
fn outline(frame: &[u8]) -> String {
    let Ok(shape) = rmp_serde::from_slice::<Shape>(frame) else { return "a hello".to_owned() };
    let mut words = Vec::new();
    shape.tell(&mut words);
    words.join(" ")
}

/// As much of a frame as a person wants to see.
enum Shape {
    Word(String),
    Map(Vec<(String, Shape)>),
    Else,
}

/// Where names go on, of the fields that a frame may have beside others.
const TELLING: [&str; 7] = ["message", "ask", "reply", "call", "request", "wish", "answer"];

impl Shape {
    fn tell(&self, words: &mut Vec<String>) {
        match self {
            Self::Word(word) => words.push(word.clone()),
            Self::Map(fields) => {
                let telling = fields.iter().find(|(name, _)| TELLING.contains(&name.as_str()));
                match (telling, fields.as_slice()) {
                    (Some((_, shape)), _) => shape.tell(words),
                    (None, [(name, shape)]) => {
                        if name != "Request" && name != "Ok" {
                            words.push(name.to_lowercase());
                        }
                        shape.tell(words);
                    }
                    (None, _) => {}
                }
            }
            Self::Else => {}
        }
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Shapes)
    }
}

struct Shapes;

impl<'de> Visitor<'de> for Shapes {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessagePack")
    }

    fn visit_str<E>(self, word: &str) -> Result<Shape, E> {
        Ok(Shape::Word(word.chars().take(40).collect()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<Shape>()? {
            let value = map.next_value()?;
            if let Shape::Word(name) = key {
                fields.push((name, value));
            }
        }
        Ok(Shape::Map(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Shape, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Shape::Else)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Else)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Else)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Else)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Else)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Shape, E> {
        Ok(Shape::Else)
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Else)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Else)
    }

    fn visit_newtype_struct<D: serde::Deserializer<'de>>(self, _: D) -> Result<Shape, D::Error> {
        Ok(Shape::Else)
    }
}

#[cfg(test)]
mod tests {
    use super::{Frames, outline};
    use serde_json::json;

    #[test]
    fn frames_are_found_however_they_come() {
        let bytes = [0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        for part in 1..=bytes.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for bytes in bytes.chunks(part) {
                frames.feed(bytes, |number, frame| found.push((number, frame.to_vec())));
            }
            assert_eq!(found, [(0, vec![7, 8]), (1, vec![]), (2, vec![9])], "in parts of {part}");
        }
    }

    #[test]
    fn a_frame_is_told_in_a_few_words() {
        let told = |value: serde_json::Value| outline(&rmp_serde::to_vec_named(&value).unwrap());
        let call = json!({ "from": { "node": 1 }, "to": 2, "ask": { "append": [1, [2], {}] } });
        let request = json!({ "Request": {
            "context": {}, "id": 7, "message": { "Peer": { "call": call } },
        } });
        assert_eq!(told(request), "peer append");
        let answer = json!({ "from": {}, "reply": { "appended": "all" } });
        let answered = json!({ "request_id": 7, "message": { "Ok": { "Peer": answer } } });
        assert_eq!(told(answered), "peer appended all");
        assert_eq!(outline(&[0xc1]), "a hello");
    }
}
