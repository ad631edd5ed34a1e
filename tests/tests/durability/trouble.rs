//! What a node needs is taken away, and given back: a clear error, and nothing is lost.

use super::world::{Process, World, kill_process, until, wait};
use redb::{Database, TableDefinition};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

const QUICK: &str = "pipeline { steps { sh 'echo ran >> OUT/truth; seq 1 200' } }";

/// Breaks something, or mends it.
type Deed = fn(&World);

/// After a run, takes something away from the node: commands must say what and where, with these
/// words, until it is given back; then all is as it was, and goes on.
fn check(world: World, take_away: Deed, words: &[&str], give_back: Deed) {
    world.succeed("otto run");
    let (before, log) = (world.runs(), world.succeed("otto logs 1"));
    world.succeed("otto-node stop");
    take_away(&world);
    let folder = world.path("otto").display().to_string();
    for line in ["otto run", "otto runs", "otto logs 1", "otto-node serve --alone"] {
        // The node that an earlier command started stays for a moment, to say what it lacks.
        until("the end of the node", || world.marked("OTTO_HOME", "otto").is_empty());
        let ended = world.run(line);
        assert_eq!(ended.code, Some(5), "{line}: {ended:?}");
        for word in words.iter().chain(&[folder.as_str(), "help: "]) {
            assert!(ended.stderr.contains(word), "{line} must say '{word}': {}", ended.stderr);
        }
    }
    assert_eq!(world.truth(), ["ran"]);
    give_back(&world);
    assert_eq!(world.runs(), before);
    assert_eq!(world.succeed("otto logs 1"), log);
    world.succeed("otto run");
    assert_eq!(world.truth(), ["ran", "ran"]);
    world.end();
}

