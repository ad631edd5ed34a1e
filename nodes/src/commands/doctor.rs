//! `otto doctor`: whether this machine can run pipelines, and what to do where it cannot.

use super::fault::{Exit, Fault};
use super::session::block_on;
use super::{Context, clock, sandbox, tools};
use crate::client::{Client, ClientError};
use crate::launcher::Level;
use crate::node::build::this_build;
use crate::node::place::Place;
use crate::node::{LocalNode, idle_time};
use crate::rpc::api::NodeStatus;
use clap::Args;
use otto_core::time::Span;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

/// How long a node that runs has to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Less free space than this is worth a word, in bytes.
const LITTLE_SPACE: u64 = 1 << 30;
/// A clock before this is not set: 2025-01-01, in milliseconds.
const BEFORE_OTTO_MS: u64 = 1_735_689_600_000;

/// The command's arguments.
#[derive(Args, Debug)]
#[command(
    after_help = "It starts nothing. The exit code is 5 where something keeps runs from working."
)]
pub(super) struct Doctor {}

/// What was found out about one thing.
struct Finding {
    about: &'static str,
    state: State,
    text: String,
    /// What to do; empty where nothing is to be done.
    help: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// It works, but look.
    Noted,
    Bad,
}

impl Doctor {
    pub(super) fn run(context: &Context) -> Result<Exit, Fault> {
        let mut findings = vec![version(), system_clock()];
        findings.extend(needed_tools());
        findings.extend(variables());
        match Place::of_user() {
            Ok(place) => {
                findings.push(data_folder(&place));
                let (node, status) = node(&place);
                findings.push(node);
                findings.extend(status.as_ref().and_then(set_back));
                findings.extend(status.iter().flat_map(agents));
                findings.push(sandboxed(&place));
            }
            Err(trouble) => findings.push(bad("data", trouble.what, trouble.help)),
        }
        let fine = findings.iter().all(|finding| finding.state != State::Bad);
        if context.json {
            let page: Vec<Value> = findings.iter().map(Finding::page).collect();
            context.screen.data(format!("{}\n", Value::Array(page)))?;
        } else {
            for finding in &findings {
                context.screen.data(finding.line(context))?;
            }
        }
        Ok(if fine { Exit::Done } else { Exit::Infrastructure })
    }
}

impl Finding {
    fn line(&self, context: &Context) -> String {
        let paint = context.screen.out;
        let sign = match self.state {
            State::Good => paint.good("✔"),
            State::Noted => paint.warning("⚠"),
            State::Bad => paint.error("✘"),
        };
        let line = format!("{sign} {:<8} {}\n", self.about, self.text);
        if self.help.is_empty() { line } else { format!("{line}  {:<8} help: {}\n", "", self.help) }
    }

    fn page(&self) -> Value {
        let state = match self.state {
            State::Good => "good",
            State::Noted => "noted",
            State::Bad => "bad",
        };
        json!({ "about": self.about, "state": state, "text": self.text, "help": self.help })
    }
}

fn good(about: &'static str, text: impl Into<String>) -> Finding {
    Finding { about, state: State::Good, text: text.into(), help: String::new() }
}

fn noted(about: &'static str, text: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding { about, state: State::Noted, text: text.into(), help: help.into() }
}

fn bad(about: &'static str, text: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding { about, state: State::Bad, text: text.into(), help: help.into() }
}

fn version() -> Finding {
    match this_build() {
        Ok(build) => good("otto", build.to_string()),
        Err(error) => bad("otto", format!("its own program: {error}"), "install otto again"),
    }
}

fn system_clock() -> Finding {
    let now = clock::now();
    let text = clock::date_and_time(now);
    if now.0 < BEFORE_OTTO_MS {
        return bad("clock", text, "set the clock: time limits and certificates depend on it");
    }
    good("clock", text)
}

/// A clock that says less than when the node started was set back. Nothing else here can be
/// compared with it.
fn set_back(status: &NodeStatus) -> Option<Finding> {
    let behind = status.since.since(clock::now());
    (behind > Span::seconds(1)).then(|| {
        let by = clock::lasting(behind);
        let text = format!("it was set back: the node started {by} later than now");
        noted("clock", text, "let the network keep it (NTP); deadlines of runs wait until then")
    })
}

/// What steps that come with Otto start: without `sh` nothing works.
fn needed_tools() -> Vec<Finding> {
    [("sh", State::Bad, "every script needs it"), ("git", State::Noted, "the step git needs it")]
        .into_iter()
        .map(|(tool, state, help)| {
            if tools::on_path(tool) {
                return good("tool", tool);
            }
            let text = format!("{tool} is not on the PATH");
            Finding { about: "tool", state, text, help: help.to_owned() }
        })
        .collect()
}

