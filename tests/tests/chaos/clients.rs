//! Clients that submit, submit again, watch runs to their end and read their logs, each through
//! whatever node answers, and note what they learn.

use crate::faults::Chance;
use otto_actors::ports::clock::Clock;
use otto_core::ids::{Attempt, CommandId, RunId, StageId};
use otto_core::plan::Plan;
use otto_nodes::client::{Client, ClientError};
use otto_nodes::node::system::SystemClock;
use otto_nodes::node::unix::PathConnector;
use otto_nodes::rpc::api::{ApiError, ListRuns, ReadLog};
use otto_nodes::wire::hello::Build;
use otto_sim::history::{Answer, Fact, Moment};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The project that all runs belong to.
pub(crate) const PROJECT: &str = "chaos";
/// How long one wish is repeated through one node.
const PATIENCE: Duration = Duration::from_secs(3);
/// The pause before the same wish is made again.
const PAUSE: Duration = Duration::from_millis(300);
/// When the faults are over, everything has to end within this time.
const LIVENESS: Duration = Duration::from_mins(4);

/// What clients learnt, in order of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learnt(Arc<Mutex<Vec<Moment>>>);

impl Learnt {
    pub(crate) fn add(&self, host: &str, fact: Fact) {
        let at_ms = SystemClock::new().now().0;
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moments.push(Moment { at_ms, host: host.to_owned(), fact });
    }

    pub(crate) fn moments(&self) -> Vec<Moment> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The nodes of a cluster, as somebody sees them who may use the socket of each.
#[derive(Clone, Debug)]
pub(crate) struct Nodes(pub(crate) Vec<PathBuf>);

impl Nodes {
    pub(crate) fn client(&self, index: usize) -> Client {
        let socket = self.0[index % self.0.len()].clone();
        Client::new(Arc::new(PathConnector(socket)), Build::default()).patience(PATIENCE)
    }
}

/// What one client does.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) nodes: Nodes,
    pub(crate) plans: Arc<BTreeMap<String, Plan>>,
    pub(crate) learnt: Learnt,
    /// Whether faults may still come: as long, new runs are submitted.
    pub(crate) faults: Arc<AtomicBool>,
}

impl Work {
    /// Submits runs one after the other until the faults are over, and watches each to its end.
    pub(crate) async fn run(self, client: usize, seed: u64) -> Result<(), String> {
        let mut chance = Chance(seed ^ (client as u64 + 1).rotate_left(32));
        let names: Vec<String> = self.plans.keys().cloned().collect();
        let mut watched = tokio::task::JoinSet::new();
        for turn in 0.. {
            if !self.faults.load(Ordering::Relaxed) {
                break;
            }
            let name = &names[chance.below(names.len())];
            let key = format!("client {client}, wish {turn}");
            let Some(run) = self.submit(&key, name, &mut chance).await? else { continue };
            if chance.below(6) == 0 {
                self.cancel(run, &mut chance).await?;
            }
            let (work, plan, own) = (self.clone(), self.plans[name].clone(), chance.clone());
            watched.spawn(async move { work.watch(run, &plan, own).await });
            sleep(Duration::from_millis(200 + chance.below(2_500) as u64)).await;
        }
        while let Some(watched) = watched.join_next().await {
            watched.map_err(|error| error.to_string())??;
        }
        Ok(())
    }

    async fn submit(
        &self,
        key: &str,
        name: &str,
        chance: &mut Chance,
    ) -> Result<Option<RunId>, String> {
        let limit = self.limit();
        loop {
            let client = self.nodes.client(chance.below(self.nodes.0.len()));
            self.learnt.add("client", Fact::Submits { key: key.to_owned(), plan: name.to_owned() });
            let answered = client.submit_plan(PROJECT, key, &self.plans[name], None).await;
            let answer = answer(answered.map(|submitted| submitted.run));
            let fact = Fact::Submitted { key: key.to_owned(), answer: answer.clone() };
            self.learnt.add("client", fact);
            match answer {
                Answer::Ok(run) => return Ok(Some(run)),
                Answer::Refused(why) => return Err(format!("{key} was refused: {why}")),
                Answer::Unknown => limit.check("a run to be accepted")?,
            }
            sleep(PAUSE).await;
        }
    }

