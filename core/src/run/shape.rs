//! What follows from a plan's shape alone, computed once so that no event has to search for it.

use crate::ids::StageId;
use crate::plan::Plan;

/// For each stage: its place among its siblings, and who needs it.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Shape {
    places: Vec<usize>,
    dependents: Vec<Vec<StageId>>,
}

impl Shape {
    /// Looks at every stage once.
    pub(super) fn of(plan: &Plan) -> Self {
        let mut shape = Self {
            places: vec![0; plan.stages.len()],
            dependents: vec![Vec::new(); plan.stages.len()],
        };
        for (id, stage) in plan.ids().zip(&plan.stages) {
            for (place, child) in stage.work.children().iter().enumerate() {
                if let Some(slot) = shape.places.get_mut(child.index()) {
                    *slot = place;
                }
            }
            for need in &stage.needs {
                if let Some(dependents) = shape.dependents.get_mut(need.index()) {
                    dependents.push(id);
                }
            }
        }
        shape
    }

    /// The place of a stage among its siblings.
    pub(super) fn place(&self, stage: StageId) -> usize {
        self.places.get(stage.index()).copied().unwrap_or(0)
    }

    /// The siblings that need a stage, once for each time that they name it.
    pub(super) fn dependents(&self, stage: StageId) -> &[StageId] {
        self.dependents.get(stage.index()).map_or(&[], Vec::as_slice)
    }
}
