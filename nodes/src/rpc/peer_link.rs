//! Replication's calls to other control processes: one connection to each, for all groups.

use super::api::ApiError;
use super::kept::{AskKept, KeepLog, Kept};
use super::link::{Link, Open};
use super::service::{ClientCallsRequest, ClientCallsResponse, ClusterError, PeerCallsClient};
use super::vouched::Vouched;
use crate::control::{HopError, Hops};
use crate::network::SharedRoutes;
use crate::replica::{PeerAnswer, PeerCall, Peers, Unreached};
use crate::wire::frame::Limits;
use crate::wire::hello::{Build, Hello, Role};
use crate::wire::{self, deadline};
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use otto_core::cluster::Cluster;
use otto_core::cluster::command::Wish;
use otto_core::ids::ShardId;
use otto_core::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tarpc::client::RpcError;
use tarpc::context::Context;

/// Connections to other control processes, made when they are first needed and again when they
/// break.
pub struct PeerLinks {
    routes: SharedRoutes,
    hello: Hello,
    links: Mutex<BTreeMap<String, Arc<PeerLink>>>,
}

impl fmt::Debug for PeerLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerLinks").field(&self.routes).finish()
    }
}

impl PeerLinks {
    /// Links over these routes.
    #[must_use]
    pub fn new(routes: SharedRoutes, build: Build) -> Self {
        Self { routes, hello: Hello::new(Role::Control, build), links: Mutex::default() }
    }

    /// Asks the node at an address how the cluster is, after a wish or as it is now.
    ///
    /// # Errors
    /// The cluster's refusal, that it is led elsewhere, or that there is no answer within
    /// `allowed`.
    pub async fn cluster(
        &self,
        address: &str,
        wish: Option<Wish>,
        allowed: Duration,
    ) -> Result<Cluster, ClusterError> {
        let link = self.link(address);
        let ask =
            |calls: PeerCallsClient, context| async move { calls.cluster(context, wish).await };
        link.call("PeerCalls.cluster", ask, allowed)
            .await
            .unwrap_or_else(|cause| Err(ClusterError::Unanswered(cause)))
    }

    /// Asks the node at an address for the time.
    ///
    /// # Errors
    /// When there is no answer within `allowed`.
    pub async fn clock(&self, address: &str, allowed: Duration) -> Result<Timestamp, String> {
        let ask = |calls: PeerCallsClient, context| async move { calls.clock(context).await };
        self.link(address).call("PeerCalls.clock", ask, allowed).await
    }

    fn link(&self, address: &str) -> Arc<PeerLink> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(address.to_owned()).or_insert_with(|| {
            let spawn = |mut frames: wire::frame::Frames| {
                frames.codec_mut().set_limits(Limits::PEER);
                let config = tarpc::client::Config::default();
                PeerCallsClient::new(config, wire::caller(frames)).spawn()
            };
            let link = Link::new(self.routes.to(address), self.hello.clone(), spawn);
            let (link, opening) = (Arc::new(link), Mutex::default());
            Arc::new(PeerLink { link, opening, answers: AtomicU64::new(0) })
        });
        Arc::clone(link)
    }
}

type Opening = Shared<BoxFuture<'static, Result<Open<PeerCallsClient>, String>>>;

/// The connection to one control process.
struct PeerLink {
    link: Arc<Link<PeerCallsClient>>,
    opening: Mutex<Option<Opening>>,
    /// How many calls were answered.
    answers: AtomicU64,
}

impl PeerLink {
    /// The open connection. Many callers wait for one attempt, which none of them cuts short: what
    /// they wait for in a hurry may take longer to connect.
    async fn open(&self) -> Result<Open<PeerCallsClient>, String> {
        let opening = {
            let mut known = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
            let goes_on = |known: &&Opening| !matches!(known.peek(), Some(Err(_)));
            if let Some(opening) = known.as_ref().filter(goes_on) {
                opening.clone()
            } else {
                let link = Arc::clone(&self.link);
                let open = async move { link.open().await.map_err(|error| error.to_string()) };
                let opening = open.boxed().shared();
                tokio::spawn(opening.clone());
                known.insert(opening).clone()
            }
        };
        opening.await
    }

    /// Drops a connection that is broken, unless there is a later one.
    async fn close(&self, generation: u64) {
        {
            let mut known = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
            let this = |open: &Open<PeerCallsClient>| open.generation == generation;
            let broken = |opening: &Opening| {
                opening.peek().is_some_and(|open| open.as_ref().is_ok_and(this))
            };
            if known.as_ref().is_some_and(broken) {
                *known = None;
            }
        }
        self.link.close(generation).await;
    }

    async fn peer(&self, call: PeerCall, allowed: Duration) -> Result<PeerAnswer, String> {
        let peer = |calls: PeerCallsClient, context| async move { calls.peer(context, call).await };
        self.call("PeerCalls.peer", peer, allowed).await
    }

