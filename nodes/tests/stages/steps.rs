//! How steps are started, what they find, and how their ends count.

use crate::Case;
use crate::bench::{Bench, assignment, call, named, run, script, step};
use otto_actors::ports::control::Assignment;
use otto_actors::ports::stages::{StageError, Stages};
use otto_core::plan::StepCall;
use otto_core::run::outcome::Outcome;
use otto_core::step::Library;
use otto_core::value::{Decimal, Value};
use otto_stdlib::library::{File, Files};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) const CASES: &[Case] = &[
    ("steps::exits_count_as_the_language_says", exits),
    ("steps::an_interpreter_line_is_honoured", interpreters),
    ("steps::the_environment_is_made_from_nothing", environment),
    ("steps::a_step_starts_in_its_folder_and_never_outside", folders),
    ("steps::artifacts_and_variables_pass_through_the_control_socket", control_socket),
    ("steps::of_what_a_step_says_the_worst_counts", verdicts),
    ("steps::a_library_of_the_repository_runs_as_it_was_planned", library),
    ("steps::an_archive_that_reaches_out_is_refused", archives),
];

fn exits() {
    run(async {
        let bench = Bench::new().await;
        let check = async |text: &str, outcome: Outcome, detail: &str, log: &str| {
            let mut assignment = script(text);
            let codes = Value::List(vec![Value::Number(Decimal::whole(4).expect("small"))]);
            assignment.steps[0].arguments.insert("unstable".to_owned(), codes);
            let (ends, printed) = bench.through(&assignment).await;
            assert_eq!((ends[0].outcome, ends[0].detail.as_str()), (outcome, detail), "{text}");
            assert_eq!(printed, log, "{text}");
        };
        let success = Outcome::Success;
        check("echo hello", success, "exit code 0", "+ echo hello\nhello\n").await;
        check(
            "echo out; echo err >&2",
            success,
            "exit code 0",
            "+ echo out\nout\n+ echo err\nerr\n",
        )
        .await;
        check("exit 3", Outcome::Failed, "exit code 3", "+ exit 3\n").await;
        check("exit 2", Outcome::Failed, "exit code 2", "+ exit 2\n").await;
        check("exit 4", Outcome::Unstable, "exit code 4", "+ exit 4\n").await;
        check("false\necho on", Outcome::Failed, "exit code 1", "+ false\n").await;
        check("#!/bin/sh\nkill -9 $$", Outcome::Failed, "signal 9", "").await;
        check("#!/bin/sh\nkill -34 $$", Outcome::Failed, "signal 34", "").await;
        check("#!/bin/sh\nno-such-thing 2>/dev/null", Outcome::Failed, "exit code 127", "").await;
        check("cat", success, "exit code 0", "+ cat\n").await;
        check("nul\0", Outcome::Failed, "an argument holds a NUL character", "").await;
    });
}

fn interpreters() {
    run(async {
        let bench = Bench::new().await;
        let check = async |text: &str, outcome: Outcome, log: &str| {
            let (ends, printed) = bench.through(&script(text)).await;
            assert_eq!(ends[0].outcome, outcome, "{text:.80}: {}", ends[0].detail);
            assert_eq!(printed, log, "{text:.80}");
        };
        check("#!/bin/sh\necho plain", Outcome::Success, "plain\n").await;
        check("#!/bin/sh -e\nfalse\necho on", Outcome::Failed, "").await;
        check("#! /usr/bin/env sh\necho \"$@\" found", Outcome::Success, "found\n").await;
        check("#!/no/such/thing\n", Outcome::Failed, "").await;
        // A script that is too long for an argument is a file; its text is the same.
        let long = format!("set +x; : '{}'\necho done", "x".repeat(200_000));
        check(&long, Outcome::Success, "+ set +x\ndone\n").await;
    });
}

fn environment() {
    run(async {
        let bench = Bench::new().await;
        let mut asked = assignment(vec![call("sh", &[("script", "#!/bin/sh\nenv | sort")])]);
        asked.settings.insert("FROM".to_owned(), "stage".to_owned());
        asked.settings.insert("COLOR".to_owned(), "blue".to_owned());
        asked.steps[0].settings.insert("FROM".to_owned(), "step".to_owned());
        asked.steps[0].settings.insert("OTTO_RUN".to_owned(), "forged".to_owned());
        asked.steps[0].settings.insert("VAR_TONE".to_owned(), "forged".to_owned());
        let stage = bench.open(&asked).await;
        let captured = [("tone".to_owned(), Value::Text("deep".to_owned()))].into();
        step(&*stage, 0, &captured).await.expect("a step");
        stage.close().await;
        let log = bench.log(asked.lease).await;
        let variables: BTreeMap<&str, &str> =
            log.lines().filter_map(|line| line.split_once('=')).collect();
        let names: Vec<&str> = variables.keys().copied().filter(|name| *name != "TZ").collect();
        // `PWD` is the shell's own. Whatever else this test was started with is not here.
        let expected = [
            "CARGO_HOME",
            "COLOR",
            "FROM",
            "HOME",
            "LANG",
            "LOGNAME",
            "OTTO_INVOCATION",
            "OTTO_RUN",
            "PATH",
            "PWD",
            "SHELL",
            "TMPDIR",
            "USER",
            "VAR_TONE",
        ];
        assert_eq!(names, expected);
        assert_eq!(variables["FROM"], "step");
        assert_eq!(variables["OTTO_RUN"], "1");
        assert_eq!(variables["VAR_TONE"], "deep");
        assert!(variables["PWD"].ends_with("/files"), "{}", variables["PWD"]);
    });
}

