//! The bytes of every frame, as each release wrote them: what is here must be read for ever.
//!
//! A line of `golden/RELEASE.txt` is a name and a frame in hexadecimal. The file of this release is
//! written anew with `OTTO_BLESS=1`; those of earlier releases are never touched. Every line of
//! every file is read by this build.

mod answers;
mod peers;

use super::api::{
    ApiError, Ask, ClientWish, Follow, Followed, ListRuns, ListStages, LogEnd, LogMeasure, LogPart,
    ReadBlob, ReadLog, Reason, Retry, StagePhase, StageView, Stop, Stopped, Submit, Submitted,
    Successor, Why,
};
use super::backup::{BackUp, BackedUp, Content, Cursor, Picture};
use super::cluster::{
    ChangeMember, ClusterAgent, ClusterView, Live, NewToken, NodeView, TokenPurpose, TokenView,
};
use super::join::{ClusterFacts, Enrol, Hidden, Join, JoinError, Joined, NodeAddresses, Renew};
use super::porter::ALLOWED;
use super::service::{
    AgentCallsRequest, AgentCallsResponse, ClientCallsRequest, ClientCallsResponse,
    JoinCallsRequest, JoinCallsResponse,
};
use crate::wire::codec::{AnswererCodec, CallerCodec, decode, encode};
use crate::wire::hello::{Build, Hello, Role};
use bytes::BytesMut;
use otto_actors::ports::control::{
    Bid, BidAnswer, BlobPart, LinkError, Order, Report, ReportAnswer,
};
use otto_actors::ports::routes::{Leader, Routes};
use otto_core::capability::{Capabilities, Version};
use otto_core::cluster::state::{Holder, JoinRole, Levels, Standing, Wanted};
use otto_core::cluster::survival::Survival;
use otto_core::ids::{
    AgentId, AgentRef, Attempt, ClusterId, CommandId, Digest, Epoch, KeyId, NodeId, PlanHash,
    ProjectId, RunId, ShardId, StageId, TokenHash,
};
use otto_core::lease::LeaseId;
use otto_core::run::duty::EndReason;
use otto_core::run::outcome::{AttemptEnd, Outcome, Section, StepChange, StepFact, StepPlace};
use otto_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;
use tarpc::{ClientMessage, Request, RequestName, Response, ServerError};
use tokio_serde::{Deserializer, Serializer};

const RUN: RunId = RunId { project: ProjectId(0x0102_0304_0506_0708), number: 412 };
const STAGE: StageId = StageId(3);
const AGENT: AgentRef = AgentRef { agent: AgentId([7; 16]), incarnation: 2 };
const LEASE: LeaseId = LeaseId {
    run: RUN,
    stage: STAGE,
    attempt: Attempt(1),
    epoch: Epoch { incarnation: 1, counter: 9 },
};

/// Frames by name; each was read back and written again to the same bytes.
#[derive(Default)]
struct Frames(Vec<Frame>);

/// A frame of this build, and what reads such a frame of any build.
struct Frame {
    name: &'static str,
    bytes: Vec<u8>,
    read: fn(&[u8]) -> io::Result<()>,
    /// The method that it asks for, or the kind of answer that it is.
    about: Option<String>,
}

fn read_plain<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<()> {
    decode::<T>(bytes).map(drop)
}

fn read_request<Req: DeserializeOwned>(bytes: &[u8]) -> io::Result<ClientMessage<Req>> {
    let mut answerer = AnswererCodec::<Req, ()>::default();
    Pin::new(&mut answerer).deserialize(&BytesMut::from(bytes))
}

fn read_response<Resp: DeserializeOwned>(bytes: &[u8]) -> io::Result<Response<Resp>> {
    let mut caller = CallerCodec::<(), Resp>::default();
    Pin::new(&mut caller).deserialize(&BytesMut::from(bytes))
}

impl Frames {
    fn plain<T: Serialize + DeserializeOwned>(&mut self, name: &'static str, value: &T) {
        let bytes = encode(value).unwrap();
        let again: T = decode(&bytes).unwrap();
        assert_eq!(encode(&again).unwrap(), bytes, "{name}");
        self.0.push(Frame { name, bytes, read: read_plain::<T>, about: None });
    }

