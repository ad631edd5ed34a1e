//! The `otto-node` command.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Many small records are made in one thread and dropped in another, which this is good at.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    otto_nodes::node::main()
}
