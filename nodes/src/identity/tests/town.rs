//! A cluster for tests: real sockets, real files, and a real control process at the door; what the
//! cluster decides is kept in memory.

use crate::client::Client;
use crate::control::{ControlConfig, Ending, Majority, Membership, Outside, Platform, run_control};
use crate::identity::authority::{Authority, new_key, request};
use crate::identity::door::{Admission, Reception};
use crate::identity::files::Folder;
use crate::identity::founding;
use crate::identity::join::{Introduction, JoinLink, Member, join};
use crate::identity::tls::{Credentials, Expected, TlsConnector, TlsListener};
use crate::identity::token::{Purpose, Token};
use crate::logs::MemoryLogs;
use crate::network::{Listener, Principal, Stream};
use crate::node::system::SeededChance;
use crate::objects::ObjectBlobs;
use crate::replica::{Alone, ShardsConfig};
use crate::rpc::cluster::Live;
use crate::store::{self, Threads};
use crate::wire::hello::{Build, Refused};
use async_trait::async_trait;
use otto_actors::cluster::Denial;
use otto_actors::ports::clock::Clock;
use otto_actors::ports::sabotage::NoSabotage;
use otto_core::cluster::Cluster;
use otto_core::cluster::command::{Refusal, Wish};
use otto_core::cluster::event::Entry;
use otto_core::cluster::register::Register;
use otto_core::cluster::state::{By, JoinRole, Levels, UserRole};
use otto_core::ids::{ClusterId, KeyId, NodeId};
use otto_core::lease::LEASE;
use otto_core::time::{Span, Timestamp};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub(super) const LEVELS: Levels = Levels { oldest: 1, newest: 1 };

/// A clock that is set by hand.
#[derive(Debug)]
pub(super) struct HandClock(AtomicU64);

impl HandClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1_800_000_000_000)))
    }

    pub(super) fn pass(&self, span: Span) {
        self.0.fetch_add(span.0, Ordering::Relaxed);
    }

    /// Another one that is ahead of this by so many hours, or behind it.
    pub(super) fn off_by(&self, hours: i64) -> Arc<Self> {
        let now = self.now().0.saturating_add_signed(hours * 3_600_000);
        Arc::new(Self(AtomicU64::new(now)))
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Decides in memory what a cluster journals.
#[derive(Debug)]
pub(super) struct Hall {
    cluster: Mutex<Cluster>,
    register: watch::Sender<Arc<Register>>,
    /// The node hears of nothing that is decided from now on.
    pub(super) is_deaf: AtomicBool,
    clock: Arc<HandClock>,
}

impl Hall {
    pub(super) fn wish(&self, wish: &Wish) -> Result<(), Refusal> {
        let mut cluster = self.cluster.lock().unwrap();
        let at = self.clock.now();
        let events = cluster.decide(wish, at)?;
        cluster.apply(&Entry { at, events });
        if !self.is_deaf.load(Ordering::Relaxed) {
            self.register.send_replace(Arc::new(cluster.register()));
        }
        Ok(())
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Cluster) -> T) -> T {
        read(&self.cluster.lock().unwrap())
    }
}

#[async_trait]
impl Admission for Hall {
    async fn wish(&self, wish: Wish) -> Result<Arc<Cluster>, Denial> {
        self.wish(&wish)?;
        self.view().await
    }

    async fn view(&self) -> Result<Arc<Cluster>, Denial> {
        Ok(Arc::new(self.read(Clone::clone)))
    }
}

/// A socket to which nobody comes.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl Listener for Nobody {
    async fn accept(&self) -> io::Result<(Stream, Principal)> {
        std::future::pending().await
    }
}

/// A cluster of one node.
pub(super) struct Town {
    folder: tempfile::TempDir,
    pub(super) address: String,
    pub(super) hall: Arc<Hall>,
    pub(super) clock: Arc<HandClock>,
    pub(super) authority: KeyId,
    pub(super) credentials: Credentials,
    control: JoinHandle<Result<Ending, Refused>>,
}

impl Drop for Town {
    fn drop(&mut self) {
        self.control.abort();
    }
}

fn introduced(name: &str) -> Introduction {
    Introduction {
        name: name.to_owned(),
        addresses: vec!["10.0.0.9:7301".to_owned()],
        levels: LEVELS,
        build: Build::default(),
    }
}

pub(super) fn admin() -> By {
    By::owner("ada")
}

