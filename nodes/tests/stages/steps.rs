//! How steps are started, and how their ends count.

use crate::Case;
use crate::bench::{Bench, call, run, script};
use otto_core::run::outcome::Outcome;

pub const CASES: &[Case] = &[("steps::exits_count_as_the_language_says", exits)];

fn exits() {
    run(async {
        let bench = Bench::new().await;
        let check = async |text: &str, outcome: Outcome, detail: &str, log: &str| {
            let (ends, printed) = bench.through(&script(text)).await;
            assert_eq!((ends[0].outcome, ends[0].detail.as_str()), (outcome, detail), "{text}");
            assert_eq!(printed, log, "{text}");
        };
        check("echo hello", Outcome::Success, "exit code 0", "+ echo hello\nhello\n").await;
        check("exit 3", Outcome::Failed, "exit code 3", "+ exit 3\n").await;
        let _ = call;
    });
}
