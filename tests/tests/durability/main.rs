//! What must survive: each process of a node is killed, and each thing that a node needs is taken
//! away, while real runs go on in real processes.
//!
//! Steps append a line to a file outside of their workspace each time that they are executed. That
//! file is the truth; whatever Otto says of a run must agree with it.

#[path = "../cluster/mod.rs"]
mod cluster;
mod ending;
mod hostile;
mod killed;
mod moments;
mod objects;
mod python;
mod shared;
mod trouble;
mod victim;
mod world;
