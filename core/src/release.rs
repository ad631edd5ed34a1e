//! What this release carries out of a plan: the one place that decides what is not there yet.
//!
//! The language asks it before it calls a pipeline right, and a run before it begins, so that what
//! was checked and explained is also run. A plan can come from elsewhere than the language, too: it
//! is never passed over in silence.

use crate::gate::Gate;
use crate::ids::StageId;
use crate::plan::{Environment, Plan, Stage};

/// Something in a plan that this release does not carry out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotYet {
    /// The stage that asks for it.
    pub stage: StageId,
    /// What it is, such as `the gate 'Ship it?'`.
    pub what: String,
}

/// What this release does not do with an environment that stages name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unserved {
    /// Reaching it is a delivery.
    Delivery,
    /// Something holds stages back before they may reach it.
    HeldBack,
}

/// The first thing in a plan that this release does not carry out.
#[must_use]
pub fn not_yet(plan: &Plan) -> Option<NotYet> {
    plan.ids().find_map(|stage| Some(NotYet { stage, what: not_yet_of(plan, plan.stage(stage))? }))
}

/// What this release does not do with an environment: only its settings are served.
#[must_use]
pub fn unserved(environment: &Environment) -> Option<Unserved> {
    let Environment { settings: _, after, lock, freeze, approvers, delivers } = environment;
    if *delivers {
        return Some(Unserved::Delivery);
    }
    let held = after.is_some() || *lock || freeze.is_some() || !approvers.is_empty();
    held.then_some(Unserved::HeldBack)
}

fn not_yet_of(plan: &Plan, stage: &Stage) -> Option<String> {
    let gates = stage.gates.enter.iter().chain(&stage.gates.exit);
    let mut waits = gates.filter_map(|gate| match gate {
        Gate::Wait(wait) => Some(wait),
        Gate::Condition(_) => None,
    });
    if let Some(wait) = waits.next() {
        return Some(format!("the gate '{}'", wait.name));
    }
    if let Some(what) = stage.environment.as_deref().and_then(|name| reaching(plan, name)) {
        return Some(what);
    }
    let parts = [
        (!stage.rollback.is_empty(), "the rollback"),
        (!stage.notify.is_empty(), "the notices"),
        (!stage.credentials.is_empty(), "the credentials"),
        (!stage.caches.is_empty(), "the caches"),
        (
            stage.retry.is_some() && !stage.work.children().is_empty(),
            "the retry over several stages",
        ),
    ];
    parts.into_iter().find(|(there, _)| *there).map(|(_, what)| what.to_owned())
}

/// An environment that the plan does not hold may be anything, a delivery too.
fn reaching(plan: &Plan, name: &str) -> Option<String> {
    match plan.environments.get(name).map_or(Some(Unserved::Delivery), unserved)? {
        Unserved::Delivery => Some(format!("the delivery to '{name}'")),
        Unserved::HeldBack => Some(format!("what holds stages of '{name}' back")),
    }
}
