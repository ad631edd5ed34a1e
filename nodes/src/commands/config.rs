//! `otto config`: all settings, and where each came from.

use super::Context;
use super::fault::{Exit, Fault};
use clap::Args;
use serde_json::{Map, Value, json};

/// The command's arguments.
#[derive(Args, Debug)]
#[command(
    after_help = "Settings come from a flag, OTTO_…, otto.toml in the repository, otto/config.toml in\n\
                  your configuration folder, or are built in; the first of these counts."
)]
pub(super) struct Config {
    /// Say where each came from
    #[arg(long)]
    show_origin: bool,
}

impl Config {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let table = context.settings.table();
        if context.json {
            let fields: Map<String, Value> = table
                .iter()
                .map(|(name, value, source)| {
                    let field = json!({ "value": value, "origin": source.to_string() });
                    ((*name).to_owned(), field)
                })
                .collect();
            context.screen.data(format!("{}\n", Value::Object(fields)))?;
            return Ok(Exit::Done);
        }
        let paint = context.screen.out;
        for (name, value, source) in table {
            let line = format!("{name} = {value}");
            if self.show_origin {
                let origin = paint.faint(&source.to_string());
                context.screen.data(format!("{line:<20}  {origin}\n"))?;
            } else {
                context.screen.data(format!("{line}\n"))?;
            }
        }
        Ok(Exit::Done)
    }
}
