//! Processes are killed at every kind of moment of a run, found by what can be seen from outside:
//! files that steps write, sockets that commands hold, events of the journal.
//!
//! A step says under which lease it was executed: its workspace is named after it. What is counted
//! is what happened, not what Otto says of it.

use super::victim::Victim::{self, Agent, All, Command, Control, Launcher, Supervisor};
use super::world::Kernel::{self, AsItIs, NoNamespaces};
use super::world::{Process, Started, World, until};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread::park_timeout;
use std::time::Duration;

/// A moment of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    /// The command is connected, and has no answer.
    Submitting,
    /// The command was told the run's number.
    Submitted,
    /// An agent was given a stage.
    Awarded,
    /// A step is in the middle of what it prints.
    Printing,
    /// A step keeps files.
    Archiving,
    /// What is done at a stage's end is being done.
    Finally,
    /// One stage has ended, the next one begins.
    Between,
    /// A stage waits for its next attempt.
    Pausing,
    /// The last event that decides anything was just seen.
    Settled,
}

use Moment::{
    Archiving, Awarded, Between, Finally, Pausing, Printing, Settled, Submitted, Submitting,
};

/// In the order in which a run comes to them.
const ALL: [Moment; 9] =
    [Submitting, Submitted, Awarded, Printing, Archiving, Finally, Between, Pausing, Settled];

const OTTOFILE: &str = r"
pipeline {
  stage('First') { steps { sh '. ./truth; executed first' } }
  stage('Held') {
    steps {
      sh '''
        { set +x; } 2> /dev/null
        . ./truth
        executed held
        alone Held
        seq 1 500
        moment printing
        seq 501 1000
        truncate -s 32M large
        touch OUT/at.archiving
      '''
      archive 'large'
      sh '. ./truth; executed then'
    }
    finally { sh '. ./truth; executed finally; moment finally' }
    RETRY
  }
  stage('Fails') {
    steps {
      sh '. ./truth; executed fails; alone Fails; mkdir OUT/failed || exit 0; exit 1'
    }
    retry { attempts = 20  on = [lost, failed]  backoff = '300ms' }
  }
  stage('Last') { steps { sh '. ./truth; executed last' } RETRY }
}
";

/// What the scripts of the steps have in common.
const TRUTH: &str = r#"
# Says that a step is executed, and under which lease.
executed() { echo "$(basename "$(dirname "$PWD")") $1" >> OUT/truth; }
# Nothing of an earlier attempt may be left; a daemon of this one holds the lock to its end.
alone() {
  exec 9> "OUT/$1.lock"
  flock -n 9 || echo "$(basename "$(dirname "$PWD")") overlaps" >> OUT/truth
  setsid sleep 1000 &
}
# Waits at a moment until the test has done what it wanted.
moment() { touch "OUT/at.$1"; until [ -e "OUT/go.$1" ]; do sleep 0.02; done; }
"#;

/// A run in a world of its own, and who watches it.
struct Scene {
    world: World,
    watching: Started,
}

impl Scene {
    fn new(kernel: Kernel) -> Self {
        let retry = "retry { attempts = 20  on = [lost] }";
        let ottofile = OTTOFILE.replace("RETRY", retry);
        let ottofile =
            ottofile.replace("executed first' } }", &format!("executed first' }} {retry} }}"));
        let world = kernel.world(&ottofile);
        let out = world.path("out").display().to_string();
        fs::write(world.path("shop/truth"), TRUTH.replace("OUT", &out)).expect("a file");
        world.succeed("otto runs");
        let watching = world.start("otto runs");
        Self { world, watching }
    }

    fn watch(&mut self) {
        self.watching = self.world.start("otto watch 1 --json --watch");
    }

    /// Kills the victim, and sees that somebody watches and that a node is there.
    fn kill(&mut self, victim: Victim) {
        self.world.note_family();
        victim.kill(&self.world, &self.watching);
        if victim.ends_the_command() {
            self.watch();
        }
    }

