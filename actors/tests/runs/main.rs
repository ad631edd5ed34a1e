//! Whole runs through the actors of both sides, over ports in memory and in paused time.

mod house;
mod memory;
mod plans;
mod sabotage;
mod simple;
mod trouble;
