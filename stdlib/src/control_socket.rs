//! The control socket: what a running step may ask of its agent, as HTTP and JSON on a Unix socket.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `POST /v1/status` | `{"status": "unstable", "message": "…"}` | 204; the worst one counts |
//! | `POST /v1/end` | the same | 204; no step follows in this run |
//! | `POST /v1/variables` | `{"name": "color", "value": "green"}` | 204 |
//! | `DELETE /v1/variables/NAME` | | 204 |
//! | `GET /v1/credentials/NAME` | | `{"value": "…"}` |
//! | `POST /v1/callbacks/NAME` | | `{"url": "…", "token": "…"}` |
//! | `PUT /v1/artifacts/NAME` | its bytes | `{"digest": "…"}` |
//! | `GET /v1/artifacts/NAME` | | its bytes |
//!
//! A `NAME` is percent-encoded. Every request carries `Authorization: Bearer SECRET`. A refusal is
//! `{"error": "…"}` with a status from 400 on. [`Conversation`] is the agent's side without input
//! or output: bytes go in, calls come out. The step's side is [`crate::sdk`].

use crate::http::{self, Body, Length, Malformed, Piece, RequestHead};
use crate::manifest::is_name;
use crate::plain::Plain;
use otto_core::ids::Digest;
use serde::{Deserialize, Serialize};

/// The most bytes of a JSON body, in either direction.
pub const MAX_JSON_BYTES: usize = 256 << 10;
/// The most bytes of an artifact's name.
pub const MAX_ARTIFACT_NAME_BYTES: usize = 128;

/// How a step says that it goes, beside its exit code. Ordered from best to worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should.
    Success,
    /// With reservations.
    Unstable,
    /// Not as it should.
    Failed,
}

/// What `status` and `end` say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// How it goes.
    pub status: Status,
    /// Why, for people.
    #[serde(default)]
    pub message: String,
}

impl Verdict {
    /// What counts after an earlier word: the worse of the two, and of two alike the later one.
    #[must_use]
    pub fn after(self, earlier: Option<Self>) -> Self {
        earlier.filter(|earlier| earlier.status > self.status).unwrap_or(self)
    }
}

/// A captured variable.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Plain,
}

/// What a step asks of its agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// Set how the step counts, unless its exit code is worse.
    Status(Verdict),
    /// End the run after this step.
    End(Verdict),
    /// Capture a variable.
    Capture(Variable),
    /// Forget a captured variable.
    Drop {
        /// Its name.
        name: String,
    },
    /// Retrieve a credential. The answer is [`Credential`].
    Credential {
        /// Its name.
        name: String,
    },
    /// The address of a callback that the stage's gates wait for. The answer is [`Callback`].
    Callback {
        /// The gate's name.
        name: String,
    },
    /// Keep an artifact; its bytes follow as parts. The answer is [`Kept`].
    KeepArtifact {
        /// Its name.
        name: String,
    },
    /// Read an artifact. The answer is its bytes.
    FetchArtifact {
        /// Its name.
        name: String,
    },
}

/// The answer to [`Call::Credential`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The credential.
    pub value: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// The answer to [`Call::Callback`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Callback {
    /// Where to post.
    pub url: String,
    /// With which bearer token.
    pub token: String,
}

/// The answer to [`Call::KeepArtifact`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The digest of the artifact's bytes.
    pub digest: Digest,
}

/// The body of a refusal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// Why, worded to fit behind "failed to".
    pub error: String,
}

/// An answer to a call, but for the bytes of an artifact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The JSON; empty where the status says all.
    pub body: Vec<u8>,
}

impl Answer {
    /// It is done.
    #[must_use]
    pub fn done() -> Self {
        Self { status: 204, body: Vec::new() }
    }

    /// It is done, and this came of it.
    ///
    /// # Panics
    /// When the value has no JSON form; those of this module have one.
    #[must_use]
    pub fn json(value: &impl Serialize) -> Self {
        Self { status: 200, body: serde_json::to_vec(value).expect("an answer has a JSON form") }
    }

    /// It is not done, for this reason.
    #[must_use]
    pub fn refused(status: u16, error: impl Into<String>) -> Self {
        Self { status, ..Self::json(&Refused { error: error.into() }) }
    }

