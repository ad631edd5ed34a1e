//! A no-op step against a bare loop of spawns and against make.

use crate::node::Node;
use crate::{has, median, ms, ratio, run, timed};
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

const STEPS: u32 = 300;
const ROUNDS: usize = 5;

pub(crate) fn measure() -> Result<(), String> {
    let mut ottofile = String::from("pipeline { stage('S') { steps {\n");
    for _ in 0..STEPS {
        ottofile.push_str("  sh 'true'\n");
    }
    ottofile.push_str("} } }\n");
    let node = Node::new(&ottofile)?;
    let mut makefile = String::from("all:");
    for n in 0..STEPS {
        let _ = write!(makefile, " t{n}");
    }
    for n in 0..STEPS {
        let _ = write!(makefile, "\nt{n}:\n\t@sh -xec true");
    }
    let path = node.repository().join("Makefile");
    std::fs::write(path, makefile + "\n").map_err(|error| error.to_string())?;
    run(&mut node.otto(&["run", "--progress", "quiet"]))?;

    let (mut bare, mut make, mut otto) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(timed(spawn_loop)?.0);
        if has("make") {
            let mut command = Command::new("make");
            command.args(["-j1", "all"]).current_dir(node.repository());
            make.push(timed(|| run(&mut command))?.0);
        }
        otto.push(timed(|| run(&mut node.otto(&["run", "--progress", "quiet"])))?.0);
    }
    let each = |times: Vec<Duration>| median(times) / STEPS;
    let (bare, otto) = (each(bare), each(otto));
    println!("  spawn and wait, {STEPS} times: {} each", ms(bare));
    println!("  otto run of {STEPS} steps: {} each, {} the bare loop", ms(otto), ratio(otto, bare));
    if make.is_empty() {
        println!("  make: not on this machine");
    } else {
        let make = each(make);
        println!("  make -j1: {} each; otto is {} of it", ms(make), ratio(otto, make));
    }
    Ok(())
}

fn spawn_loop() -> Result<(), String> {
    for _ in 0..STEPS {
        let mut command = Command::new("sh");
        command.args(["-xec", "true"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        run(&mut command)?;
    }
    Ok(())
}