    async fn cancel(&self, run: RunId, chance: &mut Chance) -> Result<(), String> {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&run.number.to_be_bytes());
        let limit = self.limit();
        loop {
            let client = self.nodes.client(chance.below(self.nodes.0.len()));
            self.learnt.add("client", Fact::Cancels { run });
            let answer = answer(client.cancel(run, CommandId(id), None).await);
            let again = answer == Answer::Unknown;
            self.learnt.add("client", Fact::Cancelled { run, answer });
            if !again {
                return Ok(());
            }
            limit.check("a cancel to be answered")?;
            sleep(PAUSE).await;
        }
    }

    async fn watch(&self, run: RunId, plan: &Plan, mut chance: Chance) -> Result<(), String> {
        let mut read: BTreeMap<StageId, u64> = BTreeMap::new();
        let limit = self.limit();
        loop {
            let client = self.nodes.client(chance.below(self.nodes.0.len()));
            let asked_ms = SystemClock::new().now().0;
            let listed = client.run(run).await;
            if let Ok(listed) = &listed {
                let outcome = listed.summary.outcome;
                self.learnt.add("client", Fact::Read { run, outcome, asked_ms });
            }
            for stage in plan.ids().filter(|id| !plan.stage(*id).work.steps().is_empty()) {
                self.read_log(&client, run, stage, plan, read.entry(stage).or_default()).await;
            }
            if listed.is_ok_and(|listed| listed.summary.retired) {
                return Ok(());
            }
            limit.check(&format!("the end of run {}", run.number))?;
            sleep(PAUSE).await;
        }
    }

    async fn read_log(
        &self,
        client: &Client,
        run: RunId,
        stage: StageId,
        plan: &Plan,
        offset: &mut u64,
    ) {
        let attempt = Attempt::FIRST;
        let (limit, wait_ms, measure) = (1 << 16, 0, false);
        let wish = ReadLog { run, stage, attempt, offset: *offset, limit, wait_ms, measure };
        let Ok(part) = client.log_part(wish).await else { return };
        if !part.bytes.is_empty() {
            let text = String::from_utf8_lossy(&part.bytes).into_owned();
            let path = plan.stage(stage).path.clone();
            self.learnt.add("client", Fact::LogRead { path, run, offset: *offset, text });
            *offset += part.bytes.len() as u64;
        }
    }

    fn limit(&self) -> Limit {
        Limit { faults: self.faults.clone(), since: Mutex::new(None) }
    }
}

/// The end of patience: it only begins when the faults are over.
struct Limit {
    faults: Arc<AtomicBool>,
    since: Mutex<Option<Instant>>,
}

impl Limit {
    fn check(&self, what: &str) -> Result<(), String> {
        if self.faults.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.get_or_insert_with(Instant::now).elapsed() > LIVENESS {
            return Err(format!("L1: waited in vain for {what} after the last fault"));
        }
        Ok(())
    }
}

fn answer<T>(result: Result<T, ClientError>) -> Answer<T> {
    match result {
        Ok(value) => Answer::Ok(value),
        Err(ClientError::Api(ApiError::Refused(why) | ApiError::Invalid(why))) => {
            Answer::Refused(why)
        }
        Err(_) => Answer::Unknown,
    }
}

/// The plans that `otto` makes of the repositories below a folder: each is submitted once, as a
/// person does it, and its plan is fetched from the node that has it.
pub(crate) async fn plans(
    nodes: &Nodes,
    submit: impl Fn(&Path),
    root: &Path,
    names: &[&str],
) -> Result<BTreeMap<String, Plan>, String> {
    let client = nodes.client(0);
    let mut plans = BTreeMap::new();
    for name in names {
        let repository = root.join(name);
        submit(&repository);
        let project = Some(repository.display().to_string());
        let list = ListRuns { project, before: None, limit: 1 };
        let runs = client.runs(list).await.map_err(|error| error.to_string())?;
        let run = runs.first().ok_or_else(|| format!("{name} was not submitted"))?;
        let hash = run.summary.plan.ok_or("a run is listed without its plan")?;
        let plan = client.plan(hash).await.map_err(|error| error.to_string())?;
        plans.insert((*name).to_owned(), plan);
    }
    Ok(plans)
}

/// Writes the repositories that are submitted.
pub(crate) fn prepare(root: &Path, out: &Path) -> Vec<&'static str> {
    for (name, ottofile) in PIPELINES {
        let folder = root.join(name);
        std::fs::create_dir(&folder).expect("a folder");
        let ottofile = ottofile.replace("OUT", &out.display().to_string());
        std::fs::write(folder.join("Ottofile"), ottofile).expect("a file");
    }
    PIPELINES.iter().map(|(name, _)| *name).collect()
}

/// What is submitted. Whatever is lost is tried again, so that runs end well.
const PIPELINES: [(&str, &str); 4] = [
    (
        "quick",
        "pipeline {
           stage('Build') {
             steps { sh '. OUT/truth.sh; begins 0; ends 0 success' }
             retry { attempts = 50  on = [lost] }
           }
           stage('Test') {
             steps {
               sh '. OUT/truth.sh; begins 0; sleep 0.3; ends 0 success'
               sh '. OUT/truth.sh; begins 1; ends 1 success'
             }
             retry { attempts = 50  on = [lost] }
           }
         }",
    ),
    (
        "prints",
        "pipeline {
           parallel {
             stage('Slow') {
               steps {
                 sh '''
                   . OUT/truth.sh
                   begins 0
                   for n in $(seq 1 200); do echo $n; sleep 0.03; done
                   ends 0 success
                 '''
               }
               retry { attempts = 50  on = [lost] }
             }
             stage('Fast') {
               steps { sh '. OUT/truth.sh; begins 0; seq 1 2000; ends 0 success' }
               retry { attempts = 50  on = [lost] }
             }
           }
         }",
    ),
    (
        "stubborn",
        "pipeline {
           stage('Daemon') {
             steps {
               sh '''
                 . OUT/truth.sh
                 begins 0
                 trap \"\" TERM
                 setsid sh -c 'trap \"\" TERM; sleep 1000' &
                 sleep 2
                 ends 0 success
               '''
             }
             retry { attempts = 50  on = [lost] }
           }
           stage('After') {
             steps { sh '. OUT/truth.sh; begins 0; ends 0 success' }
             retry { attempts = 50  on = [lost] }
           }
         }",
    ),
    (
        "fails",
        "pipeline {
           stage('Fails') {
             steps { sh '. OUT/truth.sh; begins 0; ends 0 failed' }
             retry { attempts = 3  on = [lost, failed]  backoff = '500ms' }
           }
         }",
    ),
];
