//! Two control processes that share the journals of one store, each leading some of its shards: a
//! call about any is answered at both doors.

use super::{AGENT, finish, plan, rest, take};
use crate::client::{Client, ClientError};
use crate::control::{
    ControlConfig, Directory, Ending, HopError, Hops, Neighbours, OpenShard, OpenStore, Outside,
    attend,
};
use crate::logs::MemoryLogs;
use crate::network::{ConnectError, Connector, Listener, Principal, Routes, SharedConnector};
use crate::network::{Stream, Who};
use crate::node::system::{SeededChance, SystemClock};
use crate::objects::ObjectBlobs;
use crate::replica::{Alone, Shards, ShardsConfig, Standing};
use crate::rpc::agent_link::AgentLink;
use crate::rpc::api::{ApiError, ListRuns, LogEnd, Why};
use crate::rpc::peer_link::PeerLinks;
use crate::rpc::service::ClientCallsRequest;
use crate::rpc::vouched::{Vouched, VouchedWho};
use crate::store::{Folder, Threads};
use crate::wire::frame::MAX_BLOB_PART;
use crate::wire::hello::{Build, Hello, HelloError, Refused, Role, introduce};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use otto_actors::ports::control::{Bid, Control, LinkError};
use otto_actors::ports::journal::{Journal, JournalError, SharedJournal};
use otto_actors::ports::sabotage::NoSabotage;
use otto_core::capability::Capabilities;
use otto_core::cluster::state::Holder;
use otto_core::ids::{
    AgentId, CommandId, Digest, KeyId, NodeId, ProjectId, RunId, ShardId, TokenHash,
};
use otto_core::journal::{EntityId, EntityKind, Proposal, StoredHead, Verdict};
use otto_core::lease::LEASE;
use otto_core::run::outcome::Outcome;
use otto_core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::duplex;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How many shards there are; each node leads one.
const SHARDS: u16 = 2;

type Guest = (Stream, Principal);

/// The door of one control process.
#[derive(Debug)]
struct Door {
    guests: mpsc::UnboundedSender<Guest>,
    arrivals: Mutex<mpsc::UnboundedReceiver<Guest>>,
}

impl Door {
    fn new() -> Arc<Self> {
        let (guests, arrivals) = mpsc::unbounded_channel();
        Arc::new(Self { guests, arrivals: Mutex::new(arrivals) })
    }
}

#[async_trait]
impl Listener for Door {
    async fn accept(&self) -> io::Result<Guest> {
        let arrival = self.arrivals.lock().await.recv().await;
        arrival.ok_or_else(|| io::Error::other("nobody is left"))
    }
}

/// A way to a door for somebody.
#[derive(Debug)]
struct Path {
    door: Arc<Door>,
    who: Principal,
}

#[async_trait]
impl Connector for Path {
    async fn connect(&self) -> Result<Stream, ConnectError> {
        let (ours, theirs) = duplex(1 << 16);
        let sent = self.door.guests.send((Box::pin(theirs), self.who.clone()));
        sent.map_err(|_| io::Error::other("nobody listens any more"))?;
        Ok(Box::pin(ours))
    }
}

/// The ways of one node to all.
#[derive(Debug)]
struct Ways {
    doors: Vec<Arc<Door>>,
    node: NodeId,
}

impl Routes for Ways {
    fn to(&self, address: &str) -> SharedConnector {
        let who = Principal { name: "a node".to_owned(), who: Who::Node(self.node), key: None };
        Arc::new(Path { door: Arc::clone(&self.doors[address.parse::<usize>().unwrap()]), who })
    }
}

/// A journal that takes nothing in while it is held.
#[derive(Debug)]
struct Held {
    journal: SharedJournal,
    held: watch::Receiver<bool>,
}

#[async_trait]
impl Journal for Held {
    async fn propose(&self, proposal: Proposal) -> Result<Verdict, JournalError> {
        self.held.clone().wait_for(|held| !held).await.unwrap();
        self.journal.propose(proposal).await
    }

