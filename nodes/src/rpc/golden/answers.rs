//! Every kind of answer and every reason for none, frame by frame.

use super::{AGENT, Frames, LEASE, RUN};
use crate::rpc::api::{AgentView, ApiError, Listed, NodeStatus, Stopped, Submitted};
use crate::rpc::join::JoinError;
use crate::rpc::service::{
    AgentCallsRequest, AgentCallsResponse, ClientCallsResponse, JoinCallsResponse,
};
use crate::wire::hello::{Answer, Bearer, Build, Hello, Refused, RefusedKind, Role};
use otto_actors::ports::control::{
    Assignment, BidAnswer, BlobPart, LinkError, Order, Report, ReportAnswer,
};
use otto_actors::ports::routes::Routes;
use otto_core::capability::Capabilities;
use otto_core::ids::{Digest, PlanHash, ShardId};
use otto_core::plan::{Revision, StepCall};
use otto_core::run::outcome::Outcome;
use otto_core::run::summary::{Counts, Summary};
use otto_core::time::{Span, Timestamp};
use otto_core::value::{Value, ValueType};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};

fn hellos(frames: &mut Frames) {
    let build = Build { version: "0.1.0".to_owned(), made_ns: 1, size: 2 };
    let mut hello = Hello::new(Role::Control, build);
    hello.pid = 77;
    hello.methods = BTreeSet::from(["PeerCalls.peer".to_owned()]);
    hello.credentials = Some(Bearer("secret".to_owned()));
    frames.plain("hello of a control process", &hello);
    frames.plain("welcome", &Answer::Welcome(hello));
    let kinds = [
        ("refused for its protocol", RefusedKind::Protocol),
        ("refused as forbidden", RefusedKind::Forbidden),
        ("refused in trouble", RefusedKind::Trouble),
        ("refused as busy", RefusedKind::Busy),
    ];
    for (name, kind) in kinds {
        let (what, help) = ("open the door".to_owned(), "knock again".to_owned());
        frames.plain(name, &Answer::Refused(Refused { kind, what, help }));
    }
}

fn listed() -> Listed {
    let summary = Summary {
        number: RUN.number,
        project: "shop".to_owned(),
        pipeline: "default".to_owned(),
        plan: Some(PlanHash([1; 32])),
        by: "ada".to_owned(),
        revision: Revision { branch: Some("main".to_owned()), ..Revision::default() },
        continues: Some(6),
        submitted_at: Timestamp(1),
        outcome: Some(Outcome::Failed),
        cause: "Unit failed".to_owned(),
        settled_at: Some(Timestamp(2)),
        retired: true,
        counts: Counts { running: 1, ..Counts::default() },
    };
    Listed { run: RUN, version: 9, summary }
}

fn client_answers(frames: &mut Frames) {
    use ClientCallsResponse as Resp;
    let agent = AgentView {
        agent: AGENT,
        name: "a1".to_owned(),
        capabilities: Capabilities::default(),
        free_slots: 2,
        leases: vec![LEASE],
        seen: Timestamp(5),
        bidding: true,
    };
    let status = NodeStatus {
        build: Build::default(),
        node_build: Build::default(),
        pid: 77,
        address: "/run/otto".to_owned(),
        data: "/data".to_owned(),
        since: Timestamp(1),
        unfinished_runs: 2,
        idle_ms: Some(600_000),
        agents: vec![agent.clone()],
    };
    let again = Submitted { run: RUN, repeated: false };
    frames.response("client retried", Ok(Resp::Retry(Ok(again))));
    frames.response("client run summary", Ok(Resp::Run(Ok(listed()))));
    frames.response("client run list", Ok(Resp::Runs(Ok(vec![listed()]))));
    frames.response("client asked", Ok(Resp::Ask(Ok(()))));
    frames.response("client agent list", Ok(Resp::Agents(Ok(vec![agent]))));
    frames.response("client has it", Ok(Resp::Has(Ok(true))));
    frames.response("client put it", Ok(Resp::Put(Ok(()))));
    frames.response("client got it", Ok(Resp::Get(Ok(ByteBuf::from(vec![1])))));
    frames.response("client node status", Ok(Resp::Status(Ok(status))));
    frames.response("client node leaves", Ok(Resp::Stop(Ok(Stopped::Leaves))));
    frames.response("client node stays", Ok(Resp::Stop(Ok(Stopped::Stays))));
    frames.response("client member changed", Ok(Resp::ChangeMember(Ok(()))));
    frames.response("client level raised", Ok(Resp::RaiseLevel(Ok(()))));
    frames.response("client token created", Ok(Resp::CreateToken(Ok(()))));
    frames.response("client token revoked", Ok(Resp::RevokeToken(Ok(()))));
    let text = || "something".to_owned();
    let errors = [
        ("client error refused", ApiError::Refused(text())),
        ("client error invalid", ApiError::Invalid(text())),
        ("client error not ready", ApiError::NotReady(text())),
        ("client error not here", ApiError::NotHere { shard: ShardId(1) }),
        ("client error busy", ApiError::Busy { retry_after_ms: 1500 }),
        ("client error unknown", ApiError::Unknown(text())),
        ("client error store", ApiError::Store(text())),
    ];
    for (name, error) in errors {
        frames.response(name, Ok(Resp::Ask(Err(error))));
    }
}

