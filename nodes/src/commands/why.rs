//! `otto why`: why a run or a stage is where it is.

use super::fault::{Exit, Fault};
use super::{Context, session};
use crate::rpc::api;
use clap::Args;
use serde_json::{Value, json};

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  otto why 2 test")]
pub(super) struct Why {
    /// The run's number [default: the latest]
    run: Option<u64>,
    /// The stage: its path, or its last name [default: whatever holds the run]
    stage: Option<String>,
}

impl Why {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        session::block_on(async {
            let client = session::connect().await?;
            let listed = session::find_run(context, &client, self.run).await?;
            let stage = match self.stage.as_deref() {
                None => None,
                Some(named) => {
                    let plan = session::plan(&client, &listed).await?;
                    Some(session::find_stage(&plan, named)?)
                }
            };
            let why = api::Why { run: listed.run, stage };
            let reasons = client.why(why).await.map_err(session::fault)?;
            if context.json {
                let page: Vec<Value> = reasons
                    .iter()
                    .map(|reason| json!({ "stage": reason.path, "reason": reason.text }))
                    .collect();
                context.screen.data(format!("{}\n", Value::Array(page)))?;
                return Ok(Exit::Done);
            }
            for reason in reasons {
                let name = if reason.path.is_empty() {
                    format!("run {}", listed.run.number)
                } else {
                    reason.path
                };
                context.screen.data(format!(
                    "{}: {}\n",
                    context.screen.out.strong(&name),
                    reason.text
                ))?;
            }
            Ok(Exit::Done)
        })
    }
}
