//! `git`: checkouts of real repositories, and what it refuses.

use crate::{Bench, text};
use otto_core::value::Value;
use std::path::Path;
use std::process::Command;

fn git(folder: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=Otto",
            "-c",
            "user.email=otto@example.org",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(words)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git is there");
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A repository with two commits on `main`, a tag, a branch and a submodule.
struct Remote {
    folder: tempfile::TempDir,
    first: String,
    second: String,
}

impl Remote {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        let outer = folder.path().join("outer");
        for path in [&inner, &outer] {
            std::fs::create_dir(path).expect("made");
            git(path, &["init", "--quiet", "--initial-branch=main"]);
            std::fs::write(path.join("file"), "first").expect("written");
            git(path, &["add", "file"]);
            git(path, &["commit", "--quiet", "-m", "first"]);
        }
        let first = git(&outer, &["rev-parse", "HEAD"]);
        git(&outer, &["tag", "-a", "v1", "-m", "v1"]);
        git(&outer, &["branch", "side"]);
        let url = format!("file://{}", inner.display());
        git(&outer, &["submodule", "--quiet", "add", &url, "sub"]);
        std::fs::write(outer.join("file"), "second").expect("written");
        git(&outer, &["commit", "--quiet", "-am", "second"]);
        let second = git(&outer, &["rev-parse", "HEAD"]);
        Self { folder, first, second }
    }

    fn url(&self) -> Value {
        text(&format!("file://{}/outer", self.folder.path().display()))
    }
}

#[test]
fn a_branch_a_tag_a_commit_and_the_default_are_checked_out() {
    let remote = Remote::new();
    let check = |reference: Option<&str>, expected: &str| {
        let bench = Bench::new();
        let mut arguments = vec![("url", remote.url()), ("into", text("other"))];
        arguments.extend(reference.map(|reference| ("ref", text(reference))));
        assert_eq!(bench.step("git", &arguments).code, 0, "{reference:?}");
        assert_eq!(bench.read("other/file"), expected, "{reference:?}");
        let count = git(&bench.workspace().join("other"), &["rev-list", "--count", "HEAD"]);
        assert_eq!(count, "1", "{reference:?}");
    };
    check(None, "second");
    check(Some("main"), "second");
    check(Some("side"), "first");
    check(Some("v1"), "first");
    check(Some(&remote.first), "first");
}

#[test]
fn history_and_submodules_come_by_choice() {
    let remote = Remote::new();
    let bench = Bench::new();
    let whole = [
        ("url", remote.url()),
        ("into", text("whole")),
        ("history", Value::Boolean(true)),
        ("submodules", Value::Boolean(true)),
    ];
    assert_eq!(bench.step("git", &whole).code, 0);
    assert_eq!(git(&bench.workspace().join("whole"), &["rev-list", "--count", "HEAD"]), "2");
    assert_eq!(bench.read("whole/sub/file"), "first");

    let plain = [("url", remote.url()), ("into", text("plain"))];
    assert_eq!(bench.step("git", &plain).code, 0);
    assert!(!bench.workspace().join("plain/sub/file").exists());
}

#[test]
fn the_runs_own_commit_into_the_workspace_does_nothing() {
    let remote = Remote::new();
    let mut bench = Bench::new();
    bench.write("file", "as it was");
    bench.settings.insert("OTTO_COMMIT".to_owned(), remote.second.clone());
    assert_eq!(bench.step("git", &[("url", remote.url())]).code, 0);
    assert_eq!(bench.read("file"), "as it was");
    assert!(!bench.workspace().join(".git").exists());

    // Another commit does not fit into a workspace that holds files.
    let other = [("url", remote.url()), ("ref", text("side"))];
    assert_eq!(bench.step("git", &other).code, 1);
}

#[test]
fn hooks_and_variables_of_others_have_no_effect() {
    let remote = Remote::new();
    let mut bench = Bench::new();
    let hooks = bench.folder.path().join("hooks");
    std::fs::create_dir(&hooks).expect("made");
    let marker = bench.folder.path().join("ran");
    let hook = hooks.join("post-checkout");
    std::fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", marker.display())).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&hook, mode).expect("set");
    // The user's own configuration counts, but not for hooks.
    let config = format!("[core]\nhooksPath = {}\n", hooks.display());
    std::fs::write(bench.folder.path().join(".gitconfig"), config).expect("written");
    let settings = [
        ("HOME", bench.folder.path().display().to_string()),
        ("GIT_DIR", "/nowhere".to_owned()),
        ("GIT_CONFIG_PARAMETERS", "'core.bare=true'".to_owned()),
    ];
    bench.settings.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    let arguments = [("url", remote.url()), ("into", text("other"))];
    assert_eq!(bench.step("git", &arguments).code, 0);
    assert!(!marker.exists(), "a hook ran");
}

#[test]
fn what_is_dangerous_or_missing_is_refused() {
    let remote = Remote::new();
    let check = |url: Value, reference: &str| {
        let bench = Bench::new();
        let arguments = [("url", url), ("ref", text(reference)), ("into", text("other"))];
        assert_eq!(bench.step("git", &arguments).code, 1, "{reference}");
        assert!(!bench.workspace().join("other").exists(), "{reference}");
    };
    check(remote.url(), "mian");
    check(remote.url(), "--upload-pack=touch /tmp/x");
    check(text("ext::sh -c true"), "main");
    check(text("--upload-pack=true"), "main");
    check(text("http://git.example/a.git"), "main");
    check(text("file:///nowhere/at/all"), "main");
    for into in ["../other", "--template=x/..", "a/../../other"] {
        let bench = Bench::new();
        let arguments = [("url", remote.url()), ("into", text(into))];
        // A trial checks arguments as an Ottofile's are checked.
        let run = bench.run(otto_stdlib::builtin(), Path::new("/"), "git", &arguments);
        assert!(run.is_err(), "{into}");
    }
    let odd = Bench::new();
    let arguments = [("url", remote.url()), ("into", text("--upload-pack=x"))];
    assert_eq!(odd.step("git", &arguments).code, 0);
    assert_eq!(odd.read("--upload-pack=x/file"), "second");
}
