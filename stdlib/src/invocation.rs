//! The invocation file: what a step is started with.
//!
//! It is a YAML file, in the JSON form that every YAML reader takes too. Its path is the only
//! argument of a step program, and stands in `OTTO_INVOCATION` for scripts.
//!
//! ```yaml
//! version: 1
//! identity:
//!   { project: shop, run: 412, stage: Build, attempt: 1, epoch: '0.7', step: greet,
//!     place: steps/0 }
//! parameters: { name: World, loud: false }
//! configuration: { greeting: Hello }
//! library: /workspace/ci/greet
//! cache: null
//! control: { socket: /run/otto/control, secret: 5d0c… }
//! ```

use crate::plain::Plain;
use otto_core::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The version of the file's shape; a step refuses a later one.
pub const VERSION: u32 = 1;
/// The environment variable that holds the file's path.
pub const VARIABLE: &str = "OTTO_INVOCATION";
/// The most bytes of an invocation file.
const MAX_BYTES: usize = 4 << 20;

/// What a step is started with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invocation {
    /// [`VERSION`] of the build that wrote it.
    pub version: u32,
    /// Whose step this is.
    pub identity: Identity,
    /// The step's arguments by parameter, defaults filled in.
    #[serde(default)]
    pub parameters: BTreeMap<String, Plain>,
    /// What `configure` set for the step's library, defaults filled in.
    #[serde(default)]
    pub configuration: BTreeMap<String, Plain>,
    /// The library's folder; none for Otto's own steps.
    #[serde(default)]
    pub library: Option<PathBuf>,
    /// The folder that the step keeps between runs, where its manifest asks for one.
    #[serde(default)]
    pub cache: Option<PathBuf>,
    /// Where and how the step talks to its agent.
    #[serde(default)]
    pub control: Option<Control>,
}

/// Whose step this is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// The project's name.
    pub project: String,
    /// The run's number.
    pub run: u64,
    /// The stage's path.
    pub stage: String,
    /// The how-manieth try at the stage, from 1.
    pub attempt: u32,
    /// The lease's fencing token.
    pub epoch: String,
    /// The word that called the step.
    pub step: String,
    /// The step's place in its stage: `steps/0`, `finally/2`.
    pub place: String,
}

/// Where and how a step talks to its agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Control {
    /// A Unix socket that listens; every request may have its own connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// A connected Unix socket that the step inherits, where there is no path; requests follow one
    /// another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<i32>,
    /// What proves that a request is this step's.
    pub secret: Secret,
}

/// A step's word of proof at its control socket. It is never shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Makes a secret of random bytes.
    #[must_use]
    pub fn of(random: &[u8; 32]) -> Self {
        Self(blake3::Hash::from_bytes(*random).to_hex().to_string())
    }

    /// The text, to be sent.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether somebody presented this secret; takes the same time however much of it is right.
    #[must_use]
    pub fn matches(&self, presented: &str) -> bool {
        // Digests of BLAKE3 are compared in constant time.
        blake3::hash(self.0.as_bytes()) == blake3::hash(presented.as_bytes())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An invocation file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// The file could not be read.
    #[error("read the invocation file {path}: {cause}")]
    Unreadable {
        /// Its path.
        path: String,
        /// Why not.
        cause: String,
    },
    /// A later build wrote it.
    #[error("read an invocation file of version {0}: this step knows version {VERSION}")]
    Newer(u32),
}

impl Invocation {
    /// The file's bytes: YAML, in its JSON form.
    ///
    /// # Panics
    /// Never: everything in it has a JSON form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text, numbers, lists and maps with text keys")
    }

    /// Reads an invocation file.
    ///
    /// # Errors
    /// When it is missing, damaged, or of a later version.
    pub fn read(path: &Path) -> Result<Self, InvocationError> {
        let unreadable =
            |cause: String| InvocationError::Unreadable { path: path.display().to_string(), cause };
        let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        Self::from_bytes(&bytes).map_err(|error| match error {
            InvocationError::Unreadable { cause, .. } => unreadable(cause),
            InvocationError::Newer(version) => InvocationError::Newer(version),
        })
    }

    /// Reads the bytes of an invocation file.
    ///
    /// # Errors
    /// When they are damaged or of a later version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvocationError> {
        let unreadable = |cause: String| InvocationError::Unreadable { path: String::new(), cause };
        if bytes.len() > MAX_BYTES {
            return Err(unreadable(format!("it has more than {} MiB", MAX_BYTES >> 20)));
        }
        let invocation: Self = if bytes.first() == Some(&b'{') {
            serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?
        } else {
            serde_saphyr::from_slice(bytes)
                .map_err(|error| unreadable(error.without_snippet().to_string()))?
        };
        if invocation.version > VERSION {
            return Err(InvocationError::Newer(invocation.version));
        }
        Ok(invocation)
    }

    /// The value of a parameter; absent where it was not given.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &Value {
        self.parameters.get(name).map_or(&Value::Absent, |plain| &plain.0)
    }
}
