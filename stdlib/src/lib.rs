//! The steps that come with Otto, and everything that a step of anybody's needs.
//!
//! A step is a program of any language with a `manifest.yml`. This crate reads manifests
//! ([`manifest`], [`library`]), defines what a step is started with ([`invocation`]) and whom it
//! may ask ([`control_socket`]), and holds the steps of Otto's own ([`builtin()`], [`main`]).
//!
//! It knows nothing of runs, nodes and actors.

mod builtin;
pub mod control_socket;
pub mod docs;
pub mod http;
pub mod invocation;
pub mod library;
pub mod manifest;
pub mod package;
pub mod plain;
mod problem;
pub mod scaffold;
pub mod sdk;
pub mod steps;
mod tarball;
pub mod trial;
mod yaml;

pub use builtin::{NAME, PLANNED, builtin};
pub use problem::{Problem, Problems};
pub use steps::main;