    async fn confirm(&self) -> Result<(), JournalError> {
        self.journal.confirm().await
    }

    async fn entries(&self, entity: EntityId, after: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        self.journal.entries(entity, after).await
    }

    async fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, JournalError> {
        self.journal.head(entity).await
    }

    async fn heads(
        &self,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, StoredHead)>, JournalError> {
        self.journal.heads(kind, before, limit).await
    }

    async fn due(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, EntityId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EntityId)>, JournalError> {
        self.journal.due(until, after, limit).await
    }
}

struct Town {
    /// Whether the journals take nothing in.
    held: watch::Sender<bool>,
    doors: Vec<Arc<Door>>,
    /// What each shard does on each node.
    standings: Vec<Vec<watch::Sender<Standing>>>,
    terms: u64,
    _folder: tempfile::TempDir,
    shards: Shards,
    controls: Vec<JoinHandle<Result<Ending, Refused>>>,
}

impl Town {
    /// Two nodes: the first leads the first shard, the second the second.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Box::new(Folder::lock(folder.path()).unwrap());
        let config = ShardsConfig { shards: SHARDS, ..ShardsConfig::default() };
        let shards = Shards::open(disk, &Threads, config, Arc::new(Alone)).await.unwrap();
        for shard in (0..SHARDS).map(ShardId) {
            shards.ready(shard).await.unwrap();
        }
        let mut town = Self {
            held: watch::Sender::new(false),
            doors: vec![Door::new(), Door::new()],
            standings: Vec::new(),
            terms: 0,
            _folder: folder,
            shards,
            controls: Vec::new(),
        };
        for node in 0..2 {
            town.start(node, config).await;
        }
        town.elect(ShardId(0), 0);
        town.elect(ShardId(1), 1);
        town
    }

    async fn start(&mut self, node: usize, config: ShardsConfig) {
        let held =
            |journal| Arc::new(Held { journal, held: self.held.subscribe() }) as SharedJournal;
        let mut open = OpenStore::of(&self.shards, held);
        let nobody = Standing::Following { leader: None };
        let standings: Vec<_> = (0..SHARDS).map(|_| watch::Sender::new(nobody)).collect();
        let script = |(shard, standing): (OpenShard, &watch::Sender<Standing>)| OpenShard {
            standing: standing.subscribe(),
            ..shard
        };
        open.shards = open.shards.into_iter().zip(&standings).map(script).collect();
        let name = NodeId(node as u64);
        let nodes = (0..2).map(|node| (NodeId(node), node.to_string())).collect();
        let (_, directory) = watch::channel(Directory { version: 1, nodes });
        let ways = Ways { doors: self.doors.clone(), node: name };
        let hops = Arc::new(PeerLinks::new(Arc::new(ways), Build::default()));
        let outside = Outside {
            listener: Arc::clone(&self.doors[node]) as _,
            clock: Arc::new(SystemClock::new()),
            chance: Arc::new(SeededChance::new(1)),
            blobs: Arc::new(ObjectBlobs::in_memory()),
            logs: Arc::new(MemoryLogs::default()),
            sabotage: Arc::new(NoSabotage),
            membership: None,
            neighbours: Some(Neighbours { node: name, directory, hops }),
        };
        let config = ControlConfig {
            build: Build::default(),
            node_build: Build::default(),
            shards: config,
            lease: LEASE,
            idle: None,
            data: String::new(),
            address: String::new(),
        };
        let (ready, is_ready) = oneshot::channel();
        let control = attend(open, outside, config, move || ready.send(()).unwrap());
        self.controls.push(tokio::spawn(control));
        self.standings.push(standings);
        is_ready.await.unwrap();
    }

    /// A shard has this leader from now on.
    fn elect(&mut self, shard: ShardId, leader: usize) {
        self.terms += 1;
        let place = usize::from(shard.0);
        let following = Standing::Following { leader: Some(NodeId(leader as u64)) };
        for (node, standings) in self.standings.iter().enumerate() {
            let serving = Standing::Serving { term: self.terms };
            standings[place].send_replace(if node == leader { serving } else { following });
        }
    }

    fn client(&self, node: usize, name: &str) -> Client {
        let door = Arc::clone(&self.doors[node]);
        let path = Path { door, who: Principal::owner(name) };
        Client::new(Arc::new(path), Build::default())
    }

    fn agent(&self, node: usize) -> AgentLink {
        let door = Arc::clone(&self.doors[node]);
        let path = Path { door, who: Principal::owner("an agent") };
        AgentLink::new(Arc::new(path), Build::default())
    }
}

