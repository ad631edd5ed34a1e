//! The hello: the first frame both ways, before any call.
//!
//! Who connects says hello; who was connected to answers with its own hello, or says why not. A
//! hello can be read by every release, earlier and later: fields are only ever added.

use super::codec::{decode, encode};
use super::frame::{Frames, Limits, frames};
use crate::network::Stream;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// The number of the protocol that this build speaks.
pub const PROTOCOL: u32 = 1;
/// The oldest protocol that this build understands.
pub const OLDEST: u32 = 1;
/// How long the other end has for its hello.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// What every hello begins with, so that a stranger is told apart from an Otto of another age.
pub const GREETING: &str = "otto";

/// One end's introduction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`GREETING`].
    pub greeting: String,
    /// The protocol that this end speaks.
    pub protocol: u32,
    /// The oldest that it understands.
    pub oldest: u32,
    /// What it was built from.
    pub build: Build,
    /// What it is.
    pub role: Role,
    /// Its process id, for messages and to name it to itself.
    #[serde(default)]
    pub pid: u32,
    /// The methods that it answers; others are not called.
    #[serde(default)]
    pub methods: BTreeSet<String>,
    /// What proves who it is, where the connection itself does not.
    #[serde(default)]
    pub credentials: Option<Bearer>,
}

/// What whoever bears it is taken for. Nobody may read it in a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bearer(pub String);

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

impl Hello {
    /// This build's hello.
    #[must_use]
    pub fn new(role: Role, build: Build) -> Self {
        Self {
            greeting: GREETING.to_owned(),
            protocol: PROTOCOL,
            oldest: OLDEST,
            build,
            role,
            pid: std::process::id(),
            methods: BTreeSet::new(),
            credentials: None,
        }
    }

    /// Whether this end answers a method, by its name on the wire. One that it does not name is of
    /// a later release than it, and must not be called.
    #[must_use]
    pub fn answers(&self, method: &str) -> bool {
        self.methods.contains(method)
    }
}

/// What a process was built from. Later builds compare greater: by version, then by when the image
/// was made.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Build {
    /// The release: `0.1.0`.
    pub version: String,
    /// When the executable image was written, in nanoseconds since 1970.
    pub made_ns: u64,
    /// The image's size in bytes: with the time, that tells images apart without reading them.
    pub size: u64,
}

impl Build {
    /// Whether this build should take over from `other`.
    #[must_use]
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let age = |build: &Self| {
            let version = otto_core::capability::Version::parse(&build.version);
            (version, build.made_ns, build.size)
        };
        age(self) > age(other)
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)
    }
}

/// What one end of a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A person's tool, or a program in its place: calls the client service.
    Client,
    /// An agent: calls the agent service.
    Agent,
    /// A control process: answers all of them, and calls the services among its like.
    Control,
    /// Somebody who wants to belong to the cluster, or needs another certificate: calls the service
    /// for joining.
    Newcomer,
}

/// What the connected end answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// Come in: who answers.
    Welcome(Hello),
    /// Stay out, and why.
    Refused(Refused),
}

/// Why a connection was refused, in words for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// What kind of no it is.
    pub kind: RefusedKind,
    /// What happened, and where.
    pub what: String,
    /// What to do now.
    pub help: String,
}

/// What kind of no a hello may meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedKind {
    /// The two ends have no protocol in common.
    Protocol,
    /// This caller may not.
    Forbidden,
    /// The node cannot work: its disk is full, its data is damaged or of a later release.
    Trouble,
    /// Too many connections, or on its way out: try again.
    Busy,
}

/// Why two ends did not come together.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// The connection broke before the hello was over.
    #[error("greet over the connection: {0}")]
    Broken(#[source] std::io::Error),
    /// The other end closed the connection instead of answering.
    #[error("greet: the other end left")]
    Left,
    /// The other end did not say hello in time.
    #[error("greet: the other end said nothing for {} s", PATIENCE.as_secs())]
    Silent,
    /// The other end is no Otto.
    #[error("greet: the other end is no otto ({0})")]
    Stranger(String),
    /// The other end understands only later protocols than this build.
    #[error("speak with a newer otto ({theirs}): this one is {ours}")]
    PeerIsNewer {
        /// The other end's release.
        theirs: String,
        /// This end's release.
        ours: String,
    },
    /// The other end understands only earlier protocols than this build.
    #[error("speak with an older otto ({theirs}): this one is {ours}")]
    PeerIsOlder {
        /// The other end's release.
        theirs: String,
        /// This end's release.
        ours: String,
    },
    /// The other end said why not.
    #[error("{}", .0.what)]
    Refused(Refused),
}

