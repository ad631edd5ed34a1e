//! Proof of the heart.

mod constructs;
mod explore;
mod hostile;
mod moves;
mod plans;
mod planted;
mod random;
mod referee;
mod reference;
mod story;
mod verdict;
mod wishes;
pub(super) mod work;
