//! `manifest.yml`: what the author of a step says about it.
//!
//! ```yaml
//! symbol: greet
//! description: Greets somebody in the log.
//! parameters:                      # positional arguments fill them in this order
//!   name: { type: text, description: Whom to greet. }
//!   loud: { type: boolean, default: false }
//! configuration:                   # set once, by `configure` in the Ottofile
//!   greeting: { type: text, default: Hello }
//! entrypoint: greet.py             # a program beside the manifest
//! architecture: [x86_64, aarch64]  # without: all
//! cache: true                      # keeps a folder of its own between runs
//! credentials: [chat]              # the names that it asks for
//! ```
//!
//! An entrypoint may also be `[command, { parameter: name }]`, or `{ script: name }` for a
//! parameter of type `script`. All errors of a manifest are found at once.

mod arguments;

pub(crate) use arguments::is_name;

use crate::problem::{Problem, Problems, instead};
use crate::yaml::{Content, Node};
use otto_core::step::{Entrypoint, Parameter, Signature, Word};
use otto_core::value::ValueType;
use std::collections::BTreeSet;

/// What one manifest says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The step. The path of a program is as written, from the manifest's folder.
    pub signature: Signature,
    /// What may be set for the whole library.
    pub configuration: Vec<Parameter>,
}

/// Who wrote a manifest: some entrypoints are for Otto's own steps only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Author {
    /// Otto.
    Otto,
    /// Anybody.
    Anybody,
}

const KEYS: &[&str] = &[
    "symbol",
    "description",
    "parameters",
    "configuration",
    "entrypoint",
    "architecture",
    "cache",
    "credentials",
];
/// Processor architectures, as agents name them.
const ARCHITECTURES: &[&str] =
    &["aarch64", "arm", "loongarch64", "powerpc64", "riscv64", "s390x", "x86", "x86_64"];
/// Arguments that every step takes, so that no parameter may be called so.
const RESERVED: &[&str] = &["settings", "timeout"];
/// Words that the language keeps, so that no step may be called so.
const WORDS: &[&str] =
    &["enter", "exit", "false", "in", "matches", "parameters", "true", "use", "vars", "when"];
const MAX_PARAMETERS: usize = 64;
const MAX_CREDENTIALS: usize = 16;

impl Manifest {
    /// Reads a manifest. `file` is its name for messages.
    ///
    /// # Errors
    /// Everything that is wrong in it.
    pub fn read(file: &str, bytes: &[u8], author: Author) -> Result<Self, Problems> {
        let tree = crate::yaml::read(file, bytes)?;
        let mut reader = Reader { file, author, problems: Vec::new() };
        match reader.manifest(&tree) {
            Some(manifest) if reader.problems.is_empty() => Ok(manifest),
            Some(_) | None => {
                reader.problems.sort_by_key(|problem| (problem.line, problem.column));
                Err(Problems(reader.problems))
            }
        }
    }
}

