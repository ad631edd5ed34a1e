//! The Ottofile language: from text to a plan.
//!
//! ```text
//!     text ──scan, parse──▶ tree ──lower──▶ core::plan::Plan
//!                 └────────────┴──▶ diagnostics: all at once, each with its place
//! ```
//!
//! Declarative and total: every evaluation ends, and what it gives is known before anything runs.
//! This crate reads no file and knows no particular step: texts, step signatures, and what there is
//! to know of the repository come in as data.

mod build;
pub mod conventions;
pub mod diagnostic;
pub mod explain;
mod lower;
mod matched;
mod parse;
mod scan;
mod tolerant;
pub mod tree;

pub use diagnostic::{Diagnostic, Id, Label, Severity, explain_id, nearest, render};
pub use lower::{NoRepository, Repository, Surroundings, check, plan};
pub use parse::{Parsed, Request, UseRef, parameters, parse, request, uses};
pub use scan::Comment;

/// One file's text, and how to speak of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The path from the repository's root: `Ottofile`, `ci/deliver.otto`.
    pub name: String,
    /// What it holds.
    pub text: String,
}

impl Source {
    /// The name of the pipeline in it: `default` for an `Ottofile`, else the file's name.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        let file = self.name.rsplit('/').next().unwrap_or(&self.name);
        match file.strip_suffix(".otto") {
            Some(stem) if !stem.is_empty() => stem,
            _ => "default",
        }
    }
}