/// A project that belongs to a shard.
fn project(shard: ShardId) -> String {
    let names = (0..).map(|n| format!("project {n}"));
    let of_shard = |name: &String| ProjectId::of(name).home(SHARDS) == shard;
    names.into_iter().find(of_shard).unwrap()
}

async fn listed(client: &Client) -> BTreeSet<RunId> {
    let all = ListRuns { project: None, before: None, limit: 50 };
    client.runs(all).await.unwrap().into_iter().map(|listed| listed.run).collect()
}

#[tokio::test]
async fn a_call_about_any_shard_is_answered_at_both_doors() {
    let town = Town::new().await;
    let (ann, bob) = (town.client(0, "ann"), town.client(1, "bob"));
    let plan = plan(10);
    let one = ann.submit_plan(&project(ShardId(0)), "k", &plan, None).await.unwrap().run;
    let snapshot = Some(ann.put_bytes(b"files").await.unwrap());
    let two = ann.submit_plan(&project(ShardId(1)), "k", &plan, snapshot).await.unwrap().run;
    let again = bob.submit_plan(&project(ShardId(1)), "k", &plan, None).await.unwrap();
    assert_eq!((again.run, again.repeated), (two, true));
    for client in [&ann, &bob] {
        assert_eq!(listed(client).await, BTreeSet::from([one, two]));
        assert_eq!(client.run(two).await.unwrap().summary.by, "ann", "the caller's name travels");
        assert_eq!(client.plan(plan.hash()).await.unwrap(), plan);
        let reasons = client.why(Why { run: two, stage: None }).await.unwrap();
        assert!(reasons[0].text.contains("waits for an agent"), "{reasons:?}");
    }
    let agent = town.agent(1);
    let assignment = take(&agent).await;
    assert_eq!(assignment.lease.run, two);
    let (followed, ()) =
        tokio::join!(rest(&ann, two), finish(&agent, &assignment, Outcome::Success));
    assert_eq!(followed, rest(&bob, two).await);
    ann.cancel(one, CommandId([1; 16]), None).await.unwrap();
    let cancelled = bob.cancel(one, CommandId([2; 16]), None).await;
    assert!(matches!(cancelled, Err(ClientError::Api(ApiError::Refused(_)))), "{cancelled:?}");
}

