//! Proof of the heart.

mod constructs;
mod plans;
mod story;
pub(super) mod work;
