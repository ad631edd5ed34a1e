//! Levels: what each of them lets be written that builds before it do not know.
//!
//! A build reads everything up to the newest level that it understands, and writes what a level
//! added only where the cluster was raised to it, which takes that all its nodes understand it. So
//! a node can go back to the release before until then, and never meets what it cannot read. The
//! cluster's state lies in the head of its journal, which whoever leads writes anew: a build that
//! does not know a field of it would drop that for everybody.

use super::state::Levels;

/// What the first release wrote.
pub const FIRST: u32 = 1;
/// The start of a node tells of which release it is.
pub const RELEASES: u32 = 2;

/// What this build understands.
pub const UNDERSTOOD: Levels = Levels { oldest: FIRST, newest: RELEASES };
