//! The control side's logs: bytes by offset, on files or in memory, and sealed in a shared store.

mod files;
mod index;
mod memory;
mod sealed;
#[cfg(test)]
mod tests;

pub use files::FileLogs;
pub use memory::MemoryLogs;
pub use sealed::SealedLogs;
