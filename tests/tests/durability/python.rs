//! Another language speaks the wire, from what the book says of it.

use super::world::World;
use std::env;
use std::fs;
use std::process::Command;

#[test]
fn a_client_in_python_submits_a_run_and_reads_its_log() {
    // `tests/run` makes a Python environment with msgpack and names it.
    let python = env::var_os("OTTO_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let has_msgpack = Command::new(&python).args(["-c", "import msgpack"]).output();
    let has_msgpack = has_msgpack.is_ok_and(|output| output.status.success());
    assert!(has_msgpack, "this test needs Python 3 with msgpack: run tests/run, which makes one");
    let world = World::new("pipeline { steps { echo 'from afar' } }");
    // Any command that speaks with the node starts it.
    world.succeed("otto runs");
    let plan = world.command("otto explain --format msgpack").output().expect("otto starts");
    fs::write(world.path("plan"), plan.stdout).expect("a file");
    let explained = world.succeed("otto explain --json");
    let explained: serde_json::Value = serde_json::from_str(&explained).expect("JSON");
    let hash = explained["hash"].as_str().expect("the plan's hash");
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/python/otto_client.py");
    let output = Command::new(&python)
        .arg(client)
        .arg(world.path("otto/otto.sock"))
        .arg("shop")
        .arg(world.path("plan"))
        .arg(hash)
        .output()
        .expect("Python starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "run 1\nsuccess\n");
    assert_eq!(text(&output.stdout), "from afar\n");
    assert_eq!(world.succeed("otto logs 1 --project shop"), "from afar\n");
    world.end();
}
