//! Reproducible tar files: no owners, no times, and of modes only whether a file may be executed.

use tar::{EntryType, Header};

/// The header of an entry. Its path, and a link's target, are set when it is appended.
pub(crate) fn header(kind: EntryType, executable: bool, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(bytes);
    header
}