    /// Waits until the journal, as the command that watches shows it, has such an event.
    fn await_event(&mut self, event: &str, stage: Option<&str>) {
        let wanted = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).is_ok_and(|seen| {
                seen["event"] == event && stage.is_none_or(|stage| seen["stage"] == stage)
            })
        };
        let watching = &self.watching;
        until(&format!("{event} {stage:?}"), || watching.said().lines().any(wanted));
    }

    /// Submits the run while the victim is killed. A run may only be missing where nobody was told
    /// of it.
    fn submit(&mut self, moment: Option<Moment>, victim: Victim) {
        self.watching = self.world.start("otto run --detach");
        if moment == Some(Submitting) {
            let command = &self.watching;
            until("the command's connection", || command.is_connected() || command.has_ended());
            self.world.note_family();
            victim.kill(&self.world, command);
        }
        let submitted = std::mem::replace(&mut self.watching, self.world.start("otto runs"));
        let ended = submitted.ended();
        let there = !self.world.runs().is_empty();
        assert!(there || ended.code.is_none(), "an acknowledged run is lost: {ended:?}");
        assert!(ended.code.is_none_or(|code| code == 0), "{victim:?}: {ended:?}");
        if !there {
            self.world.succeed("otto run --detach");
        }
        self.watch();
    }

    /// Waits for a moment of a run that was submitted, kills, and lets the run go on.
    fn kill_at(&mut self, moment: Moment, victim: Victim) {
        match moment {
            Submitting => return,
            Submitted => {}
            Awarded => self.await_event("stage_started", Some("Held")),
            Printing => self.world.await_file("at.printing"),
            Archiving => self.world.await_file("at.archiving"),
            Finally => self.world.await_file("at.finally"),
            Between => self.await_event("attempt_ended", Some("Held")),
            Pausing => self.await_event("retry_scheduled", Some("Fails")),
            Settled => self.await_event("run_settled", None),
        }
        self.kill(victim);
        assert_eq!(self.world.runs().len(), 1, "an acknowledged run is lost");
        self.go_on(moment);
    }

    fn go_on(&self, moment: Moment) {
        match moment {
            Printing => self.world.make_file("go.printing"),
            Finally => self.world.make_file("go.finally"),
            Submitting | Submitted | Awarded | Archiving | Between | Pausing | Settled => {}
        }
    }
}

/// Kills a victim at each moment of one run.
fn check(victim: Victim, kernel: Kernel) {
    let mut scene = Scene::new(kernel);
    scene.submit(Some(Submitting), victim);
    for moment in ALL {
        scene.kill_at(moment, victim);
    }
    let kills = if victim.ends_attempts() { ALL.len() } else { 0 };
    judge(scene, kills);
}

/// Compares what Otto says with what has happened.
fn judge(mut scene: Scene, kills: usize) {
    scene.await_event("run_settled", None);
    let Scene { world, watching } = scene;
    drop(watching);
    assert_eq!(world.outcome(1).as_deref(), Some("success"));
    judge_truth(&world.truth(), kills);
    judge_logs(&world);
    until("nothing to be left in the agent's folders", || {
        let left = |folder: &str| fs::read_dir(world.data(folder)).map_or(0, Iterator::count);
        let aside = fs::read_dir(world.data("agent")).expect("the agent's folder").flatten();
        let aside = aside.filter(|entry| entry.file_name().to_string_lossy().starts_with("left-"));
        left("agent/work") + left("agent/spool") + aside.count() == 0
    });
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the table of mounts");
    let ours = world.path("otto").display().to_string();
    assert!(!mounts.contains(&ours), "a mount is left: {mounts}");
    world.note_family();
    world.end();
}

/// No step is executed twice under one lease, none out of turn, none beside an earlier attempt.
fn judge_truth(truth: &[String], kills: usize) {
    let mut leases: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in truth {
        let (lease, step) = line.split_once(' ').expect("a lease and a step");
        assert_ne!(step, "overlaps", "two attempts at once: {truth:?}");
        match leases.iter_mut().find(|(known, _)| *known == lease) {
            Some((_, steps)) => steps.push(step),
            None => leases.push((lease, vec![step])),
        }
    }
    let order: [&[&str]; 4] = [&["first"], &["held", "then", "finally"], &["fails"], &["last"]];
    let mut stage = 0;
    let mut attempts: BTreeMap<usize, usize> = BTreeMap::new();
    for (lease, steps) in &leases {
        while !order[stage].contains(&steps[0]) {
            stage += 1;
            assert!(stage < order.len(), "{lease} came out of turn: {truth:?}");
        }
        let cut = order[stage].starts_with(steps);
        assert!(cut, "{lease} executed {steps:?}: {truth:?}");
        *attempts.entry(stage).or_default() += 1;
    }
    let last: BTreeSet<&str> =
        leases.iter().filter_map(|(_, steps)| steps.last().copied()).collect();
    for wanted in ["first", "finally", "fails", "last"] {
        assert!(last.contains(wanted), "{wanted} was never executed: {truth:?}");
    }
    // One stage fails once by itself.
    let most = order.len() + 1 + kills;
    let all: usize = attempts.values().sum();
    assert!(all <= most, "{all} attempts where {most} suffice: {truth:?}");
}

