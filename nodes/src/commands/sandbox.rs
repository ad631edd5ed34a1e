//! How well steps are kept apart on this machine, as the node's agent wrote it down.

use super::Context;
use crate::launcher::{Fence, Level};
use crate::node::place::Place;
use std::fs;

/// What the agent found when it last started; `None` before there was one.
pub(super) fn level(place: &Place) -> Option<Level> {
    serde_json::from_slice(&fs::read(place.sandbox()).ok()?).ok()
}

/// Says that steps run as the user, where they do: once for each data folder.
pub(super) fn tell_once(context: &Context, place: &Place) {
    let Some(found @ Level::Sessions { .. }) = level(place) else { return };
    let told = place.data().join("sandbox-was-told");
    // Whoever creates the file is the first; where it cannot be written, it is told again.
    let first = fs::OpenOptions::new().write(true).create_new(true).open(told);
    if first.is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists) {
        return;
    }
    let screen = &context.screen;
    let note = screen.err.help("note");
    screen.tell(format!("{note}: {};", describe(&found)));
    screen.tell("      this is said once, `otto doctor` says it always");
}

/// The level in words, for people.
pub(super) fn describe(level: &Level) -> String {
    let name = level.name();
    match level {
        Level::Namespaces { fence } => {
            let top =
                if fence.calls { ", and a filter refuses calls deep into the kernel" } else { "" };
            format!("steps run in namespaces that hide the node's data from them ({name}){top}")
        }
        Level::Sessions { reason, fence } => {
            let Fence { processes, files, calls } = *fence;
            let fenced: Vec<&str> = [
                (processes, "processes outside of their stage"),
                (files, "the node's files"),
                (calls, "calls deep into the kernel"),
            ]
            .into_iter()
            .filter_map(|(is, what)| is.then_some(what))
            .collect();
            let but = if fenced.is_empty() {
                String::new()
            } else {
                format!(", but can't reach {}", fenced.join(", "))
            };
            format!("steps run as you here, and can see what you see{but} ({name}: {reason})")
        }
    }
}