impl Town {
    pub(super) async fn found() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = HandClock::new();
        let register = watch::Sender::default();
        let (cluster, is_deaf) = (Mutex::default(), AtomicBool::new(false));
        let hall = Arc::new(Hall { cluster, register, is_deaf, clock: clock.clone() });
        let (authority, credentials) = founded(folder.path(), &hall);
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TlsListener::new(tcp, &credentials, clock.clone()).unwrap();
        let (address, pin) = (listener.address().unwrap().to_string(), authority.fingerprint());
        let reception = Arc::new(Reception { authority, admission: hall.clone(), incarnation: 1 });
        let listener = Arc::new(listener);
        let here = Live { reachable: true, leads: 2, ..Live::default() };
        let live = watch::channel(BTreeMap::from([(NodeId::FIRST, here)])).1;
        let known = watch::channel(Arc::default()).1;
        let membership = Membership {
            listener,
            register: hall.register.subscribe(),
            reception,
            majority: Majority { me: NodeId::FIRST, known, live },
            shared_store: false,
            cluster: None,
        };
        let control = start(folder.path(), clock.clone(), membership).await;
        Self { folder, address, hall, clock, authority: pin, credentials, control }
    }

    pub(super) fn cluster(&self) -> ClusterId {
        self.credentials.said().subject.cluster
    }

    /// The folder of another machine.
    pub(super) fn machine(&self, name: &str) -> Folder {
        Folder::new(&self.folder.path().join(name))
    }

    /// A new token for so many joins.
    pub(super) fn token(&self, role: JoinRole, uses: u32) -> Token {
        let token = Token::draw(Purpose::Join(role), self.authority).unwrap();
        let lifetime = Span::hours(1);
        let (hash, by) = (token.hash(), admin());
        self.hall.wish(&Wish::CreateToken { token: hash, role, lifetime, uses, by }).unwrap();
        token
    }

    /// A new token that signs somebody in.
    pub(super) fn user(&self, name: &str, role: UserRole) -> Token {
        let token = Token::draw(Purpose::SignIn, self.authority).unwrap();
        let (name, lifetime) = (name.to_owned(), Span::hours(24));
        let (hash, by) = (token.hash(), admin());
        self.hall.wish(&Wish::CreateUserToken { token: hash, name, role, lifetime, by }).unwrap();
        token
    }

    pub(super) async fn join(&self, token: &Token, machine: &str) -> Result<Member, Refused> {
        self.join_by(token, machine, self.clock.clone()).await
    }

    /// Joins from a machine with a clock of its own.
    pub(super) async fn join_by(
        &self,
        token: &Token,
        machine: &str,
        clock: Arc<HandClock>,
    ) -> Result<Member, Refused> {
        let folder = self.machine(machine);
        join(&self.address, token, &introduced(machine), &folder, clock).await
    }

    /// A machine that joined.
    pub(super) async fn joined(&self, role: JoinRole, machine: &str) -> Credentials {
        let token = self.token(role, 1);
        Credentials::new(self.join(&token, machine).await.unwrap().stored).unwrap()
    }

    /// What somebody connects with, who knows this cluster.
    pub(super) fn connector(&self, credentials: Option<&Credentials>) -> Arc<TlsConnector> {
        let expected = Expected::AnyNode {
            cluster: self.cluster(),
            authority: self.credentials.authority().clone(),
        };
        self.connect_to(expected, credentials)
    }

    pub(super) fn connect_to(
        &self,
        expected: Expected,
        credentials: Option<&Credentials>,
    ) -> Arc<TlsConnector> {
        let addresses = vec![self.address.clone()];
        let clock = self.clock.clone();
        Arc::new(TlsConnector::new(addresses, expected, credentials, clock).unwrap())
    }

    /// A client that signs in.
    pub(super) fn client(&self, token: &Token) -> Client {
        let connector = self.connector(None);
        Client::signed_in(connector, Build::default(), token.reveal().as_str())
    }

    pub(super) fn door(&self, credentials: &Credentials) -> JoinLink {
        JoinLink::new(self.connector(Some(credentials)), Build::default())
    }
}

/// Founds the cluster as the first node does; a crash in the middle changes nothing.
fn founded(data: &Path, hall: &Hall) -> (Authority, Credentials) {
    let folder = Folder::new(&data.join("n1"));
    let introduction = Introduction { addresses: Vec::new(), ..introduced("n1") };
    let begin = || founding::begin(&folder, &introduction, hall.clock.now()).unwrap();
    hall.wish(&begin().found(2)).unwrap();
    hall.wish(&begin().found(2)).unwrap();
    let (stored, authority) = hall.read(|cluster| begin().finish(cluster)).unwrap();
    assert_eq!(folder.load().unwrap().unwrap().said, stored.said);
    (authority, Credentials::new(stored).unwrap())
}

async fn start(
    folder: &Path,
    clock: Arc<HandClock>,
    membership: Membership,
) -> JoinHandle<Result<Ending, Refused>> {
    let outside = Outside {
        listener: Arc::new(Nobody),
        clock,
        chance: Arc::new(SeededChance::new(1)),
        blobs: Arc::new(ObjectBlobs::in_memory()),
        logs: Arc::new(MemoryLogs::default()),
        sabotage: Arc::new(NoSabotage),
        membership: Some(membership),
        neighbours: None,
    };
    let disk = store::Folder::lock(folder.join("store")).unwrap();
    let platform = Platform {
        disk: Box::new(disk),
        executor: Box::new(Threads),
        peers: Arc::new(Alone),
        outside,
    };
    let config = ControlConfig {
        build: Build::default(),
        node_build: Build::default(),
        shards: ShardsConfig { shards: 2, ..ShardsConfig::default() },
        lease: LEASE,
        idle: None,
        data: String::new(),
        address: String::new(),
    };
    let (ready, is_ready) = oneshot::channel();
    let control = tokio::spawn(run_control(platform, config, move || ready.send(()).unwrap()));
    is_ready.await.unwrap();
    control
}

/// A signing request for a key that nobody has seen.
pub(super) fn fresh_request() -> Vec<u8> {
    request(&new_key().unwrap()).unwrap()
}
