//! One connection to the control socket: one request, one answer.

use super::StepError;
use crate::control_socket::{Kept, MAX_JSON_BYTES, Refused};
use crate::http::{self, AnswerHead, Body, LAST_CHUNK, Length, MAX_HEAD_BYTES, Piece};
use crate::invocation::Control;
use otto_core::ids::Digest;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// How many bytes are read and written at once.
const BLOCK_BYTES: usize = 64 << 10;

/// A connection before its request.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    control: Control,
}

impl Link {
    pub(super) fn open(control: &Control) -> Result<Self, StepError> {
        let opened = match (&control.socket, control.descriptor) {
            (Some(socket), _) => UnixStream::connect(socket),
            (None, Some(descriptor)) => inherited(descriptor).map(UnixStream::from),
            (None, None) => return Err(StepError::NoControl),
        };
        match opened {
            Ok(stream) => Ok(Self { stream, control: control.clone() }),
            Err(cause) => Err(StepError::Unreachable { at: at(control), cause }),
        }
    }

    /// Sends a request with or without JSON, whose answer says no more than that it is done.
    pub(super) fn tell(
        self,
        method: &str,
        target: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(), StepError> {
        let json = match body {
            Some(body) => serde_json::to_vec(body)
                .map_err(|error| StepError::Other(format!("write a request's JSON: {error}")))?,
            None => Vec::new(),
        };
        self.exchange(method, target, &json).map(|_| ())
    }

    /// Sends a request without a body, whose answer is JSON.
    pub(super) fn ask<T: DeserializeOwned>(
        self,
        method: &str,
        target: &str,
    ) -> Result<T, StepError> {
        let json = self.exchange(method, target, &[])?;
        serde_json::from_slice(&json).map_err(|error| StepError::Malformed(error.to_string()))
    }

    fn exchange(mut self, method: &str, target: &str, json: &[u8]) -> Result<Vec<u8>, StepError> {
        self.send(method, target, Length::Known(json.len() as u64), json)?;
        let (head, reader) = self.answer()?;
        read_json(&head, reader)
    }

    fn send(
        &mut self,
        method: &str,
        target: &str,
        length: Length,
        body: &[u8],
    ) -> Result<(), StepError> {
        let mut bytes = http::write_request(method, target, self.control.secret.reveal(), length);
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).map_err(|cause| self.broken(cause))
    }

    fn broken(&self, cause: io::Error) -> StepError {
        StepError::Unreachable { at: at(&self.control), cause }
    }

    /// Reads the head of the answer; interim answers are passed over.
    fn answer(mut self) -> Result<(AnswerHead, ArtifactReader), StepError> {
        let mut received = Vec::new();
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            if let Some((taken, head)) = http::answer_head(&received)? {
                received.drain(..taken);
                if head.status >= 200 {
                    let body = Body::new(head.length);
                    let reader =
                        ArtifactReader { stream: self.stream, received, used: 0, ready: 0, body };
                    return Ok((head, reader));
                }
                continue;
            }
            // A head that is longer has been refused by then.
            debug_assert!(received.len() <= MAX_HEAD_BYTES);
            match self.stream.read(&mut block) {
                Ok(0) => return Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => received.extend_from_slice(&block[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// Begins a request whose body is streamed.
    pub(super) fn keep(mut self, target: &str) -> Result<ArtifactWriter, StepError> {
        self.send("PUT", target, Length::Chunked, &[])?;
        Ok(ArtifactWriter { link: self, block: Vec::with_capacity(BLOCK_BYTES) })
    }

    /// Sends a request whose answer is streamed.
    pub(super) fn fetch(mut self, target: &str) -> Result<ArtifactReader, StepError> {
        self.send("GET", target, Length::Known(0), &[])?;
        let (head, reader) = self.answer()?;
        if head.status == 200 {
            return Ok(reader);
        }
        read_json(&head, reader)?;
        Err(StepError::Malformed(format!("an artifact with status {}", head.status)))
    }
}

/// Where the control socket is, for people.
fn at(control: &Control) -> String {
    match (&control.socket, control.descriptor) {
        (Some(socket), _) => socket.display().to_string(),
        (None, Some(descriptor)) => format!("descriptor {descriptor}"),
        (None, None) => "no socket".to_owned(),
    }
}

/// A descriptor of our own by its number. Asking for it as that of "another" process, which is this
/// one, is the way without `unsafe`; a copy is given, and a number without descriptor is an error.
fn inherited(descriptor: i32) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(own, descriptor, PidfdGetfdFlags::empty())?)
}

/// Reads a whole answer; one from 400 on is a refusal.
fn read_json(head: &AnswerHead, reader: ArtifactReader) -> Result<Vec<u8>, StepError> {
    let mut json = Vec::new();
    reader
        .take(MAX_JSON_BYTES as u64 + 1)
        .read_to_end(&mut json)
        .map_err(|error| StepError::Malformed(error.to_string()))?;
    if json.len() > MAX_JSON_BYTES {
        return Err(StepError::Malformed(format!("more than {} KiB", MAX_JSON_BYTES >> 10)));
    }
    if head.status < 400 {
        return Ok(json);
    }
    let error = serde_json::from_slice(&json).map_or_else(
        |_| format!("ask the agent: status {}", head.status),
        |said: Refused| said.error,
    );
    Err(StepError::Refused { status: head.status, error })
}

/// The bytes of an artifact, on their way from the agent.
#[derive(Debug)]
pub struct ArtifactReader {
    stream: UnixStream,
    received: Vec<u8>,
    /// `received[used..ready]` are bytes of the artifact; what follows is not looked at yet.
    used: usize,
    ready: usize,
    body: Body,
}

impl Read for ArtifactReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.used < self.ready || out.is_empty() {
                let count = (self.ready - self.used).min(out.len());
                out[..count].copy_from_slice(&self.received[self.used..self.used + count]);
                self.used += count;
                return Ok(count);
            }
            match self.body.next(&self.received[self.used..]).map_err(io::Error::other)? {
                Piece::End => return Ok(0),
                Piece::Data { taken, data } => {
                    self.ready = self.used + taken;
                    self.used = self.ready - data;
                }
                Piece::More => self.receive()?,
            }
        }
    }
}