impl HelloError {
    /// Whether the same attempt may succeed a moment later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Left | Self::Silent => true,
            Self::Refused(refused) => refused.kind == RefusedKind::Busy,
            Self::Stranger(_) | Self::PeerIsNewer { .. } | Self::PeerIsOlder { .. } => false,
        }
    }
}

/// Says hello on a connection that this end made.
///
/// # Errors
/// When the other end does not answer with a hello that this one can work with.
pub async fn introduce(stream: Stream, ours: &Hello) -> Result<(Frames, Hello), HelloError> {
    let mut frames = frames(stream, Limits::HELLO);
    let sent = send(&mut frames, ours).await;
    // Who refuses without reading closes the connection at once, and what it said counts even so.
    let theirs = match (receive::<Answer>(&mut frames).await, sent) {
        (Ok(Answer::Refused(refused)), _) => return Err(HelloError::Refused(refused)),
        (_, Err(error)) | (Err(error), Ok(())) => return Err(error),
        (Ok(Answer::Welcome(theirs)), Ok(())) => theirs,
    };
    agree(ours, &theirs)?;
    frames.codec_mut().set_limits(Limits::CALLER);
    Ok((frames, theirs))
}

/// A connection whose hello was read and not answered yet.
pub struct Guest {
    frames: Frames,
    /// What the other end said.
    pub hello: Hello,
}

/// Reads the hello of somebody who connected. One that has no protocol in common is told so.
///
/// # Errors
/// When no hello comes that this end can work with.
pub async fn receive_guest(stream: Stream, ours: &Hello) -> Result<Guest, HelloError> {
    let mut frames = frames(stream, Limits::HELLO);
    let hello: Hello = receive(&mut frames).await?;
    let guest = Guest { frames, hello };
    match agree(ours, &guest.hello) {
        Ok(()) => Ok(guest),
        Err(error) => {
            let what = format!(
                "this node is otto {} (protocol {}), you are {} (protocol {})",
                ours.build, ours.protocol, guest.hello.build, guest.hello.protocol
            );
            let help = "use the same release on both sides".to_owned();
            guest.refuse(Refused { kind: RefusedKind::Protocol, what, help }).await?;
            Err(error)
        }
    }
}

impl Guest {
    /// Lets the guest in: from now on it calls.
    ///
    /// # Errors
    /// When the answer could not be sent.
    pub async fn welcome(mut self, ours: &Hello) -> Result<Frames, HelloError> {
        send(&mut self.frames, &Answer::Welcome(ours.clone())).await?;
        self.frames.codec_mut().set_limits(Limits::ANSWERER);
        Ok(self.frames)
    }

    /// Says why not, and closes the connection.
    ///
    /// # Errors
    /// When the answer could not be sent.
    pub async fn refuse(mut self, refused: Refused) -> Result<(), HelloError> {
        send(&mut self.frames, &Answer::Refused(refused)).await
    }
}

/// The frame that refuses whoever connects, for a process too small to read their hello.
///
/// # Panics
/// Never: a refusal is plain data.
#[must_use]
pub fn refusal_frame(refused: &Refused) -> Vec<u8> {
    let body = encode(&Answer::Refused(refused.clone())).unwrap_or_default();
    let length = u32::try_from(body.len()).unwrap_or(0);
    [&length.to_be_bytes()[..], &body].concat()
}

fn agree(ours: &Hello, theirs: &Hello) -> Result<(), HelloError> {
    if theirs.greeting != GREETING {
        return Err(HelloError::Stranger(theirs.greeting.chars().take(40).collect()));
    }
    let (them, us) = (theirs.build.to_string(), ours.build.to_string());
    if theirs.oldest > ours.protocol {
        Err(HelloError::PeerIsNewer { theirs: them, ours: us })
    } else if theirs.protocol < ours.oldest {
        Err(HelloError::PeerIsOlder { theirs: them, ours: us })
    } else {
        Ok(())
    }
}

async fn send<T: Serialize>(frames: &mut Frames, message: &T) -> Result<(), HelloError> {
    let bytes = encode(message).map_err(HelloError::Broken)?;
    let sent = tokio::time::timeout(PATIENCE, frames.send(Bytes::from(bytes))).await;
    sent.map_err(|_| HelloError::Silent)?.map_err(HelloError::Broken)
}

async fn receive<T: serde::de::DeserializeOwned>(frames: &mut Frames) -> Result<T, HelloError> {
    let frame = tokio::time::timeout(PATIENCE, frames.next()).await;
    let bytes = match frame.map_err(|_| HelloError::Silent)? {
        Some(Ok(bytes)) => bytes,
        Some(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(HelloError::Stranger(error.to_string()));
        }
        Some(Err(error)) => return Err(HelloError::Broken(error)),
        None => return Err(HelloError::Left),
    };
    decode(&bytes).map_err(|error| HelloError::Stranger(error.to_string()))
}
