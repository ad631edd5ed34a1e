//! Two releases work side by side while a cluster is upgraded, until there is no way back.

use super::city::{City, HELD};
use super::people::Person;
use crate::world::until;
use serde_json::Value;
use std::fs;

/// A pipeline that any agent can run at once.
const QUICK: &str = "pipeline { steps { sh 'echo quick >> OUT/truth' } }";

impl City {
    /// A city in which all nodes are of the release before this one.
    fn of_earlier(nodes: u8) -> Self {
        let city = Self::new(HELD);
        let out = city.world.path("out").display().to_string();
        fs::create_dir(city.world.path("shop/ci")).expect("a folder");
        fs::write(city.world.path("shop/ci/quick.otto"), QUICK.replace("OUT", &out))
            .expect("a file");
        for node in 1..=nodes {
            city.install_earlier(node);
        }
        city.found();
        for node in 2..=nodes {
            city.join(node);
        }
        city.await_voters(nodes);
        city
    }

    /// What `otto upgrade --json` says at a node.
    fn upgrade(&self, at: u8) -> Value {
        serde_json::from_str(&self.succeed(at, "otto upgrade --json")).expect("JSON")
    }

    /// The releases that the cluster knows its nodes to be of.
    fn releases(&self, at: u8) -> Vec<Option<String>> {
        let upgrade = self.upgrade(at);
        let nodes = upgrade["nodes"].as_array().expect("nodes");
        nodes.iter().map(|node| node["release"].as_str().map(ToOwned::to_owned)).collect()
    }

    /// Stops a node in good order, and starts it with the other release.
    fn change(&self, node: u8, install: impl Fn(&Self, u8)) {
        self.stop(node);
        install(self, node);
        self.serve_again(node);
    }

    /// Lets one node lead everything, so that its loss costs all shards their leader.
    fn enthrone(&self, node: u8, of: u8) {
        let others = || (1..=of).filter(|other| *other != node);
        for other in others() {
            self.succeed(node, &format!("otto nodes drain n{other}"));
        }
        self.await_monarchy(&format!("n{node}"));
        for other in others() {
            self.succeed(node, &format!("otto nodes resume n{other}"));
        }
    }
}

#[test]
fn a_cluster_is_upgraded_node_by_node_while_a_run_goes_on() {
    let city = City::of_earlier(3);
    city.world.make_tool("special/special");
    let path = std::env::var("PATH").expect("a PATH");
    let path = format!("{}:{path}", city.world.path("special").display());
    city.install_earlier(4);
    city.serve_with(4, &city.invite("agent"), &[("PATH", &path)]);
    let bob = Person::new(&city, "bob");
    bob.sign_in(1, "");
    let run = bob.start("otto run --progress plain");
    city.world.await_file("begun");
    let log = bob.start("otto logs 1 Held -f");
    until("the first half of the log", || log.said().contains("\n500\n"));

    city.change(3, City::install_present);
    let upgraded = "level 1\nn1  understands level 1\nn2  understands level 1\n\
                    n3  understands levels 1 to 2\n";
    until("the start of n3 to be known", || bob.succeed("otto upgrade") == upgraded);
    let early = city.run(3, "otto upgrade --raise");
    assert_eq!(early.code, Some(2), "{early:?}");
    let reason = "the level stays at 1: n1, n2 keep it from rising to 2";
    assert!(early.stderr.contains(reason), "{early:?}");
    bob.succeed("otto upgrade --check");
    for node in [1, 3] {
        city.succeed(node, "otto run quick");
    }

    // What the present release led and wrote, the earlier one takes over, and the other way round.
    city.enthrone(3, 3);
    city.succeed(1, "otto run quick");
    city.kill(3);
    bob.succeed("otto run quick");
    city.serve_again(3);
    city.await_voters(3);
    city.change(2, City::install_present);
    city.await_voters(3);
    city.enthrone(1, 3);
    city.succeed(3, "otto run quick");
    city.kill(1);
    bob.succeed("otto run quick");
    city.install_present(1);
    city.serve_again(1);
    city.await_voters(3);

    // Until the level is raised, a node goes back.
    city.change(1, City::install_earlier);
    city.await_voters(3);
    city.succeed(1, "otto run quick");
    let reason = "the level stays at 1: n1 keeps it from rising to 2";
    let levels = |node: usize| city.upgrade(2)["nodes"][node - 1]["levels"]["newest"].clone();
    until("the earlier start of n1 to be known", || levels(1) == 1);
    assert!(city.run(2, "otto upgrade --raise").stderr.contains(reason));
    assert_eq!(city.releases(2), [None, None, None], "no earlier build would understand it");
    city.change(1, City::install_present);

    city.world.make_file("go");
    let (run, log) = (run.ended(), log.ended());
    assert_eq!((run.code, log.code), (Some(0), Some(0)), "{run:?} {log:?}");
    let numbers: Vec<u32> = log.stdout.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers, (1..=1000).collect::<Vec<u32>>(), "no gap and no double");
    let truth = city.world.truth();
    let times = |word: &str| truth.iter().filter(|line| *line == word).count();
    let done = (times("held"), times("last"), times("quick"));
    assert_eq!(done, (1, 1, 7), "no step was executed twice");
    bob.succeed("otto upgrade --check --all");
    city.end();
}

#[test]
fn after_the_level_was_raised_there_is_no_way_back() {
    let city = City::of_earlier(3);
    for node in [1, 2, 3] {
        city.change(node, City::install_present);
        city.await_voters(3);
    }
    assert_eq!(city.releases(1), [None, None, None]);
    city.succeed(1, "otto run quick");
    city.stop(3);
    let ada = Person::new(&city, "ada");
    let bob = Person::new(&city, "bob");
    ada.sign_in(1, "--admin");
    bob.sign_in(1, "");
    bob.fail("otto upgrade --raise", 2, "only an administrator");
    assert_eq!(ada.succeed("otto upgrade --raise --json"), "");
    let present = Some(env!("CARGO_PKG_VERSION").to_owned());
    until("two nodes to tell their release", || {
        city.releases(2)[..2].iter().all(|release| *release == present)
    });

    // It was away when the level was raised, and does not know: the others tell it.
    let refused = "it works at level 2, and this node's release, 0.0.9, understands level 1";
    city.install_earlier(3);
    city.try_to_serve(3);
    until("n3 to be refused", || city.complained(3).contains(refused));
    city.run(3, "otto-node stop --busy");
    city.ended(3);
    // Since it was told, or read it on its own disk.
    let again = city.serve_in_vain(3, "otto-node serve");
    assert_eq!(again.code, Some(5), "{again:?}");
    assert!(again.stderr.contains(refused), "{again:?}");
    assert!(again.stderr.contains("install the release that the other nodes have"), "{again:?}");
    city.install_earlier(5);
    let line = city.invite("control");
    let stranger = city.serve_in_vain(5, &format!("{line} --listen {}", city.address(5)));
    assert!(stranger.stderr.contains("work at level 2 of this cluster"), "{stranger:?}");

    city.install_present(3);
    city.serve_again(3);
    city.await_voters(3);
    until("all to tell their release", || city.releases(3).iter().all(|it| *it == present));
    let runs: Value = serde_json::from_str(&city.succeed(3, "otto runs --json")).expect("JSON");
    assert_eq!(runs[0]["outcome"], "success", "nothing was lost");
    city.succeed(3, "otto run quick");
    assert_eq!(city.world.truth(), ["quick", "quick"]);
    city.end();
}
