//! The `otto-node` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    otto_nodes::node::main()
}
