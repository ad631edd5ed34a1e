//! How stages are found by their names: nearest outward, or by their exact path.

use otto_core::ids::StageId;
use otto_core::plan::{Stage, Work};
use std::collections::BTreeMap;

/// The stages that are complete, under the names by which later ones may speak of them.
#[derive(Default)]
pub(super) struct Names {
    /// By the stage in whose body the name can be seen. The last one of a name wins.
    seen_in: BTreeMap<StageId, BTreeMap<String, StageId>>,
    /// By path, with and without the names that groups were given.
    exact: BTreeMap<String, StageId>,
    /// What each stage calls its children, to keep siblings apart.
    siblings: BTreeMap<StageId, BTreeMap<String, StageId>>,
    /// How many unnamed children of a kind a stage has.
    unnamed: BTreeMap<(StageId, &'static str), u32>,
}

impl Names {
    /// The next name of an unnamed stage: `steps-1`.
    pub(super) fn generate(&mut self, holder: StageId, kind: &'static str) -> String {
        let count = self.unnamed.entry((holder, kind)).or_default();
        *count += 1;
        format!("{kind}-{count}")
    }

    /// Takes a name among siblings, or gives the one that has it.
    pub(super) fn take(&mut self, holder: StageId, name: &str, id: StageId) -> Result<(), StageId> {
        let siblings = self.siblings.entry(holder).or_default();
        if let Some(first) = siblings.get(name) {
            Err(*first)
        } else {
            siblings.insert(name.to_owned(), id);
            Ok(())
        }
    }

    /// The child of this name.
    pub(super) fn sibling(&self, holder: StageId, name: &str) -> Option<StageId> {
        self.siblings.get(&holder)?.get(name).copied()
    }

    /// The names of the children.
    pub(super) fn siblings(&self, holder: StageId) -> impl Iterator<Item = &str> {
        self.siblings.get(&holder).into_iter().flat_map(|names| names.keys().map(String::as_str))
    }

    /// Makes a complete stage known to those that follow. Groups are looked through: their stages
    /// can be seen as if they stood where the group stands.
    pub(super) fn complete(&mut self, stages: &[Stage], id: StageId) {
        let stage = &stages[id.index()];
        self.exact.insert(stage.path.clone(), id);
        let mut written = vec![stage.name.as_str()];
        let mut around = stage.parent;
        let mut through_groups = true;
        while let Some(holder) = around {
            if through_groups {
                self.seen_in.entry(holder).or_default().insert(stage.name.clone(), id);
            }
            let holder_stage = &stages[holder.index()];
            if !is_group(stages, holder) {
                through_groups = false;
                written.push(&holder_stage.name);
            }
            around = holder_stage.parent;
        }
        written.pop();
        written.reverse();
        self.exact.insert(written.join("/"), id);
    }

    /// The stage that a name means in the body of a stage.
    pub(super) fn find(&self, stages: &[Stage], from: StageId, name: &str) -> Option<StageId> {
        let mut around = stages[from.index()].parent;
        while let Some(holder) = around {
            if let Some(found) = self.seen_in.get(&holder).and_then(|names| names.get(name)) {
                return Some(*found);
            }
            around = stages[holder.index()].parent;
        }
        self.exact.get(name).copied()
    }
}

/// Whether a stage is a group that the author gave no name: `parallel`, `fanout`, `choose` and its
/// arms.
fn is_group(stages: &[Stage], id: StageId) -> bool {
    let stage = &stages[id.index()];
    let arm =
        stage.parent.is_some_and(|parent| matches!(stages[parent.index()].work, Work::Choose(_)));
    arm || matches!(stage.work, Work::Parallel(_) | Work::Fanout(_) | Work::Choose(_))
}

/// Whether a stage has surely ended, or will never begin, when another one's turn comes.
pub(super) fn ended_before(stages: &[Stage], earlier: StageId, later: StageId) -> bool {
    let line = |mut id: StageId| {
        let mut line = vec![id];
        while let Some(parent) = stages[id.index()].parent {
            line.push(parent);
            id = parent;
        }
        line.reverse();
        line
    };
    let (earlier, later) = (line(earlier), line(later));
    let shared = earlier.iter().zip(&later).take_while(|(a, b)| a == b).count();
    let (Some(first), Some(second)) = (earlier.get(shared), later.get(shared)) else {
        return false;
    };
    match &stages[earlier[shared - 1].index()].work {
        Work::Sequence(_) => first < second,
        Work::Parallel(_) | Work::Fanout(_) => needs(stages, *second, *first),
        Work::Choose(_) | Work::Steps(_) | Work::Nothing => false,
    }
}

/// Whether a stage needs a sibling, at first or at second hand.
fn needs(stages: &[Stage], stage: StageId, sibling: StageId) -> bool {
    let mut open = vec![stage];
    let mut met = std::collections::BTreeSet::new();
    while let Some(next) = open.pop() {
        for need in &stages[next.index()].needs {
            if *need == sibling {
                return true;
            }
            if met.insert(*need) {
                open.push(*need);
            }
        }
    }
    false
}
