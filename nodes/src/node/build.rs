//! What this process was built from, and how to execute it again.

use crate::wire::hello::Build;
use crate::wire::release::Release;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The running image's file, also where its name was given to another file since.
pub const IMAGE: &str = "/proc/self/exe";

/// What this process was built from. The image's time and size stand for its content, since reading
/// all of it would cost more than everything else that `otto run` does.
///
/// # Errors
/// When the image cannot be looked at.
pub fn this_build() -> io::Result<Build> {
    let image = fs::metadata(IMAGE)?;
    let seconds = u64::try_from(image.mtime()).unwrap_or(0);
    let nanoseconds = u64::try_from(image.mtime_nsec()).unwrap_or(0);
    Ok(Build {
        version: Release::ours().version.to_owned(),
        made_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds),
        size: image.len(),
    })
}

/// The path of this process's image, as another process can open it.
///
/// # Errors
/// When it was deleted or cannot be looked at.
pub fn image_path() -> io::Result<PathBuf> {
    let path = fs::read_link(IMAGE)?;
    fs::metadata(&path)?;
    Ok(path)
}
