//! Where the lines of a log are: how many line ends stand in front of each 64 KiB of it. Whoever
//! asks which line a byte is in is answered from one entry and at most 64 KiB, whatever the log's
//! length.
//!
//! The entries lie in a file beside the log's, eight bytes each, the lowest first. They follow from
//! the log: one that could not be written, or was lost with the power, is counted anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How many bytes of a log are between two entries.
const SPAN: u64 = 64 << 10;
/// The length of an entry.
const ENTRY: u64 = 8;
/// How much is read at once to count lines.
const PART: usize = 64 << 10;

/// A log's index.
#[derive(Debug)]
pub(super) struct Index {
    file: File,
    /// How many entries there are, without a gap.
    entries: u64,
    /// How many line ends are in front of a byte that was counted up to.
    counted: Mark,
}

/// A byte of a log, and how many line ends are in front of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Mark {
    offset: u64,
    lines: u64,
}

impl Index {
    /// The index in a file, of a log that has this length.
    pub(super) fn open(file: File, length: u64) -> io::Result<Self> {
        let entries = file.metadata()?.len() / ENTRY;
        let mut index = Self { file, entries, counted: Mark::default() };
        index.cut(length)?;
        Ok(index)
    }

    /// The log is only this long by now.
    pub(super) fn cut(&mut self, length: u64) -> io::Result<()> {
        self.entries = self.entries.min(length / SPAN);
        self.counted = self.entry(self.entries)?;
        Ok(())
    }

    /// Counts the bytes that were added at an offset. Where earlier ones were not counted, `log` is
    /// read.
    pub(super) fn add(&mut self, log: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.counted.offset < offset {
            self.catch_up(log, offset)?;
        }
        let known = usize::try_from(self.counted.offset - offset).unwrap_or(usize::MAX);
        let mut rest = bytes.get(known..).unwrap_or_default();
        while !rest.is_empty() {
            let room = SPAN - self.counted.offset % SPAN;
            let within = rest.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let (part, behind) = rest.split_at(within);
            self.count(part)?;
            rest = behind;
        }
        Ok(())
    }

    /// How many line ends are in front of a byte.
    pub(super) fn lines_before(&self, log: &File, offset: u64) -> io::Result<u64> {
        let mut mark = self.entry(self.entries.min(offset / SPAN))?;
        let mut part = vec![0; PART];
        while mark.offset < offset {
            let left = usize::try_from(offset - mark.offset).unwrap_or(PART).min(PART);
            log.read_exact_at(&mut part[..left], mark.offset)?;
            mark = mark.behind(&part[..left]);
        }
        Ok(mark.lines)
    }

    /// Counts what is in front of an offset and was not.
    fn catch_up(&mut self, log: &File, offset: u64) -> io::Result<()> {
        let mut part = vec![0; PART];
        while self.counted.offset < offset {
            let room = SPAN - self.counted.offset % SPAN;
            let left = usize::try_from(room.min(offset - self.counted.offset)).unwrap_or(PART);
            log.read_exact_at(&mut part[..left], self.counted.offset)?;
            self.count(&part[..left])?;
        }
        Ok(())
    }

    /// Counts bytes that reach no further than the next entry, and writes that where they reach it.
    fn count(&mut self, bytes: &[u8]) -> io::Result<()> {
        let next = self.counted.behind(bytes);
        if next.offset.is_multiple_of(SPAN) {
            let number = next.offset / SPAN;
            self.file.write_all_at(&next.lines.to_le_bytes(), (number - 1) * ENTRY)?;
            self.entries = number;
        }
        self.counted = next;
        Ok(())
    }

    /// The entry of this number; that of zero is the log's start.
    fn entry(&self, number: u64) -> io::Result<Mark> {
        let Some(before) = number.checked_sub(1) else { return Ok(Mark::default()) };
        let mut lines = [0; 8];
        self.file.read_exact_at(&mut lines, before * ENTRY)?;
        Ok(Mark { offset: number * SPAN, lines: u64::from_le_bytes(lines) })
    }
}

impl Mark {
    fn behind(self, bytes: &[u8]) -> Self {
        let lines = memchr::memchr_iter(b'\n', bytes).count();
        Self { offset: self.offset + bytes.len() as u64, lines: self.lines + lines as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Index, SPAN};
    use std::fs::{File, OpenOptions};
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    fn file(folder: &Path, name: &str) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.open(folder.join(name)).expect("a file")
    }

    /// Lines of seven bytes, which no entry's place is a multiple of.
    fn text(bytes: usize) -> Vec<u8> {
        b"a line\n".iter().copied().cycle().take(bytes).collect()
    }

    #[test]
    fn lines_are_counted_however_the_log_grew_and_whatever_was_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = file(folder.path(), "log");
        let text = text(400_000);
        let mut index = Index::open(file(folder.path(), "index"), 0).expect("an index");
        let check = |index: &Index, until: usize| {
            for offset in [0, 1, 7, 65_535, 65_536, 65_537, 131_072, 200_003, until] {
                let lines = index.lines_before(&log, offset.min(until) as u64).expect("counted");
                assert_eq!(lines, (offset.min(until) / 7) as u64, "before {offset} of {until}");
            }
        };
        let mut length = 0;
        for step in [1, 65_534, 1, 1, 70_000, 140_000, 3] {
            log.write_all_at(&text[length..length + step], length as u64).expect("written");
            index.add(&log, length as u64, &text[length..length + step]).expect("counted");
            length += step;
            check(&index, length);
        }
        assert_eq!(index.entries, length as u64 / SPAN);
        // A part of the log is gone; then all of it is there again.
        index.cut(70_000).expect("cut");
        check(&index, 70_000);
        index.add(&log, 70_000, &text[70_000..length]).expect("counted");
        check(&index, length);
        // The process was another one, and all but one entry is lost.
        let kept = file(folder.path(), "index");
        kept.set_len(8).expect("shortened");
        let mut index = Index::open(kept, length as u64).expect("an index");
        assert_eq!(index.entries, 1);
        check(&index, length);
        log.write_all_at(&text[length..], length as u64).expect("written");
        index.add(&log, length as u64, &text[length..]).expect("counted");
        assert_eq!(index.entries, 400_000 / SPAN);
        check(&index, 400_000);
    }
}
