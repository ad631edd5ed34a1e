//! What an agent gets with a lease: all that one attempt at a stage needs, taken from run and plan.

use crate::ports::control::Assignment;
use otto_core::ids::Digest;
use otto_core::lease::Lease;
use otto_core::plan::{Plan, Stage};
use otto_core::run::Run;
use otto_core::step::Library;
use otto_core::time::{Span, Timestamp};
use std::collections::BTreeMap;

/// The assignment of a lease.
pub(super) fn of(run: &Run, lease: Lease, lease_span: Span, now: Timestamp) -> Assignment {
    let plan = run.plan();
    let stage = plan.stage(lease.id.stage);
    let submission = run.begun().map(|begun| &begun.submission);
    let snapshot = submission.and_then(|submission| submission.snapshot);
    let awarded_at = run
        .stage(lease.id.stage)
        .and_then(|state| state.leased())
        .map_or(now, |attempt| attempt.awarded_at);
    Assignment {
        lease: lease.id,
        lease_span,
        project: submission.map(|submission| submission.project.clone()).unwrap_or_default(),
        path: stage.path.clone(),
        steps: stage.work.steps().to_vec(),
        finally: stage.finally.clone(),
        libraries: libraries(plan, stage),
        settings: settings(run, stage, lease),
        timeout: stage.timeout.map(|limit| Span(limit.0.saturating_sub(now.since(awarded_at).0))),
        snapshot: snapshot.filter(|_| stage.checkout),
        outputs: stage.outputs.clone(),
        captured: run.captured_before(lease.id.stage),
        artifacts: run.artifacts().map(|(name, kept)| (name.to_owned(), kept.digest)).collect(),
    }
}

/// Whether a blob is part of what the run's stages work on: the files that they begin with, or an
/// artifact.
pub(super) fn needs(run: &Run, blob: Digest) -> bool {
    let snapshot = run.begun().and_then(|begun| begun.submission.snapshot);
    snapshot == Some(blob) || run.artifacts().any(|(_, kept)| kept.digest == blob)
}

/// The libraries that a stage's steps are from.
fn libraries(plan: &Plan, stage: &Stage) -> BTreeMap<String, Library> {
    let calls = stage.work.steps().iter().chain(&stage.finally);
    calls
        .filter_map(|call| plan.libraries.get_key_value(&call.library))
        .map(|(name, library)| (name.clone(), library.clone()))
        .collect()
}

/// The settings of a stage, and those that Otto always sets.
fn settings(run: &Run, stage: &Stage, lease: Lease) -> BTreeMap<String, String> {
    let revision = &run.plan().revision;
    let ours = [
        ("OTTO_RUN", Some(lease.id.run.number.to_string())),
        ("OTTO_STAGE", Some(stage.path.clone())),
        ("OTTO_ATTEMPT", Some(lease.id.attempt.to_string())),
        ("OTTO_EPOCH", Some(lease.id.epoch.to_string())),
        ("OTTO_BRANCH", revision.branch.clone()),
        ("OTTO_TAG", revision.tag.clone()),
        ("OTTO_COMMIT", revision.commit.clone()),
    ];
    let mut settings = stage.settings.clone();
    for (name, value) in ours {
        settings.insert(name.to_owned(), value.unwrap_or_default());
    }
    settings
}
