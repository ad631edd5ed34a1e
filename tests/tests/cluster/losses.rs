//! Nodes are lost, come back, and must not come back with a disk that forgot something.

use super::city::City;
use crate::world::until;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_leader_dies_while_a_step_runs_elsewhere() {
    let city = City::under_one_leader();
    city.lose_leader_of_a_run(|node, line| city.start(node, line));
    city.serve_again(1);
    city.await_voters(3);
    city.succeed(1, "otto logs 1 Held");
    city.end();
}

#[test]
fn a_node_that_is_stopped_lets_others_lead_first() {
    let city = City::under_one_leader();
    for node in ["n2", "n3"] {
        city.succeed(1, &format!("otto nodes resume {node}"));
    }
    let trace = city.data(1).join("traces/otto-control.log");
    let handed_over = || {
        let text = fs::read_to_string(&trace).unwrap_or_default();
        text.matches("handed over before the end").count()
    };
    city.stop(1);
    let stopped = handed_over();
    assert!(stopped > 0, "it was asked to leave, and left without a word");
    city.serve_again(1);
    city.await_voters(3);
    for node in ["n2", "n3"] {
        city.succeed(2, &format!("otto nodes drain {node}"));
    }
    city.await_monarchy("n1");
    for node in ["n2", "n3"] {
        city.succeed(1, &format!("otto nodes resume {node}"));
    }
    city.terminate(1);
    assert!(handed_over() > stopped, "a signal ended it, and it left without a word");
    city.serve_again(1);
    city.await_voters(3);
    city.end();
}

#[test]
fn all_nodes_die_at_once_and_come_back() {
    let city = City::of(3, "pipeline { steps { sh 'echo ran >> OUT/truth' } }");
    city.succeed(2, "otto run");
    for node in [1, 2, 3] {
        city.kill(node);
    }
    for node in [3, 1, 2] {
        city.serve_again(node);
    }
    city.await_voters(3);
    city.succeed(3, "otto run");
    assert_eq!(city.world.truth(), ["ran", "ran"]);
    let runs = city.succeed(2, "otto runs --json");
    assert_eq!(runs.matches("\"success\"").count(), 2, "{runs}");
    city.end();
}

#[test]
fn a_node_whose_store_was_wiped_does_not_come_back() {
    let city = City::of(2, "pipeline { steps { sh 'true' } }");
    city.stop(2);
    fs::remove_dir_all(city.data(2).join("store")).expect("it was there");
    for _ in 0..2 {
        let ended = city.run(2, "otto-node serve");
        assert_eq!(ended.code, Some(5), "{ended:?}");
        assert!(ended.stderr.contains("this node was n2, and what it had in"), "{ended:?}");
        assert!(ended.stderr.contains("join anew with a new token"), "{ended:?}");
    }
}

#[test]
fn a_founder_whose_disk_was_wiped_founds_another_cluster() {
    let city = City::of(3, "pipeline { steps { sh 'echo ran >> OUT/truth' } }");
    let before = city.view(2)["cluster"].clone();
    city.kill(1);
    fs::remove_dir_all(city.data(1)).expect("its node has ended");
    fs::create_dir(city.data(1)).expect("a folder");
    city.found();
    let other = city.view(1);
    assert_ne!(other["cluster"], before, "nobody took it for who it was");
    assert_eq!(other["nodes"].as_array().map(Vec::len), Some(1));
    city.succeed(2, "otto run");
    assert_eq!(city.world.truth(), ["ran"]);
    until("n1 to be missed", || city.seen(3, "n1").is_some_and(|n1| n1["reachable"] == false));
    assert_eq!(city.view(3)["cluster"], before);
    city.end();
}

#[test]
fn a_copied_disk_does_not_come_back() {
    let city = City::of(3, "pipeline { steps { sh 'true' } }");
    city.stop(3);
    let copied = copy(&city.data(3), &city.world.path("copy"));
    assert!(copied, "this test needs the command `cp`");
    city.serve_again(3);
    let starts = city.data(3).join("identity/starts.json");
    until("the cluster to know of the start", || {
        let text = fs::read_to_string(&starts).unwrap_or_default();
        let starts: Value = serde_json::from_str(&text).unwrap_or_default();
        starts["count"] == 2 && starts["boots"].as_array().is_some_and(|boots| boots.len() == 1)
    });
    city.stop(3);
    fs::remove_dir_all(city.data(3)).expect("its node has ended");
    assert!(copy(&city.world.path("copy"), &city.data(3)), "this test needs the command `cp`");
    let out = "failed to take part in the cluster";
    let copy = city.run(3, "otto-node serve");
    assert_eq!(copy.code, Some(5), "{copy:?}");
    assert!(copy.stderr.contains(out), "{copy:?}");
    let again = city.run(3, "otto-node serve");
    assert_eq!(again.code, Some(5), "it stays out: {again:?}");
    assert!(again.stderr.contains(out), "{again:?}");
    city.succeed(1, "otto run");
}

fn copy(from: &Path, to: &Path) -> bool {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    copied.is_ok_and(|status| status.success())
}
