//! Manifests and libraries: what is read, what is refused, and how that is said.

use otto_core::ids::Digest;
use otto_core::step::{Entrypoint, Word};
use otto_core::value::{Decimal, Value, ValueType};
use otto_stdlib::library::{self, File, Files};
use otto_stdlib::manifest::{Author, Manifest};
use std::path::Path;

const LEAST: &str = "symbol: greet\ndescription: Greets.\nentrypoint: run.sh\n";

fn read(text: &str) -> Result<Manifest, String> {
    Manifest::read("m.yml", text.as_bytes(), Author::Anybody).map_err(|all| all.to_string())
}

#[test]
fn everything_that_a_manifest_may_say_is_read() {
    let manifest = read(
        "symbol: deploy
description: Deploys.
parameters:
  app: { type: text, description: What. }
  size: { type: enumeration, values: [small, large], default: small }
  hosts: { type: list of text, default: [a, 'b'] }
  share: { type: number, default: -0.25 }
  wait: { type: duration, default: 10s }
  room: { type: size, default: 2G }
  from: { type: path, optional: true }
  to: { type: environment }
  when: { type: list of enumeration, values: [day, night] }
configuration:
  region: { type: text, default: eu }
entrypoint: ./bin//deploy
architecture: [x86_64, aarch64]
cache: true
credentials: [cloud]
",
    )
    .expect("it reads");
    let signature = &manifest.signature;
    let names: Vec<&str> = signature.parameters.iter().map(|of| of.name.as_str()).collect();
    let written = ["app", "size", "hosts", "share", "wait", "room", "from", "to", "when"];
    assert_eq!(names, written);
    let default = |name: &str| signature.parameter(name).expect("there").default.clone();
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(default("size"), Some(text("small")));
    assert_eq!(default("hosts"), Some(Value::List(vec![text("a"), text("b")])));
    assert_eq!(default("share"), Decimal::parse("-0.25").map(Value::Number));
    assert!(signature.parameter("from").expect("there").optional);
    let words = vec!["day".to_owned(), "night".to_owned()];
    let of_words = ValueType::List(Box::new(ValueType::Enumeration(words)));
    assert_eq!(signature.parameter("when").expect("there").value_type, of_words);
    let path = "bin/deploy".to_owned();
    assert_eq!(signature.entrypoint, Entrypoint::Program { path });
    assert!(signature.cache && signature.credentials.contains("cloud"));
    assert_eq!(manifest.configuration.len(), 1);
}

#[test]
fn entrypoints_are_programs_arguments_or_scripts() {
    let check = |entrypoint: &str, expected: Entrypoint| {
        let text = format!(
            "symbol: x\ndescription: X.\nparameters:\n  code: {{ type: script }}\n  \
             name: {{ type: text }}\nentrypoint: {entrypoint}\n"
        );
        assert_eq!(read(&text).expect("it reads").signature.entrypoint, expected);
    };
    check("{ script: code }", Entrypoint::Script { parameter: "code".to_owned() });
    check(
        "[ls, -l, { parameter: name }]",
        Entrypoint::Arguments(vec![
            Word::Literal("ls".to_owned()),
            Word::Literal("-l".to_owned()),
            Word::Parameter("name".to_owned()),
        ]),
    );
}

/// What is wrong with a manifest, as a person reads it.
#[track_caller]
fn check(text: &str, expected: &str) {
    let said = read(text).expect_err("it is refused");
    assert_eq!(said, expected.trim_end(), "\n{text}");
}

#[test]
fn all_errors_are_found_at_once_with_their_places() {
    check(
        "symbol: 7up
descripton: Greets.
parameters:
  name: { tpye: text }
  size: { type: nubmer }
  loud: { type: boolean, default: sometimes }
entrypoint: ../run.sh
",
        "\
error: a manifest without `description`
  --> m.yml:1:1
help: write `description: What the step does, in a sentence.`

error: '7up' cannot be the name of a symbol
  --> m.yml:1:9
help: a name begins with a letter and holds letters, digits, '_' and '-', at most 64

error: 'descripton' is nothing that a manifest has
  --> m.yml:2:1
help: did you mean 'description'?

error: a parameter without `type`
  --> m.yml:4:9
help: write `type: text`

error: 'tpye' is nothing that a parameter has
  --> m.yml:4:11
help: did you mean 'type'?

error: unknown type 'nubmer'
  --> m.yml:5:17
help: did you mean 'number'?

error: a default that does not fit: expected boolean, found 'sometimes'
  --> m.yml:6:35

error: entrypoint '../run.sh': it must lie in the step's own folder
  --> m.yml:7:13
",
    );
}

