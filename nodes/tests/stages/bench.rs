//! What the tests stand on: an agent's stages with a control side of their own.

use async_trait::async_trait;
use otto_actors::ports::control::{
    Assignment, Bid, BidAnswer, BlobPart, Control, LinkError, Report, ReportAnswer,
};
use otto_actors::ports::logs::Spool;
use otto_actors::ports::stages::{Stage, StageError, Stages, StepEnd};
use otto_core::ids::{AgentId, AgentRef, Attempt, Digest, Epoch, ProjectId, RunId, StageId};
use otto_core::lease::LeaseId;
use otto_core::plan::StepCall;
use otto_core::run::outcome::{Section, StepPlace};
use otto_core::step::{Library, Parameter};
use otto_core::time::Span;
use otto_core::value::Value;
use otto_nodes::agent::host::Host;
use otto_nodes::agent::spool::DiskSpool;
use otto_nodes::agent::stages::{NodeStages, Settings};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The variable by which a test has this binary play an agent that is killed.
pub(crate) const VICTIM: &str = "OTTO_TEST_VICTIM";

/// The agent of all tests.
pub(crate) const AGENT: AgentRef = AgentRef { agent: AgentId([7; 16]), incarnation: 1 };

/// Runs a test on a runtime of its own.
pub(crate) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}

/// Runs a test with namespaces and without.
pub(crate) fn both(test: impl AsyncFn(Bench)) {
    run(async {
        test(Bench::with(true, 1 << 30).await).await;
        test(Bench::with(false, 1 << 30).await).await;
    });
}

/// A control side that only keeps blobs.
#[derive(Debug, Default)]
pub(crate) struct Blobs {
    pub(crate) kept: Mutex<BTreeMap<Digest, Vec<u8>>>,
}

impl Blobs {
    pub(crate) fn put(&self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.kept.lock().expect("no panic").insert(digest, bytes);
        digest
    }
}

#[async_trait]
impl Control for Blobs {
    async fn bid(&self, _: Bid) -> Result<BidAnswer, LinkError> {
        Ok(BidAnswer::default())
    }

    async fn renew(&self, _: AgentRef, _: Vec<LeaseId>) -> Result<Vec<LeaseId>, LinkError> {
        Ok(Vec::new())
    }

    async fn report(
        &self,
        _: AgentRef,
        reports: Vec<Report>,
    ) -> Result<Vec<ReportAnswer>, LinkError> {
        Ok(vec![ReportAnswer::Taken; reports.len()])
    }

    async fn log(&self, _: AgentRef, _: LeaseId, _: u64, _: Vec<u8>) -> Result<u64, LinkError> {
        Ok(0)
    }

    async fn seal(&self, _: AgentRef, _: LeaseId, _: u64) -> Result<bool, LinkError> {
        Ok(true)
    }

