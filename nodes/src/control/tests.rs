//! The whole control process over an in-memory network, with a client and an agent at its doors.

mod neighbours;

use super::{ControlConfig, Ending, Outside, Platform, run_control};
use crate::client::{Client, ClientError};
use crate::logs::MemoryLogs;
use crate::network::{ConnectError, Connector, Listener, Principal, Stream};
use crate::node::system::{SeededChance, SystemClock};
use crate::objects::ObjectBlobs;
use crate::replica::{Alone, ShardsConfig};
use crate::rpc::agent_link::AgentLink;
use crate::rpc::api::{ApiError, ListRuns, ListStages, LogEnd, ReadBlob, Stop, Stopped, Why};
use crate::rpc::api::{Retry, StagePhase, Successor};
use crate::store::{Folder, Threads};
use crate::wire::frame::{MAX_BLOB_PART, MAX_REQUEST};
use crate::wire::hello::{Build, Refused};
use async_trait::async_trait;
use otto_actors::ports::control::{
    Assignment, Bid, BlobPart, Control, LinkError, Order, Report, ReportAnswer,
};
use otto_actors::ports::sabotage::NoSabotage;
use otto_core::capability::{Capabilities, Need};
use otto_core::gate::Gates;
use otto_core::ids::{AgentId, AgentRef, Attempt, CommandId, Digest, RunId, StageId};
use otto_core::lease::LEASE;
use otto_core::plan::{DEFAULT_QUEUE, FORMAT, Origin, Plan, Revision, Stage, StepCall, Work};
use otto_core::run::event::Event;
use otto_core::run::outcome::{AttemptEnd, Outcome};
use otto_core::step::{Entrypoint, Library, LibrarySource, Signature};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

/// A place that connections are made to; who listens there may change.
#[derive(Debug)]
struct Street {
    guests: mpsc::UnboundedSender<Stream>,
    arrivals: Mutex<mpsc::UnboundedReceiver<Stream>>,
}

impl Street {
    fn new() -> Arc<Self> {
        let (guests, arrivals) = mpsc::unbounded_channel();
        Arc::new(Self { guests, arrivals: Mutex::new(arrivals) })
    }
}

#[async_trait]
impl Listener for Street {
    async fn accept(&self) -> io::Result<(Stream, Principal)> {
        let arrival = self.arrivals.lock().await.recv().await;
        let stream = arrival.ok_or_else(|| io::Error::other("nobody is left"))?;
        Ok((stream, Principal::owner("ann")))
    }
}

#[async_trait]
impl Connector for Street {
    async fn connect(&self) -> Result<Stream, ConnectError> {
        let (ours, theirs) = duplex(1 << 16);
        let sent = self.guests.send(Box::pin(theirs));
        sent.map_err(|_| io::Error::other("nobody listens any more"))?;
        Ok(Box::pin(ours))
    }
}

/// A control process, and everything outside that outlives it.
struct World {
    folder: tempfile::TempDir,
    street: Arc<Street>,
    outside: Outside,
    control: JoinHandle<Result<Ending, Refused>>,
}

fn start(folder: &Path, outside: &Outside, idle: Option<Duration>) -> Starting {
    let platform = Platform {
        disk: Box::new(Folder::lock(folder).unwrap()),
        executor: Box::new(Threads),
        peers: Arc::new(Alone),
        outside: outside.clone(),
    };
    let config = ControlConfig {
        build: Build { version: "0.1.0".to_owned(), made_ns: 1, size: 1 },
        node_build: Build::default(),
        shards: ShardsConfig { shards: 2, ..ShardsConfig::default() },
        lease: LEASE,
        idle,
        data: String::new(),
        address: String::new(),
    };
    let (ready, is_ready) = oneshot::channel();
    let control = tokio::spawn(run_control(platform, config, move || {
        ready.send(()).unwrap();
    }));
    (control, is_ready)
}

type Starting = (JoinHandle<Result<Ending, Refused>>, oneshot::Receiver<()>);

