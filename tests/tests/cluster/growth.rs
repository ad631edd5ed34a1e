//! A cluster grows from one machine and shrinks again, and no run notices.

use super::city::City;
use crate::world::until;
use serde_json::Value;

/// The second run is held until somebody says so.
const OTTOFILE: &str = r"
pipeline {
  stage('First') { steps { sh 'echo first >> OUT/truth' } }
  stage('Held') { steps { sh 'touch OUT/begun; until [ -e OUT/go ]; do sleep 0.05; done' } }
  stage('Last') { steps { sh 'echo last >> OUT/truth' } }
}
";

#[test]
fn a_local_node_grows_into_three_with_a_run_in_flight() {
    let city = City::new(OTTOFILE);
    city.world.make_file("go");
    city.world.succeed("otto run");
    city.world.succeed("otto-node stop");
    std::fs::remove_file(city.world.path("out/go")).expect("it was made");
    std::fs::remove_file(city.world.path("out/begun")).expect("a step made it");
    let said = city.found();
    let line = said.lines().find(|line| line.contains("otto-node join"));
    let line = line.expect("the founder says how the cluster grows").trim().to_owned();

    let run = city.start(1, "otto run --progress plain");
    city.world.await_file("begun");
    city.serve(2, &format!("{line} --listen {}", city.address(2)));
    city.join(3);
    city.await_voters(3);
    assert_eq!(city.view(3)["survivable_losses"], 1);
    let status = city.succeed(3, "otto-node status");
    assert!(status.contains(&city.address(3)), "{status}");
    city.world.make_file("go");
    let ended = run.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(city.world.truth(), ["first", "last", "first", "last"]);
    let runs: Value = serde_json::from_str(&city.succeed(3, "otto runs --json")).expect("JSON");
    let outcomes: Vec<_> = runs.as_array().expect("runs").iter().map(|it| &it["outcome"]).collect();
    assert_eq!(outcomes, ["success", "success"], "the node that was alone took its history along");
    city.end();
}

#[test]
fn a_node_is_drained_removed_and_stays_out() {
    let city = City::of(3, OTTOFILE);
    city.succeed(1, "otto nodes drain n3");
    city.succeed(1, "otto nodes drain n2");
    let refused = city.run(1, "otto nodes drain n1");
    assert!(refused.stderr.contains("no other voter would be left to lead"), "{refused:?}");
    city.await_monarchy("n1");
    city.succeed(1, "otto nodes resume n2");
    city.succeed(1, "otto nodes remove n3");
    until("n3 to be gone", || city.seen(1, "n3").is_none());
    let gone = "n3 was removed from this cluster";
    let ended = city.ended(3);
    assert_eq!(ended.code, Some(5), "it ends by itself: {ended:?}");
    assert!(ended.stderr.contains(gone), "{ended:?}");
    let agents = city.view(1)["agents"].as_array().expect("agents").len();
    assert_eq!(agents, 2, "it took its agent along");
    let again = city.run(3, "otto-node serve");
    assert_eq!(again.code, Some(5), "{again:?}");
    assert!(again.stderr.contains(gone), "{again:?}");
    let told = city.run(3, "otto nodes");
    assert!(told.stderr.contains(gone), "{told:?}");
    city.world.make_file("go");
    city.succeed(2, "otto run");
    city.end();
}

#[test]
fn a_node_that_was_removed_while_it_was_down_ends_and_stays_out() {
    let city = City::of(3, "pipeline { steps { sh 'true' } }");
    city.stop(3);
    city.succeed(1, "otto nodes remove n3");
    until("n3 to be gone", || city.seen(1, "n3").is_none());
    let gone = "n3 was removed from this cluster";
    // Whoever it asks first may not have heard yet: then it ends a moment after it said that it is
    // ready. From then on its disk tells.
    let told = city.run(3, "otto-node serve");
    let again = city.run(3, "otto-node serve");
    for ended in [&told, &again] {
        assert_eq!(ended.code, Some(5), "{ended:?}");
        assert!(ended.stderr.contains(gone), "{ended:?}");
    }
    assert!(!again.stdout.contains("ready"), "{again:?}");
    city.end();
}

#[test]
fn an_agent_alone_works_for_the_cluster() {
    let city =
        City::of(1, "pipeline { runtime { special }  steps { sh 'echo ran >> OUT/truth' } }");
    let special = city.world.path("special");
    city.world.make_tool("special/special");
    let path = std::env::var("PATH").expect("a PATH");
    let path = format!("{}:{path}", special.display());
    let line = city.invite("agent");
    let said = city.serve_with(2, &line, &[("PATH", &path)]);
    assert!(said.contains("agent"), "{said}");
    city.succeed(1, "otto run");
    assert_eq!(city.world.truth(), ["ran"]);
    let told = city.run(2, "otto nodes");
    assert!(told.stderr.contains("an agent of a cluster, and no control node"), "{told:?}");
    city.stop(2);
    let said = city.serve_with(2, "otto-node serve", &[("PATH", &path)]);
    assert!(said.contains("agent"), "{said}");
    city.succeed(1, "otto run");
    let mut words = said.split_whitespace();
    let id = words.find(|word| *word == "agent").and_then(|_| words.next()).expect("who it is");
    let view = city.view(1);
    let agents = view["agents"].as_array().expect("agents");
    let is_it = |agent: &&Value| agent["agent"].as_str().is_some_and(|full| full.starts_with(id));
    let it = agents.iter().find(is_it).unwrap_or_else(|| panic!("{id} is none of {agents:?}"));
    let name = it["name"].as_str().expect("a name");
    assert!(agents.iter().any(|agent| agent["name"] != name), "one machine has two agents");
    city.succeed(1, &format!("otto nodes remove {name}"));
    let ended = city.ended(2);
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(ended.stderr.contains("was removed from this cluster"), "{ended:?}");
    city.end();
}
