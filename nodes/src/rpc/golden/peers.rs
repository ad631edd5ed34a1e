//! What control processes say to each other, frame by frame.
//!
//! What replication asks and answers is its own, so it is told here as text: a name, and the value
//! as JSON. [`SIGN`], [`PLACE`] and [`BALLOT`] stand for themselves in it.

use super::{Frames, RUN, STAGE};
use crate::replica::{PeerAnswer, PeerCall};
use crate::rpc::api::{ApiError, ReadBlob};
use crate::rpc::kept::{AskKept, KeepLog, Kept};
use crate::rpc::service::{
    ClientCallsRequest, ClientCallsResponse, ClusterError, PeerCallsRequest, PeerCallsResponse,
};
use crate::rpc::vouched::{Vouched, VouchedWho};
use otto_actors::ports::control::BlobPart;
use otto_core::cluster::Cluster;
use otto_core::cluster::command::{Refusal, Wish};
use otto_core::ids::{Attempt, Digest, NodeId, ShardId, TokenHash};
use otto_core::journal::Head;
use otto_core::time::Timestamp;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

const SIGN: &str = r#"{"node":1,"birth":7,"starts":3,"session":9}"#;
const PLACE: &str = r#"{"term":3,"leader":1,"index":12}"#;
const BALLOT: &str = r#"{"term":3,"node":1,"committed":true}"#;

