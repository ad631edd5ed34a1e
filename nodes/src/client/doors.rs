//! A way to any control node of a cluster: its addresses are tried side by side, and learned.

use crate::identity::tls::{Expected, TlsConnector};
use crate::identity::token::Pin;
use crate::network::{ConnectError, Connector, Stream};
use crate::wire::hello::Refused;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use otto_actors::ports::clock::SharedClock;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long an address has for itself, before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(400);

/// Connects to whichever control node of a cluster answers first.
#[derive(Debug)]
pub struct AnyNode {
    /// The authority of the cluster: whoever it does not vouch for is not shown anything.
    pin: Pin,
    clock: SharedClock,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    addresses: Vec<String>,
    /// Which one is tried first. Who connects again lost a connection, so it is another one.
    first: usize,
}

impl AnyNode {
    /// A way to the cluster of this authority, by these addresses.
    #[must_use]
    pub fn new(addresses: Vec<String>, pin: Pin, clock: SharedClock) -> Self {
        Self { pin, clock, known: Mutex::new(Known { addresses, first: 0 }) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses that are tried.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.known().addresses.clone()
    }

    /// Takes note of where the cluster's nodes are now. The address that the person named stays,
    /// behind them: it may be a name that outlives its nodes. Answers whether anything is new.
    pub fn learn(&self, addresses: Vec<String>, named: &str) -> bool {
        if addresses.is_empty() {
            return false;
        }
        let mut seen = BTreeSet::new();
        let all = addresses.into_iter().chain([named.to_owned()]);
        let all: Vec<String> = all.filter(|address| seen.insert(address.clone())).collect();
        let mut known = self.known();
        let before: BTreeSet<&String> = known.addresses.iter().collect();
        if before == all.iter().collect() {
            return false;
        }
        *known = Known { addresses: all, first: 0 };
        true
    }

    /// All addresses, in the order in which they are tried.
    fn order(&self) -> Vec<String> {
        let known = self.known();
        let (before, behind) = known.addresses.split_at(known.first.min(known.addresses.len()));
        behind.iter().chain(before).cloned().collect()
    }

    async fn one(&self, address: String) -> (String, Result<Stream, ConnectError>) {
        let expected = Expected::Pinned(self.pin);
        let addresses = vec![address.clone()];
        let stream = match TlsConnector::new(addresses, expected, None, self.clock.clone()) {
            Ok(connector) => connector.connect().await,
            Err(error) => Err(ConnectError::Final(error.into())),
        };
        (address, stream)
    }
}

#[async_trait]
impl Connector for AnyNode {
    async fn connect(&self) -> Result<Stream, ConnectError> {
        let mut waiting = self.order().into_iter();
        let mut trying = FuturesUnordered::new();
        trying.extend(waiting.next().map(|address| self.one(address)));
        let mut failures = Failures::default();
        let mut turn = Instant::now() + HEAD_START;
        loop {
            tokio::select! {
                biased;
                ended = trying.next() => match ended {
                    Some((address, Ok(stream))) => {
                        let mut known = self.known();
                        let place = known.addresses.iter().position(|it| *it == address);
                        known.first = place.map_or(0, |place| place + 1);
                        return Ok(stream);
                    }
                    Some((address, Err(error))) => {
                        failures.add(&address, error);
                        trying.extend(waiting.next().map(|address| self.one(address)));
                        turn = Instant::now() + HEAD_START;
                    }
                    None => return Err(failures.all()),
                },
                () = sleep_until(turn), if waiting.len() > 0 => {
                    trying.extend(waiting.next().map(|address| self.one(address)));
                    turn = Instant::now() + HEAD_START;
                }
            }
        }
    }
}

/// What all addresses met.
#[derive(Default)]
struct Failures {
    passing: Vec<String>,
    last: Option<Refused>,
}

impl Failures {
    fn add(&mut self, address: &str, error: ConnectError) {
        match error {
            ConnectError::Passing(error) => self.passing.push(format!("{address}: {error}")),
            ConnectError::Final(refused) => self.last = Some(refused),
        }
    }

    /// Where one address may be reached later, another attempt may succeed.
    fn all(self) -> ConnectError {
        match (self.passing.is_empty(), self.last) {
            (true, Some(refused)) => ConnectError::Final(refused),
            (true, None) => {
                let nowhere = "no address of the cluster is known";
                ConnectError::Passing(io::Error::new(io::ErrorKind::InvalidInput, nowhere))
            }
            (false, last) => {
                let mut causes = self.passing;
                causes.extend(last.map(|refused| refused.what));
                ConnectError::Passing(io::Error::other(causes.join("; ")))
            }
        }
    }
}
