//! `needs`: the stages beside it that a stage waits for.

use super::stage::Parts;
use super::{Lowering, Scope};
use crate::diagnostic::{Diagnostic, Id, nearest};
use crate::tree::Place;
use otto_core::ids::StageId;
use otto_core::plan::Work;
use std::collections::BTreeSet;

impl Lowering<'_> {
    /// `needs = ['X']`: siblings in one `parallel` or `fanout`.
    pub(super) fn needs(&mut self, parts: &Parts<'_>, holder: StageId, id: StageId, scope: &Scope) {
        let Some(statement) = parts.says.get("needs") else { return };
        let Some(value) = self.property(statement, "['Build']") else { return };
        let group = matches!(self.at(holder).work, Work::Parallel(_) | Work::Fanout(_));
        if !group {
            let message = "`needs` stands only between the stages of one `parallel` or `fanout`";
            let problem = Diagnostic::error(Id::NeedsOutside, statement.name.place, message)
                .help("elsewhere stages run in written order");
            return self.tell(problem);
        }
        let mut needs = BTreeSet::new();
        for item in value.items() {
            let Some(name) = self.name_of(item, scope) else { continue };
            match self.names.sibling(holder, &name) {
                Some(sibling) if sibling != id => {
                    needs.insert(sibling);
                }
                _ => self.no_sibling(&name, item.place, holder),
            }
        }
        self.at(id).needs = needs.into_iter().collect();
    }

    fn no_sibling(&mut self, name: &str, place: Place, holder: StageId) {
        if self.written.contains(name) {
            let message = format!("the stage '{name}' is not an earlier one of this block");
            let problem = Diagnostic::error(Id::NotEarlier, place, message)
                .help("`needs` names stages of the same block that are written before");
            return self.tell(problem);
        }
        let near = nearest(name, self.names.siblings(holder)).map(str::to_owned);
        let message = format!("there is no stage '{name}' in this block");
        let problem = Diagnostic::error(Id::UnknownStage, place, message);
        self.tell(match near {
            Some(near) => problem.help(format!("did you mean '{near}'?")),
            None => problem,
        });
    }
}