impl World {
    async fn new(idle: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let street = Street::new();
        let outside = Outside {
            listener: street.clone(),
            clock: Arc::new(SystemClock::new()),
            chance: Arc::new(SeededChance::new(1)),
            blobs: Arc::new(ObjectBlobs::in_memory()),
            logs: Arc::new(MemoryLogs::default()),
            sabotage: Arc::new(NoSabotage),
            membership: None,
            neighbours: None,
        };
        let (control, ready) = start(folder.path(), &outside, idle);
        ready.await.unwrap();
        Self { folder, street, outside, control }
    }

    /// Ends the process as if it was killed, and starts another one on what it left.
    async fn restart(&mut self) {
        self.control.abort();
        (&mut self.control).await.unwrap_err();
        // The writers' threads let go of the files when they notice.
        let (control, ready) = loop {
            if Folder::lock(self.folder.path()).is_ok() {
                break start(self.folder.path(), &self.outside, None);
            }
            tokio::task::yield_now().await;
        };
        self.control = control;
        ready.await.unwrap();
    }

    fn client(&self) -> Client {
        Client::new(self.street.clone(), Build::default())
    }

    fn agent(&self) -> AgentLink {
        AgentLink::new(self.street.clone(), Build::default())
    }
}

fn stage(name: &str, parent: Option<StageId>, work: Work) -> Stage {
    Stage {
        name: name.to_owned(),
        path: name.to_owned(),
        parent,
        work,
        needs: Vec::new(),
        when: None,
        gates: Gates::default(),
        runtime: Need::default(),
        settings: BTreeMap::new(),
        checkout: true,
        finally: Vec::new(),
        timeout: None,
        queue: DEFAULT_QUEUE,
        retry: None,
        outputs: BTreeMap::new(),
        environment: None,
        credentials: BTreeSet::new(),
        caches: BTreeMap::new(),
        rollback: Vec::new(),
        notify: BTreeMap::new(),
    }
}

/// A plan with one stage of one step, whose description makes it long.
pub(crate) fn plan(length: usize) -> Plan {
    let call = StepCall {
        symbol: "sh".to_owned(),
        library: "otto".to_owned(),
        arguments: BTreeMap::new(),
        folder: String::new(),
        settings: BTreeMap::new(),
        timeout: None,
    };
    let signature = Signature {
        symbol: "sh".to_owned(),
        description: "x".repeat(length),
        parameters: Vec::new(),
        entrypoint: Entrypoint::Arguments(Vec::new()),
        architectures: BTreeSet::new(),
        cache: false,
        credentials: BTreeSet::new(),
    };
    let library = Library {
        name: "otto".to_owned(),
        source: LibrarySource::Builtin,
        digest: Digest([0; 32]),
        configuration: Vec::new(),
        steps: BTreeMap::from([("sh".to_owned(), signature)]),
    };
    Plan {
        format: FORMAT,
        pipeline: "default".to_owned(),
        origin: Origin::File("Ottofile".to_owned()),
        revision: Revision::default(),
        parameters: BTreeMap::new(),
        environments: BTreeMap::new(),
        libraries: BTreeMap::from([("otto".to_owned(), library)]),
        stages: vec![
            stage("", None, Work::Sequence(vec![StageId(1)])),
            stage("Build", Some(StageId::ROOT), Work::Steps(vec![call])),
        ],
    }
}

const AGENT: AgentRef = AgentRef { agent: AgentId([7; 16]), incarnation: 1 };
const BUILD: StageId = StageId(1);

/// Bids until there is something to start.
async fn take(agent: &AgentLink) -> Assignment {
    loop {
        let bid = Bid {
            agent: AGENT,
            name: "a1".to_owned(),
            capabilities: Capabilities::default(),
            free_slots: 1,
            holds: Vec::new(),
            cost: 0,
            warm: BTreeSet::new(),
        };
        for order in agent.bid(bid).await.unwrap().orders {
            if let Order::Start(assignment) = order {
                return *assignment;
            }
        }
    }
}

