//! `archive`: keeps files as an artifact of the run.
//!
//! An artifact is a tar file in zstd. The same files give the same bytes: paths in order, no
//! owners, no times, and of the modes only whether a file may be executed.

use super::failed;
use super::files::{Found, Kind, Pattern};
use crate::control_socket::is_artifact_name;
use crate::sdk::{Exit, Step, StepError};
use crate::tarball::header;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use tar::EntryType;

/// zstd's own default: close to the disk's speed.
const LEVEL: i32 = 3;

pub(super) fn run(step: &Step) -> Result<Exit, StepError> {
    let written = step.text("files")?;
    let pattern = Pattern::parse(written).map_err(|why| failed("archive", why))?;
    // Whoever mistyped the pattern has no use for a name.
    let base = Path::new(".");
    let found = pattern.find(base).map_err(|why| failed("archive", why))?;
    let Some(name) = step.optional_text("name")?.or_else(|| pattern.name()) else {
        let message = format!(
            "archive '{written}': it needs a name; write `archive '{written}', name: 'files'`"
        );
        return Err(StepError::Other(message));
    };
    if !is_artifact_name(name) {
        let message = format!(
            "archive as '{name}': a name holds letters, digits, '.', '_' and '-', at most 128"
        );
        return Err(StepError::Other(message));
    }
    let mut artifact = step.keep_artifact(name)?;
    if let Err(error) = pack(base, &found, &mut artifact) {
        return Err(artifact.refusal().unwrap_or_else(|| failed("archive", error)));
    }
    let digest = artifact.finish()?;
    let bytes: u64 = found.iter().map(Found::bytes).sum();
    let files = found.iter().filter(|found| !matches!(found.kind, Kind::Folder)).count();
    let noun = if files == 1 { "file" } else { "files" };
    println!("archived {files} {noun} of {bytes} bytes as '{name}' ({})", digest.short());
    Ok(Exit::Success)
}

impl Found {
    fn bytes(&self) -> u64 {
        match self.kind {
            Kind::File { bytes, .. } => bytes,
            Kind::Folder | Kind::Link { .. } => 0,
        }
    }
}

/// Writes files as tar in zstd.
pub(super) fn pack(base: &Path, found: &[Found], out: &mut impl Write) -> io::Result<()> {
    let mut encoder = zstd::Encoder::new(out, LEVEL)?;
    encoder.include_checksum(true)?;
    let mut tar = tar::Builder::new(encoder);
    for entry in found {
        append(&mut tar, base, entry)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", entry.path)))?;
    }
    tar.into_inner()?.finish().map(|_| ())
}

fn append(tar: &mut tar::Builder<impl Write>, base: &Path, entry: &Found) -> io::Result<()> {
    match &entry.kind {
        Kind::File { executable, bytes } => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::open(base.join(&entry.path), flags, Mode::empty())?;
            let mut content = Exactly { file: File::from(file), left: *bytes };
            let mut header = header(EntryType::Regular, *executable, *bytes);
            tar.append_data(&mut header, &entry.path, &mut content)
        }
        Kind::Folder => {
            let mut header = header(EntryType::Directory, true, 0);
            tar.append_data(&mut header, &entry.path, io::empty())
        }
        Kind::Link { target } => {
            let mut header = header(EntryType::Symlink, true, 0);
            tar.append_link(&mut header, &entry.path, target)
        }
    }
}

/// A file that must have the length that its header says.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || out.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).map_or(out.len(), |left| left.min(out.len()));
        match self.file.read(&mut out[..most])? {
            0 => Err(io::Error::other("it became shorter while it was archived")),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}
