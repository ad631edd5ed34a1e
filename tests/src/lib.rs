//! What tests of the built programs share.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The folder of the programs, which are built before the tests.
///
/// # Panics
/// When they are not.
#[must_use]
pub fn programs() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().expect("this program has a path");
        let folder = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps").to_owned();
        for program in ["otto", "otto-node"] {
            let there = folder.join(program).is_file();
            assert!(there, "{program} is not built: run tests/run, or cargo build -p otto-nodes");
        }
        folder
    });
    &FOLDER
}