/// Delivers a log and the end of an attempt.
async fn finish(agent: &AgentLink, assignment: &Assignment, outcome: Outcome) {
    let lease = assignment.lease;
    assert_eq!(agent.log(AGENT, lease, 0, b"hello\n".to_vec()).await, Ok(6));
    assert_eq!(agent.seal(AGENT, lease, 6).await, Ok(true));
    let end = AttemptEnd {
        outcome,
        cause: String::new(),
        captured: BTreeMap::new(),
        artifacts: BTreeMap::new(),
        log_bytes: Some(6),
        ends_run: false,
    };
    let reports = vec![Report::Finished { lease, facts: Vec::new(), end }];
    assert_eq!(agent.report(AGENT, reports).await, Ok(vec![ReportAnswer::Taken]));
}

/// All that happened from an entry on, to the end.
async fn rest(client: &Client, run: RunId) -> Vec<Event> {
    let mut follow = client.follow(run, 0);
    let mut events = Vec::new();
    while let Some(entries) = follow.next().await.unwrap() {
        events.extend(entries.into_iter().flat_map(|entry| entry.events));
    }
    events
}

#[tokio::test]
async fn a_run_goes_from_submission_to_the_end_of_its_log() {
    let world = World::new(None).await;
    let (client, agent) = (world.client(), world.agent());
    for length in [10, 2 * MAX_REQUEST] {
        let plan = plan(length);
        let project = format!("shop {length}");
        let snapshot = Some(client.put_bytes(b"files").await.unwrap());
        let first = client.submit_plan(&project, "key", &plan, snapshot).await.unwrap();
        let again = client.submit_plan(&project, "key", &plan, snapshot).await.unwrap();
        assert_eq!((first.run, true), (again.run, again.repeated));
        let assignment = take(&agent).await;
        assert_eq!(assignment.lease.run, first.run);
        let mut log = client.log(first.run, BUILD, Attempt::FIRST, 0);
        let (read, ()) = tokio::join!(log.next(), finish(&agent, &assignment, Outcome::Success));
        assert_eq!(read.unwrap().unwrap(), b"hello\n");
        assert_eq!(log.next().await.unwrap(), None);
        assert_eq!(log.end(), Some(LogEnd::Whole));
        let events = rest(&client, first.run).await;
        assert!(matches!(events.last(), Some(Event::RunRetired { .. })), "{events:?}");
        let listed = client.run(first.run).await.unwrap();
        assert_eq!(listed.summary.outcome, Some(Outcome::Success));
        assert_eq!(listed.summary.by, "ann");
        let stages = ListStages { run: first.run, from: 1, limit: 9 };
        let stages = client.stages(stages).await.unwrap();
        assert_eq!((stages.len(), stages[0].phase), (1, StagePhase::Settled));
        assert_eq!(client.plan(plan.hash()).await.unwrap(), plan);
    }
    let all = ListRuns { project: None, before: None, limit: 50 };
    assert_eq!(client.runs(all).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_follow_goes_through_a_restart_without_gap_or_double() {
    let mut world = World::new(None).await;
    let (client, agent) = (world.client(), world.agent());
    let run = client.submit_plan("shop", "key", &plan(10), None).await.unwrap().run;
    let followed = tokio::spawn({
        let client = client.clone();
        async move { rest(&client, run).await }
    });
    let assignment = take(&agent).await;
    world.restart().await;
    let held = world.agent();
    assert_eq!(held.renew(AGENT, vec![assignment.lease]).await, Ok(Vec::new()));
    world.restart().await;
    finish(&world.agent(), &assignment, Outcome::Success).await;
    let followed = followed.await.unwrap();
    assert_eq!(followed, rest(&client, run).await);
    let submitted = followed.iter().filter(|event| matches!(event, Event::Submitted { .. }));
    assert_eq!(submitted.count(), 1);
}

#[tokio::test]
async fn a_failed_run_is_retried_and_a_live_one_cancelled() {
    let world = World::new(None).await;
    let (client, agent) = (world.client(), world.agent());
    let run = client.submit_plan("shop", "key", &plan(10), None).await.unwrap().run;
    let retry = |key: &str| Retry { run, key: key.to_owned(), everything: false };
    let refused = client.retry(retry("early")).await;
    assert!(matches!(refused, Err(ClientError::Api(ApiError::Refused(_)))), "{refused:?}");
    let reasons = client.why(Why { run, stage: None }).await.unwrap();
    assert!(reasons[0].text.contains("waits for an agent"), "{reasons:?}");
    finish(&agent, &take(&agent).await, Outcome::Failed).await;
    rest(&client, run).await;
    let second = client.retry(retry("k2")).await.unwrap().run;
    assert_eq!(second.number, run.number + 1);
    let cancel = || client.cancel(second, CommandId([1; 16]), Some("enough".to_owned()));
    cancel().await.unwrap();
    cancel().await.unwrap();
    rest(&client, second).await;
    assert_eq!(client.run(second).await.unwrap().summary.outcome, Some(Outcome::Cancelled));
    let later = client.cancel(second, CommandId([2; 16]), None).await;
    assert!(matches!(later, Err(ClientError::Api(ApiError::Refused(_)))), "{later:?}");
    let missing = client.run(RunId { number: 99, ..run }).await;
    assert!(matches!(missing, Err(ClientError::Api(ApiError::NotFound(_)))), "{missing:?}");
}

#[tokio::test]
async fn garbage_closes_its_own_connection_only() {
    let world = World::new(None).await;
    let client = world.client();
    client.status().await.unwrap();
    let hello = crate::wire::hello::Hello::new(crate::wire::hello::Role::Client, Build::default());
    for garbage in [
        u32::try_from(MAX_REQUEST + 1).unwrap().to_be_bytes().to_vec(),
        vec![0, 0, 0, 1, 0xc1],
        [&[0, 0, 0, 200][..], &[0x91; 200]].concat(),
    ] {
        let (mut ours, theirs) = duplex(1 << 16);
        world.street.guests.send(Box::pin(theirs)).unwrap();
        let hello = crate::wire::codec::encode(&hello).unwrap();
        ours.write_u32(u32::try_from(hello.len()).unwrap()).await.unwrap();
        ours.write_all(&hello).await.unwrap();
        let length = ours.read_u32().await.unwrap();
        let mut welcome = vec![0; usize::try_from(length).unwrap()];
        ours.read_exact(&mut welcome).await.unwrap();
        ours.write_all(&garbage).await.unwrap();
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }
    client.status().await.unwrap();
    let huge = BlobPart {
        digest: Digest([1; 32]),
        offset: 0,
        bytes: vec![0; MAX_BLOB_PART + 1],
        last: false,
    };
    let lease = otto_core::lease::LeaseId {
        run: RunId { project: otto_core::ids::ProjectId(1), number: 1 },
        stage: BUILD,
        attempt: Attempt::FIRST,
        epoch: otto_core::ids::Epoch::default(),
    };
    let kept = world.agent().keep(AGENT, lease, huge).await;
    assert!(matches!(kept, Err(LinkError::Refused(_))), "{kept:?}");
    let read = ReadBlob { digest: Digest([9; 32]), offset: 0, limit: 1 };
    assert!(client.blob(read).await.is_err());
}

#[tokio::test]
async fn a_node_leaves_when_it_is_idle_or_asked_to() {
    let world = World::new(Some(Duration::from_millis(10))).await;
    assert_eq!(world.control.await.unwrap(), Ok(Ending::Leave));

    let world = World::new(None).await;
    let client = world.client();
    client.submit_plan("shop", "key", &plan(10), None).await.unwrap();
    let pid = client.connect().await.unwrap().pid;
    let stop = |busy_too| Stop { pid, busy_too, successor: None };
    assert_eq!(client.stop(stop(false)).await.unwrap(), Stopped::Stays);
    assert_eq!(client.stop(Stop { pid: 0, ..stop(true) }).await.unwrap(), Stopped::Leaves);
    client.status().await.unwrap();
    let successor = Some(Successor { path: "/bin/otto".to_owned(), build: Build::default() });
    let makes_way = client.stop(Stop { successor, ..stop(true) }).await.unwrap();
    assert_eq!(makes_way, Stopped::Stays, "it is run as a service");
    assert_eq!(client.stop(stop(true)).await.unwrap(), Stopped::Leaves);
    assert_eq!(world.control.await.unwrap(), Ok(Ending::Leave));
}