#[test]
fn each_thing_that_is_wrong_is_said() {
    let with = |more: &str, expected: &str| {
        let said = read(&format!("{LEAST}{more}")).expect_err(more);
        assert!(said.contains(expected), "{more}\n{said}");
    };
    let part = |parameter: &str, expected: &str| {
        with(&format!("parameters:\n  p: {parameter}\n"), expected);
    };
    with("symbol: again\n", "'symbol' is written twice");
    with("cache: &here true\n", "an anchor stands here");
    with("---\nsymbol: b\n", "a second document begins here");
    with("cache: sometimes\n", "`cache` takes true or false, not text");
    with("architecture: [x86-64]\n", "did you mean 'x86_64'?");
    with("architecture: [x86_64, x86_64]\n", "an architecture that stands here twice");
    with("credentials: cloud\n", "expected a list such as [a, b], found text");
    with("parameters: [a]\n", "expected parameters by name, found a sequence");
    with("parameters:\n  timeout: { type: text }\n", "'timeout' is reserved");
    with("parameters:\n  a b: { type: text }\n", "'a b' cannot be the name of a parameter");
    with("credentials: [a-]\n", "'a-' cannot be the name of a credential");
    part("text", "write `{ type: text }`");
    part("{ type: enumeration }", "an enumeration without `values`");
    part("{ type: enumeration, values: [] }", "no values to choose from");
    part("{ type: enumeration, values: [a, a] }", "a value that stands here twice: 'a'");
    part("{ type: enumeration, values: [1] }", "put it in quotes");
    part("{ type: enumeration, values: [a], default: b }", "expected one of a, found 'b'");
    part("{ type: text, values: [a] }", "`values` beside the type 'text'");
    part("{ type: list of script }", "unknown type 'list of script'");
    part("{ type: list of list of text }", "unknown type 'list of list of text'");
    part("{ type: text, default: 1.10 }", "expected text, found 1.1");
    part("{ type: text, default: null }", "a default that is nothing");
    part("{ type: text, default: [a] }", "cannot be a sequence");
    part("{ type: number, default: 1e300 }", "too large or too fine");
    part("{ type: number, default: .inf }", "m.yml:5:");
    part("{ type: path, default: ../x }", "'../x' is no path below the workspace");
    part("{ type: duration, default: 10 }", "expected duration, found 10");
    part("{ type: text, default: a, optional: true }", "need not be optional");
    let entry = |entrypoint: &str, expected: &str| {
        let said = read(&format!("symbol: x\ndescription: X.\nentrypoint: {entrypoint}\n"));
        let said = said.expect_err(entrypoint);
        assert!(said.contains(expected), "{entrypoint}\n{said}");
    };
    entry("/bin/sh", "it must lie in the step's own folder");
    entry("./", "it names no file");
    entry("[]", "does not begin with a command");
    entry("[{ parameter: x }]", "no parameter 'x'");
    entry("{ script: x }", "no parameter 'x'");
    entry("{ image: git }", "'image' is nothing that an entrypoint has");
    entry("{}", "expected one of script here");
    entry("7", "an entrypoint that is a number");
}

