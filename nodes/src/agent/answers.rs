//! The agent's side of a step's control socket: what the step asks for is noted or done here.

use super::artifacts::{BlobError, Blobs, Growing};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use otto_actors::ports::control::Assignment;
use otto_core::ids::Digest;
use otto_core::run::outcome::Outcome;
use otto_core::value::Value;
use otto_stdlib::control_socket::{
    Answer, Call, Conversation, Incoming, Kept, Status, Variable, Verdict,
};
use otto_stdlib::http::{self, Length};
use otto_stdlib::invocation::Secret;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// What is read from a connection at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// The most connections of one step at a time.
const MAX_CONNECTIONS: usize = 16;
/// How long to wait before a connection is accepted again that could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most variables that one step may capture or drop.
const MAX_VARIABLES: usize = 1000;

/// What a step said so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Said {
    /// How it says that it goes: the worst that it said.
    pub(super) verdict: Option<Verdict>,
    /// It wants the run to end.
    pub(super) ends_run: bool,
    /// What it captured.
    pub(super) captured: BTreeMap<String, Value>,
    /// What it dropped.
    pub(super) dropped: BTreeSet<String>,
    /// What it archived, delivered.
    pub(super) artifacts: BTreeMap<String, Digest>,
}

impl Said {
    /// The outcome that a verdict stands for.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.verdict.as_ref().map(|verdict| match verdict.status {
            Status::Success => Outcome::Success,
            Status::Unstable => Outcome::Unstable,
            Status::Failed => Outcome::Failed,
        })
    }
}

/// Answers one step.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    assignment: &'a Assignment,
    blobs: &'a Blobs,
    /// What earlier steps of the stage archived.
    artifacts: BTreeMap<String, Digest>,
    /// What was captured before, and the step sees.
    captured: &'a BTreeMap<String, Value>,
    secret: Secret,
    said: Mutex<Said>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(
        assignment: &'a Assignment,
        blobs: &'a Blobs,
        artifacts: BTreeMap<String, Digest>,
        captured: &'a BTreeMap<String, Value>,
        secret: Secret,
    ) -> Self {
        Self { assignment, blobs, artifacts, captured, secret, said: Mutex::default() }
    }

    /// What the step said.
    pub(super) fn into_said(self) -> Said {
        self.said.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one connection to its end.
    async fn serve(&self, mut connection: UnixStream) -> io::Result<()> {
        let mut conversation = Conversation::default();
        let mut upload: Option<Upload> = None;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let mut answered = false;
            match conversation.arrived() {
                Incoming::More => match connection.read(&mut buffer).await? {
                    0 => return Ok(()),
                    read => conversation.received(&buffer[..read]),
                },
                Incoming::Say(bytes) => connection.write_all(bytes).await?,
                Incoming::Refused(answer) => return refuse(&mut connection, &answer).await,
                Incoming::Call { secret, call } => {
                    if !secret.is_some_and(|secret| self.secret.matches(&secret)) {
                        return refuse(&mut connection, &Answer::unknown_caller()).await;
                    }
                    match call {
                        Call::KeepArtifact { name } => match self.begin(name) {
                            Ok(begun) => upload = Some(begun),
                            Err(answer) => return refuse(&mut connection, &answer).await,
                        },
                        Call::FetchArtifact { name } => {
                            self.send_artifact(&mut connection, &name, conversation.closes())
                                .await?;
                            answered = true;
                        }
                        call => {
                            let answer = self.answer(call).to_bytes(conversation.closes());
                            connection.write_all(&answer).await?;
                            answered = true;
                        }
                    }
                }
                Incoming::Part(bytes) => {
                    if let Some(upload) = &mut upload
                        && let Err(error) = upload.blob.write(&bytes)
                    {
                        return refuse(&mut connection, &no_room(&error)).await;
                    }
                }
                Incoming::Whole => {
                    let answer = match upload.take() {
                        Some(upload) => self.keep(upload).await.unwrap_or_else(|answer| answer),
                        None => Answer::refused(400, "keep an artifact: there is none"),
                    };
                    connection.write_all(&answer.to_bytes(conversation.closes())).await?;
                    answered = true;
                }
            }
            if answered && conversation.closes() {
                return Ok(());
            }
        }
    }

    /// Does what a call asks for that has no more to say than its JSON.
    fn answer(&self, call: Call) -> Answer {
        match call {
            Call::Status(verdict) => self.note(verdict, false),
            Call::End(verdict) => self.note(verdict, true),
            Call::Capture(variable) => self.capture(variable),
            Call::Drop { name } => self.drop_variable(name),
            Call::Credential { name } => Answer::refused(
                501,
                format!("retrieve the credential '{name}': Otto does not keep credentials yet"),
            ),
            Call::Callback { name } => Answer::refused(
                501,
                format!("get the address of the callback '{name}': Otto has no callbacks yet"),
            ),
            Call::KeepArtifact { .. } | Call::FetchArtifact { .. } => {
                Answer::refused(400, "pass an artifact here")
            }
        }
    }

    fn note(&self, verdict: Verdict, ends_run: bool) -> Answer {
        let mut said = self.said();
        said.ends_run |= ends_run;
        let earlier = said.verdict.take();
        said.verdict = Some(verdict.after(earlier));
        Answer::done()
    }

    fn capture(&self, Variable { name, value }: Variable) -> Answer {
        let value = match self.as_declared(&name, value.0) {
            Ok(value) => value,
            Err(why) => return Answer::refused(409, format!("capture '{name}': {why}")),
        };
        let mut said = self.said();
        if said.captured.len() >= MAX_VARIABLES {
            return too_many();
        }
        said.dropped.remove(&name);
        said.captured.insert(name, value);
        Answer::done()
    }

    /// Forgets a variable that the step sees or captured itself.
    fn drop_variable(&self, name: String) -> Answer {
        let mut said = self.said();
        let seen = self.captured.keys().filter(|seen| !said.dropped.contains(*seen));
        let there: BTreeSet<&String> = seen.chain(said.captured.keys()).collect();
        if !there.contains(&name) {
            let there = there.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let only = if there.is_empty() { "nothing" } else { &format!("only {there}") };
            return Answer::refused(404, format!("drop '{name}': {only} is captured here"));
        }
        if said.dropped.len() >= MAX_VARIABLES {
            return too_many();
        }
        said.captured.remove(&name);
        said.dropped.insert(name);
        Answer::done()
    }

    /// A captured value in its declared type. Scripts have nothing but text, which is read as what
    /// the type expects.
    fn as_declared(&self, name: &str, value: Value) -> Result<Value, String> {
        match (self.assignment.outputs.get(name), value) {
            (None, value) => Ok(value),
            (Some(declared), Value::Text(text)) => otto_stdlib::plain::parse(&text, declared),
            (Some(declared), value) => otto_stdlib::plain::check(&value, declared).map(|()| value),
        }
    }

    fn begin(&self, name: String) -> Result<Upload, Answer> {
        let blob = self.blobs.begin().map_err(|error| no_room(&error))?;
        Ok(Upload { name, blob })
    }

    /// Names the artifact that is whole now, and delivers it.
    async fn keep(&self, Upload { name, blob }: Upload) -> Result<Answer, Answer> {
        let (digest, mut file) = self.blobs.finish(blob).map_err(|error| no_room(&error))?;
        let delivered = self.blobs.deliver(self.assignment.lease, digest, &mut file).await;
        delivered.map_err(|error| blob_refusal(&format!("keep '{name}'"), &error))?;
        self.said().artifacts.insert(name, digest);
        Ok(Answer::json(&Kept { digest }))
    }

    async fn send_artifact(
        &self,
        connection: &mut UnixStream,
        name: &str,
        closes: bool,
    ) -> io::Result<()> {
        let known = self.said().artifacts.get(name).copied();
        let known = known.or_else(|| self.artifacts.get(name).copied());
        let Some(digest) = known.or_else(|| self.assignment.artifacts.get(name).copied()) else {
            let answer = Answer::refused(404, format!("find the artifact '{name}' in this run"));
            return connection.write_all(&answer.to_bytes(closes)).await;
        };
        let mut file = match self.blobs.fetch(self.assignment.lease, digest).await {
            Ok(file) => file,
            Err(error) => {
                let answer = blob_refusal(&format!("fetch '{name}'"), &error);
                return connection.write_all(&answer.to_bytes(closes)).await;
            }
        };
        let length = Length::Known(file.metadata()?.len());
        let head = http::write_answer(200, "application/octet-stream", length, closes);
        connection.write_all(&head).await?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                read => connection.write_all(&buffer[..read]).await?,
            }
        }
    }
}

