//! Who is who between machines.
//!
//! ```text
//!   otto-node serve          founding.rs  the first node makes the authority
//!   otto-node join ADDRESS --token OT1-…
//!     makes a key            files.rs      never leaves the folder `identity/`
//!     connects               join.rs       to whom the authority in the token vouches for
//!     shows the token ─────▶ door.rs       the cluster decides; its answer is journaled
//!     ◀──── a certificate    authority.rs  valid for a day
//!   from then on             tls.rs        both ends of every connection show theirs
//!                            renewal.rs    another one after two thirds of its life
//! ```
//!
//! An identity is the name in a certificate that the cluster's authority signed (`subject.rs`), and
//! nothing else: no message can override it. Keys and signatures are Ed25519, which is
//! deterministic: the journal holds what a certificate says, and every control node makes the same
//! bytes of it, so a repeated join gets the same answer from whoever leads by then.
//!
//! The authority's key lies in a file of its own, beside the database and in no backup of it. Each
//! control node has it: there is no single hub, and whichever node leads must be able to admit and
//! to renew. A newcomer gets it over the connection that its token pins, and only with a token for
//! control nodes, which are trusted with everything anyway. Agents never get it.

pub mod authority;
pub mod door;
pub mod files;
pub mod founding;
pub mod join;
pub mod renewal;
pub mod starts;
pub mod subject;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod token;
mod verify;

use std::path::PathBuf;

/// Why an identity cannot be used. Worded to fit behind "failed to".
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("{doing} {}: {source}", .path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("use {}: {cause}", .path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
        /// What to do now.
        help: &'static str,
    },
    /// A key, certificate or signing request is not what it should be.
    #[error("use {what}: {cause}")]
    Malformed {
        /// What it should have been.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// A key or a certificate could not be made.
    #[error("make {what}: {cause}")]
    Unmade {
        /// What.
        what: &'static str,
        /// Why.
        cause: String,
    },
}

impl IdentityError {
    /// What to do now.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::File { .. } => {
                "see that this user may read and write there, and that the disk works"
            }
            Self::Unfit { help, .. } => help,
            Self::Malformed { .. } => "use the same release on both sides",
            Self::Unmade { .. } => "report this: it is a mistake in otto",
        }
    }
}

impl From<IdentityError> for crate::wire::hello::Refused {
    fn from(error: IdentityError) -> Self {
        Self::trouble(format!("failed to {error}"), error.help())
    }
}

/// Fills a buffer with bytes that nobody can guess.
fn random(bytes: &mut [u8]) -> Result<(), IdentityError> {
    rustls::crypto::ring::default_provider().secure_random.fill(bytes).map_err(|_| {
        let cause = "the system gives no randomness".to_owned();
        IdentityError::Unmade { what: "a secret", cause }
    })
}

fn malformed(what: &'static str, cause: impl Into<String>) -> IdentityError {
    IdentityError::Malformed { what, cause: cause.into() }
}
