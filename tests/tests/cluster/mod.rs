//! Several nodes: they grow from one and shrink again, while real runs go on in real processes.
//!
//! Each node has a data folder and a loopback address of its own; what one machine can't show are
//! broken links, which the simulation breaks.

mod city;
mod entrance;
mod growth;
mod losses;
mod majority;
mod people;
mod releases;
