//! The client API: submits runs to a node and follows them.
//!
//! ```no_run
//! # async fn example(client: otto_nodes::client::Client, plan: otto_core::plan::Plan)
//! # -> Result<(), otto_nodes::client::ClientError> {
//! let submitted = client.submit_plan("shop", "a key of mine", &plan, None).await?;
//! let mut entries = client.follow(submitted.run, 0);
//! while let Some(batch) = entries.next().await? {
//!     for entry in batch {
//!         println!("{entry:?}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Every call may be repeated, so the client repeats what a broken connection cut off, and connects
//! again where it has to: a control process that restarts in the middle of a follow leaves neither
//! a gap nor a double. What stays broken for longer than [`Client::patience`] is an error.

mod calls;
mod doors;
mod follow;

pub use doors::AnyNode;
pub use follow::{LogFollow, RunFollow};

use crate::network::SharedConnector;
use crate::rpc::api::ApiError;
use crate::rpc::link::Link;
use crate::rpc::service::ClientCallsClient;
use crate::wire::hello::{Bearer, Build, Hello, HelloError, Refused, Role};
use crate::wire::{self, deadline};
use std::future::Future;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tarpc::client::RpcError;
use tarpc::context::Context;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Why a client got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The node could not be reached for longer than the client's patience.
    #[error("reach the node: {cause}")]
    Unreachable {
        /// What the last attempt met.
        cause: String,
    },
    /// The node and this client cannot work together.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The node answered no.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The node sent something that this build cannot read.
    #[error("understand the node: {0}")]
    Garbled(String),
    /// Something of this machine's, such as a file to send.
    #[error("{what}: {source}")]
    Local {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ClientError {
    /// What a call waits for, for people.
    fn cause(&self) -> String {
        match self {
            Self::Unreachable { cause } | Self::Api(ApiError::NotReady(cause)) => cause.clone(),
            other @ (Self::Hello(_) | Self::Api(_) | Self::Garbled(_) | Self::Local { .. }) => {
                format!("failed to {other}")
            }
        }
    }

    /// What happened and what to do now, for people.
    #[must_use]
    pub fn into_refused(self) -> Refused {
        let help = match &self {
            Self::Hello(HelloError::Refused(refused)) => return refused.clone(),
            Self::Hello(HelloError::PeerIsNewer { .. }) => "use the newer otto",
            Self::Hello(HelloError::PeerIsOlder { .. }) => {
                "end the older node with its own `otto-node stop`, then try again"
            }
            Self::Hello(
                HelloError::Broken(_)
                | HelloError::Left
                | HelloError::Silent
                | HelloError::Stranger(_),
            )
            | Self::Garbled(_) => "see what listens there: `otto-node status`",
            Self::Unreachable { .. } => "see what the node does: `otto-node status`",
            Self::Api(ApiError::NotFound(_)) => "see which there are: `otto runs`",
            Self::Api(
                ApiError::Refused(_)
                | ApiError::Invalid(_)
                | ApiError::NotReady(_)
                | ApiError::NotHere { .. }
                | ApiError::Busy { .. }
                | ApiError::Unknown(_)
                | ApiError::Store(_),
            )
            | Self::Local { .. } => "try again when that is mended",
        };
        Refused::trouble(format!("failed to {self}"), help)
    }
}

/// A connection to a node that repairs itself. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    patience: Duration,
    /// What keeps calls from being answered, while something does.
    trouble: Arc<watch::Sender<Option<String>>>,
    link: Arc<Link<ClientCallsClient>>,
}

impl Client {
    /// A client that connects at its first call.
    #[must_use]
    pub fn new(connector: SharedConnector, build: Build) -> Self {
        Self::greeting(connector, Hello::new(Role::Client, build))
    }

    /// A client that signs in with a person's token, on a connection that needs it.
    #[must_use]
    pub fn signed_in(connector: SharedConnector, build: Build, token: &str) -> Self {
        let credentials = Some(Bearer(token.to_owned()));
        Self::greeting(connector, Hello { credentials, ..Hello::new(Role::Client, build) })
    }

    fn greeting(connector: SharedConnector, hello: Hello) -> Self {
        let link = Link::new(connector, hello, |frames| {
            let config = tarpc::client::Config::default();
            ClientCallsClient::new(config, wire::caller(frames)).spawn()
        });
        Self { patience: PATIENCE, trouble: Arc::default(), link: Arc::new(link) }
    }

