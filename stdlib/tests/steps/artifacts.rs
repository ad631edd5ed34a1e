//! `archive` and `unarchive`: what one kept, the other brings back.

use crate::{Bench, text};
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;

#[test]
fn what_was_archived_comes_back() {
    let bench = Bench::new();
    bench.write("dist/site/index.html", "<p>hello</p>");
    let long = format!("dist/site/{}/{}", "long".repeat(30), "name".repeat(30));
    bench.write(&long, "deep");
    bench.write("dist/site/run.sh", "#!/bin/sh\n");
    let script = bench.workspace().join("dist/site/run.sh");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("set");
    std::os::unix::fs::symlink("site/index.html", bench.workspace().join("dist/home"))
        .expect("linked");

    let kept = bench.step("archive", &[("files", text("dist")), ("name", text("site"))]);
    assert_eq!(kept.code, 0);
    let again = bench.step("archive", &[("files", text("dist/**")), ("name", text("site"))]);
    let bytes = |trial: &otto_stdlib::trial::Trial| trial.asked.artifacts["site"].clone();
    assert_eq!(
        bytes(&kept),
        bytes(&bench.step("archive", &[("files", text("dist/")), ("name", text("site"))]))
    );
    assert_ne!(bytes(&again), Vec::<u8>::new());

    let mut other = Bench::new();
    other.artifacts = kept.asked.artifacts;
    let trial = other.step("unarchive", &[("name", text("site")), ("into", text("a/b"))]);
    assert_eq!(trial.code, 0);
    assert_eq!(other.read("a/b/dist/home"), "<p>hello</p>");
    assert_eq!(other.read(&format!("a/b/{long}")), "deep");
    let mode = std::fs::metadata(other.workspace().join("a/b/dist/site/run.sh")).expect("there");
    assert_eq!(mode.permissions().mode() & 0o111, 0o111);
}

#[test]
fn names_come_from_the_pattern_or_must_be_given() {
    let bench = Bench::new();
    bench.write("dist/a.txt", "a");
    let check = |files: &str, name: Option<&str>| {
        let trial = bench.step("archive", &[("files", text(files))]);
        let names: Vec<&str> = trial.asked.artifacts.keys().map(String::as_str).collect();
        assert_eq!(names, name.into_iter().collect::<Vec<_>>(), "{files}");
        assert_eq!(trial.code, i32::from(name.is_none()), "{files}");
    };
    check("dist/*.txt", Some("dist"));
    check("dist/a.txt", Some("a.txt"));
    check("**/*.txt", None);
    check("dist/*.zip", None);
    check("../*", None);
}

#[test]
fn an_artifact_that_is_not_there_or_no_archive_fails() {
    let mut bench = Bench::new();
    bench.artifacts.insert("text".to_owned(), b"no archive at all".to_vec());
    for name in ["missing", "text"] {
        assert_eq!(bench.step("unarchive", &[("name", text(name))]).code, 1, "{name}");
    }
}

#[test]
fn a_large_artifact_passes_through() {
    let bench = Bench::new();
    // Noise, so that packing does not make it small.
    let mut noise = String::new();
    for number in 0..200_000_u64 {
        let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(21);
        write!(noise, "{scattered:x}").expect("a String takes it");
    }
    bench.write("noise", &noise);
    let kept = bench.step("archive", &[("files", text("noise"))]);
    assert_eq!(kept.code, 0);
    let mut other = Bench::new();
    other.artifacts = kept.asked.artifacts;
    assert_eq!(other.step("unarchive", &[("name", text("noise"))]).code, 0);
    assert_eq!(other.read("noise"), noise);
}
