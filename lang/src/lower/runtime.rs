//! `runtime { … }`: what a stage needs of its agent.

use super::{Lowering, Scope, words};
use crate::diagnostic::{Diagnostic, Id, nearest};
use crate::tree::{Argument, Body, Expression, Kind, Shape, Statement};
use otto_core::capability::{Need, VersionNeed, parse_size};
use otto_core::value::{Value, ValueType};
use std::collections::BTreeMap;

/// Architectures, as agents report them, and the other names that people have for them.
const ARCHES: &[(&str, &str)] = &[
    ("x86_64", "x86_64"),
    ("amd64", "x86_64"),
    ("aarch64", "aarch64"),
    ("arm64", "aarch64"),
    ("x86", "x86"),
    ("arm", "arm"),
    ("riscv64", "riscv64"),
    ("powerpc64", "powerpc64"),
    ("s390x", "s390x"),
];
const SYSTEMS: &[(&str, &str)] =
    &[("linux", "linux"), ("macos", "macos"), ("windows", "windows"), ("freebsd", "freebsd")];

/// A runtime as it was written: `from` overrides it key by key.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Runtime {
    cores: Option<u64>,
    memory: Option<u64>,
    arch: Option<String>,
    os: Option<String>,
    tools: BTreeMap<String, Option<VersionNeed>>,
    any: Vec<Need>,
}

impl Runtime {
    /// The same as a need, in one order however it was written.
    pub(super) fn need(&self) -> Need {
        Need::All(self.needs())
    }

    fn needs(&self) -> Vec<Need> {
        let tool = |(name, version): (&String, &Option<VersionNeed>)| Need::Tool {
            name: name.clone(),
            version: version.clone(),
        };
        let mut needs: Vec<Need> = self.cores.map(Need::Cores).into_iter().collect();
        needs.extend(self.memory.map(Need::Memory));
        needs.extend(self.arch.clone().map(Need::Arch));
        needs.extend(self.os.clone().map(Need::Os));
        needs.extend(self.tools.iter().map(tool));
        if !self.any.is_empty() {
            needs.push(Need::Any(self.any.clone()));
        }
        needs
    }
}

