//! New libraries run as they are written, and packed ones can be made again.

use crate::{Bench, text};
use otto_core::ids::Digest;
use otto_core::value::Value;
use otto_stdlib::library::{self, File, Files};
use otto_stdlib::package;
use otto_stdlib::scaffold::{self, Language, ScaffoldError};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_new_library_loads_and_runs_as_it_is() {
    for language in Language::ALL {
        let repository = tempfile::tempdir().expect("a folder");
        let files = scaffold::new("say-hello", language).expect("a name");
        let folder = repository.path().join("ci/say-hello");
        scaffold::write(&folder, &files).expect("written");
        let library = library::load_folder(repository.path(), "ci/say-hello").expect("it loads");
        assert_eq!(library.digest, library::digest(&files), "{language:?}");
        let again = scaffold::write(&folder, &files);
        assert!(matches!(again, Err(ScaffoldError::Occupied(_))), "{again:?}");
        // What is written for Rust is compiled as an example of this package, and not here.
        if language != Language::Rust {
            let arguments = [("name", text("World")), ("loud", Value::Boolean(true))];
            let trial = Bench::new()
                .run(&library, repository.path(), "say_hello", &arguments)
                .expect("it runs");
            assert_eq!(trial.code, 0, "{language:?}");
            assert_eq!(trial.asked.captured.get("greeted"), Some(&text("World")));
        }
    }
    assert!(scaffold::new("7up", Language::Shell).is_err());
}

#[test]
fn the_fixture_uses_the_module_that_new_libraries_get() {
    let fixture = include_str!("../../../tests/fixtures/libraries/greet-py/otto_step.py");
    assert!(fixture == include_str!("../../templates/python/otto_step.py"), "they differ");
}

#[test]
fn a_packed_library_is_the_same_wherever_it_is_packed() {
    let pack = |mode: u32| {
        let repository = tempfile::tempdir().expect("a folder");
        let files = scaffold::new("greet", Language::Shell).expect("a name");
        scaffold::write(&repository.path().join("ci/greet"), &files).expect("written");
        let run = repository.path().join("ci/greet/run.sh");
        std::fs::set_permissions(run, std::fs::Permissions::from_mode(mode)).expect("set");
        package::pack(repository.path(), repository.path(), "ci/greet").expect("it packs")
    };
    let package = pack(0o755);
    assert_eq!(package, pack(0o700));
    assert_eq!(package.digest(), library::digest(&unpacked(&package.bytes)));
    // Whoever packs again gets the same file: its format may not change unnoticed.
    assert_eq!(Digest::of(&package.bytes), Digest::of(&pack(0o755).bytes));
}

fn unpacked(bytes: &[u8]) -> Files {
    let mut files = Files::new();
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().expect("a tar file") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let executable = entry.header().mode().expect("a mode") & 0o111 != 0;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("its content");
        files.insert(path, File { executable, content });
    }
    files
}
