//! What Otto costs, side by side with its peers and limits, in one run: `cargo bench --bench
//! measure`.
//!
//! Every line is a ratio between two things that ran in the same minutes on the same machine; the
//! load stands beside it, since a busy machine distorts above all what is durable. Nothing here
//! asserts. Peers that the machine lacks are named as missing.
//!
//! Parts can be chosen: `cargo bench --bench measure -- steps hello`.

mod cluster;
mod growth;
mod hello;
mod idle;
mod logs;
mod node;
mod parallel;
mod restart;
mod steps;
mod submissions;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A part of the measurement.
struct Part {
    name: &'static str,
    measure: fn() -> Result<(), String>,
}

const PARTS: &[Part] = &[
    Part { name: "steps", measure: steps::measure },
    Part { name: "parallel", measure: parallel::measure },
    Part { name: "hello", measure: hello::measure },
    Part { name: "submissions", measure: submissions::measure },
    Part { name: "restart", measure: restart::measure },
    Part { name: "logs", measure: logs::measure },
    Part { name: "idle", measure: idle::measure },
    Part { name: "cluster", measure: cluster::measure },
    Part { name: "growth", measure: growth::measure },
];

fn main() {
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |part: &&Part| chosen.is_empty() || chosen.iter().any(|name| name == part.name);
    for part in PARTS.iter().filter(wanted) {
        println!("\n{} (load {})", part.name, load());
        if let Err(error) = (part.measure)() {
            println!("  failed to measure: {error}");
        }
    }
}

/// The program under measurement.
fn otto() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_otto"))
}

/// The machine's load over the last minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// How long something takes.
fn timed<T>(work: impl FnOnce() -> Result<T, String>) -> Result<(Duration, T), String> {
    #[expect(clippy::disallowed_methods, reason = "measuring is what this is for")]
    let start = Instant::now();
    let done = work()?;
    Ok((start.elapsed(), done))
}

/// The middle of several times.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Milliseconds with two places.
fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// `a` as a multiple of `b`.
fn ratio(a: Duration, b: Duration) -> String {
    format!("{:.2} ×", a.as_secs_f64() / b.as_secs_f64().max(1e-9))
}

/// Runs a program to its end and fails unless it succeeds.
fn run(command: &mut std::process::Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Whether the machine has a program.
fn has(program: &str) -> bool {
    std::process::Command::new(program).arg("--version").output().is_ok()
}

/// Says that the machine lacks a program, and how to get it.
fn lacks(program: &str) {
    let how = match program {
        "just" => "`cargo install just`",
        _ => "the system's packages have it",
    };
    println!("  {program}: not on this machine ({how})");
}
