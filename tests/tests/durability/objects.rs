//! Artifacts and sealed logs in a store that nodes share: a folder, and a real S3 service.

use super::world::{Started, World, until};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Makes an artifact and a log; a later stage needs both stores to be whole.
const MAKES: &str = "pipeline {
  stage('Make') {
    steps { sh 'seq 1 3000; seq 1 500 > numbers'
            sh 'test ! -e OUT/wait || until test -e OUT/go; do sleep 0.05; done'
            archive 'numbers' name: 'numbers' }
  }
  stage('Use') { steps { unarchive 'numbers'  sh 'tail -1 numbers >> OUT/truth' } }
}";

/// An S3 service in a process of its own, which keeps what it has in memory.
struct Service {
    process: Child,
    port: u16,
}

impl Service {
    fn start() -> Self {
        // The port is free now; that somebody takes it in between would fail the test, loudly.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let python = std::env::var_os("OTTO_TEST_PYTHON").unwrap_or_else(|| "python3".into());
        let process = Command::new(python)
            .args(["-m", "moto.server", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs Python 3 with moto: run tests/run, which installs it");
        let service = Self { process, port };
        until("the S3 service (tests/run installs it)", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        service.ask("PUT", "/bucket");
        service
    }

    /// Sends a request, and answers with all that came back.
    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the service");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it takes requests");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    /// The names of all objects.
    fn objects(&self) -> Vec<String> {
        let listed = self.ask("GET", "/bucket?list-type=2");
        let names = listed.split("<Key>").skip(1);
        names.filter_map(|rest| rest.split('<').next()).map(ToOwned::to_owned).collect()
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = i32::try_from(self.process.id()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it is there");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Starts a node that keeps its objects at a URL.
fn serve(world: &World, url: &str, port: u16) -> Child {
    let mut command = world.command("otto-node serve --alone --objects");
    command
        .arg(url)
        .env("AWS_ENDPOINT", format!("http://127.0.0.1:{port}"))
        .env("AWS_ACCESS_KEY_ID", "tester")
        .env("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-store")
        .env("AWS_REGION", "us-east-1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let node = command.spawn().expect("otto-node starts");
    until("the node", || world.run("otto-node status").code == Some(0));
    node
}

fn stop(world: &World, mut node: Child) {
    world.succeed("otto-node stop --busy");
    node.wait().expect("it is our child");
}

#[test]
fn what_an_s3_service_keeps_outlives_the_data_folder_of_the_node() {
    let service = Service::start();
    let world = World::new(MAKES);
    let node = serve(&world, "s3://bucket/team", service.port);
    world.succeed("otto run");
    assert_eq!(world.truth(), ["500"]);
    let objects = service.objects();
    let below = |part: &str| objects.iter().filter(|name| name.starts_with(part)).count();
    assert_eq!(below("team/logs/"), 2, "{objects:?}");
    assert!(below("team/blobs/") >= 1, "{objects:?}");
    assert_eq!(below("team/trials/"), 0, "{objects:?}");
    let log = world.succeed("otto logs 1");
    fs::remove_dir_all(world.path("otto/logs")).expect("live logs lie in the data folder");
    stop(&world, node);
    let node = serve(&world, "s3://bucket/team", service.port);
    assert_eq!(world.succeed("otto logs 1"), log);
    assert!(log.contains("3000"), "{log}");
    stop(&world, node);
}

#[test]
fn a_service_that_is_away_for_a_while_costs_time_and_no_bytes() {
    let service = Service::start();
    let world = World::new(MAKES);
    world.make_file("wait");
    let node = serve(&world, "s3://bucket/team", service.port);
    let run: Started = world.start("otto run");
    until("the step", || !world.runs().is_empty());
    service.signal(nix::sys::signal::Signal::SIGSTOP);
    world.make_file("go");
    until("the archive step", || world.succeed("otto why 1").contains("Make"));
    service.signal(nix::sys::signal::Signal::SIGCONT);
    let ended = run.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(world.truth(), ["500"]);
    stop(&world, node);
}

#[test]
fn a_folder_can_be_shared_too_and_one_that_is_not_there_is_named() {
    let world = World::new(MAKES);
    fs::create_dir(world.path("mounted")).expect("a folder");
    let url = format!("file://{}", world.path("mounted").display());
    let node = serve(&world, &url, 9);
    world.succeed("otto run");
    assert!(world.path("mounted/logs").is_dir() && world.path("mounted/blobs").is_dir());
    stop(&world, node);
    fs::remove_dir_all(world.path("mounted")).expect("it is there");
    let ended = world.run(&format!("otto-node serve --alone --objects {url}"));
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(ended.stderr.contains("mounted") && ended.stderr.contains("help: "), "{ended:?}");
}
