//! Deterministic simulation: Otto's real processes in one process, from one seed, under faults.
//!
//! Control, agent and clients run unchanged inside turmoil's network, with redb on a simulated disk
//! and scripted processes instead of real ones. The same seed gives the same history, byte for
//! byte. This crate never asks another one for a shortcut: what differs from production is behind
//! ports.

pub mod audit;
pub mod brake;
pub mod clients;
pub mod clock;
pub mod determinism;
pub mod disk;
pub mod ending;
pub mod faults;
pub mod growth;
pub mod history;
pub mod hosts;
pub mod invariants;
pub mod links;
pub mod logs;
pub mod network;
pub mod operator;
pub mod page;
pub mod plant;
pub mod planted;
pub mod processes;
pub mod replicas;
pub mod report;
pub mod sabotage;
pub mod scenario;
pub mod search;
pub mod setup;
pub mod shrink;
pub mod traffic;
pub mod workload;
pub mod world;
pub mod writers;