    async fn call<T, Answer>(
        &self,
        method: &'static str,
        call: impl FnOnce(PeerCallsClient, Context) -> Answer,
        allowed: Duration,
    ) -> Result<T, String>
    where
        Answer: Future<Output = Result<T, RpcError>>,
    {
        let late = || format!("no answer in {} ms", allowed.as_millis());
        let end = tokio::time::Instant::now() + allowed;
        let open = tokio::time::timeout_at(end, self.open()).await.map_err(|_| late())??;
        if !open.theirs.answers(method) {
            let release = &open.theirs.build;
            return Err(format!("that node is of release {release} and has no {method} yet"));
        }
        let answers = self.answers.load(Ordering::Relaxed);
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        // Ours ends the call; tarpc's own deadline only bounds what the other end does with it.
        let context = deadline::context(left * 2, tarpc::trace::Context::default());
        let cause = match tokio::time::timeout_at(end, call(open.calls, context)).await {
            Ok(Ok(answer)) => {
                self.answers.fetch_add(1, Ordering::Relaxed);
                return Ok(answer);
            }
            Ok(Err(RpcError::Server(error))) => return Err(error.to_string()),
            // Others are answered: it is not the connection that is slow.
            Err(_) if self.answers.load(Ordering::Relaxed) != answers => return Err(late()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => late(),
        };
        self.close(open.generation).await;
        Err(cause)
    }
}

#[async_trait]
impl Peers for PeerLinks {
    async fn call(
        &self,
        address: &str,
        call: PeerCall,
        allowed: Duration,
    ) -> Result<PeerAnswer, Unreached> {
        let node = call.to();
        let answer = self.link(address).peer(call, allowed).await;
        answer.map_err(|cause| Unreached { node, address: address.to_owned(), cause })
    }
}

/// Whether what a node said would be said again.
fn sorted<T>(answer: Result<Result<T, ApiError>, String>) -> Result<T, HopError> {
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(ApiError::Refused(cause))) => Err(HopError::Refused(cause)),
        Ok(Err(error)) => Err(HopError::Later(error.to_string())),
        Err(cause) => Err(HopError::Later(cause)),
    }
}

#[async_trait]
impl Hops for PeerLinks {
    async fn client(
        &self,
        address: &str,
        caller: Vouched,
        request: ClientCallsRequest,
    ) -> Result<ClientCallsResponse, HopError> {
        let call = |calls: PeerCallsClient, context| async move {
            calls.client(context, caller, request).await
        };
        sorted(self.link(address).call("PeerCalls.client", call, deadline::FOLLOW).await)
    }

    async fn reach(&self, address: &str, shard: ShardId) -> Result<u64, HopError> {
        let call =
            |calls: PeerCallsClient, context| async move { calls.reach(context, shard).await };
        sorted(self.link(address).call("PeerCalls.reach", call, deadline::USUAL).await)
    }

    async fn kept(&self, address: &str, ask: AskKept) -> Result<Kept, HopError> {
        let call = |calls: PeerCallsClient, context| async move { calls.kept(context, ask).await };
        sorted(self.link(address).call("PeerCalls.kept", call, deadline::USUAL).await)
    }

    async fn keep_log(&self, address: &str, part: KeepLog) -> Result<u64, HopError> {
        let call =
            |calls: PeerCallsClient, context| async move { calls.keep_log(context, part).await };
        sorted(self.link(address).call("PeerCalls.keep_log", call, deadline::USUAL).await)
    }
}

#[cfg(test)]
mod tests {
    use super::PeerLinks;
    use crate::network::{ConnectError, Connector, Routes, SharedConnector, Stream};
    use crate::wire::hello::{Build, Hello, Role, receive_guest};
    use async_trait::async_trait;
    use futures::StreamExt;
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::io::duplex;

    /// The way to a node of an earlier release, which has one method.
    #[derive(Clone, Copy, Debug)]
    struct Earlier;

    impl Routes for Earlier {
        fn to(&self, _: &str) -> SharedConnector {
            Arc::new(*self)
        }
    }

    #[async_trait]
    impl Connector for Earlier {
        async fn connect(&self) -> Result<Stream, ConnectError> {
            let (one, other) = duplex(1 << 16);
            tokio::spawn(async move {
                let build = Build { version: "0.0.9".to_owned(), made_ns: 1, size: 1 };
                let mut hello = Hello::new(Role::Control, build);
                hello.methods = BTreeSet::from(["PeerCalls.peer".to_owned()]);
                let guest = receive_guest(Box::pin(other), &hello).await.ok()?;
                let mut frames = guest.welcome(&hello).await.ok()?;
                assert!(frames.next().await.is_none(), "it was called");
                Some(())
            });
            Ok(Box::pin(one))
        }
    }

    #[tokio::test]
    async fn a_method_that_the_other_end_does_not_name_is_not_called() {
        let links = PeerLinks::new(Arc::new(Earlier), Build::default());
        let told = links.clock("a", Duration::from_secs(5)).await;
        let why = "that node is of release 0.0.9 and has no PeerCalls.clock yet";
        assert_eq!(told, Err(why.to_owned()));
    }
}
