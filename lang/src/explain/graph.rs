//! The picture behind Mermaid and DOT: stages as boxes, stages that hold stages as frames around
//! them, and arrows for what follows what.

use super::{Verdict, verdicts};
use otto_core::ids::StageId;
use otto_core::plan::{Plan, Work};

/// What a picture shows of a plan.
pub(super) struct Graph<'a> {
    plan: &'a Plan,
    verdicts: Vec<Verdict>,
    pub(super) edges: Vec<Edge>,
}

/// One arrow.
pub(super) struct Edge {
    pub(super) from: StageId,
    pub(super) to: StageId,
    /// It stands for a need between siblings, not for written order.
    pub(super) need: bool,
}

/// What is met on a walk over the picture, frames opened before and closed after what they hold.
pub(super) enum Node<'a> {
    Open { id: StageId, label: &'a str },
    Close,
    Leaf { id: StageId, label: &'a str, skipped: bool },
}

impl<'a> Graph<'a> {
    pub(super) fn of(plan: &'a Plan) -> Self {
        let mut edges = Vec::new();
        for (id, stage) in plan.ids().zip(&plan.stages) {
            if let Work::Sequence(children) = &stage.work {
                let pairs = children.iter().zip(children.iter().skip(1));
                edges.extend(pairs.map(|(from, to)| Edge { from: *from, to: *to, need: false }));
            }
            edges.extend(stage.needs.iter().map(|from| Edge { from: *from, to: id, need: true }));
        }
        Self { plan, verdicts: verdicts(plan), edges }
    }

    /// Visits everything inside the pipeline, in written order.
    pub(super) fn walk(&self, visit: &mut impl FnMut(Node<'_>)) {
        match self.plan.stage(StageId::ROOT).work.children() {
            [] => self.visit(StageId::ROOT, visit),
            children => {
                for child in children {
                    self.visit(*child, visit);
                }
            }
        }
    }

    fn visit(&self, id: StageId, visit: &mut impl FnMut(Node<'_>)) {
        let stage = self.plan.stage(id);
        let label = if id == StageId::ROOT { &self.plan.pipeline } else { &stage.name };
        match stage.work.children() {
            [] => {
                let skipped = self.verdicts[id.index()] == Verdict::Skipped;
                visit(Node::Leaf { id, label, skipped });
            }
            children => {
                visit(Node::Open { id, label });
                for child in children {
                    self.visit(*child, visit);
                }
                visit(Node::Close);
            }
        }
    }

    pub(super) fn any_skipped(&self) -> bool {
        self.verdicts.contains(&Verdict::Skipped)
    }

    /// The first box inside a frame: DOT draws arrows between boxes only.
    pub(super) fn first_leaf(&self, id: StageId) -> StageId {
        self.plan.stage(id).work.children().first().map_or(id, |child| self.first_leaf(*child))
    }

    /// The last box inside a frame.
    pub(super) fn last_leaf(&self, id: StageId) -> StageId {
        self.plan.stage(id).work.children().last().map_or(id, |child| self.last_leaf(*child))
    }
}

/// Text that grows by indented lines.
pub(super) struct Lines {
    pub(super) text: String,
    pub(super) depth: usize,
}

impl Lines {
    pub(super) fn add(&mut self, line: &str) {
        for _ in 0..self.depth {
            self.text.push_str("  ");
        }
        self.text.push_str(line);
        self.text.push('\n');
    }
}