fn folders() {
    run(async {
        let bench = Bench::new().await;
        let mut steps = vec![call(
            "sh",
            &[("script", "#!/bin/sh\nmkdir -p web/src; ln -s web in; ln -s / out; touch file")],
        )];
        for folder in ["web/src", "in", "out", "../..", "missing", "file", "/etc"] {
            let mut pwd = call("sh", &[("script", "#!/bin/sh\npwd -P | sed 's,.*/files,,'")]);
            folder.clone_into(&mut pwd.folder);
            steps.push(pwd);
        }
        let (ends, log) = bench.through(&assignment(steps)).await;
        let found: Vec<&str> = ends[1..].iter().map(|end| end.detail.as_str()).collect();
        let expected = [
            "exit code 0",
            "exit code 0",
            "the folder 'out' is outside the workspace",
            "the folder '../..' is outside the workspace",
            "there is no folder 'missing'",
            "'file' is no folder",
            "the folder '/etc' is outside the workspace",
        ];
        assert_eq!(found, expected);
        assert_eq!(log, "/web/src\n/web\n");
    });
}

fn control_socket() {
    run(async {
        let bench = Bench::new().await;
        let steps = vec![
            call(
                "sh",
                &[("script", "#!/bin/sh\nmkdir d; echo content >d/f; otto-step-capture tone deep")],
            ),
            call("archive", &[("files", "d"), ("name", "made")]),
            call("sh", &[("script", "#!/bin/sh\nrm -r d")]),
            call("unarchive", &[("name", "made")]),
            call("sh", &[("script", "#!/bin/sh\ncat d/f")]),
            call("drop", &[("name", "tone")]),
            call("drop", &[("name", "tone")]),
            call("unarchive", &[("name", "never")]),
            call("echo", &[("text", "heard")]),
        ];
        let (ends, log) = bench.through(&assignment(steps)).await;
        let outcomes: Vec<Outcome> = ends.iter().map(|end| end.outcome).collect();
        let good = Outcome::Success;
        let bad = Outcome::Failed;
        let expected = [good, good, good, good, good, good, bad, bad, good];
        assert_eq!(outcomes, expected, "{log}");
        assert_eq!(ends[0].captured, [("tone".to_owned(), Value::Text("deep".to_owned()))].into());
        assert_eq!(ends[5].dropped, ["tone"]);
        let kept = ends[1].artifacts["made"];
        assert!(bench.blobs.kept.lock().expect("no panic").contains_key(&kept), "delivered");
        assert!(log.contains("drop 'tone': nothing is captured here"), "{log}");
        assert!(log.contains("content\n") && log.ends_with("heard\n"), "{log}");
    });
}

fn verdicts() {
    const SAYS: &str = r#"#!/usr/bin/env python3
import json, os, socket
control = json.load(open(os.environ["OTTO_INVOCATION"]))["control"]
for said in "SAID".split():
    path, status = said.split("=")
    body = json.dumps({"status": status, "message": said}).encode()
    head = f"POST /v1/{path} HTTP/1.1\r\nHost: otto\r\nConnection: close\r\n"
    head += f"Authorization: Bearer {control['secret']}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(control["socket"])
        connection.sendall(head.encode() + body)
        assert b" 204 " in connection.recv(1000)
"#;
    run(async {
        let bench = Bench::new().await;
        let check = async |said: &str, outcome: Outcome, counts: &str| {
            let (ends, log) = bench.through(&script(&SAYS.replace("SAID", said))).await;
            let detail = format!("exit code 0: {counts}");
            assert_eq!((ends[0].outcome, &ends[0].detail), (outcome, &detail), "{said}: {log}");
            assert_eq!(ends[0].ends_run, said.contains("end="), "{said}");
        };
        let (good, shaky, bad) = (Outcome::Success, Outcome::Unstable, Outcome::Failed);
        check("status=failed end=success", bad, "status=failed").await;
        check("status=unstable end=success", shaky, "status=unstable").await;
        check("status=failed status=success", bad, "status=failed").await;
        check("status=unstable end=failed", bad, "end=failed").await;
        check("status=success end=success", good, "end=success").await;
    });
}

