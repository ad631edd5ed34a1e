//! The control side's logs: bytes by offset, on files or in memory.

mod files;
mod memory;
#[cfg(test)]
mod tests;

pub use files::FileLogs;
pub use memory::MemoryLogs;
