//! How long nobody is served after the control process was killed under full load.

use crate::node::Node;
use crate::submissions::{begin, connection, connections, fresh_key, runtime};
use crate::{load, median, ms};
use otto_core::plan::Plan;
use rustix::process::{Pid, Signal, kill_process};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const ROUNDS: usize = 5;
const CLIENTS: usize = 64;
/// How long the clients submit before each kill.
const LOADED: Duration = Duration::from_secs(2);
/// The pause before the node is asked again that did not answer.
const AGAIN: Duration = Duration::from_millis(1);

pub(crate) fn measure() -> Result<(), String> {
    let mut gaps = Vec::new();
    for _ in 0..ROUNDS {
        // A control process that dies often is started after a pause: each node loses one only.
        let (node, plan) = begin()?;
        gaps.push(runtime()?.block_on(round(&node, &plan))?);
    }
    let longest = gaps.iter().max().copied().unwrap_or_default();
    println!(
        "  kill -9 of the control process under {CLIENTS} clients, to the next accepted \
         submission: {}, longest of {ROUNDS}: {} (limit 200 ms); load {}",
        ms(median(gaps)),
        ms(longest),
        load()
    );
    Ok(())
}

/// Kills the control process under load; answers how long nobody was served.
async fn round(node: &Node, plan: &Arc<Plan>) -> Result<Duration, String> {
    let mut clients = JoinSet::new();
    for client in connections(node, CLIENTS)? {
        let plan = Arc::clone(plan);
        clients.spawn(async move {
            // A submission that the kill cut off is repeated by the client itself.
            while client.submit_plan("bench", &fresh_key(), &plan, None).await.is_ok() {}
        });
    }
    sleep(LOADED).await;
    gap(node, plan).await
}

/// Kills the control process; answers how long it took until a new client's submission was taken.
pub(crate) async fn gap(node: &Node, plan: &Plan) -> Result<Duration, String> {
    let control = node.control().ok_or("there is no control process")?;
    let pid = i32::try_from(control).ok().and_then(Pid::from_raw).ok_or("a strange process id")?;
    let key = fresh_key();
    let start = Instant::now();
    kill_process(pid, Signal::KILL).map_err(|error| error.to_string())?;
    loop {
        let client = connection(node)?.patience(Duration::ZERO);
        if client.submit_plan("bench", &key, plan, None).await.is_ok() {
            return Ok(start.elapsed());
        }
        sleep(AGAIN).await;
    }
}
