//! A no-op step against a bare loop of spawns and against make.

use crate::node::Node;
use crate::{has, lacks, median, ms, ratio, run, timed};
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

const STEPS: u32 = 300;
const ROUNDS: usize = 5;

pub(crate) fn measure() -> Result<(), String> {
    let node = Node::new(&ottofile(STEPS))?;
    let single = Node::new(&ottofile(1))?;
    let path = node.repository().join("Makefile");
    std::fs::write(path, makefile(STEPS)).map_err(|error| error.to_string())?;
    let otto_run = |node: &Node| timed(|| run(&mut node.otto(&["run", "--progress", "quiet"])));
    otto_run(&node)?;
    otto_run(&single)?;

    let (mut bare, mut make) = (Vec::new(), Vec::new());
    let (mut otto, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(timed(spawn_loop)?.0);
        if has("make") {
            let mut command = Command::new("make");
            command.args(["-j1", "all"]).current_dir(node.repository());
            make.push(timed(|| run(&mut command))?.0);
        }
        otto.push(otto_run(&node)?.0);
        alone.push(otto_run(&single)?.0);
    }
    let each = |times: Vec<Duration>| median(times) / STEPS;
    let whole = median(otto.clone());
    let (bare, otto, alone) = (each(bare), each(otto), median(alone));
    let further = whole.saturating_sub(alone) / (STEPS - 1);
    println!("  spawn and wait, {STEPS} times: {} each", ms(bare));
    println!("  otto run of {STEPS} steps: {} each, {} the bare loop", ms(otto), ratio(otto, bare));
    println!("  otto run of one step: {}; each further one: {}", ms(alone), ms(further));
    if make.is_empty() {
        lacks("make");
    } else {
        let make = each(make);
        println!(
            "  make -j1: {} each; otto is {} of it, its further steps {}",
            ms(make),
            ratio(otto, make),
            ratio(further, make)
        );
    }
    Ok(())
}

fn ottofile(steps: u32) -> String {
    format!("pipeline {{ stage('S') {{ steps {{\n{}}} }} }}\n", no_op_steps(steps))
}

/// So many steps that do nothing.
pub(crate) fn no_op_steps(steps: u32) -> String {
    "  sh 'true'\n".repeat(steps as usize)
}

/// As many targets of `make` that do the same.
pub(crate) fn makefile(steps: u32) -> String {
    let mut text = String::from("all:");
    for n in 0..steps {
        let _ = write!(text, " t{n}");
    }
    for n in 0..steps {
        let _ = write!(text, "\nt{n}:\n\t@sh -xec true");
    }
    text + "\n"
}

fn spawn_loop() -> Result<(), String> {
    for _ in 0..STEPS {
        let mut command = Command::new("sh");
        command.args(["-xec", "true"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        run(&mut command)?;
    }
    Ok(())
}