impl ArtifactReader {
    fn receive(&mut self) -> io::Result<()> {
        self.received.drain(..self.used);
        (self.used, self.ready) = (0, 0);
        let length = self.received.len();
        self.received.resize(length + BLOCK_BYTES, 0);
        let count = loop {
            match self.stream.read(&mut self.received[length..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                count => break count,
            }
        };
        self.received.truncate(length + *count.as_ref().unwrap_or(&0));
        match count? {
            0 => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the agent's answer was cut off"))
            }
            _ => Ok(()),
        }
    }
}

/// The bytes of an artifact, on their way to the agent.
#[derive(Debug)]
pub struct ArtifactWriter {
    link: Link,
    block: Vec<u8>,
}

impl ArtifactWriter {
    /// Says that all of it is written, and waits until it is kept.
    ///
    /// # Errors
    /// When the agent refuses it or cannot be reached.
    pub fn finish(mut self) -> Result<Digest, StepError> {
        if let Err(cause) = self.send_block().and_then(|()| self.link.stream.write_all(LAST_CHUNK))
        {
            let broken = self.link.broken(cause);
            // A refusal may have come before all was sent; it says more than the broken pipe.
            return Err(self.refusal().unwrap_or(broken));
        }
        let (head, reader) = self.link.answer()?;
        let kept: Kept = serde_json::from_slice(&read_json(&head, reader)?)
            .map_err(|error| StepError::Malformed(error.to_string()))?;
        Ok(kept.digest)
    }

    /// Gives up, and asks why the agent takes no more: its refusal, where it sent one.
    #[must_use]
    pub fn refusal(self) -> Option<StepError> {
        // The agent sees an end without the last chunk, and keeps nothing.
        self.link.stream.shutdown(Shutdown::Write).ok();
        match self.link.answer().and_then(|(head, reader)| read_json(&head, reader)) {
            Err(refused @ StepError::Refused { .. }) => Some(refused),
            Ok(_) | Err(_) => None,
        }
    }

    fn send_block(&mut self) -> io::Result<()> {
        let chunk = http::write_chunk(&self.block);
        self.block.clear();
        self.link.stream.write_all(&chunk)
    }
}

impl Write for ArtifactWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (BLOCK_BYTES - self.block.len()).min(bytes.len());
        self.block.extend_from_slice(&bytes[..room]);
        if self.block.len() == BLOCK_BYTES {
            self.send_block()?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_block()?;
        self.link.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{Control, Link, StepError};
    use crate::control_socket::{Answer, Callback, Conversation, Incoming};
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// Answers each call with the next of these answers.
    fn serve(mut stream: UnixStream, answers: &[Answer]) {
        let mut conversation = Conversation::default();
        let mut block = [0; 1000];
        for answer in answers {
            while !matches!(conversation.arrived(), Incoming::Call { .. }) {
                let count = stream.read(&mut block).expect("received");
                conversation.received(&block[..count]);
            }
            stream.write_all(&answer.to_bytes(false)).expect("sent");
        }
    }

    #[test]
    fn requests_follow_one_another_on_an_inherited_descriptor() {
        let (near, far) = UnixStream::pair().expect("a pair");
        let control = Control {
            socket: None,
            descriptor: Some(near.as_raw_fd()),
            secret: "secret".to_owned().into(),
        };
        let callback = Callback { url: "https://otto.example".to_owned(), token: "t".to_owned() };
        let answers = [Answer::done(), Answer::json(&callback), Answer::refused(403, "say no")];
        std::thread::scope(|scope| {
            scope.spawn(|| serve(far, &answers));
            let link = || Link::open(&control).expect("it opens");
            link().tell("DELETE", "/v1/variables/a", None::<&()>).expect("done");
            let answered: Callback = link().ask("POST", "/v1/callbacks/a").expect("answered");
            assert_eq!(answered, callback);
            let refused = link().tell("DELETE", "/v1/variables/a", None::<&()>);
            assert!(matches!(refused, Err(StepError::Refused { status: 403, .. })), "{refused:?}");
        });
    }

    #[test]
    fn a_descriptor_that_is_not_there_is_an_error() {
        let control =
            Control { socket: None, descriptor: Some(-1), secret: "secret".to_owned().into() };
        let error = Link::open(&control).expect_err("there is none");
        assert!(error.to_string().contains("descriptor -1"), "{error}");
    }
}