/// Fills the disk to its last byte.
fn fill(world: &World) {
    let mut filler = File::create(world.data("filler")).expect("a file");
    let full = loop {
        if let Err(error) = filler.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}

fn make_room(world: &World) {
    fs::remove_file(world.data("filler")).expect("the filler is there");
}

fn remount(world: &World, how: &str) {
    let mut command = world.inside(Path::new("mount"));
    let mounted = command.args(["-o", how]).arg(world.path("otto")).status();
    assert!(mounted.expect("mount starts").success(), "this test needs to mount");
}

/// Puts a copy of the store aside.
fn save(world: &World) {
    let store = world.path("otto/store");
    let copy = world.path("copy");
    fs::create_dir(&copy).expect("a folder");
    for file in ["log.redb", "state.redb"] {
        fs::copy(store.join(file), copy.join(file)).expect("a copy");
    }
}

fn restore(world: &World) {
    for file in ["log.redb", "state.redb"] {
        let place = world.path("otto/store").join(file);
        fs::copy(world.path("copy").join(file), place).expect("a copy");
    }
}

/// Writes nonsense over what is behind the first bytes, which say what a file is.
fn damage(world: &World, file: &str) {
    save(world);
    let file = File::options().write(true).open(world.path("otto/store").join(file));
    file.expect("the store is there").write_all_at(&[0xA5; 8192], 16).expect("it is written");
}

#[test]
fn a_folder_that_cannot_be_written() {
    let read_only: Deed = |world| remount(world, "remount,ro");
    let writable: Deed = |world| remount(world, "remount,rw");
    check(World::with_small_disk(QUICK), read_only, &["Read-only", "writable"], writable);
}

#[test]
fn a_file_in_place_of_the_folder() {
    let replace: Deed = |world| {
        fs::rename(world.path("otto"), world.path("aside")).expect("it moves");
        fs::write(world.path("otto"), "a file").expect("a file");
    };
    let give_back: Deed = |world| {
        fs::remove_file(world.path("otto")).expect("the file is there");
        fs::rename(world.path("aside"), world.path("otto")).expect("it moves");
    };
    check(World::new(QUICK), replace, &["OTTO_HOME"], give_back);
}

#[test]
fn a_damaged_state() {
    let damage: Deed = |world| damage(world, "state.redb");
    check(World::new(QUICK), damage, &["state.redb", "damaged", "backup"], restore);
}

#[test]
fn a_damaged_log() {
    let damage: Deed = |world| damage(world, "log.redb");
    check(World::new(QUICK), damage, &["log.redb", "damaged", "backup"], restore);
}

#[test]
fn the_file_of_another_program() {
    let replace: Deed = |world| {
        save(world);
        fs::write(world.path("otto/store/state.redb"), "SQLite format 3\0").expect("a file");
    };
    check(World::new(QUICK), replace, &["state.redb", "no database of Otto's", "away"], restore);
}

#[test]
fn a_missing_file() {
    let remove: Deed = |world| {
        save(world);
        fs::remove_file(world.path("otto/store/log.redb")).expect("the log is there");
    };
    check(World::new(QUICK), remove, &["log.redb", "it is empty", "backup"], restore);
}

#[test]
fn a_database_of_a_later_release() {
    let raise: Deed = |world| {
        const IDENTITY: TableDefinition<&str, u64> = TableDefinition::new("otto");
        save(world);
        let database = Database::open(world.path("otto/store/state.redb")).expect("a database");
        let transaction = database.begin_write().expect("nobody else uses it");
        let mut table = transaction.open_table(IDENTITY).expect("it says what it is");
        table.insert("format", 1_000_000).expect("it is written");
        drop(table);
        transaction.commit().expect("it is on disk");
    };
    let words = ["state.redb", "its format is 1000000", "start the release that wrote it"];
    check(World::new(QUICK), raise, &words, restore);
}

/// A full disk still has room inside of the files that are there, so a command may succeed; what
/// does not must say why.
#[test]
fn a_full_disk() {
    let world = World::with_small_disk(QUICK);
    world.succeed("otto run");
    let before = world.runs();
    fill(&world);
    // A node with a full disk can be stopped.
    world.succeed("otto-node stop");
    let folder = world.path("otto").display().to_string();
    for _ in 0..3 {
        let ended = world.run("otto runs");
        if ended.code == Some(0) {
            continue;
        }
        assert_eq!(ended.code, Some(5), "{ended:?}");
        for word in ["disk is full", folder.as_str(), "help: free some space"] {
            assert!(ended.stderr.contains(word), "it must say '{word}': {}", ended.stderr);
        }
    }
    make_room(&world);
    // The first one already.
    assert_eq!(world.runs(), before);
    // A node that works, and lacks room only later.
    fill(&world);
    until("the refusal", || world.run("otto run --detach").code == Some(5));
    wait(Duration::from_secs(1));
    make_room(&world);
    world.succeed("otto run");
    world.end();
}

/// A node that cannot work can be told to leave, and tells at once when what it lacked is there.
#[test]
fn a_node_in_trouble_is_stopped_and_mended() {
    let world = World::new(QUICK);
    world.succeed("otto run");
    let break_it = || {
        fs::rename(world.path("otto/store"), world.path("otto/aside")).expect("it moves");
        fs::write(world.path("otto/store"), "a file").expect("a file");
        let control = Process::named(&world.node(), "otto-control").expect("control runs");
        kill_process(control);
        until("the refusal", || world.run("otto runs").code == Some(5));
    };
    let mend = || {
        fs::remove_file(world.path("otto/store")).expect("the file is there");
        fs::rename(world.path("otto/aside"), world.path("otto/store")).expect("it moves");
    };
    break_it();
    world.succeed("otto-node stop");
    assert!(world.node().is_empty(), "it has left");
    mend();
    world.succeed("otto run");
    break_it();
    // So often it was refused that the pause before the next trial would be of seconds.
    for _ in 0..20 {
        assert_eq!(world.run("otto runs").code, Some(5));
    }
    mend();
    let refused = (0..100).take_while(|_| world.run("otto runs").code != Some(0)).count();
    assert!(refused < 50, "refused {refused} times though it was mended");
    world.end();
}

#[test]
fn a_node_leaves_when_its_folder_is_taken_away() {
    let remove: Deed = |world| fs::remove_dir_all(world.path("otto")).expect("it is removed");
    let rename: Deed = |world| {
        fs::rename(world.path("otto"), world.path("elsewhere")).expect("it moves");
    };
    for take_away in [remove, rename] {
        let world = World::new(QUICK);
        world.succeed("otto run");
        world.note_family();
        take_away(&world);
        until("the end of the node", || world.left_of_the_family().is_empty());
        world.succeed("otto run");
        assert_eq!(world.runs().len(), 1, "it is a new node");
        world.end();
    }
}

/// Whoever follows a run is told what became of it when its node's folder is taken away.
#[test]
fn a_run_whose_folder_is_moved_away_is_said_to_be_gone() {
    let world = World::new("pipeline { steps { sh 'touch OUT/begun; sleep 1000' } }");
    let run = world.start("otto run --progress plain");
    world.await_file("begun");
    let logs = world.start("otto logs 1 -f");
    until("a view", || logs.said().contains("sleep"));
    fs::rename(world.path("otto"), world.path("elsewhere")).expect("it moves");
    let folder = world.path("otto").display().to_string();
    for ended in [run.ended(), logs.ended()] {
        assert_eq!(ended.code, Some(5), "{ended:?}");
        for word in ["run 1 is not there any more", "moved", folder.as_str(), "help: "] {
            assert!(ended.stderr.contains(word), "it must say '{word}': {ended:?}");
        }
    }
    world.end();
}

#[test]
fn a_nodes_data_is_no_part_of_the_repository() {
    let world = World::new("pipeline { steps { sh 'find . -type f > OUT/files' } }");
    let run = |line: &str| {
        let mut command = world.command(line);
        let output = command.env("OTTO_HOME", "data/otto").output().expect("otto starts");
        assert!(output.status.success(), "{output:?}");
    };
    run("otto run");
    let files = fs::read_to_string(world.path("out/files")).expect("the step ran");
    assert_eq!(files, "./Ottofile\n");
    run("otto-node stop");
}

/// A step that fills the disk under the node's own feet fails by what it met, and all goes on when
/// there is room again.
#[test]
fn a_step_fills_the_disk() {
    const FILLS: &str = "pipeline {
      stage('Fills') { steps { sh '''
        echo begun >> OUT/truth
        code=0
        dd if=/dev/zero of=large bs=4096 2> OUT/said || code=$?
        echo $code >> OUT/truth
        touch OUT/full
        until [ -e OUT/go ]; do sleep 0.05; done
        exit $code
      ''' } }
      stage('Then') { steps { sh 'echo then >> OUT/truth' } }
    }";
    let world = World::with_small_disk(FILLS);
    let command = world.start("otto run --progress plain");
    world.await_file("full");
    // The journal meets the full disk too: who asks for more is told why not.
    for _ in 0..3 {
        let ended = world.run("otto run --detach");
        assert!(matches!(ended.code, Some(0 | 5)), "{ended:?}");
    }
    world.make_file("go");
    let ended = command.ended();
    assert!(matches!(ended.code, Some(1 | 5)), "never an invented success: {ended:?}");
    until("an answer", || world.run("otto runs").code == Some(0));
    until("the end of the run", || world.outcome(1).is_some());
    let outcome = world.outcome(1);
    assert_eq!(outcome.as_deref(), Some("failed"), "{ended:?}");
    assert_eq!(world.truth()[..2], ["begun", "1"]);
    world.end();
}

