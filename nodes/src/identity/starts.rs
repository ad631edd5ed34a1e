//! The starts of a control node, by which a disk that was copied or put back is noticed.
//!
//! Each start draws a number and writes it down before anybody hears of it. What is shown to the
//! cluster are all numbers back to the last one that it had confirmed. A disk that does not know of
//! the latest start is another one's, or an old one.

use super::IdentityError;
use super::files::Folder;
use otto_core::cluster::state::Start;
use otto_core::ids::BootId;
use serde::{Deserialize, Serialize};

const STARTS: &str = "starts.json";
/// How many unconfirmed starts are kept; a node that never reaches its cluster starts often.
const KEPT: usize = 256;

/// What the file holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Starts {
    count: u64,
    /// The last start that the cluster knows of, and those after it.
    boots: Vec<BootId>,
    /// Up to where the cluster's journal was applied here while others voted, too.
    #[serde(default)]
    applied: u64,
}

/// A start, and what this disk knows of the ones before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Begun {
    /// This start.
    pub start: Start,
    /// The ones before it, back to the last confirmed one.
    pub known: Vec<BootId>,
}

/// Whether a node with this identity was ever started.
///
/// # Errors
/// When the folder holds something else under that name.
pub fn has_begun(folder: &Folder) -> Result<bool, IdentityError> {
    Ok(read(folder)?.count > 0)
}

/// Counts a start. It is on disk before this returns.
///
/// # Errors
/// When the folder cannot be written, or holds something else under that name.
pub fn begin(folder: &Folder) -> Result<Begun, IdentityError> {
    let mut starts = read(folder)?;
    let mut boot = [0; 16];
    super::random(&mut boot)?;
    let start = Start { count: starts.count.saturating_add(1), boot: BootId(boot) };
    let known = starts.boots.clone();
    starts.count = start.count;
    starts.boots.push(start.boot);
    if starts.boots.len() > KEPT {
        // The first one is the confirmed one.
        starts.boots.remove(1);
    }
    write(folder, &starts)?;
    Ok(Begun { start, known })
}

/// Keeps that the cluster knows of a start.
///
/// # Errors
/// As [`begin`].
pub fn confirm(folder: &Folder, start: Start) -> Result<(), IdentityError> {
    let mut starts = read(folder)?;
    starts.boots = vec![start.boot];
    write(folder, &starts)
}

/// Up to where the cluster's journal was applied once: a store that has less was taken back to a
/// copy. Zero where that is not known, or nobody else votes.
///
/// # Errors
/// When the folder holds something else under that name.
pub fn applied(folder: &Folder) -> Result<u64, IdentityError> {
    Ok(read(folder)?.applied)
}

/// Keeps up to where it is applied.
///
/// # Errors
/// As [`begin`].
pub fn keep_applied(folder: &Folder, applied: u64) -> Result<(), IdentityError> {
    let starts = read(folder)?;
    if starts.applied == applied {
        return Ok(());
    }
    write(folder, &Starts { applied, ..starts })
}

fn read(folder: &Folder) -> Result<Starts, IdentityError> {
    let Some(bytes) = folder.read(STARTS)? else { return Ok(Starts::default()) };
    serde_json::from_slice(&bytes).map_err(|error| folder.unfit(STARTS, error.to_string()))
}

fn write(folder: &Folder, starts: &Starts) -> Result<(), IdentityError> {
    let text =
        serde_json::to_vec(starts).map_err(|error| folder.unfit(STARTS, error.to_string()))?;
    folder.write(STARTS, &text)
}