/// Walks the tree and notes what is wrong; `None` always goes with a note.
struct Reader<'a> {
    file: &'a str,
    author: Author,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn wrong<T>(
        &mut self,
        at: &Node,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Option<T> {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            message: message.into(),
            help,
        });
        None
    }

    fn manifest(&mut self, tree: &Node) -> Option<Manifest> {
        let entries = self.mapping(tree, "a manifest", KEYS)?;
        let find = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, node)| *node);
        let symbol = match find("symbol") {
            Some(node) => self.name(node, "a symbol", WORDS),
            None => self.wrong(tree, "a manifest without `symbol`", Some(write("symbol: my_step"))),
        };
        let description = match find("description") {
            Some(node) => self.sentence(node),
            None => self.wrong(
                tree,
                "a manifest without `description`",
                Some(write("description: What the step does, in a sentence.")),
            ),
        };
        let parameters = find("parameters").map_or(Some(Vec::new()), |node| self.parameters(node));
        let configuration =
            find("configuration").map_or(Some(Vec::new()), |node| self.parameters(node));
        let entrypoint = match find("entrypoint") {
            Some(node) => self.entrypoint(node, parameters.as_deref().unwrap_or_default()),
            None => self.wrong(
                tree,
                "a manifest without `entrypoint`",
                Some(write("entrypoint: run.sh")),
            ),
        };
        let architectures = find("architecture").map_or(Some(BTreeSet::new()), |node| {
            self.words(node, "an architecture", ARCHITECTURES.len(), |reader, node| {
                reader.one_of(node, "architecture", ARCHITECTURES)
            })
        });
        let cache = find("cache").map_or(Some(false), |node| self.truth(node, "`cache`"));
        let credentials = find("credentials").map_or(Some(BTreeSet::new()), |node| {
            self.words(node, "a credential", MAX_CREDENTIALS, |reader, node| {
                reader.name(node, "a credential", &[])
            })
        });
        Some(Manifest {
            signature: Signature {
                symbol: symbol?,
                description: description?,
                parameters: parameters?,
                entrypoint: entrypoint?,
                architectures: architectures?,
                cache: cache?,
                credentials: credentials?,
            },
            configuration: configuration?,
        })
    }

    fn entrypoint(&mut self, node: &Node, parameters: &[Parameter]) -> Option<Entrypoint> {
        match &node.content {
            Content::Text(path) => match inner_path(path) {
                Ok(path) => Some(Entrypoint::Program { path }),
                Err(why) => self.wrong(node, format!("entrypoint '{path}': {why}"), None),
            },
            Content::Sequence(words) => self.arguments(node, words, parameters),
            Content::Mapping(_) => self.special_entrypoint(node, parameters),
            Content::Nothing | Content::Boolean(_) | Content::Number(_) => self.wrong(
                node,
                format!("an entrypoint that is {}", node.kind()),
                Some(write("entrypoint: run.sh")),
            ),
        }
    }

    fn arguments(
        &mut self,
        node: &Node,
        words: &[Node],
        parameters: &[Parameter],
    ) -> Option<Entrypoint> {
        let read: Vec<Option<Word>> = words
            .iter()
            .map(|word| match &word.content {
                Content::Text(text) | Content::Number(text) => Some(Word::Literal(text.clone())),
                Content::Mapping(_) => {
                    let (_, name) = self.only_entry(word, &["parameter"])?;
                    self.parameter_of(name, parameters, None).map(Word::Parameter)
                }
                Content::Nothing | Content::Boolean(_) | Content::Sequence(_) => {
                    let message = format!("a word of an entrypoint that is {}", word.kind());
                    self.wrong(word, message, Some(write("[command, { parameter: name }]")))
                }
            })
            .collect();
        let read: Vec<Word> = read.into_iter().collect::<Option<_>>()?;
        match read.first() {
            Some(Word::Literal(command)) if !command.is_empty() => {
                Some(Entrypoint::Arguments(read))
            }
            Some(Word::Literal(_) | Word::Parameter(_)) | None => self.wrong(
                node,
                "an entrypoint that does not begin with a command",
                Some(write("[command, { parameter: name }]")),
            ),
        }
    }

    /// `{ script: p }`, and for Otto's own steps `{ image: name }` and `{ folder: p }`.
    fn special_entrypoint(&mut self, node: &Node, parameters: &[Parameter]) -> Option<Entrypoint> {
        let kinds: &[&str] = match self.author {
            Author::Otto => &["script", "image", "folder"],
            Author::Anybody => &["script"],
        };
        let (kind, value) = self.only_entry(node, kinds)?;
        match kind.as_str() {
            "image" => {
                self.name(value, "an image's step", &[]).map(|name| Entrypoint::Image { name })
            }
            "folder" => self
                .parameter_of(value, parameters, Some(&ValueType::Path))
                .map(|parameter| Entrypoint::Folder { parameter }),
            _ => self
                .parameter_of(value, parameters, Some(&ValueType::Script))
                .map(|parameter| Entrypoint::Script { parameter }),
        }
    }

    /// The name of a parameter of this manifest, of this type where one is asked for.
    fn parameter_of(
        &mut self,
        node: &Node,
        parameters: &[Parameter],
        value_type: Option<&ValueType>,
    ) -> Option<String> {
        let Some(name) = node.text() else {
            return self.wrong(node, format!("expected a parameter, found {}", node.kind()), None);
        };
        let Some(parameter) = parameters.iter().find(|parameter| parameter.name == name) else {
            let known: Vec<&str> = parameters.iter().map(|known| known.name.as_str()).collect();
            return self.wrong(node, format!("no parameter '{name}'"), instead(name, &known));
        };
        match value_type {
            Some(expected) if parameter.value_type != *expected => self.wrong(
                node,
                format!("parameter '{name}' is {}, not {expected}", parameter.value_type),
                Some(write(&format!("{name}: {{ type: {expected} }}"))),
            ),
            Some(_) | None => Some(name.to_owned()),
        }
    }
}

/// Help that shows what to write.
fn write(example: &str) -> String {
    format!("write `{example}`")
}

/// Checks that a path stays below its folder, and writes it in its one form.
pub(crate) fn inner_path(path: &str) -> Result<String, &'static str> {
    let wrong = path.starts_with('/') || path.split('/').any(|part| part == "..");
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    match path.is_empty() {
        _ if wrong => Err("it must lie in the step's own folder"),
        true => Err("it names no file"),
        false if path.iter().any(|part| part.chars().any(char::is_control)) => {
            Err("it holds a control character")
        }
        false => Ok(path.join("/")),
    }
}
