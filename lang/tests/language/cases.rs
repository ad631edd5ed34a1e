//! Every `tests/cases/<topic>/<case>.otto` gives the `.plan` or the `.errors` beside it.
//!
//! `BLESS=1 cargo test -p otto-lang` writes what comes out as what is expected:
//! read the difference.

use crate::readable::readable;
use crate::surroundings::{Asked, libraries};
use otto_core::ids::{ProjectId, RunId};
use otto_core::plan::Plan;
use otto_core::run::Run;
use otto_core::run::command::{Command, Refusal, Submission, Wish};
use otto_core::time::Timestamp;
use otto_lang::{Source, parse, plan, render};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

pub(crate) fn case_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect()
    };
    for topic in entries(&folder()) {
        files.extend(
            entries(&topic)
                .into_iter()
                .filter(|file| file.extension().is_some_and(|extension| extension == "otto")),
        );
    }
    files.sort();
    files
}

/// What comes out of a text: a plan in the first place, or the drawn diagnostics in the second.
fn outcome(name: &str, text: &str) -> (Option<Plan>, String) {
    let source = Source { name: name.to_owned(), text: text.to_owned() };
    let (libraries, asked) = (libraries(), Asked::read(text));
    let surroundings = asked.surroundings(source.pipeline(), &libraries);
    let (plan, problems) = match plan(&parse(&source), &surroundings) {
        Ok((plan, warnings)) => (Some(plan), warnings),
        Err(problems) => (None, problems),
    };
    let drawn: Vec<String> =
        problems.iter().map(|problem| render(problem, &source, false)).collect();
    (plan, drawn.join("\n\n"))
}

/// What a run answers to a plan: what the language calls right must be taken.
pub(crate) fn submitted(plan: &Plan) -> Result<(), Refusal> {
    let submission = Submission {
        plan: plan.hash(),
        project: "shop".to_owned(),
        by: "ada".to_owned(),
        snapshot: None,
        continues: None,
    };
    let id = RunId { project: ProjectId(1), number: 1 };
    let run = Run::new(id, Arc::new(plan.clone()));
    run.decide(&Command::from(Wish::Submit(submission)), Timestamp(1)).map(drop)
}

#[test]
fn every_case_gives_what_is_expected() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for file in case_files() {
        let text = fs::read_to_string(&file).expect("a case");
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let (plan, mut drawn) = outcome(&name, &text);
        let (kind, other) = if plan.is_some() { ("plan", "errors") } else { ("errors", "plan") };
        if let Some(plan) = plan {
            plan.check().expect("a plan that holds together");
            assert_eq!(submitted(&plan), Ok(()), "{name}");
            assert_eq!(Plan::from_bytes(&plan.to_bytes()).as_ref(), Ok(&plan), "{name}");
            let hashed = file.parent().is_some_and(|topic| topic.ends_with("canonical"));
            let hash = if hashed { format!("hash {}\n", plan.hash()) } else { String::new() };
            drawn = format!("{}{hash}{drawn}", readable(&plan));
        }
        let drawn = format!("{}\n", drawn.trim_end());
        let (expected, opposite) = (file.with_extension(kind), file.with_extension(other));
        if bless {
            fs::write(&expected, &drawn).expect("written");
            fs::remove_file(&opposite).ok();
        } else if fs::read_to_string(&expected).ok().as_ref() != Some(&drawn) || opposite.exists() {
            wrong.push(format!("{}\n{drawn}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn plans_do_not_depend_on_spaces_and_comments() {
    for file in case_files() {
        let text = fs::read_to_string(&file).expect("a case");
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let Some(plan) = outcome(&name, &text).0 else { continue };
        let commented = format!("{text}\n/* another /* remark */ */ // and one more\n\n");
        let hash = outcome(&name, &commented).0.expect("still a plan").hash();
        assert_eq!(hash, plan.hash(), "{name}");
        // The lines at the head are read by the test itself.
        let windows = text.replace('\n', "\r\n").replace("\r\n//: ", "\n//: ");
        let windows = windows.replacen("\r\n", "\n", usize::from(text.starts_with("//: ")));
        let hash = outcome(&name, &windows).0.expect("still a plan").hash();
        assert_eq!(hash, plan.hash(), "{name} with line ends of Windows");
    }
}

#[test]
fn one_meaning_is_one_plan_however_it_is_written() {
    let hash = |text: &str| outcome("Ottofile", text).0.expect("a plan").hash();
    let one = "pipeline {
        settings { B = '2'  A = '1' }
        stage('Test') {
          runtime { cores = 2  make }
          when (branch == 'main')
          steps { dir 'web' { sh 'make test', unstable: [3] } }
          timeout = '90m'
        }
      }";
    let other = "plan { stages { stage {
        steps { dir 'web/.', [ sh script: \"make test\" unstable: 3 ] }
        timeout = \"90m\" /* an hour and a half */
        when { branch=='main' }
        name = 'Test' runtime { make cores = 2 } } }
      settings { A = \"1\" B = concat('2') } }";
    assert_eq!(hash(one), hash(&one.replace('\n', " ")));
    assert_eq!(hash(one), hash(other));
    assert_ne!(hash(one), hash(&one.replace("'90m'", "'91m'")));
}