/// A step library with one step, a shell script.
fn greeter(greeting: &str) -> (Library, Files) {
    let manifest = "symbol: greet\ndescription: Greets.\nparameters:\n  name: { type: text, \
                    description: Whom. }\nentrypoint: greet.sh\n";
    let program = format!("#!/bin/sh\necho {greeting} \"$(otto-step-parameter name)\"; pwd\n");
    let file = |content: &str, executable| File { executable, content: content.into() };
    let files: Files = [
        ("manifest.yml".to_owned(), file(manifest, false)),
        ("greet.sh".to_owned(), file(&program, true)),
    ]
    .into();
    let library = otto_stdlib::library::load("ci/greet", &files);
    (library.unwrap_or_else(|problems| panic!("{problems}")), files)
}

fn snapshot(files: &Files, folder: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, file) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(if file.executable { 0o755 } else { 0o644 });
        let path = Path::new(folder).join(path);
        archive.append_data(&mut header, path, file.content.as_slice()).expect("in memory");
    }
    archive.into_inner().expect("in memory")
}

fn library() {
    run(async {
        let bench = Bench::new().await;
        let (planned, files) = greeter("Hello");
        let greet = StepCall { library: "greet".to_owned(), ..call("greet", &[("name", "World")]) };
        let spoil = call("sh", &[("script", "#!/bin/sh\necho 'exit 1' >ci/greet/greet.sh")]);
        let mut asked = assignment(vec![spoil, greet]);
        asked.libraries.extend([named(planned)]);
        asked.snapshot = Some(bench.blobs.put(snapshot(&files, "ci/greet")));
        let (ends, log) = bench.through(&asked).await;
        assert_eq!(ends[1].outcome, Outcome::Success, "{log}");
        assert!(log.starts_with("Hello World\n") && log.ends_with("/files\n"), "{log}");
        let (_, others) = greeter("Bye");
        asked.snapshot = Some(bench.blobs.put(snapshot(&others, "ci/greet")));
        refused(&bench, &asked, "the plan was made with").await;
        asked.snapshot = None;
        refused(&bench, &asked, "which this stage lacks").await;
    });
}

async fn refused(bench: &Bench, asked: &Assignment, why: &str) {
    match bench.stages.open(asked).await {
        Err(StageError::Unfit(cause)) => assert!(cause.contains(why), "{cause}"),
        other => panic!("expected a refusal ({why}), got {other:?}"),
    }
    assert!(bench.left().is_empty() && bench.stages.alive().is_empty());
}

fn archives() {
    run(async {
        let bench = Bench::new().await;
        let check = async |name: &str, kind: tar::EntryType, link: &str, mode: u32, why: &str| {
            let mut archive = tar::Builder::new(Vec::new());
            for (path, kind, link, mode) in
                [("in", tar::EntryType::Symlink, "sub", 0o777), (name, kind, link, mode)]
            {
                let mut header = tar::Header::new_old();
                let raw = header.as_old_mut();
                raw.name[..path.len()].copy_from_slice(path.as_bytes());
                raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
                header.set_entry_type(kind);
                header.set_mode(mode);
                header.set_size(0);
                header.set_mtime(1);
                header.set_cksum();
                archive.append(&header, std::io::empty()).expect("in memory");
            }
            let mut asked = script("true");
            let bytes = archive.into_inner().expect("in memory");
            asked.snapshot = Some(bench.blobs.put(bytes));
            refused(&bench, &asked, why).await;
        };
        let (file, link) = (tar::EntryType::Regular, tar::EntryType::Symlink);
        check("../x", file, "", 0o644, "'../x' leads out of the workspace").await;
        check("/etc/x", file, "", 0o644, "leads out of the workspace").await;
        check("in/x", file, "", 0o644, "lies behind a link").await;
        check("in", file, "", 0o644, "is there twice").await;
        check("x", link, "/etc/passwd", 0o777, "leads out of the repository").await;
        check("a/x", link, "../../y", 0o777, "leads out of the repository").await;
        check("x", tar::EntryType::Link, "in", 0o644, "neither file, folder nor link").await;
        check("x", tar::EntryType::Char, "", 0o644, "neither file, folder nor link").await;
        check("x", file, "", 0o4755, "another user's rights").await;
        let mut cut = script("true");
        cut.snapshot = Some(bench.blobs.put(b"no archive at all".to_vec()));
        refused(&bench, &cut, "read the archive").await;
    });
}
