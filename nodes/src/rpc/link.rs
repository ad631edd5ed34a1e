//! A greeted connection that is made again when it breaks.

use crate::network::{ConnectError, SharedConnector};
use crate::wire::frame::Frames;
use crate::wire::hello::{Hello, HelloError, introduce};
use std::fmt;
use std::sync::Arc;
use tokio::sync::Mutex;

/// A connection with tarpc's client `Calls` on top of it. It is made when it is first needed.
pub struct Link<Calls> {
    connector: SharedConnector,
    hello: Hello,
    /// Lets tarpc call over a connection.
    spawn: fn(Frames) -> Calls,
    state: Mutex<State<Calls>>,
}

struct State<Calls> {
    generation: u64,
    open: Option<Open<Calls>>,
}

/// An open connection.
#[derive(Clone, Debug)]
pub struct Open<Calls> {
    /// Counts connections, so that of several callers only the first drops a broken one.
    pub generation: u64,
    /// What calls.
    pub calls: Calls,
    /// What the other end said of itself.
    pub theirs: Arc<Hello>,
}

impl<Calls> fmt::Debug for Link<Calls> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("connector", &self.connector).finish_non_exhaustive()
    }
}

impl<Calls: Clone> Link<Calls> {
    /// A link that introduces itself with this hello.
    #[must_use]
    pub fn new(connector: SharedConnector, hello: Hello, spawn: fn(Frames) -> Calls) -> Self {
        let state = Mutex::new(State { generation: 0, open: None });
        Self { connector, hello, spawn, state }
    }

    /// The open connection, made now where there is none.
    ///
    /// # Errors
    /// When one attempt to connect and to greet did not succeed.
    pub async fn open(&self) -> Result<Open<Calls>, HelloError> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open {
            return Ok(open.clone());
        }
        let stream = self.connector.connect().await.map_err(|error| match error {
            ConnectError::Passing(error) => HelloError::Broken(error),
            ConnectError::Final(refused) => HelloError::Refused(refused),
        })?;
        let (frames, theirs) = introduce(stream, &self.hello).await?;
        state.generation += 1;
        let (generation, calls) = (state.generation, (self.spawn)(frames));
        let open = Open { generation, calls, theirs: Arc::new(theirs) };
        state.open = Some(open.clone());
        Ok(open)
    }

    /// The generation of the open connection, where there is one.
    pub async fn generation(&self) -> Option<u64> {
        self.state.lock().await.open.as_ref().map(|open| open.generation)
    }

    /// Drops the connection, unless a later one was made meanwhile.
    pub async fn close(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.open = None;
        }
    }
}
