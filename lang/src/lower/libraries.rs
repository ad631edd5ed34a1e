//! `use` and `configure`: the step libraries of a file, and the steps that can be called.

use super::{Lowering, Scope};
use crate::diagnostic::{Diagnostic, Id, nearest};
use crate::tree::{Body, Place, Shape, Statement, Used};
use otto_core::step::{Library, Signature};
use std::collections::BTreeMap;

/// The library that every file may use without saying so.
const STANDARD: &str = "stdlib";

impl<'a> Lowering<'a> {
    /// The libraries that the file names, the standard one always among them.
    pub(super) fn use_libraries(&mut self, statements: &[Statement]) {
        if let Some(library) = self.surroundings.libraries.get(STANDARD) {
            self.libraries.push((STANDARD.to_owned(), library));
        }
        let mut met: BTreeMap<String, Place> = BTreeMap::new();
        for statement in statements {
            let Shape::Uses(used) = &statement.shape else { continue };
            for each in used {
                self.use_library(each, &mut met);
            }
        }
    }

    fn use_library(&mut self, used: &Used, met: &mut BTreeMap<String, Place>) {
        let (target, place) = (used.target.text.as_str(), used.target.place);
        if let Some(first) = met.insert(target.to_owned(), place) {
            let problem = Diagnostic::error(Id::Twice, place, format!("'{target}' is used twice"))
                .also(first, "here is the first time");
            return self.tell(problem);
        }
        if target == STANDARD {
            return;
        }
        if target.contains("://") {
            let what = format!("the outside library '{target}'");
            return self.not_there_yet(place, &what);
        }
        let Some(library) = self.surroundings.libraries.get(target) else {
            let message = format!("there is no step library '{target}'");
            let problem = Diagnostic::error(Id::UnknownLibrary, place, message);
            let help = if used.quoted {
                "a library in this repository is a folder with step manifests: './ci/slack'"
            } else {
                "the library that comes with Otto is `stdlib`; one in this repository is written \
                 as its folder: './ci/slack'"
            };
            return self.tell(problem.help(help));
        };
        let name = used.alias.as_ref().map_or(&library.name, |alias| &alias.text);
        if let Some((_, other)) = self.libraries.iter().find(|(taken, _)| taken == name) {
            let message = format!("there is another library called `{}`", other.name);
            let problem = Diagnostic::error(Id::Twice, place, message)
                .help(format!("give this one a name: {}2 = '{target}'", library.name));
            return self.tell(problem);
        }
        self.libraries.push((name.clone(), library));
    }

    /// The step that a word calls, and the library that has it.
    pub(super) fn signature(
        &mut self,
        name: &str,
        place: Place,
    ) -> Option<(String, &'a Signature)> {
        let mut found = self
            .libraries
            .iter()
            .filter_map(|(library, known)| Some((library.clone(), known.steps.get(name)?)));
        let first = found.next();
        if let (Some((one, _)), Some((other, _))) = (&first, found.next()) {
            let message = format!("the libraries `{one}` and `{other}` both have a step `{name}`");
            self.error(Id::TwoLibraries, place, message);
            return None;
        }
        if first.is_none() && self.surroundings.planned_steps.contains(&name) {
            self.not_there_yet(place, &format!("the step `{name}`"));
        } else if first.is_none() {
            let known: Vec<&str> = self.known_steps();
            let problem =
                Diagnostic::error(Id::UnknownStep, place, format!("there is no step `{name}`"));
            let problem = match nearest(name, known.iter().copied()) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help(format!("steps are: {}", known.join(", "))),
            };
            self.tell(problem);
        }
        first
    }

    /// Whether some library has a step of this name.
    pub(super) fn is_step(&self, name: &str) -> bool {
        self.libraries.iter().any(|(_, library)| library.steps.contains_key(name))
    }

    fn known_steps(&self) -> Vec<&'a str> {
        let mut known: Vec<&str> = self
            .libraries
            .iter()
            .flat_map(|(_, library)| library.steps.keys().map(String::as_str))
            .collect();
        known.sort_unstable();
        known
    }

    /// Notes in the plan that a step of a library is called.
    pub(super) fn call(&mut self, library: &str, signature: &Signature) {
        let known = self.libraries.iter().find(|(name, _)| name == library);
        let Some((_, known)) = known else { return };
        let entry = self.plan.libraries.entry(library.to_owned()).or_insert_with(|| Library {
            name: library.to_owned(),
            steps: BTreeMap::new(),
            ..(*known).clone()
        });
        if !entry.steps.contains_key(&signature.symbol) {
            entry.steps.insert(signature.symbol.clone(), signature.clone());
        }
    }

    /// `configure { slack { channel = '#deliveries' } }`: in the plan, what is configured stands as
    /// the default of the library's configuration.
    pub(super) fn configure(&mut self, body: &Body) {
        let mut met = BTreeMap::new();
        for statement in &body.statements {
            let Some(body) = self.block(statement, "name = 'value'") else { continue };
            if !self.once(&mut met, statement) {
                continue;
            }
            let name = &statement.name;
            let known = self.libraries.iter().find(|(known, _)| *known == name.text);
            let Some((_, library)) = known else {
                let names: Vec<&str> =
                    self.libraries.iter().map(|(name, _)| name.as_str()).collect();
                let message = format!("no library `{}` is used here", name.text);
                let problem = Diagnostic::error(Id::UnknownLibrary, name.place, message);
                let problem = match nearest(&name.text, names.iter().copied()) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help(format!("used are: {}", names.join(", "))),
                };
                self.tell(problem);
                continue;
            };
            let configured = self.configured((*library).clone(), body);
            self.configured_libraries.insert(name.text.clone(), configured);
        }
    }

    fn configured(&mut self, mut library: Library, body: &Body) -> Library {
        let mut met = BTreeMap::new();
        for statement in &body.statements {
            let Some(value) = self.property(statement, "'value'") else { continue };
            if !self.once(&mut met, statement) {
                continue;
            }
            let name = &statement.name;
            let index = library.configuration.iter().position(|known| known.name == name.text);
            if let Some(index) = index {
                let expected = library.configuration[index].value_type.clone();
                let value = self.value(value, &expected, &Scope::default());
                library.configuration[index].default = value;
                continue;
            }
            let known: Vec<&str> =
                library.configuration.iter().map(|known| known.name.as_str()).collect();
            let message = format!("`{}` has no configuration `{}`", library.name, name.text);
            let problem = Diagnostic::error(Id::UnknownConfiguration, name.place, message);
            let problem = match nearest(&name.text, known.iter().copied()) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None if known.is_empty() => problem.help("its manifests declare none"),
                None => problem.help(format!("it has: {}", known.join(", "))),
            };
            self.tell(problem);
        }
        library
    }

    /// Puts what was configured into the plan, and tells what should have been.
    pub(super) fn settle_libraries(&mut self, place: Place) {
        let names: Vec<String> = self.plan.libraries.keys().cloned().collect();
        for name in names {
            let configured = self.configured_libraries.get(&name).cloned();
            let Some(library) = self.plan.libraries.get_mut(&name) else { continue };
            if let Some(configured) = configured {
                library.configuration = configured.configuration;
            }
            let missing =
                library.configuration.iter().find(|one| one.default.is_none() && !one.optional);
            let Some(missing) = missing.map(|missing| missing.name.clone()) else { continue };
            let message =
                format!("the library `{name}` must be configured: `{missing}` has no value");
            let problem = Diagnostic::error(Id::Missing, place, message)
                .help(format!("write `configure {{ {name} {{ {missing} = … }} }}`"));
            self.tell(problem);
        }
    }
}
