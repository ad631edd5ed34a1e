//! `otto watch`: shows a run until it ends.

use super::fault::{Exit, Fault};
use super::following::{Watched, Watching, follow};
use super::view::Names;
use super::{Context, session};
use clap::Args;
use std::sync::Arc;

/// The command's arguments.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  otto watch 3 --json --watch    an object for each change, one a line"
)]
pub(super) struct Watch {
    /// The run's number [default: the latest]
    #[arg(value_parser = session::run_number)]
    run: Option<u64>,
    #[command(flatten)]
    pub(super) watching: Watching,
}

impl Watch {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        session::block_on(async {
            let client = session::connect(context).await?;
            let listed = session::find_run(context, &client, self.run).await?;
            let plan = session::plan(&client, &listed).await?;
            let names = Names::of(&listed.summary.project, listed.run.number);
            let watched =
                Watched { client, run: listed.run, plan: Arc::new(plan), names, hint: None };
            follow(context, watched, &self.watching).await
        })
    }
}