    /// A request, in tarpc's envelope, with a deadline that is over: the time left is zero.
    fn request<Req>(&mut self, name: &'static str, message: Req)
    where
        Req: Serialize + DeserializeOwned + RequestName,
    {
        let about = Some(message.name().to_owned());
        let mut context = tarpc::context::current();
        context.deadline -= Duration::from_mins(1);
        let message = ClientMessage::Request(Request { context, id: 5, message });
        let mut caller = CallerCodec::<Req, ()>::default();
        let bytes = Pin::new(&mut caller).serialize(&message).unwrap().to_vec();
        let read = read_request::<Req>(&bytes).unwrap();
        let ClientMessage::Request(read) = read else { panic!("{name} is no request") };
        let (ClientMessage::Request(sent), id) = (message, read.id) else { unreachable!() };
        assert_eq!(encode(&read.message).unwrap(), encode(&sent.message).unwrap(), "{name}");
        assert_eq!(id, 5, "{name}");
        let read = |bytes: &[u8]| read_request::<Req>(bytes).map(drop);
        self.0.push(Frame { name, bytes, read, about });
    }

    fn response<Resp>(&mut self, name: &'static str, message: Result<Resp, ServerError>)
    where
        Resp: Serialize + DeserializeOwned + fmt::Debug,
    {
        let about = message.as_ref().ok().map(|answer| answer_to(answer));
        let mut answerer = AnswererCodec::<(), Resp>::default();
        let response = Response { request_id: 5, message };
        let bytes = Pin::new(&mut answerer).serialize(&response).unwrap().to_vec();
        let read = read_response::<Resp>(&bytes).unwrap();
        assert_eq!(Pin::new(&mut answerer).serialize(&read).unwrap(), bytes, "{name}");
        let read = |bytes: &[u8]| read_response::<Resp>(bytes).map(drop);
        self.0.push(Frame { name, bytes, read, about });
    }
}

/// The method that something answers, as a method is named: `ClientCalls.change_member`.
fn answer_to<Resp: fmt::Debug>(answer: &Resp) -> String {
    let service = std::any::type_name::<Resp>().rsplit("::").next().unwrap_or_default();
    let kind = format!("{answer:?}");
    let kind = kind.split('(').next().unwrap_or_default();
    let words = kind.chars().enumerate().flat_map(|(at, letter)| {
        let parts = (at > 0 && letter.is_ascii_uppercase()).then_some('_');
        parts.into_iter().chain([letter.to_ascii_lowercase()])
    });
    format!("{}.{} answered", service.trim_end_matches("Response"), words.collect::<String>())
}

fn hellos(frames: &mut Frames) {
    let build = Build { version: "0.1.0".to_owned(), made_ns: 1, size: 2 };
    let mut hello = Hello::new(Role::Client, build);
    hello.pid = 77;
    frames.plain("hello", &hello);
    let cancel: ClientMessage<()> =
        ClientMessage::Cancel { trace_context: tarpc::trace::Context::default(), request_id: 5 };
    let mut caller = CallerCodec::<(), ()>::default();
    let bytes = Pin::new(&mut caller).serialize(&cancel).unwrap().to_vec();
    let read = |bytes: &[u8]| read_request::<()>(bytes).map(drop);
    frames.0.push(Frame { name: "cancel", bytes, read, about: None });
    let throttled = ServerError::new(io::ErrorKind::WouldBlock, "throttled".to_owned());
    frames.response::<()>("server error", Err(throttled));
}

fn client_requests(frames: &mut Frames) {
    use ClientCallsRequest as Req;
    let submit = Submit {
        project: "shop".to_owned(),
        key: "k".to_owned(),
        plan: PlanHash([1; 32]),
        plan_bytes: Some(ByteBuf::from(vec![0x80])),
        snapshot: Some(Digest([2; 32])),
    };
    let successor = Successor { path: "/otto".to_owned(), build: Build::default() };
    let cancel = ClientWish::Cancel { reason: Some("wrong branch".to_owned()) };
    let read = ReadLog {
        run: RUN,
        stage: STAGE,
        attempt: Attempt(1),
        offset: 10,
        limit: 100,
        wait_ms: 5000,
        measure: true,
    };
    let part = BlobPart { digest: Digest([2; 32]), offset: 0, bytes: vec![1, 2], last: true };
    let retry = Retry { run: RUN, key: "k".to_owned(), everything: false };
    let list = ListRuns { project: Some("shop".to_owned()), before: Some(RUN), limit: 20 };
    frames.request("client submit", Req::Submit { submit });
    frames.request("client retry", Req::Retry { retry });
    frames.request("client run", Req::Run { run: RUN });
    frames.request("client runs", Req::Runs { list });
    frames.request(
        "client stages",
        Req::Stages { list: ListStages { run: RUN, from: 0, limit: 100 } },
    );
    let follow = Follow { run: RUN, after: 3, wait_ms: 5000 };
    frames.request("client follow", Req::Follow { follow });
    frames.request("client plan", Req::Plan { plan: PlanHash([1; 32]) });
    frames.request("client log", Req::Log { read });
    let ask = Ask { run: RUN, id: CommandId([3; 16]), wish: cancel };
    frames.request("client ask", Req::Ask { ask });
    frames.request("client why", Req::Why { why: Why { run: RUN, stage: Some(STAGE) } });
    frames.request("client agents", Req::Agents {});
    frames.request("client has", Req::Has { digest: Digest([2; 32]) });
    frames.request("client put", Req::Put { part });
    let read = ReadBlob { digest: Digest([2; 32]), offset: 0, limit: 100 };
    frames.request("client get", Req::Get { read });
    frames.request("client status", Req::Status {});
    let stop = Stop { pid: 77, busy_too: false, successor: Some(successor) };
    frames.request("client stop", Req::Stop { stop });
}

fn cluster_frames(frames: &mut Frames) {
    use {ClientCallsRequest as Req, ClientCallsResponse as Resp};
    frames.request("client cluster", Req::Cluster {});
    let change = ChangeMember::Drain(NodeId(2));
    frames.request("client change member", Req::ChangeMember { change });
    frames.request("client tokens", Req::Tokens {});
    let token = TokenHash([4; 32]);
    let purpose = TokenPurpose::Join { role: JoinRole::Agent, uses: 2 };
    let new = NewToken { token, lifetime_ms: 1000, purpose: purpose.clone() };
    frames.request("client create token", Req::CreateToken { new });
    frames.request("client revoke token", Req::RevokeToken { token });
    frames.request("client addresses", Req::Addresses {});
    frames.response("client address list", Ok(Resp::Addresses(Ok(vec!["a:7301".to_owned()]))));
    frames.request("client raise level", Req::RaiseLevel { to: 2 });
    frames.request("client back up", Req::BackUp { ask: BackUp::Begin });
    let cursor = Cursor { shard: 1, head: Some((2, 3)), entry: Some((2, 3, 4)) };
    let part = BackUp::Part { picture: 1, cursor };
    frames.request("client back up part", Req::BackUp { ask: part });
    let content = Content { shard: ShardId::META, term: 1, index: 2 };
    let picture = Picture {
        picture: 1,
        build: Build { version: "0.1.0".to_owned(), made_ns: 1, size: 2 },
        at: Timestamp(5),
        cluster: Some(ClusterId([7; 16])),
        level: 1,
        shards: 8,
        incarnation: 1,
        contents: vec![content],
    };
    frames.response("client picture", Ok(Resp::BackUp(Ok(BackedUp::Begun(picture)))));
    let part = BackedUp::Part { rows: ByteBuf::from(vec![1]), next: Some(cursor) };
    frames.response("client picture part", Ok(Resp::BackUp(Ok(part))));
    let node = NodeView {
        node: NodeId(2),
        name: "machine-2".to_owned(),
        addresses: vec!["10.0.0.2:7301".to_owned()],
        standing: Standing::Voter,
        wanted: Wanted::Leave { emptied: true },
        joined: Timestamp(1),
        certificate_until: Timestamp(2),
        live: Live { reachable: true, leads: 3, lag: 4, silent_ms: 0 },
        levels: Some(Levels { oldest: 1, newest: 2 }),
        release: None,
    };
    let agent = ClusterAgent {
        agent: AGENT.agent,
        name: "a1".to_owned(),
        joined: Timestamp(1),
        certificate_until: Timestamp(2),
    };
    let view = ClusterView {
        cluster: ClusterId([7; 16]),
        authority: KeyId([8; 32]),
        shards: 8,
        level: 1,
        nodes: vec![node],
        agents: vec![agent],
        survival: Survival::of(3, 3),
        shared_store: true,
        recalled_by: None,
    };
    frames.response("client cluster view", Ok(Resp::Cluster(Ok(view))));
    let (by, expires) = ("ada".to_owned(), Timestamp(2));
    let token = TokenView { token, purpose, by, expires, revoked: false };
    frames.response("client token list", Ok(Resp::Tokens(Ok(vec![token]))));
}

fn client_responses(frames: &mut Frames) {
    use ClientCallsResponse as Resp;
    frames
        .response("client submitted", Ok(Resp::Submit(Ok(Submitted { run: RUN, repeated: true }))));
    let refused = ApiError::NotFound("run 7".to_owned());
    frames.response("client refused", Ok(Resp::Run(Err(refused))));
    let followed = Followed { entries: vec![ByteBuf::from(vec![1])], retired: true };
    frames.response("client followed", Ok(Resp::Follow(Ok(followed))));
    let end = Some(LogEnd::Cut { missing_bytes: 3 });
    let measure = Some(LogMeasure { length: 12, lines: Some(3) });
    let part = LogPart { bytes: b"hi".to_vec(), end, measure };
    frames.response("client log part", Ok(Resp::Log(Ok(part))));
    frames.response("client plan bytes", Ok(Resp::Plan(Ok(ByteBuf::from(vec![0x80])))));
    let reason = Reason { stage: STAGE, path: "Build".to_owned(), text: "runs".to_owned() };
    frames.response("client reasons", Ok(Resp::Why(Ok(vec![reason]))));
    let stage = StageView {
        stage: STAGE,
        path: "Build".to_owned(),
        phase: StagePhase::Settled,
        outcome: Some(Outcome::Failed),
        cause: "exit code 1".to_owned(),
        attempt: Some(Attempt(1)),
        opened: Some(Timestamp(1)),
        settled: Some(Timestamp(2)),
    };
    frames.response("client stage views", Ok(Resp::Stages(Ok(vec![stage]))));
    frames.response("client stopped", Ok(Resp::Stop(Ok(Stopped::ControlRestarts))));
}

fn agent_frames(frames: &mut Frames) {
    use {AgentCallsRequest as Req, AgentCallsResponse as Resp};
    let bid = Bid {
        agent: AGENT,
        name: "a1".to_owned(),
        capabilities: Capabilities {
            tools: BTreeMap::from([("git".to_owned(), Some(Version(vec![2, 39])))]),
            absent: BTreeSet::from(["ant".to_owned()]),
            ..Capabilities::default()
        },
        free_slots: 2,
        holds: vec![LEASE],
        cost: 1,
        warm: BTreeSet::from([ProjectId(9)]),
    };
    let fact = StepFact {
        step: StepPlace { section: Section::Finally, index: 1 },
        at: Timestamp(5),
        what: StepChange::Ended {
            outcome: Outcome::Failed,
            detail: "exit code 1".to_owned(),
            log_bytes: None,
        },
    };
    let end = AttemptEnd {
        outcome: Outcome::Failed,
        cause: "exit code 1".to_owned(),
        captured: BTreeMap::new(),
        artifacts: BTreeMap::from([("a".to_owned(), Digest([2; 32]))]),
        log_bytes: Some(7),
        ends_run: false,
    };
    let reports = vec![
        Report::Declined { lease: LEASE },
        Report::Finished { lease: LEASE, facts: vec![fact], end },
    ];
    frames.request("agent bid", Req::Bid { bid });
    frames.request("agent renew", Req::Renew { agent: AGENT, leases: vec![LEASE] });
    frames.request("agent report", Req::Report { agent: AGENT, reports });
    let bytes = ByteBuf::from(b"hi".to_vec());
    frames.request("agent log", Req::Log { agent: AGENT, lease: LEASE, offset: 4, bytes });
    frames.request("agent seal", Req::Seal { agent: AGENT, lease: LEASE, length: 6 });
    let digest = Digest([2; 32]);
    let blob = Req::Blob { agent: AGENT, lease: LEASE, digest, offset: 0, limit: 9 };
    frames.request("agent blob", blob);
    let orders = vec![
        Order::End { lease: LEASE, reason: EndReason::TimedOut },
        Order::Look { tools: vec!["git".to_owned()] },
    ];
    let routes = Routes {
        shards: 2,
        nodes: BTreeMap::from([(NodeId(1), "a:7300".to_owned())]),
        nodes_version: 3,
        leaders: BTreeMap::from([(ShardId(1), Leader { term: 4, node: NodeId(1) })]),
    };
    let alone = BidAnswer { orders, routes: Routes::default() };
    frames.response("agent orders", Ok(Resp::Bid(Ok(alone))));
    let routed = BidAnswer { orders: Vec::new(), routes };
    frames.response("agent routes", Ok(Resp::Bid(Ok(routed))));
    let not_here = LinkError::NotHere { shard: ShardId(1) };
    frames.response("agent not here", Ok(Resp::Seal(Err(not_here))));
    frames.response("agent answers", Ok(Resp::Report(Ok(vec![ReportAnswer::Stale]))));
    let refused = LinkError::Refused("over".to_owned());
    frames.response("agent refused", Ok(Resp::Log(Err(refused))));
}

fn newcomer_frames(frames: &mut Frames) {
    use {JoinCallsRequest as Req, JoinCallsResponse as Resp};
    let request = || ByteBuf::from(vec![0x30, 0]);
    let join = Join {
        secret: Hidden::new(vec![9; 32]),
        role: JoinRole::Control,
        request: request(),
        name: "machine-2".to_owned(),
        addresses: vec!["10.0.0.2:7301".to_owned()],
        levels: Levels { oldest: 1, newest: 2 },
    };
    frames.request("newcomer join", Req::Join { join });
    let enrol = Enrol { request: request(), name: "machine-2".to_owned() };
    frames.request("newcomer enrol", Req::Enrol { enrol });
    frames.request("newcomer renew", Req::Renew { renew: Renew { request: request() } });
    let node = NodeAddresses {
        node: NodeId(1),
        name: "machine-1".to_owned(),
        addresses: vec!["10.0.0.1:7301".to_owned()],
    };
    let facts = ClusterFacts {
        cluster: ClusterId([7; 16]),
        shards: 8,
        level: 1,
        nodes: vec![node],
        incarnation: 2,
    };
    let joined = Joined {
        holder: Holder::Node(NodeId(2)),
        certificate: request(),
        authority: request(),
        authority_key: Some(Hidden::new(vec![1])),
        facts,
    };
    frames.response("newcomer joined", Ok(Resp::Join(Ok(joined))));
    let refused = JoinError::Refused { what: "use the token".to_owned(), help: "new".to_owned() };
    frames.response("newcomer refused", Ok(Resp::Join(Err(refused))));
}

fn all() -> Frames {
    let mut frames = Frames::default();
    hellos(&mut frames);
    client_requests(&mut frames);
    client_responses(&mut frames);
    agent_frames(&mut frames);
    newcomer_frames(&mut frames);
    cluster_frames(&mut frames);
    peers::frames(&mut frames);
    answers::frames(&mut frames);
    frames
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rpc/golden")
}

#[test]
fn frames_have_the_bytes_of_their_release() {
    let mut text = String::new();
    for Frame { name, bytes, .. } in &all().0 {
        let hex = bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        writeln!(text, "{name}: {hex}").unwrap();
    }
    let release = env!("CARGO_PKG_VERSION").rsplit_once('.').unwrap().0;
    let path = folder().join(format!("{release}.txt"));
    if std::env::var_os("OTTO_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).expect("each release has its frames: OTTO_BLESS=1");
    for (ours, theirs) in text.lines().zip(golden.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(text.lines().count(), golden.lines().count());
}

#[test]
fn frames_of_every_release_are_read() {
    let readers: BTreeMap<&str, _> = all().0.iter().map(|it| (it.name, it.read)).collect();
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let mut releases = 0;
    for file in files.filter(|file| file.extension().is_some_and(|kind| kind == "txt")) {
        releases += 1;
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let (name, hex) = line.split_once(": ").unwrap();
            let read = readers.get(name).unwrap_or_else(|| panic!("nothing reads {name} any more"));
            let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            let bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
            read(&bytes).unwrap_or_else(|error| panic!("{name} of {}: {error}", file.display()));
        }
    }
    assert!(releases > 0);
}

#[test]
fn every_method_has_golden_frames_of_its_request_and_its_answer() {
    let frames = all();
    let about: BTreeSet<&str> = frames.0.iter().filter_map(|it| it.about.as_deref()).collect();
    let once: BTreeSet<&str> = frames.0.iter().map(|it| it.name).collect();
    assert_eq!(once.len(), frames.0.len(), "two frames have one name");
    for (method, _) in ALLOWED {
        let answered = format!("{method} answered");
        assert!(about.contains(method), "no request of {method}");
        assert!(about.contains(answered.as_str()), "no answer of {method}: {about:?}");
    }
}
