//! A real node: its processes, started twice, killed, replaced, and kept from working.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

use otto_core::capability::{Comparison, Need, Version, VersionNeed};
use otto_core::gate::Gates;
use otto_core::ids::{CommandId, Digest, RunId, StageId};
use otto_core::plan::{DEFAULT_QUEUE, FORMAT, Origin, Plan, Revision, Stage, StepCall, Work};
use otto_core::run::event::{Entry, Event};
use otto_core::run::outcome::Outcome;
use otto_core::step::{Entrypoint, Library, LibrarySource, Signature};
use otto_nodes::client::{Client, ClientError};
use otto_nodes::node::LocalNode;
use otto_nodes::node::place::Place;
use otto_nodes::wire::hello::{Build, HelloError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

const NODE: &str = env!("CARGO_BIN_EXE_otto-node");
const OTTO: &str = env!("CARGO_BIN_EXE_otto");

/// A data folder of its own; whatever runs on it is ended with the test.
struct Home {
    folder: TempDir,
    place: Place,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(&folder.path().join("home")).unwrap();
        Self { folder, place }
    }

    /// A client that starts the node on demand.
    fn client(&self) -> Client {
        let node = LocalNode::from_image(self.place.clone(), NODE.into());
        Client::new(Arc::new(node), Build::default())
    }

    /// Runs a command of an image on this home.
    fn run(&self, image: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(image);
        command.args(arguments).env("OTTO_HOME", self.place.data()).stdin(Stdio::null());
        command.current_dir(self.folder.path());
        loop {
            match command.output() {
                // A process that another test forks just now still holds the copy open for writing.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    std::thread::yield_now();
                }
                output => return output.unwrap(),
            }
        }
    }

    /// The process that holds a lock of this home.
    fn supervisor(&self) -> Option<i32> {
        fs::read_to_string(self.place.lock("node")).ok()?.trim().parse().ok()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.run(Path::new(NODE), &["stop", "--busy"]).status.success() {
            return;
        }
        if let Some(pid) = self.supervisor() {
            kill(pid);
        }
    }
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
}

/// A plan whose only stage waits for an agent that nobody has.
fn waiting_plan() -> Plan {
    let stage = |name: &str, parent, work| Stage {
        name: name.to_owned(),
        path: name.to_owned(),
        parent,
        work,
        needs: Vec::new(),
        when: None,
        gates: Gates::default(),
        runtime: Need::Tool {
            name: "no-such-tool".to_owned(),
            version: Some(VersionNeed {
                comparison: Comparison::AtLeast,
                version: Version(vec![1]),
            }),
        },
        settings: BTreeMap::new(),
        checkout: true,
        finally: Vec::new(),
        timeout: None,
        queue: DEFAULT_QUEUE,
        retry: None,
        outputs: BTreeMap::new(),
        environment: None,
        credentials: BTreeSet::new(),
        caches: BTreeMap::new(),
        rollback: Vec::new(),
        notify: BTreeMap::new(),
    };
    let call = StepCall {
        symbol: "sh".to_owned(),
        library: "otto".to_owned(),
        arguments: BTreeMap::new(),
        folder: String::new(),
        settings: BTreeMap::new(),
        timeout: None,
    };
    let signature = Signature {
        symbol: "sh".to_owned(),
        description: String::new(),
        parameters: Vec::new(),
        entrypoint: Entrypoint::Arguments(Vec::new()),
        architectures: BTreeSet::new(),
        cache: false,
        credentials: BTreeSet::new(),
    };
    let library = Library {
        name: "otto".to_owned(),
        source: LibrarySource::Builtin,
        digest: Digest([0; 32]),
        configuration: Vec::new(),
        steps: BTreeMap::from([("sh".to_owned(), signature)]),
    };
    Plan {
        format: FORMAT,
        pipeline: "default".to_owned(),
        origin: Origin::File("Ottofile".to_owned()),
        revision: Revision::default(),
        parameters: BTreeMap::new(),
        environments: BTreeMap::new(),
        libraries: BTreeMap::from([("otto".to_owned(), library)]),
        stages: vec![
            stage("", None, Work::Sequence(vec![StageId(1)])),
            stage("Build", Some(StageId::ROOT), Work::Steps(vec![call])),
        ],
    }
}

async fn submit(client: &Client) -> RunId {
    client.submit_plan("shop", "key", &waiting_plan(), None).await.unwrap().run
}

async fn entries(client: &Client, run: RunId) -> Vec<Entry> {
    let mut follow = client.follow(run, 0);
    let mut entries = Vec::new();
    while let Some(batch) = follow.next().await.unwrap() {
        entries.extend(batch);
    }
    entries
}

#[tokio::test]
async fn two_starters_at_once_share_one_node() {
    let home = Home::new();
    let clients: Vec<Client> = (0..6).map(|_| home.client()).collect();
    let pids = clients.iter().map(|client| async { client.status().await.unwrap().pid });
    let pids = futures::future::join_all(pids).await;
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
}

#[tokio::test]
async fn a_stale_socket_is_no_obstacle() {
    let home = Home::new();
    home.place.make().unwrap();
    drop(UnixListener::bind(home.place.socket()).unwrap());
    home.client().status().await.unwrap();
}

