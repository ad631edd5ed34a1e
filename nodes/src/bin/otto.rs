//! The `otto` command.

use otto_nodes::wire::release::Release;
use std::process::ExitCode;

fn main() -> ExitCode {
    otto_nodes::node::main(Release::NEWEST)
}
