//! What must hold, one property a file: each reads a history and what is left on the disks.

mod i01_accepted_is_kept;
mod i02_submitting_is_idempotent;
mod i03_one_executor;
mod i04_stale_has_no_effect;
mod i05_epochs_grow;
mod i06_settled_stays;
mod i07_replicas_agree;
mod i08_runs_are_linear;
mod i09_order_of_the_plan;
mod i15_cancel_wins_or_loses;
mod i16_timers;
mod i17_logs_whole;
mod i18_cut_off_is_said;
mod i19_results_are_true;
mod i20_retries_keep_to_policy;
mod i23_damage_does_not_spread;
mod i24_lost_memories_do_not_vote;
mod i25_tokens_are_counted;
mod i29_nothing_is_left;
mod l1_every_run_ends;
mod l2_new_work_is_served;

use crate::ending::Ending;
use crate::history::Moment;

/// A property: its number, what it says, and how it is decided.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    /// Its number in the book.
    pub id: &'static str,
    /// What holds.
    pub holds: &'static str,
    /// Everything that contradicts it.
    pub violations: fn(&[Moment], &Ending) -> Vec<String>,
}

/// All properties.
pub const ALL: &[Invariant] = &[
    i01_accepted_is_kept::INVARIANT,
    i02_submitting_is_idempotent::INVARIANT,
    i03_one_executor::INVARIANT,
    i04_stale_has_no_effect::INVARIANT,
    i05_epochs_grow::INVARIANT,
    i06_settled_stays::INVARIANT,
    i07_replicas_agree::INVARIANT,
    i08_runs_are_linear::INVARIANT,
    i09_order_of_the_plan::INVARIANT,
    i15_cancel_wins_or_loses::INVARIANT,
    i16_timers::INVARIANT,
    i17_logs_whole::INVARIANT,
    i18_cut_off_is_said::INVARIANT,
    i19_results_are_true::INVARIANT,
    i20_retries_keep_to_policy::INVARIANT,
    i23_damage_does_not_spread::INVARIANT,
    i24_lost_memories_do_not_vote::INVARIANT,
    i25_tokens_are_counted::INVARIANT,
    i29_nothing_is_left::INVARIANT,
    l1_every_run_ends::INVARIANT,
    l2_new_work_is_served::INVARIANT,
];

/// Judges a simulation by all properties.
#[must_use]
pub fn judge(history: &[Moment], ending: &Ending) -> Vec<String> {
    let judged = ALL.iter().flat_map(|invariant| {
        let violations = (invariant.violations)(history, ending);
        violations.into_iter().map(|violation| format!("{}: {violation}", invariant.id))
    });
    judged.collect()
}
