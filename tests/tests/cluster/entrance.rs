//! What lets nobody in, and what people are told.

use super::city::City;
use crate::world::until;

const QUICK: &str = "pipeline { steps { sh 'true' } }";

/// Tries to join with a line; it must be refused in these words, and leave nothing behind.
fn refused(city: &City, line: &str, words: &[&str]) {
    let line = format!("{line} --listen {}", city.address(9));
    let ended = city.run(9, &line);
    assert!(matches!(ended.code, Some(2 | 5)), "{line}: {ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{line} must say {word:?}: {}", ended.stderr);
    }
    assert!(!city.data(9).exists(), "{line} leaves something behind");
}

#[test]
fn tokens_that_let_nobody_in_say_why() {
    let city = City::of(1, QUICK);
    let other = City::of(1, QUICK);
    let expires = city.succeed(1, "otto-node token create --role agent --uses 100 --valid 1s");
    let good = city.invite("control");
    let (start, token) = good.rsplit_once(' ').expect("the token is the last word");
    refused(&city, &format!("{start} {}", &token[..token.len() - 1]), &["characters"]);
    let last = if token.ends_with('0') { '1' } else { '0' };
    let mistyped = format!("{}{last}{}", &token[..30], &token[31..]);
    refused(&city, &format!("{start} {mistyped}"), &["failed to read the token", "mistyped"]);
    refused(&city, &format!("{start} nonsense"), &["it does not begin with OT1-"]);
    let elsewhere = format!("otto-node join {} --token {token}", other.address(1));
    refused(&city, &elsewhere, &["another cluster than the token is for"]);

    let listed = city.succeed(1, "otto-node token list --json");
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    for token in listed.as_array().expect("tokens") {
        let name = token["token"].as_str().expect("a name");
        if token["purpose"]["join"]["role"] == "control" {
            city.succeed(1, &format!("otto-node token revoke {name}"));
        }
    }
    refused(&city, &good, &["it was revoked", "otto-node token create"]);

    let agents = city.invite("agent");
    city.serve(2, &agents);
    refused(&city, &agents, &["it was used once, which is all that it allows"]);
    let mut machines = 10..;
    until("the token to expire", || {
        let machine = machines.next().expect("there are more of them");
        let ended = city.run(machine, &format!("{} --only", expires.trim()));
        ended.code == Some(5) && ended.stderr.contains("use the token: it expired")
    });
    other.end();
    city.end();
}

#[test]
fn mistakes_in_arguments_are_told_in_words_for_people() {
    let city = City::of(1, QUICK);
    let data = city.data(1).display().to_string();
    let made = city.succeed(2, &format!("otto-node token create --role agent --data {data}"));
    assert!(made.contains("otto-node join"), "{made}");
    for (line, code, part) in [
        ("otto-node token create --user ../x", 2, "a name is made of letters, digits and"),
        ("otto nodes remove nobody", 2, "nobody is called 'nobody'"),
    ] {
        let ended = city.run(1, line);
        assert_eq!(ended.code, Some(code), "{line}: {ended:?}");
        assert!(ended.stderr.contains(part), "{line}: {ended:?}");
    }
    let lost = city.run(9, "otto-node serve --alone --objects file:///not/here");
    assert!(lost.stderr.contains("object store: /not/here is no folder"), "{lost:?}");
    let gone = city.world.path("gone").display().to_string();
    let unread = city.run(8, &format!("otto-node restore {gone}"));
    assert_eq!(unread.code, Some(5), "{unread:?}");
    assert!(!city.data(8).exists(), "it leaves something behind");
    city.end();
}

#[test]
fn what_keeps_a_node_from_joining_is_told() {
    let city = City::of(1, QUICK);
    let good = city.invite("control");
    let (_, token) = good.rsplit_once(' ').expect("the token is the last word");
    let nobody = format!("otto-node join {} --token {token}", city.address(8));
    refused(&city, &nobody, &[&city.address(8), "nothing listens there"]);
    let strange = format!("otto-node join no-such-machine.invalid --token {token}");
    refused(&city, &strange, &["no-such-machine.invalid", "name"]);

    let taken = city.run(9, &format!("{good} --listen {}", city.address(1)));
    assert!(taken.stderr.contains("another program listens there already"), "{taken:?}");
    let foreign = city.run(9, &format!("{good} --listen 192.0.2.1:7301"));
    assert!(foreign.stderr.contains("this machine has no such address"), "{foreign:?}");
    let founder = city.run(8, &format!("otto-node serve --listen {}", city.address(1)));
    assert_eq!(founder.code, Some(5), "{founder:?}");
    assert!(founder.stderr.contains("another program listens there already"), "{founder:?}");
    city.succeed(8, "otto run");
    let local = city.run(8, &format!("{good} --listen {}", city.address(8)));
    assert!(local.stderr.contains("has the runs of a node that was alone"), "{local:?}");

    let asked = city.run(2, "otto nodes");
    assert!(asked.stderr.contains("this node belongs to none"), "{asked:?}");
    city.serve(2, &format!("{good} --listen {}", city.address(2)));
    city.await_voters(2);
    city.stop(2);
    let twice = city.run(2, &format!("{good} --listen {}", city.address(2)));
    assert!(twice.stderr.contains("this node is n2 already"), "{twice:?}");
    let alone = city.run(2, "otto-node serve --alone");
    assert!(alone.stderr.contains("belongs to a node of a cluster"), "{alone:?}");
    city.serve_again(2);
    city.end();
}