/// While the disk is full for so long, a step prints its 50 lines and ends. Answers the outcome of
/// its run and the log, after there was room again.
fn prints_on_a_full_disk(limit: &str, full: Duration) -> (Option<String>, String) {
    const PRINTS: &str = "pipeline { steps { sh '''
      #!/bin/sh
      line=$(head -c 20000 /dev/zero | tr '\\0' x)
      touch OUT/ready
      until [ -e OUT/full ]; do sleep 0.05; done
      for n in $(seq 50); do echo $n $line; done
      ''' LIMIT } }";
    let world = World::with_small_disk(&PRINTS.replace("LIMIT", limit));
    let command = world.start("otto run --progress plain");
    world.await_file("ready");
    fill(&world);
    world.make_file("full");
    wait(full);
    make_room(&world);
    drop(command);
    until("an answer", || world.run("otto runs").code == Some(0));
    until("the end of the run", || world.outcome(1).is_some());
    let (outcome, log) = (world.outcome(1), world.succeed("otto logs 1"));
    world.end();
    (outcome, log)
}

#[test]
fn a_step_that_prints_on_a_full_disk_waits_for_room() {
    // For longer than a lease holds in a cluster: the control process is away all the time.
    let (outcome, log) = prints_on_a_full_disk("", Duration::from_secs(20));
    let line = "x".repeat(20_000);
    let printed: Vec<String> = (1..=50).map(|n| format!("{n} {line}")).collect();
    assert!(log.lines().eq(printed), "a log of {} bytes", log.len());
    assert_eq!(outcome.as_deref(), Some("success"));
}

#[test]
fn a_log_says_what_a_full_disk_cut_off() {
    let (outcome, log) = prints_on_a_full_disk(", timeout: '4s'", Duration::from_secs(9));
    let kept: usize = log.lines().filter(|line| !line.starts_with('…')).map(str::len).sum();
    let said = log.lines().find_map(|line| line.strip_prefix("… ")?.strip_suffix(" bytes cut off"));
    let cut_off: usize = said.map_or(0, |number| number.parse().expect("a number"));
    // Without the ends of its lines, of which some are among what was cut off.
    let all = 50 * 20_000 + 9 * 2 + 41 * 3;
    assert!((all..=all + 50).contains(&(kept + cut_off)), "{kept} and {cut_off} bytes");
    assert_eq!(outcome.as_deref(), Some("timed_out"));
}

/// A log that is not there any more is not passed off as one that is empty.
#[test]
fn a_log_that_is_gone_is_said_to_be_cut_off() {
    let world = World::new(QUICK);
    world.succeed("otto run");
    let printed = world.succeed("otto logs 1").len();
    world.succeed("otto-node stop");
    fs::remove_dir_all(world.data("logs")).expect("the folder of logs");
    for line in ["otto logs 1", "otto logs 1 -f"] {
        let ended = world.run(line);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{line}: {ended:?}");
        let cut = format!("is cut off: {printed} bytes of it are on no node that answers");
        assert!(ended.stderr.contains(&cut), "{line} must say '{cut}': {ended:?}");
    }
    world.end();
}
