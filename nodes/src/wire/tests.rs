//! Hellos of every age, frames of every malice.

use super::codec::decode;
use super::frame::{MAX_HELLO, MAX_REQUEST};
use super::hello::{
    Build, GREETING, Hello, HelloError, OLDEST, PATIENCE, PROTOCOL, Refused, Role, introduce,
    receive_guest, refusal_frame,
};
use crate::network::Stream;
use otto_core::journal::MAX_DEPTH;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn hello(protocol: u32, oldest: u32) -> Hello {
    let build = Build { version: "0.1.0".to_owned(), made_ns: 1, size: 1 };
    Hello { protocol, oldest, ..Hello::new(Role::Client, build) }
}

fn pair() -> (Stream, Stream) {
    let (one, other) = duplex(1 << 16);
    (Box::pin(one), Box::pin(other))
}

/// Lets two ends greet; answers what became of it at the end that connected and at the other.
async fn check(caller: Hello, answerer: Hello) -> (Option<HelloError>, Option<HelloError>) {
    let (one, other) = pair();
    let answer = async {
        let guest = receive_guest(other, &answerer).await?;
        guest.welcome(&answerer).await.map(drop)
    };
    let (called, answered) = tokio::join!(introduce(one, &caller), answer);
    (called.err(), answered.err())
}

#[tokio::test]
async fn hellos_agree_where_there_is_a_protocol_in_common() {
    use HelloError::{PeerIsNewer, PeerIsOlder, Refused};
    for (theirs, ours) in [((1, 1), (1, 1)), ((1, 1), (3, 1)), ((4, 2), (3, 1))] {
        let met = check(hello(theirs.0, theirs.1), hello(ours.0, ours.1)).await;
        assert!(matches!(met, (None, None)), "{met:?}");
    }
    let met = check(hello(5, 4), hello(3, 1)).await;
    assert!(matches!(met, (Some(Refused(_)), Some(PeerIsNewer { .. }))), "{met:?}");
    let met = check(hello(1, 1), hello(3, 2)).await;
    assert!(matches!(met, (Some(Refused(_)), Some(PeerIsOlder { .. }))), "{met:?}");
    const { assert!(OLDEST <= PROTOCOL) };
}

#[tokio::test]
async fn a_later_hello_with_more_fields_is_read() {
    #[derive(serde::Serialize)]
    struct Later {
        greeting: &'static str,
        protocol: u32,
        oldest: u32,
        build: Build,
        role: Role,
        colour: &'static str,
    }
    let build = Build::default();
    let later =
        Later { greeting: GREETING, protocol: 9, oldest: 1, build, role: Role::Agent, colour: "" };
    let read: Hello = decode(&super::codec::encode(&later).unwrap()).unwrap();
    assert_eq!((read.protocol, read.role), (9, Role::Agent));
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_let_go() {
    let (_silent, other) = pair();
    let begun = tokio::time::Instant::now();
    let met = receive_guest(other, &hello(1, 1)).await.err();
    assert!(matches!(met, Some(HelloError::Silent)), "{met:?}");
    assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
}

#[tokio::test]
async fn a_refusal_reaches_whoever_says_hello_to_a_closed_door() {
    let (one, mut other) = duplex(1 << 16);
    let refused = Refused::trouble("failed to write", "free some space");
    other.write_all(&refusal_frame(&refused)).await.unwrap();
    drop(other);
    let met = introduce(Box::pin(one), &hello(1, 1)).await.err();
    assert!(matches!(met, Some(HelloError::Refused(found)) if found == refused));
}

/// What a stranger sends instead of a hello, and that the answerer closes the connection then.
async fn refuses(bytes: &[u8]) -> HelloError {
    let (mut one, other): (DuplexStream, _) = duplex(1 << 20);
    one.write_all(bytes).await.unwrap();
    one.shutdown().await.unwrap();
    let met = receive_guest(Box::pin(other), &hello(1, 1)).await.err().unwrap();
    let mut rest = Vec::new();
    one.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"", "a stranger was answered");
    met
}

fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes()[..], body].concat()
}

#[tokio::test]
async fn strangers_are_closed() {
    let deep = [vec![0x91; MAX_DEPTH + 1], vec![0xc0]].concat();
    let too_long = u32::try_from(MAX_HELLO + 1).unwrap().to_be_bytes();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &too_long,
        &u32::MAX.to_be_bytes(),
        &frame(&[0xc1]),
        &frame(b""),
        &frame(&deep),
        &frame(&[0xdf, 0xff, 0xff, 0xff, 0xff]),
    ] {
        let met = refuses(bytes).await;
        assert!(matches!(met, HelloError::Stranger(_)), "{bytes:?}: {met:?}");
    }
    assert!(matches!(refuses(&[0, 0]).await, HelloError::Broken(_)));
    assert!(matches!(refuses(&[]).await, HelloError::Left));
}

#[test]
fn depth_is_bounded_exactly() {
    let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
    assert!(decode::<serde::de::IgnoredAny>(&nested(MAX_DEPTH - 1)).is_ok());
    assert!(decode::<serde::de::IgnoredAny>(&nested(100_000)).is_err());
    const { assert!(MAX_REQUEST > MAX_HELLO) };
}

#[test]
fn later_builds_are_newer() {
    let build = |version: &str, made_ns| Build { version: version.to_owned(), made_ns, size: 1 };
    let check = |one: Build, other: Build, newer: bool| {
        assert_eq!(one.is_newer_than(&other), newer, "{one:?} {other:?}");
    };
    check(build("0.2.0", 1), build("0.1.9", 5), true);
    check(build("0.1.10", 1), build("0.1.9", 1), true);
    check(build("0.1.0", 2), build("0.1.0", 1), true);
    check(build("0.1.0", 1), build("0.1.0", 1), false);
    check(build("0.1.0", 1), build("0.2.0", 0), false);
}
