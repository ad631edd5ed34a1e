//! `otto retry`: a new run that goes on where an earlier one ended.

use super::fault::{Exit, Fault};
use super::following::{Watched, Watching, follow};
use super::run::detached;
use super::view::Names;
use super::{Context, session};
use crate::rpc::api::Retry;
use clap::Args;
use std::sync::Arc;

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "\
The new run has the plan and the files of the earlier one; what succeeded there is not repeated.

Examples:
  otto retry            the latest run, what did not succeed
  otto retry 2 --all    run 2, everything
  otto retry --detach   submit, and do not wait")]
pub(super) struct RetryCommand {
    /// The run's number [default: the latest]
    #[arg(value_parser = session::run_number)]
    run: Option<u64>,
    /// Repeat only what did not succeed (the default)
    #[arg(long, conflicts_with = "all")]
    failed: bool,
    /// Repeat everything
    #[arg(long)]
    all: bool,
    /// Submit the run, and do not wait for it
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    pub(super) watching: Watching,
}

impl RetryCommand {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        session::block_on(async {
            let client = session::connect(context).await?;
            let listed = session::find_run(context, &client, self.run).await?;
            let plan = session::plan(&client, &listed).await?;
            let key = session::identity()?.to_string();
            let retry = Retry { run: listed.run, key, everything: self.all };
            let submitted = client.retry(retry).await.map_err(session::fault)?;
            let names = Names::of(&listed.summary.project, submitted.run.number);
            let (from, to) = (listed.run.number, submitted.run.number);
            context.screen.tell(format!("run {to} goes on from run {from}"));
            if self.detach {
                return detached(context, submitted.run, &plan);
            }
            let watched =
                Watched { client, run: submitted.run, plan: Arc::new(plan), names, hint: None };
            follow(context, watched, &self.watching).await
        })
    }
}
