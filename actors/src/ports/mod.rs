//! Ports: traits for everything outside, implemented by the nodes and by the simulation.

pub mod blobs;
pub mod chance;
pub mod clock;
pub mod control;
pub mod journal;
pub mod logs;
pub mod membership;
pub mod routes;
pub mod sabotage;
pub mod stages;
pub mod tools;