#[tokio::test]
async fn a_killed_control_process_leaves_no_gap_in_a_follow() {
    let home = Home::new();
    let client = home.client();
    let run = submit(&client).await;
    let followed = tokio::spawn({
        let client = client.clone();
        async move { entries(&client, run).await }
    });
    for _ in 0..3 {
        let pid = client.status().await.unwrap().pid;
        kill(i32::try_from(pid).unwrap());
        assert_ne!(home.client().status().await.unwrap().pid, pid);
    }
    client.cancel(run, CommandId([1; 16]), None).await.unwrap();
    let followed = followed.await.unwrap();
    assert_eq!(followed, entries(&client, run).await);
    let last = &followed.last().unwrap().events;
    assert!(last.iter().any(|event| matches!(event, Event::RunRetired { .. })), "{last:?}");
}

#[tokio::test]
async fn a_killed_node_is_started_again_by_whoever_needs_it() {
    let home = Home::new();
    let client = home.client();
    let run = submit(&client).await;
    let first = home.supervisor().unwrap();
    kill(first);
    client.cancel(run, CommandId([1; 16]), None).await.unwrap();
    // A control process may answer until it has noticed that it is alone.
    while home.supervisor() == Some(first) {
        client.status().await.unwrap();
    }
    entries(&client, run).await;
    let outcome = client.run(run).await.unwrap().summary.outcome;
    assert_eq!(outcome, Some(Outcome::Cancelled));
}

/// A later build of the same release.
fn later_build(home: &Home) -> PathBuf {
    let later = home.folder.path().join("otto");
    fs::copy(OTTO, &later).unwrap();
    later
}

#[tokio::test]
async fn a_later_build_replaces_an_idle_node_and_the_control_process_of_a_busy_one() {
    let home = Home::new();
    let client = home.client();
    let before = client.status().await.unwrap();
    let later = later_build(&home);
    let listed = home.run(&later, &["runs", "--project", "shop"]);
    assert!(listed.status.success(), "{listed:?}");
    let idle = client.status().await.unwrap();
    assert!(idle.build.is_newer_than(&before.build), "{idle:?}");
    assert_eq!(idle.node_build, idle.build);

    let run = submit(&client).await;
    let supervisor = home.supervisor();
    let latest = home.folder.path().join("otto-latest");
    fs::copy(&later, &latest).unwrap();
    let listed = home.run(&latest, &["runs", "--project", "shop"]);
    assert!(listed.status.success(), "{listed:?}");
    let busy = client.status().await.unwrap();
    assert!(busy.build.is_newer_than(&idle.build), "{busy:?}");
    assert_eq!((busy.node_build, busy.unfinished_runs), (idle.build, 1));
    assert_eq!(home.supervisor(), supervisor);
    // An earlier build works with a later node.
    client.cancel(run, CommandId([1; 16]), None).await.unwrap();
}

/// Starts a node on a folder that something is wrong with; answers what people are told.
async fn trouble(home: &Home) -> String {
    let met = home.client().status().await;
    let Err(ClientError::Hello(HelloError::Refused(refused))) = met else {
        panic!("it works: {met:?}")
    };
    // The node that was started on demand stays for a moment, to tell others the same.
    let told = loop {
        let served = home.run(Path::new(NODE), &["serve", "--alone"]);
        assert_eq!(served.status.code(), Some(5), "{served:?}");
        let told = String::from_utf8(served.stderr).unwrap();
        if !told.contains("another node") {
            break told;
        }
    };
    assert_eq!(told, refused.text());
    told
}

#[tokio::test]
async fn what_keeps_a_node_from_working_is_said_and_it_goes_on_without() {
    let home = Home::new();
    let client = home.client();
    let run = submit(&client).await;
    assert!(home.run(Path::new(NODE), &["stop", "--busy"]).status.success());
    let state = home.place.store().join("state.redb");
    let aside = home.folder.path().join("aside");
    fs::rename(&state, &aside).unwrap();
    fs::write(&state, "this is no database, it is a letter to my aunt").unwrap();
    let told = trouble(&home).await;
    assert!(told.contains("state.redb") && told.contains("help: "), "{told}");
    fs::rename(&aside, &state).unwrap();
    assert_eq!(client.run(run).await.unwrap().run, run);

    let second = home.run(Path::new(NODE), &["serve", "--alone"]);
    let told = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(5));
    assert!(told.contains("another node uses it"), "{told}");

    let file = Home::new();
    fs::write(file.place.data(), "").unwrap();
    let told = trouble(&file).await;
    assert!(told.contains(&file.place.data().display().to_string()), "{told}");
}

#[test]
fn an_idle_local_node_leaves() {
    let home = Home::new();
    let served = home.run(Path::new(NODE), &["serve", "--local", "--idle", "1ms"]);
    assert!(served.status.success(), "{served:?}");
}

#[test]
fn a_long_path_gets_a_short_socket() {
    let folder = Path::new("/tmp").join("x".repeat(120));
    let place = Place::new(&folder).unwrap();
    assert!(place.socket().as_os_str().len() < 100, "{:?}", place.socket());
    assert_eq!(place.hidden().len(), 2);
}
