//! Ports: traits for everything outside, implemented by the nodes and by the simulation.

pub mod clock;
pub mod control;
pub mod journal;
pub mod logs;
pub mod stages;
