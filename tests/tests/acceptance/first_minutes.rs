//! What a newcomer types first.

use super::session::{Session, check, golden};

const HELLO: (&str, &str) = ("Ottofile", "pipeline { steps { sh \"echo hello\" } }");

#[test]
fn hello() {
    check(
        "hello",
        &[HELLO],
        &["otto check", "otto explain", "otto run", "otto logs 1", "otto runs", "otto why 1"],
    );
}

#[test]
fn a_failure_shows_its_log_and_what_to_type_next() {
    let ottofile = "\
pipeline {
  parallel {
    stage('lint') { steps { sh 'echo clean' } }
    stage('test') {
      steps {
        sh 'test -e \"$HOME/mended\" || { echo \"left: 1, right: 2\"; exit 7; }'
        archive 'Ottofile', name: 'proof'
      }
    }
  }
}
";
    let mut session = Session::new(&[("Ottofile", ottofile)]);
    session.run("otto run --progress quiet");
    session.run("otto why 1 test");
    session.write("../mended", "");
    session.run("otto retry 1 --failed --progress quiet");
    golden("failure", &session);
}

#[test]
fn nothing_to_run_says_what_to_write() {
    check(
        "nothing-to-run",
        &[("README.md", "")],
        &["otto run", "otto init", "otto run", "otto init"],
    );
}

#[test]
fn an_ottofile_that_leaves_all_to_an_empty_repository_is_named() {
    check("nothing-recognised", &[("Ottofile", "pipeline { }\n")], &["otto run"]);
}

#[test]
fn help_and_pages() {
    check(
        "help",
        &[],
        &[
            "otto help exit-codes",
            "otto help nonsense",
            "otto explain OTTO1003",
            "otto explain OTTO9999",
        ],
    );
}
