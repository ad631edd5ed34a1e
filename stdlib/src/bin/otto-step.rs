//! The image's steps alone, without the rest of Otto: for trying and testing them.
//!
//! Start it as `otto-step-NAME`, by a link of that name.

use std::process::ExitCode;

fn main() -> ExitCode {
    let own = std::env::args_os().next().unwrap_or_default();
    let own = std::path::Path::new(&own).file_name().unwrap_or_default().to_string_lossy();
    otto_stdlib::main(own.strip_prefix(otto_stdlib::steps::PREFIX).unwrap_or_default())
}
