//! The local node of a user: started on demand, replaced by newer builds.

use super::build::{IMAGE, image_path, this_build};
use super::lock::Lock;
use super::place::Place;
use super::report::{Report, Reports};
use crate::client::{Client, ClientError};
use crate::network::{ConnectError, Connector, SharedConnector, Stream};
use crate::rpc::api::{Stop, Stopped, Successor};
use crate::wire::hello::Refused;
use async_trait::async_trait;
use otto_core::time::Span;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;

/// Connects to a node on this machine, and starts it where none is there.
#[derive(Debug)]
pub struct LocalNode {
    place: Place,
    /// Otto's executable image; `None` connects to a running node only.
    image: Option<PathBuf>,
    /// A node was met. One that somebody stops from then on, or runs as a service, is theirs to
    /// start again.
    met: AtomicBool,
}

/// The variable that says how long the local node stays when nothing is to be done.
const IDLE: &str = "OTTO_IDLE";

/// How long a local node that is started now would stay idle, where the environment says so.
///
/// # Errors
/// When what it says is no time.
pub fn idle_time() -> Result<Option<Span>, Refused> {
    let Some(written) = std::env::var_os(IDLE).filter(|idle| !idle.is_empty()) else {
        return Ok(None);
    };
    Span::parse(&written.to_string_lossy()).map(Some).map_err(|error| {
        Refused::trouble(format!("failed to read {IDLE}: {error}"), "set it to a time, or unset it")
    })
}

/// How long a node has to begin to listen.
const START: Duration = Duration::from_secs(20);
/// The pause while somebody else starts the node, or an older one leaves.
const TURN: Duration = Duration::from_millis(2);
/// What a command waits for whose node was stopped.
const STOPPED: &str =
    "the node here was stopped: `otto-node serve`, or the next `otto` command, starts it";

impl LocalNode {
    /// The node at this place, started from the image of this process.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self::from_image(place, IMAGE.into())
    }

    /// The node at this place, started from this file. It must be Otto's image.
    #[must_use]
    pub fn from_image(place: Place, image: PathBuf) -> Self {
        Self { place, image: Some(image), met: AtomicBool::new(false) }
    }

    /// The node at this place, where one is running.
    #[must_use]
    pub fn running(place: Place) -> Self {
        Self { place, image: None, met: AtomicBool::new(false) }
    }

    async fn try_connect(&self) -> io::Result<Option<Stream>> {
        match UnixStream::connect(self.place.socket()).await {
            Ok(stream) => Ok(Some(Box::pin(stream))),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the node that was met is away because somebody wants it so.
    fn was_stopped(&self) -> bool {
        // Where not even its lock is there, the whole folder is gone, and no stop was that.
        let (lock, on_demand) = (self.place.lock("node"), self.place.on_demand());
        self.met.load(Ordering::Relaxed) && lock.exists() && !on_demand.exists()
    }

    /// Starts the node, unless somebody else does so first.
    async fn start(&self, image: &PathBuf) -> Result<Stream, ConnectError> {
        if self.was_stopped() {
            return Err(io::Error::other(STOPPED).into());
        }
        idle_time().map_err(ConnectError::Final)?;
        self.place.make().map_err(ConnectError::Final)?;
        let path = self.place.lock("start");
        let fail = |error: &io::Error| ConnectError::Final(Refused::at("write", &path, error));
        let _turn = loop {
            if let Some(turn) = Lock::try_take(&path).map_err(|error| fail(&error))? {
                break turn;
            }
            tokio::time::sleep(TURN).await;
        };
        if let Some(stream) = self.try_connect().await? {
            return Ok(stream);
        }
        let started = tokio::time::timeout(START, self.spawn(image)).await;
        started.map_err(|_| io::Error::other("the node does not begin to listen"))??;
        let stream = self.try_connect().await?;
        stream.ok_or_else(|| io::Error::other("the node has gone again").into())
    }

    /// Starts the node and waits until it listens.
    async fn spawn(&self, image: &PathBuf) -> Result<(), ConnectError> {
        let mut command = Command::new(image);
        if std::env::var_os(IDLE).is_some_and(|idle| idle.is_empty()) {
            command.env_remove(IDLE);
        }
        let mut child = command
            .arg0("otto-node")
            .args(["serve", "--local", "--detached", "--data"])
            .arg(self.place.data())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
        let output = Receiver::from_owned_fd(OwnedFd::from(output))?;
        let mut reports = Reports::default();
        loop {
            output.ready(Interest::READABLE).await?;
            let Some(said) = reports.read(&mut Output(&output))? else {
                let status = child.wait()?;
                return Err(io::Error::other(format!("the node did not start: {status}")).into());
            };
            for report in said {
                match report {
                    Report::Listening | Report::Ready => return Ok(()),
                    Report::Trouble(trouble) | Report::Outcast(trouble) => {
                        return Err(ConnectError::Final(trouble));
                    }
                    Report::Taken => {
                        let cause = "another node uses the folder and does not listen yet";
                        return Err(io::Error::other(cause).into());
                    }
                    Report::Greeting { .. } | Report::Leave | Report::Successor { .. } => {}
                }
            }
        }
    }
}

#[async_trait]
impl Connector for LocalNode {
    async fn connect(&self) -> Result<Stream, ConnectError> {
        let connected = self.try_connect().await.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                ConnectError::Final(Refused::at("connect to", &self.place.socket(), &error))
            }
            // Its queue is full, or something else that may pass.
            _ => ConnectError::Passing(error),
        });
        match (connected?, &self.image) {
            (Some(stream), _) => Ok(stream),
            (None, Some(image)) => self.start(image).await,
            (None, None) => Err(ConnectError::Final(Refused::trouble(
                format!("no node is running at {}", self.place.data().display()),
                "start one with `otto-node serve`, or let `otto run` do so",
            ))),
        }
    }
}

/// Standard output of the node, read without waiting.
struct Output<'o>(&'o Receiver);

impl Read for Output<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

/// A client of the local node at this place. The node is started where it is not running; an older
/// build makes way for this one: wholly where it is idle, else only its control process.
///
/// # Errors
/// When there is no node that this build can work with.
pub async fn local_client(place: Place) -> Result<Client, ClientError> {
    let local = |source| ClientError::Local { what: "look at otto's own image".into(), source };
    let ours = this_build().map_err(local)?;
    let node = Arc::new(LocalNode::new(place));
    let connector: SharedConnector = node.clone();
    let client = Client::new(connector, ours.clone());
    let mut asked = BTreeSet::new();
    let until = Instant::now() + START;
    while Instant::now() < until {
        let theirs = client.connect().await?;
        if !ours.is_newer_than(&theirs.build) {
            break;
        }
        if asked.insert(theirs.pid) {
            if asked.len() > REPLACEMENTS {
                break;
            }
            let path = image_path().map_err(local)?.to_string_lossy().into_owned();
            let successor = Some(Successor { path, build: ours.clone() });
            let stop = Stop { pid: theirs.pid, busy_too: false, successor };
            if client.stop(stop).await? == Stopped::Stays {
                break;
            }
        }
        // It is on its way out; whoever answers next is another one.
        client.disconnect().await;
        tokio::time::sleep(TURN).await;
    }
    node.met.store(true, Ordering::Relaxed);
    Ok(client)
}

/// How often a node is asked to make way: two clients of different builds must not chase each
/// other.
const REPLACEMENTS: usize = 3;
