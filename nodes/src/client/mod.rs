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
//! again where it has to: a control process that restarts in the middle of a follow leaves neither a
//! gap nor a double. What stays broken for longer than [`Client::patience`] is an error.

mod calls;
mod follow;

pub use follow::{LogFollow, RunFollow};

use crate::network::SharedConnector;
use crate::rpc::api::ApiError;
use crate::rpc::service::ClientCallsClient;
use crate::wire::frame::MAX_ANSWER;
use crate::wire::hello::{Build, Hello, HelloError, Role, introduce};
use crate::wire::{self, deadline};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tarpc::client::RpcError;
use tarpc::context::Context;
use tokio::sync::Mutex;
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

/// A connection to a node that repairs itself. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    connector: SharedConnector,
    hello: Hello,
    patience: Duration,
    link: Arc<Mutex<Link>>,
}

#[derive(Debug, Default)]
struct Link {
    /// Counts connections, so that of several callers only the first drops a broken one.
    generation: u64,
    open: Option<(ClientCallsClient, Hello)>,
}

impl Client {
    /// A client that connects at its first call.
    #[must_use]
    pub fn new(connector: SharedConnector, build: Build) -> Self {
        let hello = Hello::new(Role::Client, build);
        Self { connector, hello, patience: PATIENCE, link: Arc::default() }
    }

    /// The same client with another patience: how long it goes on trying to be answered.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Connects, where there is no connection, and answers with the node's hello.
    ///
    /// # Errors
    /// When the node cannot be reached, or the two do not go together.
    pub async fn connect(&self) -> Result<Hello, ClientError> {
        let mut trials = Trials::new(self.patience);
        loop {
            match self.link().await {
                Ok((_, _, hello)) => return Ok(hello),
                Err(failure) => trials.after(failure).await?,
            }
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
            let failure = match self.link().await {
                Ok((generation, calls, _)) => {
                    let context = deadline::context(allowed * 2, tarpc::trace::Context::default());
                    match timeout(allowed, call(calls, context)).await {
                        Ok(Ok(Ok(answer))) => return Ok(answer),
                        Ok(Ok(Err(error))) if error.is_passing() => Failure::Passing(error),
                        Ok(Ok(Err(error))) => return Err(error.into()),
                        Ok(Err(error)) => {
                            self.unlink(generation).await;
                            Failure::Broken(error.to_string())
                        }
                        Err(_) => {
                            self.unlink(generation).await;
                            Failure::Broken("it did not answer in time".to_owned())
                        }
                    }
                }
                Err(failure) => failure,
            };
            trials.after(failure).await?;
        }
    }

    async fn link(&self) -> Result<(u64, ClientCallsClient, Hello), Failure> {
        let mut link = self.link.lock().await;
        if let Some((calls, hello)) = &link.open {
            return Ok((link.generation, calls.clone(), hello.clone()));
        }
        let stream = self.connector.connect().await.map_err(|e| Failure::Broken(e.to_string()))?;
        let greeted = introduce(stream, &self.hello, MAX_ANSWER).await;
        let (frames, hello) = match greeted {
            Ok(greeted) => greeted,
            Err(error) if error.is_passing() => return Err(Failure::Broken(error.to_string())),
            Err(error) => return Err(Failure::Final(error.into())),
        };
        let calls = ClientCallsClient::new(tarpc::client::Config::default(), wire::caller(frames));
        let calls = calls.spawn();
        link.generation += 1;
        link.open = Some((calls.clone(), hello.clone()));
        Ok((link.generation, calls, hello))
    }

    async fn unlink(&self, generation: u64) {
        let mut link = self.link.lock().await;
        if link.generation == generation {
            link.open = None;
        }
    }
}

/// How long a client goes on trying, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause before the second attempt; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What one attempt at a call met.
enum Failure {
    /// The connection is gone or never was.
    Broken(String),
    /// The node asks to come again.
    Passing(ApiError),
    /// Another attempt would meet the same.
    Final(ClientError),
}

/// The attempts at one call.
struct Trials {
    until: Instant,
    pause: Duration,
}

impl Trials {
    fn new(patience: Duration) -> Self {
        Self { until: Instant::now() + patience, pause: FIRST_PAUSE }
    }

    /// Pauses before the next attempt, or gives up.
    async fn after(&mut self, failure: Failure) -> Result<(), ClientError> {
        let error = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Broken(cause) => ClientError::Unreachable { cause },
            Failure::Passing(error) => error.into(),
        };
        if Instant::now() + self.pause > self.until {
            return Err(error);
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
