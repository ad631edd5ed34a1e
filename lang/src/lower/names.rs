//! How stages are found by their names: nearest outward, or by their exact path.

use otto_core::ids::StageId;
use otto_core::plan::{Stage, is_group, long_path};
use std::collections::{BTreeMap, BTreeSet};

/// The stages that are complete, under the names by which later ones may speak of them.
#[derive(Default)]
pub(super) struct Names {
    /// By the stage in whose body the name can be seen. The last one of a name wins.
    seen_in: BTreeMap<StageId, BTreeMap<String, StageId>>,
    /// By path, and by the longer one that has the names of all groups too.
    exact: BTreeMap<String, StageId>,
    /// All paths, also of stages that are not complete.
    paths: BTreeSet<String>,
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

    /// The path of a new stage: the names that the author gave, from the outside in. Where an
    /// earlier stage has it, the name of the group around this one keeps them apart, or a number.
    pub(super) fn path(&mut self, stages: &[Stage], holder: StageId, name: &str) -> String {
        let mut named = holder;
        while is_group(stages, named)
            && let Some(around) = stages[named.index()].parent
        {
            named = around;
        }
        let within = |outer: StageId| {
            let outer = &stages[outer.index()].path;
            if outer.is_empty() { name.to_owned() } else { format!("{outer}/{name}") }
        };
        let mut path = within(named);
        if named != holder && self.paths.contains(&path) {
            path = within(holder);
        }
        let whole = path.clone();
        let mut number = 1_u32;
        // A name may hold a slash, and a stage beside a group be called as one in it.
        while !self.paths.insert(path.clone()) {
            number += 1;
            path = format!("{whole}-{number}");
        }
        path
    }

    /// Makes a complete stage known to those that follow. Groups are looked through: their stages
    /// can be seen as if they stood where the group stands.
    pub(super) fn complete(&mut self, stages: &[Stage], id: StageId) {
        let stage = &stages[id.index()];
        self.exact.insert(stage.path.clone(), id);
        let mut in_group = false;
        let mut seen = true;
        let mut around = stage.parent;
        while let Some(holder) = around {
            if seen {
                self.seen_in.entry(holder).or_default().insert(stage.name.clone(), id);
            }
            let is_group = is_group(stages, holder);
            in_group |= is_group;
            seen &= is_group;
            around = stages[holder.index()].parent;
        }
        if in_group {
            self.exact.entry(long_path(stages, id)).or_insert(id);
        }
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
