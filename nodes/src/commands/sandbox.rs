//! How well steps are kept apart on this machine, as the node's agent wrote it down.

use super::Context;
use crate::launcher::Level;
use crate::node::place::Place;
use std::fs;

/// What the agent found when it last started; `None` before there was one.
pub(super) fn level(place: &Place) -> Option<Level> {
    serde_json::from_slice(&fs::read(place.sandbox()).ok()?).ok()
}

/// Says that steps run as the user, where they do: once for each data folder.
pub(super) fn tell_once(context: &Context, place: &Place) {
    let Some(Level::Sessions { reason }) = level(place) else { return };
    let told = place.data().join("sandbox-was-told");
    // Whoever creates the file is the first; where it cannot be written, it is told again.
    let first = fs::OpenOptions::new().write(true).create_new(true).open(told);
    if first.is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists) {
        return;
    }
    let screen = &context.screen;
    let note = screen.err.help("note");
    screen.tell(format!("{note}: steps run as you here, and can see what you see ({reason});"));
    screen.tell("      this is said once, `otto doctor` says it always");
}
