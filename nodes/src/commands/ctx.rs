//! `otto ctx`: the clusters that a person is signed in to, and which of them commands speak with.

use super::Context;
use super::contexts::{Contexts, LOCAL, Signed};
use super::fault::{Exit, Fault};
use clap::Args;
use serde_json::{Value, json};

/// The command's arguments.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  otto ctx                 list contexts; the one that counts now has a star
  otto ctx prod            speak with that cluster from now on
  otto ctx local           speak with this machine's own node again
  otto --context lab runs  for one command; so does OTTO_CONTEXT=lab")]
pub(super) struct Ctx {
    /// The context to switch to; `local` is this machine's own node
    name: Option<String>,
    /// Forget the context and its token
    #[arg(long, requires = "name")]
    forget: bool,
}

impl Ctx {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Fault> {
        let contexts = Contexts::of_user()?;
        let Some(name) = self.name else { return list(context, &contexts) };
        if self.forget {
            contexts.forget(&name)?;
            context
                .screen
                .tell(format!("{name} is forgotten; its token counts until it is revoked"));
        } else {
            contexts.choose(&name)?;
            context.screen.tell(match name.as_str() {
                LOCAL => "commands speak with this machine's own node".to_owned(),
                name => format!("commands speak with {name}"),
            });
        }
        Ok(Exit::Done)
    }
}

fn list(context: &Context, contexts: &Contexts) -> Result<Exit, Fault> {
    let now = &context.settings.context.value;
    let mut known = Vec::new();
    for name in contexts.names()? {
        known.push((contexts.load(&name), name));
    }
    if context.json {
        let page: Vec<Value> = known.iter().map(|(it, name)| page(it, name, now)).collect();
        context.screen.data(format!("{}\n", Value::Array(page)))?;
        return Ok(Exit::Done);
    }
    let width = known.iter().map(|(_, name)| name.len()).max().unwrap_or(0).max(LOCAL.len());
    let paint = context.screen.out;
    let star = |name: &str| if name == now { paint.good("*") } else { " ".to_owned() };
    let own = paint.faint("this machine's own node");
    context.screen.data(format!("{} {LOCAL:width$}   {own}\n", star(LOCAL)))?;
    for (signed, name) in &known {
        let rest = match signed {
            Ok(signed) => paint.faint(&signed.addresses.join(", ")),
            Err(Fault::Told(told)) => paint.error(&told.what),
            Err(_) => String::new(),
        };
        context.screen.data(format!("{} {name:width$}   {rest}\n", star(name)))?;
    }
    Ok(Exit::Done)
}

fn page(signed: &Result<Signed, Fault>, name: &str, now: &str) -> Value {
    let signed = signed.as_ref().ok();
    json!({
        "context": name,
        "current": name == now,
        "cluster": signed.map(|signed| &signed.cluster),
        "addresses": signed.map(|signed| &signed.addresses),
    })
}
