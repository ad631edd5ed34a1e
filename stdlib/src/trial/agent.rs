//! An agent for one step in a trial: it answers the control socket from memory.

use crate::control_socket::{Answer, Call, Conversation, Incoming, Kept, Verdict};
use crate::http::{self, Length};
use crate::invocation::Secret;
use otto_core::ids::Digest;
use otto_core::value::Value;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

/// The most connections of a step at one time.
const MAX_CONNECTIONS: usize = 64;
/// The most bytes of one artifact in a trial.
const MAX_ARTIFACT_BYTES: usize = 1 << 30;

/// What a step asked of its agent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// How it said that it goes; the worst that it said.
    pub status: Option<Verdict>,
    /// With what it asked to end the run.
    pub end: Option<Verdict>,
    /// What it captured, and did not drop.
    pub captured: BTreeMap<String, Value>,
    /// What it dropped.
    pub dropped: Vec<String>,
    /// The artifacts: what was there, and what it archived.
    pub artifacts: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) asked: Asked,
    pub(super) secret: Secret,
}

/// A connection, and the artifact that is on its way over it.
struct Connection {
    stream: UnixStream,
    conversation: Conversation,
    artifact: Option<(String, Vec<u8>)>,
    open: bool,
}

impl Agent {
    /// Answers until `over` can be read, which is when the step's process has ended.
    pub(super) fn serve(
        &mut self,
        listener: &UnixListener,
        over: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut connections: Vec<Connection> = Vec::new();
        loop {
            let ready = ready(listener, over, &connections)?;
            for (connection, ready) in connections.iter_mut().zip(&ready[2..]) {
                if *ready {
                    // A step that breaks off its connection harms only itself.
                    connection.open &= self.converse(connection).unwrap_or(false);
                }
            }
            connections.retain(|connection| connection.open);
            if ready[0] && connections.len() < MAX_CONNECTIONS {
                let (stream, _) = listener.accept()?;
                connections.push(Connection {
                    stream,
                    conversation: Conversation::default(),
                    artifact: None,
                    open: true,
                });
            } else if ready[1] {
                return Ok(());
            }
        }
    }

    /// Reads once and answers; false where the connection ends.
    fn converse(&mut self, connection: &mut Connection) -> io::Result<bool> {
        let mut block = vec![0; 64 << 10];
        let count = connection.stream.read(&mut block)?;
        if count == 0 {
            return Ok(false);
        }
        connection.conversation.received(&block[..count]);
        loop {
            let bytes = match connection.conversation.arrived() {
                Incoming::More => return Ok(true),
                Incoming::Say(bytes) => bytes.to_vec(),
                Incoming::Call { secret, call } => {
                    if !secret.is_some_and(|secret| self.secret.matches(&secret)) {
                        connection.stream.write_all(&Answer::unknown_caller().to_bytes(true))?;
                        return Ok(false);
                    }
                    match call {
                        Call::KeepArtifact { name } => {
                            connection.artifact = Some((name, Vec::new()));
                            continue;
                        }
                        call => self.answer(call, connection.conversation.closes()),
                    }
                }
                Incoming::Part(part) => match &mut connection.artifact {
                    Some((_, bytes)) if bytes.len() + part.len() <= MAX_ARTIFACT_BYTES => {
                        bytes.extend_from_slice(&part);
                        continue;
                    }
                    Some(_) | None => {
                        let why = "keep an artifact of more than a gibibyte in a trial";
                        connection.stream.write_all(&Answer::refused(413, why).to_bytes(true))?;
                        return Ok(false);
                    }
                },
                Incoming::Whole => {
                    let Some((name, bytes)) = connection.artifact.take() else { return Ok(false) };
                    let kept = Kept { digest: Digest::of(&bytes) };
                    self.asked.artifacts.insert(name, bytes);
                    Answer::json(&kept).to_bytes(connection.conversation.closes())
                }
                Incoming::Refused(answer) => answer.to_bytes(true),
            };
            connection.stream.write_all(&bytes)?;
            if connection.conversation.closes() && connection.artifact.is_none() {
                return Ok(false);
            }
        }
    }

    fn answer(&mut self, call: Call, closes: bool) -> Vec<u8> {
        let answer = match call {
            Call::Status(verdict) => {
                let earlier = self.asked.status.take();
                self.asked.status = Some(verdict.after(earlier));
                Answer::done()
            }
            Call::End(verdict) => {
                let earlier = self.asked.end.take();
                self.asked.end = Some(verdict.after(earlier));
                Answer::done()
            }
            Call::Capture(variable) => {
                self.asked.captured.insert(variable.name, variable.value.0);
                Answer::done()
            }
            Call::Drop { name } => {
                self.asked.captured.remove(&name);
                self.asked.dropped.push(name);
                Answer::done()
            }
            Call::Credential { name } => {
                Answer::refused(403, format!("retrieve '{name}': a trial has no credentials"))
            }
            Call::Callback { name } => {
                Answer::refused(404, format!("find the callback '{name}': a trial has no gates"))
            }
            Call::FetchArtifact { name } => match self.asked.artifacts.get(&name) {
                Some(bytes) => {
                    let length = Length::Known(bytes.len() as u64);
                    let mut answer =
                        http::write_answer(200, "application/octet-stream", length, closes);
                    answer.extend_from_slice(bytes);
                    return answer;
                }
                None => Answer::refused(404, format!("find the artifact '{name}': there is none")),
            },
            // Its bytes are collected first.
            Call::KeepArtifact { .. } => Answer::done(),
        };
        answer.to_bytes(closes)
    }
}

/// Waits, and answers what can be read: the listener, the end, and each connection.
fn ready(
    listener: &UnixListener,
    over: BorrowedFd<'_>,
    connections: &[Connection],
) -> io::Result<Vec<bool>> {
    let streams = connections.iter().map(|connection| connection.stream.as_fd());
    let mut waiting: Vec<PollFd<'_>> = [listener.as_fd(), over]
        .into_iter()
        .chain(streams)
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    loop {
        match poll(&mut waiting, None) {
            Err(rustix::io::Errno::INTR) => {}
            polled => {
                polled?;
                return Ok(waiting.iter().map(|fd| !fd.revents().is_empty()).collect());
            }
        }
    }
}