/// Whether the node's data can be kept: what `otto run` would meet is met here, without a trace.
fn data_folder(place: &Place) -> Finding {
    let folder = place.data();
    let (shown, elsewhere) = (folder.display(), "or name another folder with OTTO_HOME");
    if let Err(refused) = place.check() {
        return bad("data", refused.what, refused.help);
    }
    // What is not there yet is made by the first run, in the nearest folder that is.
    let Some(there) = folder.ancestors().find(|folder| folder.symlink_metadata().is_ok()) else {
        return bad("data", format!("{shown}: no part of this path exists"), "set OTTO_HOME");
    };
    let found = match std::fs::metadata(there) {
        Ok(found) => found,
        Err(error) => {
            let text = format!("{shown}: {} cannot be used: {error}", there.display());
            return bad("data", text, format!("mend that, {elsewhere}"));
        }
    };
    if !found.is_dir() {
        let text = format!("{shown}: {} is no folder", there.display());
        return bad("data", text, format!("move it away, {elsewhere}"));
    }
    if there == folder && found.uid() != rustix::process::geteuid().as_raw() {
        let text = format!("{shown}: another user owns it");
        return bad("data", text, "name a folder of your own with OTTO_HOME");
    }
    // Some folders let themselves be written by their modes alone.
    if let Err(error) = tempfile::Builder::new().prefix(".otto-doctor").tempdir_in(there) {
        let cause = error.to_string();
        let cause = cause.split(" at path ").next().unwrap_or(&cause);
        let text = format!("{shown}: {} cannot be written: {cause}", there.display());
        return bad("data", text, format!("make it writable, {elsewhere}"));
    }
    let free = rustix::fs::statvfs(there).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    match (free, place.open_to_others()) {
        (Ok(free), _) if free < LITTLE_SPACE => {
            noted("data", format!("{shown}, {} MiB free", free >> 20), "make room on this disk")
        }
        (Ok(_), Some(mode)) => {
            let text = format!("{shown}: other users may enter it (mode {mode:o})");
            noted("data", text, "`otto run` closes it to them: a node's data is its user's alone")
        }
        (Ok(free), None) => good("data", format!("{shown}, {} GiB free", free >> 30)),
        (Err(error), _) => noted("data", format!("{shown}, free space unknown: {error}"), ""),
    }
}

/// What the node would be told by variables that only it reads.
fn variables() -> Option<Finding> {
    let refused = idle_time().err()?;
    Some(bad("setting", refused.what, refused.help))
}

fn node(place: &Place) -> (Finding, Option<NodeStatus>) {
    let asked = block_on(async {
        let build = this_build().map_err(|error| {
            Fault::infrastructure(super::fault::Id::NodeUnreachable, error.to_string())
        })?;
        let client = Client::new(Arc::new(LocalNode::running(place.clone())), build);
        Ok(client.patience(PATIENCE).status().await)
    });
    match asked {
        Ok(Ok(status)) => {
            let text = format!(
                "{} runs since {}, process {}, {} unfinished",
                status.build,
                clock::date_and_time(status.since),
                status.pid,
                status.unfinished_runs,
            );
            (good("node", text), Some(status))
        }
        Ok(Err(error)) if !place.socket().exists() && is_absent(&error) => {
            (good("node", "none is running; `otto run` starts one"), None)
        }
        Ok(Err(error)) => {
            let refused = error.into_refused();
            (bad("node", refused.what, refused.help), None)
        }
        Err(_) => (bad("node", "this process cannot use the network", ""), None),
    }
}

fn is_absent(error: &ClientError) -> bool {
    match error {
        ClientError::Hello(_) | ClientError::Unreachable { .. } => true,
        ClientError::Api(_) | ClientError::Garbled(_) | ClientError::Local { .. } => false,
    }
}

fn agents(status: &NodeStatus) -> Vec<Finding> {
    if status.agents.is_empty() {
        let help = "wait a moment; if none comes, see the traces in the data folder";
        return vec![bad("agent", "the node has no agent", help)];
    }
    let line = |agent: &crate::rpc::api::AgentView| {
        let has = &agent.capabilities;
        let text = format!(
            "{}: {} cores, {} GiB, {} {}, {} tools, {} free slots",
            agent.name,
            has.cores,
            has.memory >> 30,
            has.os,
            has.arch,
            has.tools.len(),
            agent.free_slots,
        );
        good("agent", text)
    };
    status.agents.iter().map(line).collect()
}

/// How well steps are kept apart, as the agent found when it last started.
fn sandboxed(place: &Place) -> Finding {
    match sandbox::level(place) {
        None => good("sandbox", "not known before the first run"),
        Some(level @ Level::Namespaces { .. }) => good("sandbox", sandbox::describe(&level)),
        Some(Level::Sessions { reason, fence }) => {
            let help = if fence.files {
                "run only what you trust here; a kernel with user namespaces keeps steps apart"
            } else {
                "run only what you trust here; a kernel with user namespaces keeps steps apart, and \
                 with OTTO_HOME outside of your home landlock can hide the node's files"
            };
            noted("sandbox", sandbox::describe(&Level::Sessions { reason, fence }), help)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{State, data_folder};
    use crate::node::place::Place;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    #[test]
    fn what_would_keep_a_node_from_its_data_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = |path: &Path, expected: State, said: &str| {
            let found = data_folder(&Place::new(path).expect("a place"));
            assert!(found.state == expected, "{}: {}", path.display(), found.text);
            assert!(found.text.contains(said), "{}", found.text);
        };
        let inner = |name: &str| folder.path().join(name);
        let open = |name: &str| {
            fs::create_dir(inner(name)).expect("a folder");
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(inner(name), mode).expect("a mode");
        };
        check(&inner("new/and/deep"), State::Good, "free");
        fs::write(inner("file"), "").expect("a file");
        check(&inner("file"), State::Bad, "is no folder");
        check(&inner("file/below"), State::Bad, "is no folder");
        check(Path::new("/proc/otto"), State::Bad, "cannot be written");
        open("empty");
        check(&inner("empty"), State::Noted, "other users may enter it (mode 755)");
        open("shared");
        fs::write(inner("shared/notes"), "").expect("a file");
        check(&inner("shared"), State::Bad, "it holds other things");
        open("used");
        fs::create_dir(inner("used/store")).expect("a folder");
        check(&inner("used"), State::Noted, "other users may enter it");
        assert_eq!(fs::read_dir(inner("empty")).expect("a folder").count(), 0, "a trace was left");
    }
}
