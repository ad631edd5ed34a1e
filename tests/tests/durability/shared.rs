//! Commands share one node, and runs outlive it.

use super::world::{World, until};
use std::fs;

const QUICK: &str = "pipeline { steps { sh 'echo ran >> OUT/truth; seq 1 200' } }";

#[test]
fn two_commands_at_once_share_one_node() {
    let world = World::new(QUICK);
    let commands = [world.start("otto run"), world.start("otto run")];
    for command in commands {
        let ended = command.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let mut numbers: Vec<_> = world.runs().iter().map(|run| run["run"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(1), Some(2)]);
    assert_eq!(world.truth(), ["ran", "ran"]);
    let nodes = world.marked("OTTO_HOME", "otto").into_iter();
    assert_eq!(nodes.filter(|process| process.is("otto-node")).count(), 1);
    world.end();
}

#[test]
fn runs_are_listed_after_a_restart() {
    let world = World::new(QUICK);
    world.succeed("otto run");
    let (before, log) = (world.runs(), world.succeed("otto logs 1"));
    world.succeed("otto-node stop");
    assert!(world.marked("OTTO_HOME", "otto").is_empty(), "it has left");
    assert_eq!(world.runs(), before);
    assert_eq!(world.succeed("otto logs 1"), log);
    world.succeed("otto run");
    assert_eq!(world.runs().len(), 2);
    world.end();
}

#[test]
fn a_busy_node_stays_unless_it_must_leave() {
    let world = World::new("pipeline { steps { sh 'touch OUT/begun; sleep 1000' } }");
    world.succeed("otto run --detach");
    world.await_file("begun");
    let ended = world.run("otto-node stop");
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(ended.stderr.contains("--busy"), "{ended:?}");
    world.succeed("otto cancel 1");
    until("the end of the run", || world.outcome(1).as_deref() == Some("cancelled"));
    world.end();
}

#[test]
fn a_second_node_on_the_same_folder_is_refused() {
    let world = World::new(QUICK);
    world.succeed("otto run");
    let holder = fs::read_to_string(world.path("otto/node.lock")).expect("the lock is signed");
    let ended = world.run("otto-node serve --alone");
    assert_eq!(ended.code, Some(5), "{ended:?}");
    let folder = world.path("otto").display().to_string();
    for word in [folder.as_str(), holder.trim(), "help: ", "otto-node stop"] {
        assert!(ended.stderr.contains(word), "{word}: {ended:?}");
    }
    world.succeed("otto run");
    world.end();
}
