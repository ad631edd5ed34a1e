//! Whole runs through the actors of both sides, over ports in memory and in paused time.

#[cfg(test)]
mod cluster;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod house;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod meta;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod sabotage;
#[cfg(test)]
mod simple;
mod tools;
#[cfg(test)]
mod trouble;
#[cfg(test)]
mod wire;