/// An artifact on its way from the step.
#[derive(Debug)]
struct Upload {
    name: String,
    blob: Growing,
}

async fn refuse(connection: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    connection.write_all(&answer.to_bytes(true)).await
}

fn no_room(error: &io::Error) -> Answer {
    Answer::refused(507, format!("write on the agent's disk: {error}"))
}

fn too_many() -> Answer {
    Answer::refused(409, format!("capture or drop more than {MAX_VARIABLES} variables in a step"))
}

fn blob_refusal(doing: &str, error: &BlobError) -> Answer {
    let status = match error {
        BlobError::Refused(_) => 409,
        BlobError::Machine(_) => 507,
    };
    Answer::refused(status, format!("{doing}: {error}"))
}

/// Where a step's connections come in, and those that are open.
pub(super) struct Door<'a> {
    desk: &'a Desk<'a>,
    listener: &'a UnixListener,
    connections: FuturesUnordered<BoxFuture<'a, io::Result<()>>>,
}

impl<'a> Door<'a> {
    pub(super) fn new(desk: &'a Desk<'a>, listener: &'a UnixListener) -> Self {
        Self { desk, listener, connections: FuturesUnordered::new() }
    }

    /// Serves as long as it is waited for. It may be dropped and called again.
    pub(super) async fn attend(&mut self) {
        loop {
            let full = self.connections.len() >= MAX_CONNECTIONS;
            tokio::select! {
                biased;
                // How a connection ended matters to nobody: the step had its answers or left.
                Some(_) = self.connections.next(), if !self.connections.is_empty() => {}
                accepted = self.listener.accept(), if !full => match accepted {
                    Ok((connection, _)) => {
                        self.connections.push(Box::pin(self.desk.serve(connection)));
                    }
                    // No descriptors are left: others must close some first.
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        }
    }

    /// Serves what was asked before the step's end, until every connection is closed.
    pub(super) async fn finish(&mut self) {
        loop {
            if let Some(Ok((connection, _))) = self.listener.accept().now_or_never() {
                self.connections.push(Box::pin(self.desk.serve(connection)));
            } else if self.connections.next().await.is_none() {
                return;
            }
        }
    }
}
