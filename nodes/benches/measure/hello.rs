//! A hello-world as a whole command, with the node running and not, against make and just.

use crate::node::Node;
use crate::{has, lacks, median, ms, ratio, run, timed};
use std::process::Command;
use std::time::Duration;

const ROUNDS: usize = 15;

pub(crate) fn measure() -> Result<(), String> {
    let node = Node::new("pipeline { steps { sh 'echo hello' } }\n")?;
    let write = |name: &str, text: &str| {
        std::fs::write(node.repository().join(name), text).map_err(|error| error.to_string())
    };
    write("Makefile", "hello:\n\techo hello\n")?;
    write("justfile", "hello:\n  echo hello\n")?;

    let mut cold = Vec::new();
    for _ in 0..ROUNDS / 3 {
        cold.push(timed(|| run(&mut node.otto(&["run"])))?.0);
        node.stop()?;
    }
    run(&mut node.otto(&["run"]))?;
    let warm = repeat(|| run(&mut node.otto(&["run"])))?;
    println!("  otto run, node running: {}", ms(warm));
    println!("  otto run, node not running: {}", ms(median(cold)));
    for peer in ["make", "just"] {
        if !has(peer) {
            lacks(peer);
            continue;
        }
        let time = repeat(|| {
            let mut command = Command::new(peer);
            run(command.arg("hello").current_dir(node.repository()))
        })?;
        println!(
            "  {peer}: {}; otto with its node running is {} of it",
            ms(time),
            ratio(warm, time)
        );
    }
    Ok(())
}

fn repeat(mut work: impl FnMut() -> Result<Vec<u8>, String>) -> Result<Duration, String> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(timed(&mut work)?.0);
    }
    Ok(median(times))
}
