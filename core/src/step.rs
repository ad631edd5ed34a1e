//! Step signatures: what a manifest says of a step, as data that the language checks against.

use crate::ids::Digest;
use crate::value::{Value, ValueType};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One typed parameter of a step, of a library's configuration, or of a pipeline.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub value_type: ValueType,
    /// What it is when nobody gives it; without a default it must be given, unless `optional`.
    pub default: Option<Value>,
    /// It may be left out although it has no default.
    pub optional: bool,
    /// What it is for, in a sentence.
    pub description: String,
}

/// One word of an entrypoint's argument vector.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Taken as it stands.
    Literal(String),
    /// The value of this parameter; left out where that has none.
    Parameter(String),
}

/// How a step is started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entrypoint {
    /// A script parameter run by its interpreter line, or by `sh -xe`: the process is the shell.
    Script {
        /// The parameter that holds the script.
        parameter: String,
    },
    /// An argument vector over the parameters; the first word is looked up in `PATH`.
    Arguments(Vec<Word>),
    /// A program in the library, started with the path of its invocation file.
    Program {
        /// Where it lies, from the library's folder.
        path: String,
    },
    /// A program that comes inside Otto's own image, started with the path of its invocation file.
    Image {
        /// The name it answers to.
        name: String,
    },
    /// No process: the steps in its block run in the folder that this parameter names.
    Folder {
        /// The parameter that holds the folder.
        parameter: String,
    },
}

/// What a manifest says of one step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Signature {
    /// The word that calls it.
    pub symbol: String,
    /// What it does, in a sentence.
    pub description: String,
    /// Its parameters; positional arguments fill them in this order.
    pub parameters: Vec<Parameter>,
    /// How it is started.
    pub entrypoint: Entrypoint,
    /// The architectures it runs on; empty is all.
    pub architectures: BTreeSet<String>,
    /// It keeps a folder of its own between runs.
    pub cache: bool,
    /// The names of the credentials that it asks for.
    pub credentials: BTreeSet<String>,
}

impl Signature {
    /// Whether a block of steps may follow it.
    #[must_use]
    pub fn takes_block(&self) -> bool {
        matches!(self.entrypoint, Entrypoint::Folder { .. })
    }

    /// The parameter of this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

/// Where a step library's files are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LibrarySource {
    /// In Otto's image.
    Builtin,
    /// A folder of the repository, from its root.
    Repository {
        /// The folder.
        path: String,
    },
}

/// A step library: named, pinned by the digest of its content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Library {
    /// The name by which `configure` and messages speak of it.
    pub name: String,
    /// Where its files are.
    pub source: LibrarySource,
    /// The digest of all its files.
    pub digest: Digest,
    /// What may be set for the whole library.
    pub configuration: Vec<Parameter>,
    /// Its steps by symbol.
    pub steps: BTreeMap<String, Signature>,
}
