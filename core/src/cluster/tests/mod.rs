//! Proof of the cluster's heart.

mod stories;
