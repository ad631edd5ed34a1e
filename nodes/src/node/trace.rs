//! Traces: what a node's process did, for whoever looks for a mistake in Otto. Bounded on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;

/// The most bytes of a trace; one earlier trace of the same size is kept beside it.
const MAX_BYTES: u64 = 4 << 20;
/// The variable that says what is traced, as `tracing` filters do.
const FILTER: &str = "OTTO_TRACE";
/// What is traced unless that variable says otherwise.
const USUAL_FILTER: &str = "warn,otto_nodes=info,otto_actors=info";

/// Traces this process into `NAME.log` in a folder. Panics are traced, too.
///
/// # Errors
/// When the file cannot be opened.
pub(super) fn begin(folder: &Path, name: &str) -> io::Result<()> {
    let writer = Bounded::open(folder.join(format!("{name}.log")))?;
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(USUAL_FILTER));
    let begun = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(Mutex::new(writer))
        .try_init();
    begun.map_err(io::Error::other)?;
    panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%panic, %backtrace, "a panic: this is a mistake in otto");
    }));
    Ok(())
}

/// A file that begins anew when it is too long.
#[derive(Debug)]
struct Bounded {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Bounded {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let length = file.metadata()?.len();
        Ok(Self { path, file, length })
    }
}

impl Bounded {
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length > MAX_BYTES {
            let mut before = self.path.clone().into_os_string();
            before.push(".1");
            fs::rename(&self.path, before)?;
            *self = Self::open(self.path.clone())?;
        }
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl Write for Bounded {
    /// Never fails: on a full disk a trace is lost. Telling so would be traced, too, and wait for
    /// the very lock that is held here.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes).ok();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounded, MAX_BYTES};
    use std::io::Write;

    #[test]
    fn a_trace_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut trace = Bounded::open(folder.path().join("x.log")).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            trace.write_all(&line).unwrap();
        }
        let sizes = std::fs::read_dir(folder.path()).unwrap();
        let sizes: Vec<u64> = sizes.map(|e| e.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size <= MAX_BYTES + (1 << 20)), "{sizes:?}");
    }
}
