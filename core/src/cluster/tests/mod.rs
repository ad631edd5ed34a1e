//! Proof of the cluster's heart.

mod explore;
mod planted;
mod random;
mod referee;
mod stories;
mod world;
