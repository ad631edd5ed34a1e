//! No-op steps in two stages side by side, against `make -j2`.

use crate::node::Node;
use crate::steps::{makefile, no_op_steps};
use crate::{has, lacks, median, ms, ratio, run, timed};
use std::process::Command;

/// In each of the two stages.
const STEPS: u32 = 300;
const ROUNDS: usize = 5;

pub(crate) fn measure() -> Result<(), String> {
    let stage = |name: &str| format!("stage('{name}') {{ steps {{\n{} }} }}\n", no_op_steps(STEPS));
    let node =
        Node::new(&format!("pipeline {{ parallel {{\n{}{} }} }}\n", stage("A"), stage("B")))?;
    let path = node.repository().join("Makefile");
    std::fs::write(path, makefile(2 * STEPS)).map_err(|error| error.to_string())?;
    let otto_run = || timed(|| run(&mut node.otto(&["run", "--progress", "quiet"])));
    otto_run()?;

    let (mut make, mut otto) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        if has("make") {
            let mut command = Command::new("make");
            command.args(["-j2", "all"]).current_dir(node.repository());
            make.push(timed(|| run(&mut command))?.0);
        }
        otto.push(otto_run()?.0);
    }
    let otto = median(otto) / (2 * STEPS);
    println!("  otto run of two stages of {STEPS} steps: {} each", ms(otto));
    if make.is_empty() {
        lacks("make");
    } else {
        let make = median(make) / (2 * STEPS);
        println!("  make -j2: {} each; otto is {} of it", ms(make), ratio(otto, make));
    }
    Ok(())
}