    async fn blob(
        &self,
        _: AgentRef,
        _: LeaseId,
        digest: Digest,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<u8>, LinkError> {
        let kept = self.kept.lock().expect("no panic");
        let bytes = kept.get(&digest).ok_or_else(|| LinkError::Refused("no such blob".into()))?;
        let rest = bytes.get(usize::try_from(offset).expect("small")..).unwrap_or_default();
        Ok(rest[..rest.len().min(limit as usize)].to_vec())
    }

    async fn keep(&self, _: AgentRef, _: LeaseId, part: BlobPart) -> Result<(), LinkError> {
        let mut kept = self.kept.lock().expect("no panic");
        let bytes = kept.entry(part.digest).or_default();
        bytes.truncate(usize::try_from(part.offset).expect("small"));
        bytes.extend(part.bytes);
        let whole = !part.last || Digest::of(bytes) == part.digest;
        whole.then_some(()).ok_or_else(|| LinkError::Refused("another digest".into()))
    }
}

/// An agent's stages in a folder of their own.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) spool: Arc<DiskSpool>,
    pub(crate) stages: NodeStages,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(true, 1 << 30).await
    }

    /// An agent that tries namespaces or does not, with a limit on logs.
    pub(crate) async fn with(namespaces: bool, limit_bytes: u64) -> Self {
        Self::at(&std::env::temp_dir(), namespaces, limit_bytes).await
    }

    /// The same in a folder inside of this one.
    pub(crate) async fn at(around: &Path, namespaces: bool, limit_bytes: u64) -> Self {
        let folder = tempfile::tempdir_in(around).expect("a folder");
        let blobs = Arc::new(Blobs::default());
        let (spool, stages) = agent(folder.path(), &blobs, namespaces, limit_bytes).await;
        Self { folder, blobs, spool, stages }
    }

    pub(crate) async fn open(&self, assignment: &Assignment) -> Arc<dyn Stage> {
        self.stages.open(assignment).await.expect("a stage")
    }

    /// The whole log of a lease.
    pub(crate) async fn log(&self, lease: LeaseId) -> String {
        let bytes = self.spool.read(lease, 0, usize::MAX).await.expect("a log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Opens a stage, runs all its steps, closes it; answers how the steps ended and the log.
    pub(crate) async fn through(&self, assignment: &Assignment) -> (Vec<StepEnd>, String) {
        let stage = self.open(assignment).await;
        let mut ends = Vec::new();
        let mut captured = BTreeMap::new();
        for index in 0..assignment.steps.len() {
            let end = step(&*stage, index, &captured).await.expect("a step");
            captured.extend(end.captured.clone());
            captured.retain(|name, _| !end.dropped.contains(name));
            ends.push(end);
        }
        stage.close().await;
        let log = self.log(assignment.lease).await;
        self.spool.drop_log(assignment.lease).await.expect("removed");
        assert_eq!(self.left(), Vec::<PathBuf>::new(), "a closed stage leaves nothing");
        (ends, log)
    }

    /// Whether anything of a lease is left in the agent's folder, its log excepted.
    pub(crate) fn left(&self) -> Vec<PathBuf> {
        let work = self.folder.path().join("data/agent/work");
        let entries = std::fs::read_dir(work).expect("the work folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }
}

/// Makes spool and stages in `<folder>/data`, all of which is hidden from steps.
pub(crate) async fn agent(
    folder: &Path,
    blobs: &Arc<Blobs>,
    namespaces: bool,
    limit_bytes: u64,
) -> (Arc<DiskSpool>, NodeStages) {
    let data = folder.join("data");
    std::fs::create_dir_all(data.join("agent")).expect("the agent's folder");
    std::fs::write(data.join("secret"), "the journal").expect("a file");
    let spool = DiskSpool::open(&data.join("spool"), limit_bytes).expect("a spool");
    let spool = Arc::new(spool);
    let settings = Settings {
        agent: AGENT,
        folder: data.join("agent"),
        hidden: vec![data],
        host: Host { tool_folders: tool_folders(), ..Host::of_this_process() },
        namespaces,
        grace: Span(300),
    };
    let control = Arc::clone(blobs) as Arc<dyn Control>;
    let stages = NodeStages::open(settings, Arc::clone(&spool), control).await;
    (spool, stages.expect("stages"))
}

/// An assignment of steps from the standard library.
pub(crate) fn assignment(steps: Vec<StepCall>) -> Assignment {
    Assignment {
        lease: LeaseId {
            run: RunId { project: ProjectId(7), number: 1 },
            stage: StageId(1),
            attempt: Attempt::FIRST,
            epoch: Epoch { incarnation: 0, counter: 3 },
        },
        lease_span: Span::seconds(60),
        project: "shop".to_owned(),
        path: "Build".to_owned(),
        steps,
        finally: Vec::new(),
        libraries: [otto_stdlib::builtin().clone()].map(named).into(),
        settings: [("OTTO_RUN".to_owned(), "1".to_owned())].into(),
        timeout: None,
        snapshot: None,
        outputs: BTreeMap::new(),
        captured: BTreeMap::new(),
        artifacts: BTreeMap::new(),
    }
}

pub(crate) fn named(library: Library) -> (String, Library) {
    (library.name.clone(), library)
}

/// An assignment of one script.
pub(crate) fn script(text: &str) -> Assignment {
    assignment(vec![call("sh", &[("script", text)])])
}

/// A call of a step of the standard library, defaults filled in.
pub(crate) fn call(symbol: &str, arguments: &[(&str, &str)]) -> StepCall {
    let signature = otto_stdlib::builtin().steps.get(symbol);
    let parameters = signature.map_or(&[][..], |signature| &signature.parameters);
    let default =
        |parameter: &Parameter| Some((parameter.name.clone(), parameter.default.clone()?));
    let given =
        |(name, value): &(&str, &str)| ((*name).to_owned(), Value::Text((*value).to_owned()));
    StepCall {
        symbol: symbol.to_owned(),
        library: "stdlib".to_owned(),
        arguments: parameters
            .iter()
            .filter_map(default)
            .chain(arguments.iter().map(given))
            .collect(),
        folder: String::new(),
        settings: BTreeMap::new(),
        timeout: None,
    }
}

pub(crate) fn place(index: usize) -> StepPlace {
    StepPlace { section: Section::Steps, index: u32::try_from(index).expect("few steps") }
}

pub(crate) async fn step(
    stage: &dyn Stage,
    index: usize,
    captured: &BTreeMap<String, Value>,
) -> Result<StepEnd, StageError> {
    stage.step(place(index), captured).await
}

/// Processes of this machine whose command line holds a marker.
pub(crate) fn marked(marker: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("the process table").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(marker.len()).any(|part| part == marker.as_bytes())
    })
    .collect()
}

/// A time for `sleep` that no other process of this machine sleeps for.
pub(crate) fn marker() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("7{}{next:04}", std::process::id())
}

/// Waits until something holds that another process brings about.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("in 30 seconds this did not come true: {what}");
}

/// The folders of tools that the machine of these tests has, whatever they were started with.
fn tool_folders() -> BTreeMap<String, String> {
    [("CARGO_HOME".to_owned(), "/opt/cargo".to_owned())].into()
}