/// What was printed is there once, in its order; of a lost attempt its end may be missing.
fn judge_logs(world: &World) {
    let whole: Vec<u32> = (1..=1000).collect();
    let numbers = |log: &str| log.lines().filter_map(|l| l.parse().ok()).collect::<Vec<u32>>();
    assert_eq!(numbers(&world.succeed("otto logs 1 Held")), whole);
    let attempts = (1..).map(|n| world.run(&format!("otto logs 1 Held --attempt {n}")));
    for (index, ended) in attempts.take_while(|ended| ended.code == Some(0)).enumerate() {
        let cut = numbers(&ended.stdout);
        let sure = &cut[..cut.len().saturating_sub(1)];
        assert!(whole.starts_with(sure), "the log of attempt {}: {cut:?}", index + 1);
    }
}

#[test]
fn a_command_is_killed_at_each_moment() {
    check(Command, AsItIs);
}

#[test]
fn control_is_killed_at_each_moment() {
    check(Control, AsItIs);
}

#[test]
fn an_agent_is_killed_at_each_moment() {
    check(Agent, AsItIs);
}

#[test]
fn a_launcher_is_killed_at_each_moment() {
    check(Launcher, AsItIs);
}

#[test]
fn a_supervisor_is_killed_at_each_moment() {
    check(Supervisor, AsItIs);
}

#[test]
fn all_are_killed_at_each_moment() {
    check(All, AsItIs);
}

#[test]
fn an_agent_without_namespaces_is_killed_at_each_moment() {
    check(Agent, NoNamespaces);
}

#[test]
fn a_launcher_without_namespaces_is_killed_at_each_moment() {
    check(Launcher, NoNamespaces);
}

#[test]
fn all_without_namespaces_are_killed_at_each_moment() {
    check(All, NoNamespaces);
}

/// What takes a dead one's place is killed as it begins, again and again.
fn check_recovery(victim: Victim, role: &str) {
    const TIMES: usize = 4;
    let mut scene = Scene::new(AsItIs);
    scene.submit(None, victim);
    scene.world.await_file("at.printing");
    let mut seen = BTreeSet::new();
    for _ in 0..TIMES {
        let world = &scene.world;
        until(&format!("another {role}"), || {
            Process::named(&world.node(), role).is_some_and(|pid| seen.insert(pid))
        });
        scene.kill(victim);
    }
    for moment in ALL {
        scene.go_on(moment);
    }
    judge(scene, if victim.ends_attempts() { TIMES } else { 0 });
}

#[test]
fn control_is_killed_as_it_recovers() {
    check_recovery(Control, "otto-control");
}

#[test]
fn an_agent_is_killed_as_it_recovers() {
    check_recovery(Agent, "otto-agent");
}

#[test]
fn all_are_killed_as_they_recover() {
    check_recovery(All, "otto-control");
}

/// A sequence of numbers that a seed determines (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % most
    }
}

/// Kills at moments that a seed chooses. `OTTO_TEST_SEED` names it, `OTTO_TEST_ROUNDS` how many
/// runs there are; the seed of a run is printed when it fails.
#[test]
fn anybody_is_killed_at_any_moment() {
    let named = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let first: u64 = named("OTTO_TEST_SEED").unwrap_or(1);
    let rounds: u64 = named("OTTO_TEST_ROUNDS").unwrap_or(3);
    for seed in first..first + rounds {
        eprintln!("round of OTTO_TEST_SEED={seed} OTTO_TEST_ROUNDS=1");
        let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let victims = [Command, Supervisor, Control, Agent, Launcher, All];
        let mut scene = Scene::new(AsItIs);
        scene.submit(None, Command);
        for moment in ALL {
            scene.go_on(moment);
        }
        let mut kills = 0;
        for _ in 0..=chance.below(4) {
            // The moment itself is what is random: nothing is waited for.
            park_timeout(Duration::from_millis(chance.below(700)));
            let victim = victims[usize::try_from(chance.below(6)).expect("an index")];
            eprintln!("  kills {victim:?}");
            scene.kill(victim);
            kills += usize::from(victim.ends_attempts());
        }
        judge(scene, kills);
    }
}
