//! Tools that a plan needs and this machine lacks, so that they are named before anything starts.

use otto_core::capability::Need;
use otto_core::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The tools that are not on the `PATH`, each with the stages that need it.
#[must_use]
pub(super) fn missing(plan: &Plan) -> BTreeMap<String, BTreeSet<String>> {
    let mut missing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, stage) in plan.ids().zip(&plan.stages) {
        if stage.work.steps().is_empty() {
            continue;
        }
        for tool in lacking(&stage.runtime) {
            missing.entry(tool).or_default().insert(plan.path(id).to_owned());
        }
    }
    missing
}

/// The tools of a need that are not here; of alternatives those of the first, where none is here.
fn lacking(need: &Need) -> Vec<String> {
    match need {
        Need::All(needs) => needs.iter().flat_map(lacking).collect(),
        Need::Any(needs) => {
            let mut lacks = needs.iter().map(lacking);
            let first = lacks.next().unwrap_or_default();
            if lacks.any(|lack| lack.is_empty()) { Vec::new() } else { first }
        }
        Need::Tool { name, .. } => {
            if on_path(name) {
                Vec::new()
            } else {
                vec![name.clone()]
            }
        }
        Need::Docker { .. } => lacking(&Need::Tool { name: "docker".to_owned(), version: None }),
        Need::Cores(_) | Need::Memory(_) | Need::Arch(_) | Need::Os(_) => Vec::new(),
    }
}

/// Whether a program of this name is on the `PATH`.
#[must_use]
pub(super) fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| is_program(&folder.join(name)))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
