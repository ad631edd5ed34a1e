//! What a child tells its supervisor, and a supervisor whoever started it: a line of JSON each.

use crate::wire::hello::{Build, Refused};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// Connections can be made.
    Listening,
    /// Another node has the folder.
    Taken,
    /// What a person is to be told of a node of a cluster that is ready in a moment.
    Greeting {
        /// The node's name, or the agent's.
        node: String,
        /// Where other machines reach it; empty for an agent.
        address: String,
        /// A token for another node, where this one has just founded the cluster.
        token: Option<String>,
    },
    /// Calls are answered.
    Ready,
    /// It cannot work, and ends.
    Trouble(Refused),
    /// Its cluster will not have it any more: no other start of this folder may help.
    Outcast(Refused),
    /// The node is idle, or was asked to leave.
    Leave,
    /// Control ends, and is to go on from this image.
    Successor {
        /// The image.
        path: PathBuf,
        /// What it was built from.
        build: Build,
    },
}

impl Report {
    /// Writes the line in one piece.
    pub(super) fn send(&self, to: &mut impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self).map_err(io::Error::other)?;
        line.push(b'\n');
        to.write_all(&line)
    }
}

/// Cuts what comes from one side into reports.
#[derive(Debug, Default)]
pub(super) struct Reports(Vec<u8>);

/// The longest line; whoever writes a longer one is none of us.
const MAX_LINE: usize = 64 << 10;

impl Reports {
    /// Reads what has come, without waiting for more. `None` at the end.
    pub(super) fn read(&mut self, from: &mut impl Read) -> io::Result<Option<Vec<Report>>> {
        let mut buffer = [0; 4096];
        match from.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(length) => self.0.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if self.0.len() > MAX_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
        }
        let mut reports = Vec::new();
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            reports.push(serde_json::from_slice(&line)?);
        }
        Ok(Some(reports))
    }
}
