//! What a node costs that has nothing to do.

use crate::node::Node;
use crate::run;
use std::time::Duration;

const WATCHED: Duration = Duration::from_secs(10);

pub(crate) fn measure() -> Result<(), String> {
    let node = Node::new("pipeline { steps { sh 'echo hello' } }\n")?;
    run(&mut node.otto(&["run"]))?;
    let processes = node.processes();
    let before = processor_ticks(&processes);
    std::thread::park_timeout(WATCHED);
    let used = processor_ticks(&processes).saturating_sub(before);
    // The kernel counts in hundredths of a second.
    let percent = f64::from(u32::try_from(used).unwrap_or(u32::MAX)) / WATCHED.as_secs_f64();
    println!("  {percent:.2} % of a core over {} s (limit 0.5 %)", WATCHED.as_secs());
    let own: u64 = processes.iter().map(|pid| share_kib(*pid)).sum();
    println!("  {} MiB in all, shared pages counted once (limit 40 MiB)", own >> 10);
    for pid in processes {
        println!("  process {pid} ({}): {}", name(pid), memory(pid));
    }
    Ok(())
}

/// Resident memory, of which each page counts by how many share it.
pub(crate) fn share_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim_end().parse().unwrap_or(0)
}

/// The processor time of processes, in hundredths of a second.
pub(crate) fn processor_ticks(processes: &[u32]) -> u64 {
    let ticks = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        // Fields 14 and 15 of the whole line: user and system time.
        let field = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
        field(11).unwrap_or(0) + field(12).unwrap_or(0)
    };
    processes.iter().map(ticks).sum()
}

pub(crate) fn name(pid: u32) -> String {
    let text = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> =
        text.split(|b| *b == 0).take(3).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    words.join(" ").trim().to_owned()
}

/// Resident memory now and at its peak.
pub(crate) fn memory(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = |key: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(key));
        found.map_or("unknown", str::trim).to_owned()
    };
    format!("{} resident, peak {}", line("VmRSS:"), line("VmHWM:"))
}
