//! What ails the links between hosts, several things at a time.
//!
//! turmoil has one state for each direction of a link; faults overlap. So each link counts what
//! ails it, and turmoil is told what follows. A link that is both held and cut is cut both ways,
//! since turmoil cannot hold one direction.

use std::collections::BTreeMap;
use turmoil::Sim;

/// The links of a simulation.
#[derive(Debug, Default)]
pub struct Links(BTreeMap<(String, String), Ails>);

/// What ails a link between two hosts, of which the first sorts first.
#[derive(Clone, Copy, Debug, Default)]
struct Ails {
    held: u32,
    /// Nothing arrives from the first at the second.
    cut_there: u32,
    /// Nothing arrives from the second at the first.
    cut_back: u32,
}

/// What turmoil is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Clear,
    Held,
    Cut { there: bool, back: bool },
}

impl Ails {
    fn state(self) -> State {
        let (there, back) = (self.cut_there > 0, self.cut_back > 0);
        match (self.held > 0, there || back) {
            (false, false) => State::Clear,
            (true, false) => State::Held,
            (true, true) => State::Cut { there: true, back: true },
            (false, true) => State::Cut { there, back },
        }
    }
}

impl Links {
    /// Holds up what two hosts send each other.
    pub fn hold(&mut self, sim: &Sim<'_>, a: &str, b: &str) {
        self.change(sim, a, b, |ails, _| ails.held += 1);
    }

    /// Lets it go.
    pub fn release(&mut self, sim: &Sim<'_>, a: &str, b: &str) {
        self.change(sim, a, b, |ails, _| ails.held = ails.held.saturating_sub(1));
    }

    /// Loses what one host sends to another.
    pub fn cut(&mut self, sim: &Sim<'_>, from: &str, to: &str) {
        self.change(sim, from, to, |ails, there| {
            let count = if there { &mut ails.cut_there } else { &mut ails.cut_back };
            *count += 1;
        });
    }

    /// Loses it no longer.
    pub fn mend(&mut self, sim: &Sim<'_>, from: &str, to: &str) {
        self.change(sim, from, to, |ails, there| {
            let count = if there { &mut ails.cut_there } else { &mut ails.cut_back };
            *count = count.saturating_sub(1);
        });
    }

    /// Whether nothing ails any link of a host.
    #[must_use]
    pub fn are_clear(&self, host: &str) -> bool {
        let of_host = self.0.iter().filter(|((a, b), _)| a == host || b == host);
        of_host.into_iter().all(|(_, ails)| ails.state() == State::Clear)
    }

    /// Changes what ails a link, and tells turmoil what follows. `change` is told whether the first
    /// host that was named is the one that sorts first.
    fn change(&mut self, sim: &Sim<'_>, a: &str, b: &str, change: impl FnOnce(&mut Ails, bool)) {
        let there = a < b;
        let (first, second) = if there { (a, b) } else { (b, a) };
        let ails = self.0.entry((first.to_owned(), second.to_owned())).or_default();
        let before = ails.state();
        change(ails, there);
        let after = ails.state();
        if before != after {
            tell(sim, first, second, before, after);
        }
    }
}

fn tell(sim: &Sim<'_>, first: &str, second: &str, before: State, after: State) {
    match (before, after) {
        (State::Held, State::Clear) => sim.release(first, second),
        (State::Clear, State::Held) => sim.hold(first, second),
        (State::Cut { .. }, State::Held) => {
            sim.repair(first, second);
            sim.hold(first, second);
        }
        (_, State::Cut { there: true, back: true }) => sim.partition(first, second),
        (_, State::Cut { there, back: _ }) => {
            sim.repair(first, second);
            if there {
                sim.partition_oneway(first, second);
            } else {
                sim.partition_oneway(second, first);
            }
        }
        (State::Cut { .. } | State::Clear, State::Clear) => sim.repair(first, second),
        (State::Held, State::Held) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{Ails, State};

    #[test]
    fn what_is_held_and_cut_is_cut_both_ways() {
        let cut = |there, back| State::Cut { there, back };
        for (held, cut_there, cut_back, state) in [
            (0, 0, 0, State::Clear),
            (2, 0, 0, State::Held),
            (0, 1, 0, cut(true, false)),
            (0, 0, 2, cut(false, true)),
            (0, 1, 1, cut(true, true)),
            (1, 1, 0, cut(true, true)),
        ] {
            assert_eq!(Ails { held, cut_there, cut_back }.state(), state);
        }
    }
}
