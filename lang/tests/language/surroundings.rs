//! What the cases are planned in: a small step library, a repository, and what a case asks for in
//! the `//:` lines at its head.

use otto_core::ids::Digest;
use otto_core::plan::Revision;
use otto_core::step::{Entrypoint, Library, LibrarySource, Parameter, Signature};
use otto_core::value::{Value, ValueType};
use otto_lang::{Repository, Surroundings};
use std::collections::{BTreeMap, BTreeSet};

/// What a case may change about its surroundings.
#[derive(Default)]
pub(crate) struct Asked {
    branch: Option<String>,
    tag: Option<String>,
    changed: Option<Vec<String>>,
    parameters: BTreeMap<String, String>,
}

impl Asked {
    /// Reads lines such as `//: branch fix-1`, `//: param smoke=false`, `//: changed app/a.rb`.
    pub(crate) fn read(text: &str) -> Self {
        let mut asked = Self::default();
        for line in text.lines().map_while(|line| line.strip_prefix("//: ")) {
            let (word, rest) = line.split_once(' ').expect("a word and a value");
            match word {
                "branch" => asked.branch = Some(rest.to_owned()),
                "tag" => asked.tag = Some(rest.to_owned()),
                "changed" => asked.changed.get_or_insert_default().push(rest.to_owned()),
                "param" => {
                    let (name, value) = rest.split_once('=').expect("name=value");
                    asked.parameters.insert(name.to_owned(), value.to_owned());
                }
                other => panic!("a case cannot ask for {other}"),
            }
        }
        asked
    }

    pub(crate) fn surroundings<'a>(
        &'a self,
        pipeline: &str,
        libraries: &'a BTreeMap<String, Library>,
    ) -> Surroundings<'a> {
        Surroundings {
            pipeline: pipeline.to_owned(),
            revision: Revision {
                branch: Some(self.branch.clone().unwrap_or_else(|| "main".to_owned())),
                tag: self.tag.clone(),
                commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
            },
            parameters: self.parameters.clone(),
            libraries,
            planned_steps: &["report", "http"],
            repository: self,
        }
    }
}

impl Repository for Asked {
    fn files(&self, patterns: &[String]) -> Result<String, String> {
        if patterns.iter().any(|pattern| pattern.contains("unreadable")) {
            return Err("unreadable.txt: permission denied".to_owned());
        }
        Ok(format!("digest-of-{}", patterns.join("-")))
    }

    fn changed(&self) -> Option<Vec<String>> {
        self.changed.clone()
    }
}

fn parameter(name: &str, value_type: ValueType) -> Parameter {
    Parameter {
        name: name.to_owned(),
        value_type,
        default: None,
        optional: false,
        description: String::new(),
    }
}

fn optional(name: &str, value_type: ValueType) -> Parameter {
    Parameter { optional: true, ..parameter(name, value_type) }
}

fn step(symbol: &str, parameters: Vec<Parameter>) -> (String, Signature) {
    let entrypoint = match symbol {
        "sh" => Entrypoint::Script { parameter: "script".to_owned() },
        "dir" => Entrypoint::Folder { parameter: "path".to_owned() },
        _ => Entrypoint::Image { name: symbol.to_owned() },
    };
    let signature = Signature {
        symbol: symbol.to_owned(),
        description: String::new(),
        parameters,
        entrypoint,
        architectures: BTreeSet::new(),
        cache: false,
        credentials: BTreeSet::new(),
    };
    (symbol.to_owned(), signature)
}

/// `stdlib`, and the libraries `./ci/slack` and `./ci/other` of the repository.
pub(crate) fn libraries() -> BTreeMap<String, Library> {
    let numbers = ValueType::List(ValueType::Number.into());
    let texts = ValueType::List(ValueType::Text.into());
    let library = |name: &str, source, configuration, steps: Vec<(String, Signature)>| Library {
        name: name.to_owned(),
        source,
        digest: Digest([7; 32]),
        configuration,
        steps: steps.into_iter().collect(),
    };
    let unstable =
        Parameter { default: Some(Value::List(Vec::new())), ..parameter("unstable", numbers) };
    let stdlib = library(
        "stdlib",
        LibrarySource::Builtin,
        Vec::new(),
        vec![
            step("sh", vec![parameter("script", ValueType::Script), unstable]),
            step("echo", vec![parameter("text", ValueType::Text)]),
            step("error", vec![parameter("message", ValueType::Text)]),
            step("dir", vec![parameter("path", ValueType::Path)]),
            step("sleep", vec![parameter("time", ValueType::Duration)]),
            step(
                "archive",
                vec![parameter("files", ValueType::Text), optional("name", ValueType::Text)],
            ),
            step(
                "unarchive",
                vec![parameter("name", ValueType::Text), optional("into", ValueType::Path)],
            ),
            step("fetch", vec![parameter("files", texts)]),
        ],
    );
    let level = ValueType::Enumeration(vec!["quiet".to_owned(), "loud".to_owned()]);
    let mut deploy = step("deploy", vec![parameter("app", ValueType::Text)]);
    deploy.1.credentials.insert("heroku".to_owned());
    let folder = |path: &str| LibrarySource::Repository { path: path.to_owned() };
    let slack = library(
        "slack",
        folder("ci/slack"),
        vec![parameter("channel", ValueType::Text), optional("color", ValueType::Boolean)],
        vec![
            step(
                "slack",
                vec![
                    parameter("text", ValueType::Text),
                    optional("level", level),
                    optional("to", ValueType::Environment(Vec::new())),
                    optional("limit", ValueType::Size),
                    optional("often", ValueType::Number),
                ],
            ),
            step("ping", Vec::new()),
            deploy,
        ],
    );
    let mut flash = step("flash", Vec::new());
    flash.1.architectures = ["aarch64", "arm"].map(str::to_owned).into();
    let other =
        library("other", folder("ci/other"), Vec::new(), vec![step("ping", Vec::new()), flash]);
    [("stdlib", stdlib), ("./ci/slack", slack), ("./ci/other", other)]
        .map(|(target, library)| (target.to_owned(), library))
        .into()
}
