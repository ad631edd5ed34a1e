//! `otto cancel`: asks a run to end.

use super::fault::{Exit, Fault};
use super::{Context, session};
use clap::Args;
use serde_json::json;

/// The command's arguments.
#[derive(Args, Debug)]
pub(super) struct Cancel {
    /// The run's number [default: the latest]
    #[arg(value_parser = session::run_number)]
    run: Option<u64>,
    /// Why, for those who look at it later
    #[arg(long)]
    reason: Option<String>,
}

impl Cancel {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        session::block_on(async {
            let client = session::connect(context).await?;
            let listed = session::find_run(context, &client, self.run).await?;
            let number = listed.run.number;
            let asked = client.cancel(listed.run, session::identity()?, self.reason);
            asked.await.map_err(session::fault)?;
            if context.json {
                let page = json!({ "run": number, "cancelling": true });
                context.screen.data(format!("{page}\n"))?;
            }
            context
                .screen
                .tell(format!("run {number} is being cancelled        otto watch {number}"));
            Ok(Exit::Done)
        })
    }
}