#[tokio::test]
async fn a_node_that_is_asked_for_too_much_says_when_to_come_back_through_another_one() {
    let town = Town::new().await;
    town.held.send_replace(true);
    let (project, plan) = (project(ShardId(1)), plan(400_000));
    // More bytes than may wait, over so many connections that none of them is full.
    let clients: Vec<Client> = (0..4).map(|_| town.client(0, "ann")).collect();
    let submit = |number: usize| {
        let client = clients[number % clients.len()].clone().patience(Duration::ZERO);
        let (project, plan) = (&project, &plan);
        async move { client.submit_plan(project, &format!("key {number}"), plan, None).await }
    };
    let mut submitted: FuturesUnordered<_> = (0..200).map(submit).collect();
    let busy = loop {
        match submitted.next().await.unwrap() {
            Err(ClientError::Api(busy @ ApiError::Busy { .. })) => break busy,
            // A slow machine takes longer over so many bytes than a call may.
            Err(ClientError::Unreachable { .. }) => {}
            other => panic!("nothing else can be answered: {other:?}"),
        }
    };
    let told = "take more now: too much waits; try again in 1 s";
    assert_eq!(busy.to_string(), told);
    town.held.send_replace(false);
    let mut taken = 0;
    while let Some(answer) = submitted.next().await {
        match answer {
            Ok(submitted) => taken += u32::from(!submitted.repeated),
            Err(ClientError::Api(ApiError::Busy { .. }) | ClientError::Unreachable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(taken > 0, "what waited is taken in");
    let (patient, key) = (town.client(0, "bob"), "one more");
    assert!(!patient.submit_plan(&project, key, &plan, None).await.unwrap().repeated);
}

#[tokio::test]
async fn a_follow_goes_on_where_leadership_went() {
    let mut town = Town::new().await;
    let ann = town.client(0, "ann");
    let run = ann.submit_plan(&project(ShardId(0)), "k", &plan(10), None).await.unwrap().run;
    let following = tokio::spawn({
        let client = ann.clone();
        async move { rest(&client, run).await }
    });
    let assignment = take(&town.agent(0)).await;
    town.elect(ShardId(0), 1);
    let refused = loop {
        // The first node learns it in a moment.
        match town.agent(0).renew(AGENT, vec![assignment.lease]).await {
            Ok(ended) => assert_eq!(ended, []),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, LinkError::NotHere { shard: ShardId(0) }), "{refused:?}");
    let next = town.agent(1);
    while next.renew(AGENT, vec![assignment.lease]).await != Ok(Vec::new()) {}
    finish(&next, &assignment, Outcome::Success).await;
    assert_eq!(following.await.unwrap(), rest(&town.client(1, "bob"), run).await);
}

#[tokio::test]
async fn what_was_put_at_one_node_is_handed_out_by_all() {
    let town = Town::new().await;
    let (ann, bob) = (town.client(0, "ann"), town.client(1, "bob"));
    let (files, others) = (b"files".to_vec(), vec![7; MAX_BLOB_PART * 2 + 5]);
    let agent = town.agent(1);
    for (key, bytes) in [("files", files), ("others", others)] {
        let digest = ann.put_bytes(&bytes).await.unwrap();
        let submitted = bob.submit_plan(&project(ShardId(1)), key, &plan(10), Some(digest)).await;
        submitted.unwrap();
        let assignment = take(&agent).await;
        let mut read = Vec::new();
        loop {
            let (lease, offset) = (assignment.lease, read.len() as u64);
            let part = agent.blob(AGENT, lease, digest, offset, 1 << 19).await.unwrap();
            if part.is_empty() {
                break;
            }
            read.extend(part);
        }
        assert!(read == bytes, "an agent reads the snapshot where its run is led");
        let secret = ann.put_bytes(b"of somebody else").await.unwrap();
        let refused = agent.blob(AGENT, assignment.lease, secret, 0, 9).await;
        assert!(matches!(refused, Err(LinkError::Refused(_))), "no part of its run: {refused:?}");
        finish(&agent, &assignment, Outcome::Success).await;
        let over = agent.blob(AGENT, assignment.lease, digest, 0, 9).await;
        assert!(matches!(over, Err(LinkError::Refused(_))), "under no lease: {over:?}");
    }
    let nowhere = Some(Digest([9; 32]));
    let refused = ann.submit_plan(&project(ShardId(1)), "other", &plan(10), nowhere).await;
    assert!(matches!(refused, Err(ClientError::Api(ApiError::Invalid(_)))), "{refused:?}");
    town.controls[0].abort();
    let hurried = bob.patience(Duration::from_millis(300));
    let unknown = hurried.submit_plan(&project(ShardId(1)), "later", &plan(10), nowhere).await;
    let is_final = matches!(unknown, Ok(_) | Err(ClientError::Api(ApiError::Invalid(_))));
    assert!(!is_final, "the one that does not answer may have it: {unknown:?}");
}

#[tokio::test]
async fn a_log_is_read_whole_wherever_its_shard_is_led_by_then() {
    let mut town = Town::new().await;
    let ann = town.client(0, "ann");
    let run = ann.submit_plan(&project(ShardId(1)), "k", &plan(10), None).await.unwrap().run;
    let agent = town.agent(1);
    let assignment = take(&agent).await;
    let mut log = ann.log(run, assignment.lease.stage, assignment.lease.attempt, 0);
    assert_eq!(agent.log(AGENT, assignment.lease, 0, b"hel".to_vec()).await, Ok(3));
    assert_eq!(log.next().await.unwrap().unwrap(), b"hel");
    finish(&agent, &assignment, Outcome::Success).await;
    town.elect(ShardId(1), 0);
    assert_eq!(log.next().await.unwrap().unwrap(), b"lo\n");
    assert_eq!(log.next().await.unwrap(), None);
    assert_eq!(log.end(), Some(LogEnd::Whole));
}

#[tokio::test]
async fn a_sealed_log_outlives_the_node_that_took_it() {
    let mut town = Town::new().await;
    let ann = town.client(0, "ann");
    let run = ann.submit_plan(&project(ShardId(1)), "k", &plan(10), None).await.unwrap().run;
    let agent = town.agent(1);
    let assignment = take(&agent).await;
    finish(&agent, &assignment, Outcome::Success).await;
    town.controls[1].abort();
    town.elect(ShardId(1), 0);
    let mut log = ann.log(run, assignment.lease.stage, assignment.lease.attempt, 0);
    assert_eq!(log.next().await.unwrap().unwrap(), b"hello\n");
    assert_eq!(log.next().await.unwrap(), None);
    assert_eq!(log.end(), Some(LogEnd::Whole));
}

#[tokio::test]
async fn nobody_is_answered_elsewhere_whom_that_node_does_not_know() {
    let town = Town::new().await;
    let ways = Ways { doors: town.doors.clone(), node: NodeId(0) };
    let hops = PeerLinks::new(Arc::new(ways), Build::default());
    let call = |who| {
        let caller = Vouched { name: "root".to_owned(), who };
        let list = ListRuns { project: None, before: None, limit: 9 };
        hops.client("1", caller, ClientCallsRequest::Runs { list })
    };
    assert!(call(VouchedWho::Owner).await.is_ok());
    let unknown = call(VouchedWho::Person(TokenHash([1; 32]))).await;
    assert!(matches!(unknown, Err(HopError::Later(_))), "{unknown:?}");
    let agent = Principal::certified(Holder::Agent(AgentId([7; 16])), KeyId([1; 32]));
    let path = Path { door: Arc::clone(&town.doors[1]), who: agent };
    let ours = Hello::new(Role::Control, Build::default());
    let refused = introduce(path.connect().await.unwrap(), &ours).await;
    assert!(matches!(refused, Err(HelloError::Refused(_))), "an agent vouches for nobody");
}

#[tokio::test]
async fn agents_are_told_who_leads_what_as_soon_as_it_changes() {
    let mut town = Town::new().await;
    let agent = town.agent(0);
    let bid = Bid {
        agent: AGENT,
        name: "a1".to_owned(),
        capabilities: Capabilities::default(),
        free_slots: 1,
        holds: Vec::new(),
        cost: 0,
        warm: BTreeSet::new(),
    };
    let mut leads = Vec::new();
    let mut known = otto_actors::ports::routes::Routes::default();
    for shards in [1, 2, 1] {
        let told = async {
            loop {
                let routes = agent.bid(bid.clone()).await.unwrap().routes;
                known.learn(&routes);
                if routes.leaders.len() == shards {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(3), told).await.expect("it need not wait");
        let here = known.leaders.iter().filter(|(_, leader)| leader.node == NodeId(0));
        leads.push(here.map(|(shard, _)| shard.0).collect::<Vec<_>>());
        let next = usize::from(shards != 1);
        town.elect(ShardId(1), next);
    }
    assert_eq!(leads, [vec![0], vec![0, 1], vec![0, 1]], "what it lost, others tell");
    let addresses: BTreeMap<NodeId, String> = known.nodes;
    assert_eq!(addresses.len(), 2);
}
