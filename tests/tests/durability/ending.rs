//! How runs end: what the last word waits for, and what time limits bound.

use super::world::{World, until, wait};
use std::time::Duration;

/// A world with one stage that does this and sweeps behind it.
fn sweeps(limit: &str, step: &str, sweep: &str) -> World {
    World::new(&format!(
        "pipeline {{ stage('Work') {{
          {limit}
          steps {{ sh 'touch OUT/begun; {step}' }}
          finally {{ sh 'touch OUT/sweeps; {sweep}; echo swept >> OUT/truth' }}
        }} }}"
    ))
}

/// Cancels a run that is watched: whoever watches it leaves when its `finally` has ended.
fn check_cancelled(cancel: &str) {
    let world = sweeps("", "sleep 1000", "until [ -e OUT/go ]; do sleep 0.05; done");
    let run = world.start("otto run --progress plain");
    world.await_file("begun");
    if cancel == "Ctrl-C" {
        for said in ["leaving;", "cancelling"] {
            run.interrupt();
            until(said, || run.complained().contains(said));
        }
    } else {
        world.succeed(cancel);
    }
    world.await_file("sweeps");
    let watch = world.start("otto watch 1");
    wait(Duration::from_secs(1));
    assert!(!run.has_ended() && !watch.has_ended(), "it is not over: {}", run.complained());
    assert!(world.succeed("otto runs").contains(" ending "));
    world.make_file("go");
    for ended in [run.ended(), watch.ended()] {
        assert!(ended.stderr.contains("cancelled"), "{ended:?}");
        assert_eq!(world.truth(), ["swept"]);
    }
    assert!(world.succeed("otto runs").contains(" cancelled "));
    world.end();
}

#[test]
fn a_cancelled_run_is_over_when_its_finally_is() {
    check_cancelled("otto cancel 1");
    check_cancelled("Ctrl-C");
}

#[test]
fn a_time_limit_bounds_steps_and_not_finally() {
    let check = |step: &str, outcome: &str| {
        let world = sweeps("timeout = '1s'", step, "sleep 2");
        world.run("otto run");
        assert_eq!(world.outcome(1).as_deref(), Some(outcome));
        assert_eq!(world.truth(), ["swept"]);
        world.end();
    };
    check("true", "success");
    check("sleep 1000", "timed_out");
}