/// Everything that an agent needs for one attempt.
fn assignment() -> Assignment {
    let step = StepCall {
        symbol: "sh".to_owned(),
        library: "stdlib".to_owned(),
        arguments: BTreeMap::from([("script".to_owned(), Value::Text("make".to_owned()))]),
        folder: "web".to_owned(),
        settings: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
        timeout: Some(Span(1000)),
    };
    Assignment {
        lease: LEASE,
        lease_span: Span(30_000),
        project: "shop".to_owned(),
        path: "Build".to_owned(),
        steps: vec![step.clone()],
        finally: vec![step],
        libraries: BTreeMap::new(),
        settings: BTreeMap::from([("C".to_owned(), "d".to_owned())]),
        timeout: Some(Span(60_000)),
        snapshot: Some(Digest([2; 32])),
        outputs: BTreeMap::from([("color".to_owned(), ValueType::Text)]),
        captured: BTreeMap::from([("tag".to_owned(), Value::Text("v1".to_owned()))]),
        artifacts: BTreeMap::from([("a".to_owned(), Digest([3; 32]))]),
    }
}

fn agent_answers(frames: &mut Frames) {
    use {AgentCallsRequest as Req, AgentCallsResponse as Resp};
    let part = BlobPart { digest: Digest([2; 32]), offset: 4, bytes: vec![1], last: false };
    frames.request("agent keep", Req::Keep { agent: AGENT, lease: LEASE, part });
    let reports = vec![Report::Steps { lease: LEASE, facts: Vec::new() }];
    frames.request("agent report steps", Req::Report { agent: AGENT, reports });
    let orders = vec![Order::Start(Box::new(assignment()))];
    let started = BidAnswer { orders, routes: Routes::default() };
    frames.response("agent assignment", Ok(Resp::Bid(Ok(started))));
    frames.response("agent renewed all but", Ok(Resp::Renew(Ok(vec![LEASE]))));
    frames.response("agent report taken", Ok(Resp::Report(Ok(vec![ReportAnswer::Taken]))));
    frames.response("agent log length", Ok(Resp::Log(Ok(6))));
    frames.response("agent sealed", Ok(Resp::Seal(Ok(true))));
    frames.response("agent blob part", Ok(Resp::Blob(Ok(ByteBuf::from(vec![1])))));
    frames.response("agent kept", Ok(Resp::Keep(Ok(()))));
    let unreachable = LinkError::Unreachable("late".to_owned());
    frames.response("agent unreachable", Ok(Resp::Keep(Err(unreachable))));
}

fn newcomer_answers(frames: &mut Frames) {
    use JoinCallsResponse as Resp;
    let text = || "something".to_owned();
    frames.response("newcomer invalid", Ok(Resp::Enrol(Err(JoinError::Invalid(text())))));
    frames.response("newcomer not ready", Ok(Resp::Renew(Err(JoinError::NotReady(text())))));
    frames.response("newcomer unknown", Ok(Resp::Join(Err(JoinError::Unknown(text())))));
}

pub(super) fn frames(frames: &mut Frames) {
    hellos(frames);
    client_answers(frames);
    agent_answers(frames);
    newcomer_answers(frames);
}
