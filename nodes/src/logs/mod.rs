//! The control side's logs: bytes by offset, on files or in memory.
//!
//! [`Watched`] tells readers that wait at the end of a log when it has grown.

mod files;
mod memory;
#[cfg(test)]
mod tests;
mod watched;

pub use files::FileLogs;
pub use memory::MemoryLogs;
pub use watched::Watched;
