//! The control socket's two ends against each other, against broken peers, and against noise.

use otto_core::value::{Decimal, Value};
use otto_stdlib::control_socket::{
    Answer, Call, Conversation, Incoming, MAX_JSON_BYTES, Status, Variable, Verdict,
};
use otto_stdlib::http::{self, Body, Length, Piece};
use otto_stdlib::invocation::{Invocation, InvocationError};
use otto_stdlib::plain::{self, Plain};
use proptest::prelude::*;

/// What arrives of these bytes, given in pieces of this size.
fn arrived(bytes: &[u8], piece_bytes: usize) -> Vec<Incoming> {
    let mut conversation = Conversation::default();
    let mut all: Vec<Incoming> = Vec::new();
    for piece in bytes.chunks(piece_bytes.max(1)) {
        conversation.received(piece);
        loop {
            match (conversation.arrived(), all.last_mut()) {
                (Incoming::More, _) => break,
                // How a body is cut into parts depends on the pieces; what it is does not.
                (Incoming::Part(part), Some(Incoming::Part(last))) => last.extend(part),
                (incoming, _) => all.push(incoming),
            }
        }
    }
    all
}

fn request(method: &str, target: &str, body: &str) -> Vec<u8> {
    let mut bytes = http::write_request(method, target, "secret", Length::Known(body.len() as u64));
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

fn call_of(method: &str, target: &str, body: &str) -> Call {
    let bytes = request(method, target, body);
    let whole = arrived(&bytes, bytes.len());
    for piece_bytes in [1, 7, 100] {
        assert_eq!(arrived(&bytes, piece_bytes), whole, "{method} {target}");
    }
    match whole.as_slice() {
        [Incoming::Call { secret: Some(secret), call }] if secret == "secret" => call.clone(),
        other => panic!("{method} {target}: {other:?}"),
    }
}

#[test]
fn every_request_is_understood_in_pieces_of_any_size() {
    let check = |method: &str, target: &str, body: &str, expected: Call| {
        assert_eq!(call_of(method, target, body), expected);
    };
    let name = || "color".to_owned();
    let verdict = |message: &str| Verdict { status: Status::Unstable, message: message.to_owned() };
    let status = r#"{"status":"unstable","message":"flaky"}"#;
    check("POST", "/v1/status", status, Call::Status(verdict("flaky")));
    check("POST", "/v1/end", r#"{"status":"unstable"}"#, Call::End(verdict("")));
    let value = Plain(Value::List(vec![
        Value::Number(Decimal(1_500_000)),
        Value::Boolean(true),
        Value::Text("é".to_owned()),
    ]));
    let body = r#"{"name":"color","value":[1.5,true,"é"]}"#;
    check("POST", "/v1/variables", body, Call::Capture(Variable { name: name(), value }));
    check("DELETE", "/v1/variables/color", "", Call::Drop { name: name() });
    check("GET", "/v1/credentials/color", "", Call::Credential { name: name() });
    let gate = "Synthetic checks".to_owned();
    check("POST", "/v1/callbacks/Synthetic%20checks", "", Call::Callback { name: gate });
    check("GET", "/v1/artifacts/color", "", Call::FetchArtifact { name: name() });
}

#[test]
fn an_artifact_arrives_whole_however_it_is_framed() {
    let content: Vec<u8> = (0..5000_u32).flat_map(u32::to_le_bytes).collect();
    let mut chunked = http::write_request("PUT", "/v1/artifacts/a", "secret", Length::Chunked);
    for part in content.chunks(999) {
        chunked.extend(http::write_chunk(part));
    }
    chunked.extend_from_slice(http::LAST_CHUNK);
    let length = Length::Known(content.len() as u64);
    let mut plain = http::write_request("PUT", "/v1/artifacts/a", "secret", length);
    plain.extend_from_slice(&content);
    let after = request("DELETE", "/v1/variables/x", "");
    for bytes in [chunked, plain] {
        for piece_bytes in [1, 13, 4096, usize::MAX] {
            let bytes = [bytes.clone(), after.clone()].concat();
            let all = arrived(&bytes, piece_bytes.min(bytes.len()));
            let [Incoming::Call { .. }, Incoming::Part(part), Incoming::Whole, next] =
                all.as_slice()
            else {
                panic!("{all:?}");
            };
            assert_eq!(*part, content);
            assert!(matches!(next, Incoming::Call { call: Call::Drop { .. }, .. }));
        }
    }
}

#[test]
fn whoever_waits_for_a_go_ahead_gets_it() {
    let head = "PUT /v1/artifacts/a HTTP/1.1\r\nAuthorization: bearer s\r\n\
                Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok";
    let all = arrived(head.as_bytes(), head.len());
    assert!(
        matches!(
            all.as_slice(),
            [Incoming::Call { .. }, Incoming::Say(_), Incoming::Part(_), Incoming::Whole]
        ),
        "{all:?}"
    );
}

#[test]
fn what_is_not_understood_is_refused_once_and_for_all() {
    let check = |bytes: &[u8], status: u16| {
        let flood = [bytes, request("DELETE", "/v1/variables/x", "").as_slice()].concat();
        match arrived(&flood, flood.len()).as_slice() {
            [Incoming::Refused(answer)] => {
                assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
            }
            other => panic!("{}: {other:?}", String::from_utf8_lossy(bytes)),
        }
    };
    let text = |text: &str, status: u16| check(text.as_bytes(), status);
    check(&request("GET", "/v1/nothing", ""), 404);
    check(&request("GET", "/", ""), 404);
    check(&request("GET", "/v1/status", ""), 405);
    check(&request("POST", "/v1/status", "{"), 400);
    check(&request("POST", "/v1/status", r#"{"status":"fine"}"#), 400);
    check(&request("POST", "/v1/status", r#"{"status":"success","more":1}"#), 400);
    check(&request("POST", "/v1/variables", r#"{"name":"a b","value":1}"#), 400);
    check(&request("POST", "/v1/variables", r#"{"name":"a","value":{}}"#), 400);
    check(&request("POST", "/v1/variables", r#"{"name":"a","value":1e300}"#), 400);
    check(&request("GET", "/v1/artifacts/..", ""), 400);
    check(&request("GET", "/v1/artifacts/a%2Fb", ""), 400);
    check(&request("PUT", "/v1/artifacts/", ""), 400);
    check(&request("PUT", "/v1/artifacts/a%zz", ""), 400);
    check(&request("POST", "/v1/callbacks/a%0Ab", ""), 400);
    check(&request("POST", "/v1/end", &"x".repeat(MAX_JSON_BYTES + 1)), 413);
    text("nonsense\r\n\r\n", 400);
    text("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400);
    text("GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    text("GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400);
    text("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400);
    text("GET / HTTP/1.1\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400);
    text(&format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000)), 413);
    text(&format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(100)), 400);
    let chunked = "POST /v1/end HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    text(&format!("{chunked}zz\r\n"), 400);
    text(&format!("{chunked}-1\r\n"), 400);
    text(&format!("{chunked}ffffffffffffffffff\r\n"), 400);
    text(&format!("{chunked}1\r\nab\r\n"), 400);
    text(&format!("{chunked}0\r\nx: y\r\n\r\n"), 400);
    text(&format!("{chunked}1;{}\r\n", "x".repeat(300)), 413);
}

#[test]
fn answers_read_back_as_written() {
    let check = |answer: &Answer, closes: bool| {
        let bytes = answer.to_bytes(closes);
        let (taken, head) = http::answer_head(&bytes).expect("a head").expect("whole");
        assert_eq!((head.status, head.closes), (answer.status, closes));
        assert_eq!(bytes[taken..], answer.body);
        assert_eq!(head.length, Length::Known(answer.body.len() as u64));
    };
    check(&Answer::done(), false);
    check(&Answer::refused(404, "find it"), true);
    check(&Answer::unknown_caller(), true);
    let endless = b"HTTP/1.1 200 OK\r\n\r\n";
    assert!(http::answer_head(endless).is_err(), "a body without an end could be cut off unseen");
}

#[test]
fn invocation_files_are_read_as_yaml_and_json() {
    let yaml = "version: 1\nidentity: { project: p, run: 4, stage: Build, attempt: 1, \
                epoch: '0.7', step: s, place: steps/0 }\nparameters: { name: World, share: -0.5, \
                words: [a, b] }\ncontrol: { socket: /run/control, secret: geheim }\n";
    let read = Invocation::from_bytes(yaml.as_bytes()).expect("it reads");
    assert_eq!(*read.parameter("name"), Value::Text("World".to_owned()));
    assert_eq!(*read.parameter("share"), Value::Number(Decimal(-500_000)));
    assert_eq!(*read.parameter("none"), Value::Absent);
    assert_eq!(Invocation::from_bytes(&read.to_bytes()).expect("it reads back"), read);
    assert!(!format!("{read:?}").contains("geheim"), "a secret is never shown");
    let newer = yaml.replace("version: 1", "version: 2");
    let newer = Invocation::from_bytes(newer.as_bytes());
    assert!(matches!(newer, Err(InvocationError::Newer(2))), "{newer:?}");
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Value::Text),
        // What a double holds exactly enough; larger ones stay text between our own ends.
        (-1_000_000_000_000_i64..1_000_000_000_000).prop_map(|n| Value::Number(Decimal(n))),
        any::<bool>().prop_map(Value::Boolean),
        Just(Value::Absent),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| prop::collection::vec(inner, 0..5).prop_map(Value::List))
}

/// What manifests are made of, and what YAML has that they may not hold.
const WORDS: &[&str] = &[
    "symbol",
    "description",
    "parameters",
    "entrypoint",
    "type",
    "default",
    "values",
    "list of",
    "text",
    "number",
    "a",
    "é",
    "1",
    "1e9",
    ".",
    "-",
    "- ",
    ": ",
    ":",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "\n",
    "\n  ",
    "\n    ",
    " ",
    "'",
    "\"",
    "#",
    "|",
    ">",
    "&a",
    "*a",
    "!!str",
    "<<",
    "~",
    "\t",
    "---",
];

proptest! {
    #[test]
    fn values_survive_json(value in values()) {
        prop_assert_eq!(plain::from_json(&plain::to_json(&value)), Ok(value));
    }

    #[test]
    fn names_survive_a_path(name in any::<String>()) {
        prop_assert_eq!(http::decode(&http::encode(&name)), Some(name));
    }

    /// Noise never panics, and no bytes are taken that were not there.
    #[test]
    fn noise_is_refused_or_waited_for(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        piece_bytes in 1_usize..50,
    ) {
        arrived(&bytes, piece_bytes);
        http::answer_head(&bytes).ok();
        Invocation::from_bytes(&bytes).ok();
        let mut body = Body::new(Length::Chunked);
        while let Ok(Piece::Data { taken, data }) = body.next(&bytes) {
            prop_assert!(data <= taken && taken <= bytes.len());
            if taken == 0 || body.ended() {
                break;
            }
        }
    }

    /// A request that is damaged in one place still never panics, nor means an artifact that was
    /// not sent.
    #[test]
    fn damaged_requests_do_no_harm(
        at in 0_usize..200,
        byte in any::<u8>(),
        piece_bytes in 1_usize..64,
    ) {
        let mut bytes = http::write_request("PUT", "/v1/artifacts/a", "secret", Length::Chunked);
        bytes.extend(http::write_chunk(b"hello"));
        bytes.extend_from_slice(http::LAST_CHUNK);
        let at = at % bytes.len();
        bytes[at] = byte;
        let whole = arrived(&bytes, bytes.len());
        prop_assert_eq!(arrived(&bytes, piece_bytes), whole);
    }

    #[test]
    fn manifests_never_panic(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        let text = words.concat();
        let author = otto_stdlib::manifest::Author::Anybody;
        otto_stdlib::manifest::Manifest::read("m.yml", text.as_bytes(), author).ok();
    }
}
