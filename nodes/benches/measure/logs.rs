//! A large log through a step, against `cat` into a file through a pipe.

use crate::idle::{memory, name};
use crate::node::Node;
use crate::{ratio, run, timed};
use std::process::Command;
use std::time::Duration;

const BYTES: u64 = 1 << 30;

pub(crate) fn measure() -> Result<(), String> {
    let line = "a line of a log as long as lines of logs are, with some words in it";
    let script = format!("yes {line} | head -c {BYTES}");
    let node = Node::new(&format!("pipeline {{ steps {{ sh '{script}' }} }}\n"))?;
    let file = node.repository().join("out.bin");
    let plain = format!("{{ {script}; }} | cat > {}", file.display());
    let (cat, _) = timed(|| run(Command::new("sh").args(["-c", &plain])))?;
    std::fs::remove_file(&file).map_err(|error| error.to_string())?;
    run(node.otto(&["runs"]).env("OTTO_PROGRESS", "quiet"))?;
    let (otto, _) = timed(|| run(&mut node.otto(&["run", "--progress", "quiet"])))?;
    println!("  the same through `cat` to a file: {}", rate(cat));
    println!("  otto run: {}, {} the time of cat", rate(otto), ratio(otto, cat));
    for pid in node.processes() {
        println!("  process {pid} ({}): {}", name(pid), memory(pid));
    }
    Ok(())
}

fn rate(time: Duration) -> String {
    let mebibytes = f64::from(u32::try_from(BYTES >> 20).unwrap_or(u32::MAX));
    format!("{:.0} MiB/s ({:.2} s)", mebibytes / time.as_secs_f64(), time.as_secs_f64())
}
