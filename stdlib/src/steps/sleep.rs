//! `sleep`: does nothing for a while.

use super::failed;
use crate::sdk::{Exit, Step, StepError};
use otto_core::time::Span;
use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};

pub(super) fn run(step: &Step) -> Result<Exit, StepError> {
    let span = Span::parse(step.text("time")?).map_err(|why| failed("sleep", why))?;
    let mut rest = Timespec {
        tv_sec: i64::try_from(span.0 / 1000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(span.0 % 1000 * 1_000_000).unwrap_or_default(),
    };
    loop {
        match nanosleep(&rest) {
            NanosleepRelativeResult::Ok => return Ok(Exit::Success),
            NanosleepRelativeResult::Interrupted(left) => rest = left,
            NanosleepRelativeResult::Err(error) => return Err(failed("sleep", error)),
        }
    }
}