/// Everything that replication asks.
const ASKED: &[(&str, &str)] = &[
    (
        "peer introduce",
        r#"{"introduce":{"sign":SIGN,"sessions":[8,9],
            "marks":[{"shard":0,"vote":BALLOT,"last":PLACE},{"shard":1,"vote":null,"last":null}]}}"#,
    ),
    (
        "peer append",
        r#"{"append":[0,{"vote":BALLOT,"previous":PLACE,"committed":null,"entries":[[1,2],[3]]}]}"#,
    ),
    ("peer vote", r#"{"vote":[0,{"vote":BALLOT,"last":PLACE}]}"#),
    (
        "peer beat",
        r#"{"beat":[{"shard":0,"vote":BALLOT,"matched":PLACE,"applied":PLACE,"floor":4},
            {"shard":65535,"vote":BALLOT,"matched":null,"applied":null,"floor":0}]}"#,
    ),
    ("peer begin", r#"{"begin":0}"#),
    (
        "peer rows",
        r#"{"rows":[0,5,{"heads":[[[1,7],[1,2]]],"journals":[[[1,7,1],[3]],[[1,7,2],[4]]]}]}"#,
    ),
    ("peer finish", r#"{"finish":[0,5,{"vote":BALLOT,"mark":[1,2]}]}"#),
    ("peer stand", r#"{"stand":0}"#),
];

/// Everything that it answers.
const ANSWERED: &[(&str, &str)] = &[
    ("peer introduced", r#"{"introduced":{"sign":SIGN,"sessions":[9],"marks":[]}}"#),
    ("peer stranger", r#""stranger""#),
    ("peer outcast", r#"{"outcast":"its disk was wiped"}"#),
    ("peer failed", r#"{"failed":"there is no shard 9"}"#),
    ("peer appended", r#"{"appended":"all"}"#),
    ("peer appended elsewhere", r#"{"appended":"differs"}"#),
    ("peer appended nothing", r#"{"appended":{"deposed":BALLOT}}"#),
    ("peer voted", r#"{"voted":{"vote":BALLOT,"granted":true,"last":PLACE}}"#),
    ("peer beaten", r#"{"beaten":[[0,"all"],[1,"failed"]]}"#),
    ("peer begun", r#"{"begun":5}"#),
    ("peer done", r#""done""#),
    ("peer finished", r#"{"finished":BALLOT}"#),
];

fn told<T: DeserializeOwned>(name: &str, what: &str, json: &str) -> T {
    let spelt = json.replace("SIGN", SIGN).replace("PLACE", PLACE).replace("BALLOT", BALLOT);
    let whole = match what {
        "ask" => format!(r#"{{"from":{SIGN},"to":2,"ask":{spelt}}}"#),
        _ => format!(r#"{{"from":{SIGN},"reply":{spelt}}}"#),
    };
    serde_json::from_str(&whole).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A cluster that lived, from its golden journal: the last record is its head.
fn cluster() -> Cluster {
    let journal = include_bytes!("../../../../core/golden/v1/cluster.journal");
    let mut rest = &journal[..];
    let mut last = rest;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
        (last, rest) = behind.split_at(length);
    }
    let head = Head { wake: None, summary: last.to_vec() };
    Cluster::from_head(Some(&head)).unwrap()
}

pub(super) fn frames(frames: &mut Frames) {
    use {PeerCallsRequest as Req, PeerCallsResponse as Resp};
    for (name, json) in ASKED {
        let call: PeerCall = told(name, "ask", json);
        frames.request(name, Req::Peer { call });
    }
    for (name, json) in ANSWERED {
        let answer: PeerAnswer = told(name, "reply", json);
        frames.response(name, Ok(Resp::Peer(answer)));
    }
    let request = ClientCallsRequest::Agents {};
    let who = VouchedWho::Person(TokenHash([4; 32]));
    let caller = Vouched { name: "ada".to_owned(), who };
    frames.request("peer client", Req::Client { caller, request });
    let caller = Vouched { name: "owner".to_owned(), who: VouchedWho::Owner };
    let request = ClientCallsRequest::Cluster {};
    frames.request("peer client owner", Req::Client { caller, request });
    let answer = ClientCallsResponse::Agents(Ok(Vec::new()));
    frames.response("peer client answer", Ok(Resp::Client(Ok(answer))));
    let refused = ApiError::Refused("over".to_owned());
    frames.response("peer client refused", Ok(Resp::Client(Err(refused))));
    let wish = Wish::BecameVoter { node: NodeId(2) };
    frames.request("peer cluster wish", Req::Cluster { wish: Some(wish) });
    frames.request("peer cluster", Req::Cluster { wish: None });
    frames.response("peer cluster answer", Ok(Resp::Cluster(Ok(cluster()))));
    let errors = [
        ("peer cluster refused", ClusterError::Refused(Refusal::NotFounded)),
        ("peer cluster not here", ClusterError::NotHere),
        ("peer cluster unanswered", ClusterError::Unanswered("late".to_owned())),
    ];
    for (name, error) in errors {
        frames.response(name, Ok(Resp::Cluster(Err(error))));
    }
    frames.request("peer clock", Req::Clock {});
    frames.response("peer clock answer", Ok(Resp::Clock(Timestamp(5))));
    frames.request("peer reach", Req::Reach { shard: ShardId(1) });
    frames.response("peer reach answer", Ok(Resp::Reach(Ok(12))));
    kept(frames);
}

/// What nodes ask of each other's folders.
fn kept(frames: &mut Frames) {
    use {PeerCallsRequest as Req, PeerCallsResponse as Resp};
    let (digest, attempt) = (Digest([2; 32]), Attempt(1));
    let read = ReadBlob { digest, offset: 0, limit: 9 };
    let part = BlobPart { digest, offset: 4, bytes: vec![1], last: true };
    let (run, stage) = (RUN, STAGE);
    let asked = [
        ("peer has blob", AskKept::HasBlob(digest)),
        ("peer read blob", AskKept::ReadBlob(read)),
        ("peer keep blob", AskKept::KeepBlob(part)),
        ("peer read log", AskKept::ReadLog { run, stage, attempt, offset: 1, limit: 9 }),
        ("peer log length", AskKept::LogLength { run, stage, attempt }),
    ];
    for (name, ask) in asked {
        frames.request(name, Req::Kept { ask });
    }
    let answered = [
        ("peer keeps it", Kept::There),
        ("peer lacks it", Kept::Absent),
        ("peer kept bytes", Kept::Bytes(ByteBuf::from(vec![1]))),
        ("peer kept length", Kept::Length(9)),
    ];
    for (name, kept) in answered {
        frames.response(name, Ok(Resp::Kept(Ok(kept))));
    }
    let bytes = ByteBuf::from(vec![1]);
    let part = KeepLog { run, stage, attempt, offset: 4, bytes, length: 5 };
    frames.request("peer keep log", Req::KeepLog { part });
    frames.response("peer keeps log", Ok(Resp::KeepLog(Ok(5))));
}
