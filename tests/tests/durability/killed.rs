//! Processes are killed while a step runs.

use super::victim::Victim::{
    self, Agent, All, Command, Control, Launcher, Node, Supervisor, Terminal,
};
use super::world::{World, until};

/// What becomes of the attempt that was running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Nothing disturbs it.
    GoesOn,
    /// It is lost, and the plan repeats what is lost.
    Repeated,
    /// It is lost, and the plan says nothing of that.
    Lost,
}

use Fate::{GoesOn, Lost, Repeated};

/// A stage that is held while processes are killed, between two that are not.
const OTTOFILE: &str = r"
pipeline {
  stage('First') { steps { sh 'echo first >> OUT/truth' } }
  stage('Held') {
    steps {
      sh '''
        { set +x; } 2> /dev/null
        echo held >> OUT/truth
        times=$(grep -c held OUT/truth)
        export OTTO_TEST_MARK=OUT/$times
        setsid sleep 1000 &
        seq 1 500
        touch OUT/begun.$times
        until [ -e OUT/go ]; do sleep 0.05; done
        seq 501 1000
      '''
      sh 'echo then >> OUT/truth'
    }
    RETRY
  }
  stage('Last') { steps { sh 'echo last >> OUT/truth' } }
}
";

fn check(victim: Victim, fate: Fate) {
    let retry = if fate == Repeated { "retry { attempts = 2  on = [lost] }" } else { "" };
    let world = World::new(&OTTOFILE.replace("RETRY", retry));
    let command = world.start("otto run --progress plain");
    world.await_file("begun.1");
    victim.kill(&world, &command);
    let watching = if victim.ends_the_command() {
        let ended = command.ended();
        assert_eq!(ended.code, None, "it was killed: {ended:?}");
        world.start("otto watch 1 --progress plain")
    } else {
        command
    };
    let of_the_first = || world.marked(MARK, "out/1");
    match fate {
        GoesOn => {}
        Repeated => {
            world.await_file("begun.2");
            let left = of_the_first();
            assert!(left.is_empty(), "the second attempt began beside the first: {left:?}");
        }
        Lost => until("the end of the lost attempt", || of_the_first().is_empty()),
    }
    let ended = if fate == Lost {
        let ended = watching.ended();
        assert_eq!(world.outcome(1).as_deref(), Some("lost"), "{ended:?}");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        world.make_file("go");
        world.run("otto retry 1 --progress plain")
    } else {
        world.make_file("go");
        watching.ended()
    };
    assert_eq!(ended.code, Some(0), "{ended:?}");
    judge(&world, fate);
    world.end();
}

/// The variable that marks the processes of an attempt.
const MARK: &str = "OTTO_TEST_MARK";

/// Compares what Otto says with what has happened.
fn judge(world: &World, fate: Fate) {
    let (run, executed) = match fate {
        GoesOn => (1, vec!["first", "held", "then", "last"]),
        Repeated => (1, vec!["first", "held", "held", "then", "last"]),
        Lost => (2, vec!["first", "held", "held", "then", "last"]),
    };
    assert_eq!(world.truth(), executed);
    assert_eq!(world.outcome(run).as_deref(), Some("success"));
    let whole: Vec<u32> = (1..=1000).collect();
    assert_eq!(numbers(&world.succeed(&format!("otto logs {run} Held"))), whole);
    if fate != GoesOn {
        // What the killed attempt printed before it could be sent may be missing at the end, from
        // the middle of a number on.
        let cut = numbers(&world.succeed("otto logs 1 Held --attempt 1"));
        let sure = &cut[..cut.len().saturating_sub(1)];
        assert!(whole.starts_with(sure), "the lost attempt's log: {cut:?}");
    }
    for mark in ["out/1", "out/2"] {
        let left = world.marked(MARK, mark);
        assert!(left.is_empty(), "outlived its attempt: {left:?}");
    }
}

/// The numbers in a log: not the commands that the shell shows, nor why an attempt was lost.
fn numbers(log: &str) -> Vec<u32> {
    log.lines().filter_map(|line| line.parse().ok()).collect()
}

#[test]
fn a_killed_command_disturbs_no_step() {
    check(Command, GoesOn);
}

#[test]
fn a_closed_terminal_disturbs_no_step() {
    check(Terminal, GoesOn);
}

#[test]
fn a_killed_control_process_disturbs_no_step() {
    check(Control, GoesOn);
}

#[test]
fn what_a_killed_agent_ran_is_repeated() {
    check(Agent, Repeated);
}

#[test]
fn what_a_killed_agent_ran_is_lost() {
    check(Agent, Lost);
}

#[test]
fn what_a_killed_launcher_ran_is_repeated() {
    check(Launcher, Repeated);
}

#[test]
fn what_a_killed_launcher_ran_is_lost() {
    check(Launcher, Lost);
}

#[test]
fn what_a_killed_node_ran_is_repeated() {
    check(Supervisor, Repeated);
}

#[test]
fn what_a_stopped_node_ran_is_repeated() {
    check(Node, Repeated);
}

#[test]
fn all_are_killed_and_the_attempt_is_repeated() {
    check(All, Repeated);
}

#[test]
fn all_are_killed_and_the_attempt_is_lost() {
    check(All, Lost);
}