impl Lowering<'_> {
    /// What a `runtime` block asks for. It replaces what was inherited as a whole.
    pub(super) fn runtime(&mut self, statement: &Statement, scope: &Scope) -> Option<Runtime> {
        let body = self.block(statement, "cores = 2")?;
        let mut runtime = Runtime::default();
        let named = body.statements.iter().find(|part| part.name.text == "from");
        if let Some(from) = named {
            let stage = self.from(from, scope)?;
            runtime = self.runtimes[stage.index()].clone();
        }
        let mut met = BTreeMap::new();
        for part in &body.statements {
            if self.once(&mut met, part) && part.name.text != "from" {
                self.capability(part, &mut runtime, scope);
            }
        }
        Some(runtime)
    }

    /// `from 'Build'`: the stage that is named.
    pub(super) fn from(
        &mut self,
        from: &Statement,
        scope: &Scope,
    ) -> Option<otto_core::ids::StageId> {
        if let Shape::Call { arguments, body: None } = &from.shape {
            if let [Argument::Positional(name)] = arguments.as_slice() {
                self.earlier_stage(name, scope, false)
            } else {
                self.wrong_shape(from, "from 'Build'");
                None
            }
        } else {
            self.wrong_shape(from, "from 'Build'");
            None
        }
    }

    fn capability(&mut self, part: &Statement, runtime: &mut Runtime, scope: &Scope) {
        match part.name.text.as_str() {
            "cores" => {
                let value = self.property(part, "2");
                runtime.cores = value.and_then(|value| self.count(value, scope));
            }
            "memory" => {
                let value = self.property(part, "'2G'");
                let size = value.and_then(|value| self.value(value, &ValueType::Size, scope));
                if let Some(Value::Text(text)) = size {
                    runtime.memory = parse_size(&text).ok();
                }
            }
            "arch" => runtime.arch = self.one_of(part, ARCHES, scope),
            "os" => runtime.os = self.one_of(part, SYSTEMS, scope),
            "any" => {
                if let Some(body) = self.block(part, "ruby { } python { }") {
                    runtime.any = self.alternatives(body, scope);
                }
            }
            "computer" => self.not_there_yet(
                part.place,
                "`computer`, an agent by its label (say what it must have: tools, arch, os)",
            ),
            "docker" if !matches!(part.shape, Shape::Word) => {
                self.not_there_yet(part.place, "`docker { image = … }`, steps in a container");
            }
            _ => self.tool(part, runtime, scope),
        }
    }

    /// The alternatives in `any`: each capability is one.
    fn alternatives(&mut self, body: &Body, scope: &Scope) -> Vec<Need> {
        let mut any = Vec::new();
        for part in &body.statements {
            if matches!(part.name.text.as_str(), "any" | "from") {
                self.unknown_word(part, "any", &["cores", "memory", "arch", "os"]);
                continue;
            }
            let mut one = Runtime::default();
            self.capability(part, &mut one, scope);
            any.append(&mut one.needs());
        }
        if body.statements.is_empty() {
            let problem = Diagnostic::error(Id::Nothing, body.place, "`any` names no alternative")
                .help("write for example `any { ruby { version = '~> 3.3' }  docker }`");
            self.tell(problem);
        }
        any
    }

    fn one_of(
        &mut self,
        part: &Statement,
        known: &[(&str, &str)],
        scope: &Scope,
    ) -> Option<String> {
        let value = self.property(part, known.first().map_or("…", |(word, _)| word))?;
        let word = self.name_of(value, scope)?;
        if let Some((_, meant)) = known.iter().find(|(name, _)| *name == word) {
            return Some((*meant).to_owned());
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let message = format!("`{word}` is no {}", part.name.text);
        let problem = Diagnostic::error(Id::NotOneOf, value.place, message);
        self.tell(match nearest(&word, names.iter().copied()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("possible are: {}", names.join(", "))),
        });
        None
    }

    /// `ruby`, `ruby = '~> 3.3'` or `ruby { version = '~> 3.3' }`: any other word names a tool.
    fn tool(&mut self, part: &Statement, runtime: &mut Runtime, scope: &Scope) {
        let version = match &part.shape {
            Shape::Word => None,
            Shape::Property(value) => self.tool_property(part, value, scope),
            Shape::Block { head: None, body } => self.tool_version(body, scope),
            Shape::Arrow(_)
            | Shape::Call { .. }
            | Shape::Block { .. }
            | Shape::Head(_)
            | Shape::Uses(_)
            | Shape::Conditions(_) => {
                let write = format!("{} {{ version = '~> 1.2' }}", part.name.text);
                return self.wrong_shape(part, &write);
            }
        };
        runtime.tools.insert(part.name.text.clone(), version);
    }

    fn tool_version(&mut self, body: &Body, scope: &Scope) -> Option<VersionNeed> {
        let mut met = BTreeMap::new();
        let mut version = None;
        for inner in &body.statements {
            if inner.name.text != "version" {
                self.unknown_word(inner, "a tool", &["version"]);
            } else if self.once(&mut met, inner) {
                let value = self.property(inner, "'~> 3.3'");
                version = value.and_then(|value| self.version(value, scope));
            }
        }
        version
    }

    /// A property that is no known word is a tool's version, or a word with a slip.
    fn tool_property(
        &mut self,
        part: &Statement,
        value: &Expression,
        scope: &Scope,
    ) -> Option<VersionNeed> {
        let slip = nearest(&part.name.text, words::RUNTIME.iter().copied());
        let is_version = |text: &String| VersionNeed::parse(text).is_some();
        let version = matches!(&value.kind, Kind::Text(text) if is_version(text));
        if let (Some(_), false) = (slip, version) {
            self.unknown_word(part, "runtime", words::RUNTIME);
            return None;
        }
        self.version(value, scope)
    }

    fn version(&mut self, value: &Expression, scope: &Scope) -> Option<VersionNeed> {
        if let Kind::Number(text) = &value.kind {
            let message = "a version stands in quotes";
            let problem = Diagnostic::error(Id::WrongType, value.place, message)
                .help(format!("write '{text}', or '>= {text}'"));
            self.tell(problem);
            return None;
        }
        let text = self.text(value, scope)?;
        let version = VersionNeed::parse(&text);
        if version.is_none() {
            let message = format!("'{text}' is no version");
            let problem = Diagnostic::error(Id::BadText, value.place, message)
                .help("write one such as '3.3', '>= 3.3' or '~> 3.3'");
            self.tell(problem);
        }
        version
    }
}
