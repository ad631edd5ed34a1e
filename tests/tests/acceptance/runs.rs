//! Watching, leaving, cancelling and looking back.

use super::session::{Session, check, golden};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::process::{Output, Stdio};

const SLOW: (&str, &str) = ("Ottofile", "pipeline { steps { sh 'sleep 60' } }");

#[test]
fn a_run_that_takes_longer_than_one_waits() {
    check("timeout", &[SLOW], &["otto run --timeout 300ms --progress quiet"]);
}

#[test]
fn a_cancelled_run_ends_with_its_own_code() {
    check(
        "cancel",
        &[SLOW],
        &[
            "otto run --detach",
            "otto cancel 1 --reason wrong-branch",
            "otto watch 1 --progress quiet",
            "otto cancel 1",
            "otto cancel 7",
        ],
    );
}

#[test]
fn unstable_is_fine_unless_strict() {
    let ottofile = "pipeline { steps { sh 'exit 3', unstable: [3] } }";
    check(
        "unstable",
        &[("Ottofile", ottofile)],
        &["otto run --progress quiet", "otto run --strict --progress quiet"],
    );
}

#[test]
fn plain_lines_and_json_tell_the_same() {
    let ottofile = "\
pipeline {
  stage('Build') { steps { sh 'true' } }
  stage('Never') { when (branch == 'main') steps { sh 'false' } }
}
";
    check(
        "forms",
        &[("Ottofile", ottofile)],
        &[
            "otto run --progress plain",
            "otto run --json --progress quiet",
            "otto logs 1 --json",
            "otto replay 1",
            "otto replay 1 --entries 1",
            "otto logs 1 Nonsense",
        ],
    );
}

#[test]
fn changes_are_told_to_programs_one_a_line() {
    let ottofile = "\
pipeline {
  parallel { stage('Build') { steps { sh 'echo built' } } }
  stage('Test') { steps { sh 'echo first'  sh 'echo bad; exit 4' } finally { sh 'echo tidy' } }
  choose { when (branch == 'main') { stage('Ship') { steps { sh 'true' } } } }
}
";
    check(
        "changes",
        &[("Ottofile", ottofile)],
        &[
            "otto run --json --watch",
            "otto why",
            "otto why --json",
            "otto logs test",
            "otto logs parallel-1/Build",
            "otto logs 1 bild",
            "otto logs -f",
            "otto cancel Build",
        ],
    );
}

/// Starts a run in the foreground and waits until it has begun.
fn started(session: &Session) -> (std::process::Child, BufReader<std::process::ChildStderr>) {
    let mut command = session.command("otto run --progress plain");
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("otto starts");
    let mut lines = BufReader::new(child.stderr.take().expect("standard error is ours"));
    let mut line = String::new();
    while !line.contains('›') {
        line.clear();
        assert!(lines.read_line(&mut line).expect("otto prints") > 0, "the run begins");
    }
    (child, lines)
}

fn interrupt(child: &std::process::Child) {
    let pid = i32::try_from(child.id()).expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("otto is there");
}

fn ended(mut child: std::process::Child, mut lines: BufReader<impl Read>) -> Output {
    let mut stderr = Vec::new();
    lines.read_to_end(&mut stderr).expect("otto prints");
    let status = child.wait().expect("otto ends");
    Output { status, stdout: Vec::new(), stderr }
}

#[test]
fn ctrl_c_leaves_and_the_run_goes_on() {
    let mut session = Session::new(&[SLOW]);
    let (child, lines) = started(&session);
    interrupt(&child);
    let output = ended(child, lines);
    session.note("otto run, then Ctrl-C", &output);
    session.run("otto cancel");
    golden("ctrl-c", &session);
}

#[test]
fn ctrl_c_twice_cancels() {
    let mut session = Session::new(&[SLOW]);
    let (child, mut lines) = started(&session);
    interrupt(&child);
    let mut line = String::new();
    lines.read_line(&mut line).expect("otto prints");
    interrupt(&child);
    let output = ended(child, lines);
    session.note("otto run, then Ctrl-C twice", &output);
    golden("ctrl-c-twice", &session);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let session = Session::new(&[("Makefile", "build:\n\ttrue\n")]);
    let mut command = session.command("otto explain");
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("otto starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("otto ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