#[test]
fn what_is_no_plain_yaml_is_refused() {
    let check = |text: &str, expected: &str| {
        let said = read(text).expect_err(text);
        assert!(said.contains(expected), "{text}\n{said}");
    };
    check("", "expected a manifest, found nothing");
    check("symbol: [", "m.yml:");
    check("symbol: &a greet\ndescription: *a\n", "anchors and aliases are not read here");
    check("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "anchors and aliases are not read here");
    check(&"[".repeat(1000), "m.yml");
    check(&format!("symbol: {}", "x".repeat(70_000)), "at most 65536 are read");
    check(&"- x\n".repeat(10_000), "m.yml");
    check("symbol: x\n---\nsymbol: y\n", "m.yml");
    let bytes = Manifest::read("m.yml", b"symbol: \xff", Author::Anybody);
    assert!(bytes.expect_err("no text").to_string().contains("not UTF-8 text"));
}

fn files(list: &[(&str, bool, &str)]) -> Files {
    let file = |executable: bool, text: &str| File { executable, content: text.into() };
    list.iter()
        .map(|(path, executable, text)| ((*path).to_owned(), file(*executable, text)))
        .collect()
}

#[test]
fn a_library_has_one_manifest_or_one_in_each_steps_folder() {
    let one = files(&[("manifest.yml", false, LEAST), ("run.sh", true, "#!/bin/sh\n")]);
    let library = library::load("./ci/greet", &one).expect("it loads");
    assert_eq!(library.name, "greet");
    assert_eq!(library.digest, library::digest(&one));

    let other = LEAST.replace("symbol: greet", "symbol: wave");
    let several = files(&[
        ("greet/manifest.yml", false, LEAST),
        ("greet/run.sh", true, "#!/bin/sh\n"),
        ("wave/manifest.yml", false, &other),
        ("wave/run.sh", true, "#!/bin/sh\n"),
        ("wave/deeper/manifest.yml", false, "not a step's"),
        ("README.md", false, "of no matter"),
    ]);
    let library = library::load("ci/tools", &several).expect("it loads");
    let path = "wave/run.sh".to_owned();
    assert_eq!(library.steps["wave"].entrypoint, Entrypoint::Program { path });
    assert_eq!(library.steps.len(), 2);
}

#[test]
fn what_is_wrong_between_files_is_said() {
    let check = |list: &[(&str, bool, &str)], expected: &str| {
        let said = library::load("ci/tools", &files(list)).expect_err("refused").to_string();
        assert!(said.contains(expected), "{said}");
    };
    check(&[("README.md", false, "")], "no manifest.yml in this folder");
    check(&[("manifest.yml", false, LEAST)], "the entrypoint run.sh is not there");
    check(
        &[("manifest.yml", false, LEAST), ("run.sh", false, "")],
        "run `chmod +x run.sh`, and commit that",
    );
    let run = ("a/run.sh", true, "");
    let same = [
        ("a/manifest.yml", false, LEAST),
        run,
        ("b/manifest.yml", false, LEAST),
        ("b/run.sh", true, ""),
    ];
    check(&same, "another step of this library is called 'greet'");
    let set = |name: &str, default: &str| {
        LEAST.replace("greet", name)
            + &format!("configuration:\n  channel: {{ type: text, default: {default} }}\n")
    };
    let (one, other) = (set("one", "a"), set("other", "b"));
    let differ = [
        ("a/manifest.yml", false, one.as_str()),
        run,
        ("b/manifest.yml", false, &other),
        ("b/run.sh", true, ""),
    ];
    check(&differ, "the setting 'channel' differs from another step's");
    for folder in ["../tools", "/tools", ".", "ci/7 tools"] {
        assert!(library::load(folder, &files(&same)).is_err(), "{folder}");
    }
}

#[test]
fn the_digest_stands_for_paths_modes_and_contents() {
    let digest = |list: &[(&str, bool, &str)]| library::digest(&files(list));
    let first = digest(&[("a", false, "xy"), ("b", true, "z")]);
    for other in [
        digest(&[("a", true, "xy"), ("b", true, "z")]),
        digest(&[("a", false, "x"), ("b", true, "yz")]),
        digest(&[("a", false, "xy"), ("c", true, "z")]),
        digest(&[("ab", false, "xy"), ("b", true, "z")]),
        digest(&[("a", false, "xy")]),
    ] {
        assert_ne!(first, other);
    }
    // Grants are made to digests: this value may never change.
    let expected = "ce70387039944441ac20f0dc54143746e19c50b07af1d37e5fbf2425bec961d8";
    assert_eq!(Some(first), Digest::parse(expected), "{first}");
}

#[test]
fn a_folder_is_read_without_what_git_ignores() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    write(".gitignore", "__pycache__/\n");
    write("ci/greet/manifest.yml", LEAST);
    write("ci/greet/__pycache__/x.pyc", "x");
    write("ci/greet/.gitignore", "/target\n");
    write("ci/greet/target/x", "x");
    write("ci/greet/lib/.hidden", "x");
    write("other/x", "x");
    let read = library::read_folder(folder.path(), "./ci/greet").expect("it reads");
    let paths = [".gitignore", "lib/.hidden", "manifest.yml"];
    assert_eq!(read.keys().map(String::as_str).collect::<Vec<_>>(), paths);

    // The same folder, where the repository of git begins above the project's.
    let inner = folder.path().join("ci");
    let read = library::read_folder_from(folder.path(), &inner, "greet").expect("it reads");
    assert_eq!(read.keys().map(String::as_str).collect::<Vec<_>>(), paths);
    let read = library::read_folder(&inner, "greet").expect("it reads");
    assert!(read.contains_key("__pycache__/x.pyc"), "what ignores it lies further up");

    std::os::unix::fs::symlink("manifest.yml", folder.path().join("ci/greet/link"))
        .expect("linked");
    let said = library::read_folder(folder.path(), "ci/greet").expect_err("a link").to_string();
    assert!(said.contains("link is a link or a device"), "{said}");
    let said = library::read_folder(folder.path(), "ci/none").expect_err("missing").to_string();
    assert_eq!(said, "read the step library 'ci/none': there is no such folder");
    assert!(library::read_folder(folder.path(), "../x").is_err());
    assert!(library::read_folder(Path::new("/nowhere"), "x").is_err());
}
