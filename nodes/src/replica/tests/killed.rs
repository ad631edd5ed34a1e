//! kill -9 on a process that proposes: what it said was applied is there.

use super::{entity, item, proposal, serve};
use otto_core::journal::Verdict;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where the child finds its folder; without it, the child's part is no test.
const FOLDER: &str = "OTTO_TEST_PROPOSE_IN";
/// A line of the child that says how many entries were applied.
const APPLIED: &str = "applied ";

/// The child: appends to one entity, and says so, until it is killed.
#[tokio::test]
async fn proposes_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let (_shards, journal) = serve(&folder).await;
    let head = journal.head(entity(1)).await.expect("it serves");
    for version in head.map_or(0, |head| head.version).. {
        let applied = journal.propose(proposal([item(1, version, None)])).await;
        assert_eq!(applied, Ok(Verdict::Applied));
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{APPLIED}{}", version + 1).expect("the parent listens");
        out.flush().expect("the parent listens");
    }
}

#[tokio::test]
async fn what_a_killed_process_acknowledged_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut applied = 0;
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().expect("this test is a program"))
            .args(["--exact", "replica::tests::killed::proposes_until_killed", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("it is piped"));
        for line in said.lines().map_while(Result::ok) {
            if let Some(version) = line.strip_prefix(APPLIED) {
                applied = version.parse().expect("it is a number");
            }
            // What it says until it is dead counts too.
            if applied >= round * 50 {
                child.kill().expect("it runs");
            }
        }
        child.wait().expect("it is dead");
        let (shards, journal) = serve(folder.path()).await;
        let found = journal.entries(entity(1), 0).await.expect("it serves").len() as u64;
        assert!(found == applied || found == applied + 1, "{found} of {applied} are there");
        shards.close().await.expect("the disk is well");
        applied = found;
    }
    assert!(applied >= 150);
}
