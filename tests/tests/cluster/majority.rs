//! So many nodes are lost that nobody can decide anything: that is told, and is over when one of
//! them is back.

use super::city::City;
use crate::world::until;
use serde_json::Value;

#[test]
fn what_a_node_knows_is_shown_without_a_majority() {
    let city = City::of(3, "pipeline { steps { sh 'echo ran >> OUT/truth' } }");
    city.kill(3);
    until("the loss to count", || city.view(1)["survivable_losses"] == 0);
    assert_eq!(city.seen(1, "n3").expect("it belongs to them")["reachable"], false);
    city.freeze(2);
    until("the majority to be missed", || city.view(1)["survivable_losses"] == Value::Null);
    let shown = city.run(1, "otto nodes");
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for part in ["n2  not reachable", "n3  not reachable", "1 of 3 voters is there, and 2 must be"]
    {
        assert!(shown.stdout.contains(part), "{part:?} is missing in {shown:?}");
    }
    for part in ["this is what n1 knows", &format!("n2 does not answer at {}", city.address(2))] {
        assert!(shown.stderr.contains(part), "{part:?} is missing in {shown:?}");
    }
    let run = city.start(1, "otto run");
    city.thaw(2);
    let ended = run.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(city.world.truth(), ["ran"], "it waited, and went on");
    until("a majority to be there", || city.view(1)["survivable_losses"] == 0);
    city.serve_again(3);
    city.await_voters(3);
    city.end();
}