    /// The same client with another patience: how long it goes on trying to be answered.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What calls have been waiting for, for longer than usual; nothing where they are answered.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    /// Connects, where there is no connection, and answers with the node's hello.
    ///
    /// # Errors
    /// When the node cannot be reached, or the two do not go together.
    pub async fn connect(&self) -> Result<Hello, ClientError> {
        let mut trials = Trials::new(self.patience);
        loop {
            match self.link.open().await {
                Ok(open) => return Ok(Hello::clone(&open.theirs)),
                Err(error) => trials.after(error.into()).await?,
            }
        }
    }

    /// Drops the connection; the next call makes another one.
    pub async fn disconnect(&self) {
        if let Some(generation) = self.link.generation().await {
            self.link.close(generation).await;
        }
    }

    /// Makes one call, again and again until it is answered. `allowed` is the time for one attempt.
    async fn call<T, F, Answer>(&self, allowed: Duration, call: F) -> Result<T, ClientError>
    where
        F: Fn(ClientCallsClient, Context) -> Answer,
        Answer: Future<Output = Result<Result<T, ApiError>, RpcError>>,
    {
        let mut trials = Trials::new(self.patience);
        loop {
            let failure = match self.attempt(allowed, &call).await {
                Ok(answer) => {
                    self.trouble.send_if_modified(|trouble| trouble.take().is_some());
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            if let (Failure::Passing(error), true) = (&failure, trials.last_long()) {
                self.trouble.send_if_modified(|trouble| {
                    let first = trouble.is_none();
                    if first {
                        *trouble = Some(error.cause());
                    }
                    first
                });
            }
            trials.after(failure).await?;
        }
    }

    async fn attempt<T, F, Answer>(&self, allowed: Duration, call: &F) -> Result<T, Failure>
    where
        F: Fn(ClientCallsClient, Context) -> Answer,
        Answer: Future<Output = Result<Result<T, ApiError>, RpcError>>,
    {
        let open = self.link.open().await?;
        // Ours ends the call; tarpc's own deadline only bounds what the other end does with it.
        let context = deadline::context(allowed * 2, tarpc::trace::Context::default());
        let cause = match timeout(allowed, call(open.calls, context)).await {
            Ok(Ok(answer)) => return answer.map_err(Failure::from),
            Ok(Err(RpcError::Server(error))) if error.kind == ErrorKind::PermissionDenied => {
                return Err(Failure::Final(ApiError::Refused(error.detail).into()));
            }
            // Whoever called is not who they were: whether they may come in again is told there.
            Ok(Err(RpcError::Server(error))) if error.kind == ErrorKind::ConnectionAborted => {
                error.detail
            }
            Ok(Err(RpcError::Server(error))) => {
                return Err(Failure::Passing(ApiError::NotReady(error.detail).into()));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer in {} s", allowed.as_secs()),
        };
        self.link.close(open.generation).await;
        Err(Failure::Passing(ClientError::Unreachable { cause }))
    }
}

/// How long a client goes on trying, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause before the second attempt; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What one attempt at a call met.
enum Failure {
    /// Another attempt may succeed.
    Passing(ClientError),
    /// Another attempt would meet the same.
    Final(ClientError),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        if error.is_passing() { Self::Passing(error.into()) } else { Self::Final(error.into()) }
    }
}

impl From<HelloError> for Failure {
    fn from(error: HelloError) -> Self {
        if error.is_passing() {
            Self::Passing(ClientError::Unreachable { cause: error.to_string() })
        } else {
            Self::Final(error.into())
        }
    }
}

/// From here on it is told that a call waits: a failover takes less.
const TOLD_AFTER: Duration = Duration::from_secs(4);

/// The attempts at one call.
struct Trials {
    told_from: Instant,
    until: Instant,
    pause: Duration,
}

impl Trials {
    fn new(patience: Duration) -> Self {
        let now = Instant::now();
        Self { told_from: now + TOLD_AFTER, until: now + patience, pause: FIRST_PAUSE }
    }

    /// Whether they go on for longer than usual.
    fn last_long(&self) -> bool {
        Instant::now() >= self.told_from
    }

    /// Pauses before the next attempt, or gives up.
    async fn after(&mut self, failure: Failure) -> Result<(), ClientError> {
        let error = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing(error) => error,
        };
        // A node that is too busy says when to come back.
        let pause = match &error {
            ClientError::Api(ApiError::Busy { retry_after_ms }) => {
                self.pause.max(Duration::from_millis(*retry_after_ms))
            }
            _ => self.pause,
        };
        if Instant::now() + pause > self.until {
            return Err(error);
        }
        sleep(pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
