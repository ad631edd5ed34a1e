//! Otto as the release before this one: this source without what came since, so that tests have an
//! earlier build beside the present one without its history and without compiling all of it twice.

use otto_core::cluster::level;
use otto_core::cluster::state::Levels;
use otto_nodes::wire::release::Release;
use std::process::ExitCode;

/// It knows nothing of what the second level added, and keeps no log for another node.
const EARLIER: Release = Release {
    version: "0.0.9",
    levels: Levels { oldest: level::FIRST, newest: level::FIRST },
    lacks: &["PeerCalls.keep_log"],
};

fn main() -> ExitCode {
    otto_nodes::node::main(EARLIER)
}
