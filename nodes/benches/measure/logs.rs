//! A large log through a step, against `cat` into a file through a pipe.

use crate::idle::{memory, name};
use crate::node::Node;
use crate::{median, ratio, run, timed};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const BYTES: u64 = 1 << 30;
const ROUNDS: usize = 3;

pub(crate) fn measure() -> Result<(), String> {
    let line = "a line of a log as long as lines of logs are, with some words in it";
    let script = format!("yes {line} | head -c {BYTES}");
    let node = Node::new(&format!("pipeline {{ steps {{ sh '{script}' }} }}\n"))?;
    let file = node.repository().join("out.bin");
    let (cat, _) = timed(|| run(&mut through_cat(&script, &file, "")))?;
    let (synced, _) = timed(|| run(&mut through_cat(&script, &file, " && sync out.bin")))?;
    std::fs::remove_file(&file).map_err(|error| error.to_string())?;
    run(node.otto(&["runs"]).env("OTTO_PROGRESS", "quiet"))?;
    let mut otto = Vec::new();
    for _ in 0..ROUNDS {
        otto.push(timed(|| run(&mut node.otto(&["run", "--progress", "quiet"])))?.0);
    }
    let otto = median(otto);
    println!("  the same through `cat` to a file: {}; and synced: {}", rate(cat), rate(synced));
    println!(
        "  otto run: {}, {} the time of cat, {} that of cat and sync",
        rate(otto),
        ratio(otto, cat),
        ratio(otto, synced)
    );
    for pid in node.processes() {
        println!("  process {pid} ({}): {}", name(pid), memory(pid));
    }
    Ok(())
}

fn through_cat(script: &str, file: &Path, then: &str) -> Command {
    let mut command = Command::new("sh");
    let text = format!("{{ {script}; }} | cat > out.bin{then}");
    command.args(["-c", &text]).current_dir(file.parent().unwrap_or(Path::new(".")));
    command
}

fn rate(time: Duration) -> String {
    let mebibytes = f64::from(u32::try_from(BYTES >> 20).unwrap_or(u32::MAX));
    format!("{:.0} MiB/s ({:.2} s)", mebibytes / time.as_secs_f64(), time.as_secs_f64())
}