    /// The secret is missing or wrong.
    #[must_use]
    pub fn unknown_caller() -> Self {
        Self::refused(401, "tell whose request this is: send the step's secret as bearer token")
    }

    /// The bytes to send. `closes` says that the connection ends behind them.
    #[must_use]
    pub fn to_bytes(&self, closes: bool) -> Vec<u8> {
        let length = Length::Known(self.body.len() as u64);
        let mut bytes = http::write_answer(self.status, "application/json", length, closes);
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// What arrived at the agent's side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// Nothing whole: receive more bytes.
    More,
    /// A call. Where it is [`Call::KeepArtifact`], parts follow; answer after the last of them, or
    /// refuse before, and then end the connection.
    Call {
        /// The bearer token; whoever answers compares it with the step's secret.
        secret: Option<String>,
        /// What is asked.
        call: Call,
    },
    /// Send these bytes before anything else comes.
    Say(&'static [u8]),
    /// A part of an artifact.
    Part(Vec<u8>),
    /// The artifact is whole.
    Whole,
    /// No call that is understood: send this answer and end the connection.
    Refused(Answer),
}

/// The agent's side of one connection, without input or output.
///
/// ```text
/// loop { read → received(bytes) → while arrived() is not More { act } }
/// ```
#[derive(Debug)]
pub struct Conversation {
    received: Vec<u8>,
    taken: usize,
    state: State,
    closes: bool,
}

#[derive(Debug)]
enum State {
    /// Before a head.
    Head,
    /// Within the JSON of a call.
    Json { head: RequestHead, body: Body, json: Vec<u8> },
    /// Before `100 Continue` is said, within an artifact.
    Waited(Body),
    /// Within an artifact.
    Artifact(Body),
    /// Behind something that was not understood.
    Lost,
}

impl Default for Conversation {
    fn default() -> Self {
        Self { received: Vec::new(), taken: 0, state: State::Head, closes: false }
    }
}

impl Conversation {
    /// Takes in bytes from the connection.
    pub fn received(&mut self, bytes: &[u8]) {
        // Once lost, nothing is kept, so that a flood takes no memory.
        if !matches!(self.state, State::Lost) {
            self.received.drain(..self.taken);
            self.taken = 0;
            self.received.extend_from_slice(bytes);
        }
    }

    /// Whether the connection ends behind the next answer.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// What arrived.
    pub fn arrived(&mut self) -> Incoming {
        match self.advance() {
            Ok(incoming) => incoming,
            Err(answer) => {
                self.state = State::Lost;
                self.received = Vec::new();
                self.taken = 0;
                self.closes = true;
                Incoming::Refused(answer)
            }
        }
    }

    fn advance(&mut self) -> Result<Incoming, Answer> {
        loop {
            let rest = &self.received[self.taken..];
            match std::mem::replace(&mut self.state, State::Head) {
                State::Head => {
                    let Some((taken, head)) = http::request_head(rest).map_err(refusal)? else {
                        return Ok(Incoming::More);
                    };
                    self.taken += taken;
                    self.closes = head.closes;
                    if let Some(incoming) = self.begin(head)? {
                        return Ok(incoming);
                    }
                }
                State::Json { head, mut body, mut json } => {
                    match body.next(rest).map_err(refusal)? {
                        Piece::More => {
                            self.state = State::Json { head, body, json };
                            return Ok(Incoming::More);
                        }
                        Piece::Data { taken, data } => {
                            json.extend_from_slice(&rest[taken - data..taken]);
                            self.taken += taken;
                            if json.len() > MAX_JSON_BYTES {
                                return Err(too_large());
                            }
                            self.state = State::Json { head, body, json };
                        }
                        Piece::End => {
                            let call = call(&head.method, &head.target, &json)?;
                            return Ok(Incoming::Call { secret: head.bearer, call });
                        }
                    }
                }
                State::Waited(body) => {
                    self.state = State::Artifact(body);
                    return Ok(Incoming::Say(http::CONTINUE));
                }
                State::Artifact(mut body) => match body.next(rest).map_err(refusal)? {
                    Piece::More => {
                        self.state = State::Artifact(body);
                        return Ok(Incoming::More);
                    }
                    Piece::Data { taken, data } => {
                        let part = rest[taken - data..taken].to_vec();
                        self.taken += taken;
                        self.state = State::Artifact(body);
                        if !part.is_empty() {
                            return Ok(Incoming::Part(part));
                        }
                    }
                    Piece::End => return Ok(Incoming::Whole),
                },
                State::Lost => {
                    self.state = State::Lost;
                    return Ok(Incoming::More);
                }
            }
        }
    }

    /// Takes up a request whose head is read.
    fn begin(&mut self, head: RequestHead) -> Result<Option<Incoming>, Answer> {
        let body = Body::new(head.length);
        if head.method == "PUT" && head.target.starts_with(ARTIFACTS) {
            let call = call(&head.method, &head.target, &[])?;
            self.state =
                if head.expects_continue { State::Waited(body) } else { State::Artifact(body) };
            return Ok(Some(Incoming::Call { secret: head.bearer, call }));
        }
        if matches!(head.length, Length::Known(bytes) if bytes > MAX_JSON_BYTES as u64) {
            return Err(too_large());
        }
        let expects = head.expects_continue;
        self.state = State::Json { head, body, json: Vec::new() };
        Ok(expects.then_some(Incoming::Say(http::CONTINUE)))
    }
}

const ARTIFACTS: &str = "/v1/artifacts/";

fn refusal(malformed: Malformed) -> Answer {
    let status = match malformed {
        Malformed::Broken(_) => 400,
        Malformed::TooLarge { .. } => 413,
    };
    Answer::refused(status, malformed.to_string())
}

fn too_large() -> Answer {
    Answer::refused(413, format!("read a body of more than {} KiB", MAX_JSON_BYTES >> 10))
}

/// What a whole request asks.
fn call(method: &str, target: &str, json: &[u8]) -> Result<Call, Answer> {
    let path = target.strip_prefix("/v1/").unwrap_or_default();
    let (kind, part) = path.split_once('/').unwrap_or((path, ""));
    let name = || http::decode(part).unwrap_or_default();
    match (kind, method, part) {
        ("status", "POST", "") => parse(json).map(Call::Status),
        ("end", "POST", "") => parse(json).map(Call::End),
        ("variables", "POST", "") => {
            let variable: Variable = parse(json)?;
            fits(variable.name.clone(), "a variable", is_variable_name)?;
            Ok(Call::Capture(variable))
        }
        ("variables", "DELETE", _) => {
            fits(name(), "a variable", is_variable_name).map(|name| Call::Drop { name })
        }
        ("credentials", "GET", _) => {
            fits(name(), "credential", is_name).map(|name| Call::Credential { name })
        }
        ("callbacks", "POST", _) => {
            fits(name(), "callback", is_gate_name).map(|name| Call::Callback { name })
        }
        ("artifacts", "PUT", _) => {
            fits(name(), "an artifact", is_artifact_name).map(|name| Call::KeepArtifact { name })
        }
        ("artifacts", "GET", _) => {
            fits(name(), "an artifact", is_artifact_name).map(|name| Call::FetchArtifact { name })
        }
        ("status" | "end" | "variables" | "credentials" | "callbacks" | "artifacts", ..) => {
            Err(Answer::refused(405, format!("{method} {target}: this has another method or path")))
        }
        _ => Err(Answer::refused(404, format!("find {target}: there is no such request"))),
    }
}

fn parse<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Result<T, Answer> {
    serde_json::from_slice(json)
        .map_err(|error| Answer::refused(400, format!("read the request's JSON: {error}")))
}

fn fits(name: String, what: &str, rule: fn(&str) -> bool) -> Result<String, Answer> {
    if rule(&name) {
        return Ok(name);
    }
    let shown: String = name.chars().take(80).collect();
    Err(Answer::refused(400, format!("use '{shown}': it cannot be the name of {what}")))
}

/// Whether a variable may be called so: a letter, then letters, digits and `_`; at most 64.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    is_name(name) && !name.contains('-')
}

/// Whether a gate may be called so: any text for people, at most 128 bytes.
fn is_gate_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Whether an artifact may be called so: letters, digits, `.`, `_` and `-`, not `.` in front; at
/// most [`MAX_ARTIFACT_NAME_BYTES`].
#[must_use]
pub fn is_artifact_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.len() <= MAX_ARTIFACT_NAME_BYTES
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
