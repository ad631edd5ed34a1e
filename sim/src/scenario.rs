//! Scenarios: setups that failed once, or are of the kind that did, each with a name.

use crate::setup::Setup;

/// A setup that must not fail any more.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What went wrong, and would go wrong again.
    pub what: &'static str,
    setup: &'static str,
}

/// All scenarios.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "order-near-the-lease-s-end",
        what: "an order to start, repeated before its lease ran out, made two attempts overlap",
        setup: include_str!("../scenarios/order-near-the-lease-s-end.json"),
    },
    Scenario {
        name: "given-up-with-a-log",
        what: "an attempt that was given up was said to have printed nothing",
        setup: include_str!("../scenarios/given-up-with-a-log.json"),
    },
    Scenario {
        name: "killed-while-recovering",
        what: "power is lost again while the store recovers from a power loss",
        setup: include_str!("../scenarios/killed-while-recovering.json"),
    },
    Scenario {
        name: "lone-voter-with-a-wrong-clock",
        what: "a lone voter whose clock was off the newcomers' could neither lead nor let them vote",
        setup: include_str!("../scenarios/lone-voter-with-a-wrong-clock.json"),
    },
    Scenario {
        name: "wiped-before-others-met-it",
        what: "a wiped node's vote counted with a candidate that had not met it before",
        setup: include_str!("../scenarios/wiped-before-others-met-it.json"),
    },
    Scenario {
        name: "each-leads-and-waits",
        what: "machines that came back as leaders of a shard each waited for one another",
        setup: include_str!("../scenarios/each-leads-and-waits.json"),
    },
    Scenario {
        name: "wiped-and-given-up-in-the-dark",
        what: "a wiped node was given up while there was no cluster, and never replaced",
        setup: include_str!("../scenarios/wiped-and-given-up-in-the-dark.json"),
    },
    Scenario {
        name: "lost-while-all-others-drain",
        what: "a lost node could not be taken away, since nobody else was to lead",
        setup: include_str!("../scenarios/lost-while-all-others-drain.json"),
    },
    Scenario {
        name: "retry-by-a-wrong-clock",
        what: "what a leader wrote down whose clock was ahead was due by that clock",
        setup: include_str!("../scenarios/retry-by-a-wrong-clock.json"),
    },
    Scenario {
        name: "taken-back-to-when-it-was-alone",
        what: "a node whose store was that of a lone voter again led until it met another",
        setup: include_str!("../scenarios/taken-back-to-when-it-was-alone.json"),
    },
];

impl Scenario {
    /// What is simulated.
    ///
    /// # Errors
    /// When its file cannot be read as a setup: that is a mistake in it.
    pub fn setup(&self) -> Result<Setup, String> {
        let setup = Setup::from_json(self.setup);
        let mut setup = setup.map_err(|error| format!("scenario {}: {error}", self.name))?;
        setup.origin = Some(format!("--scenario {}", self.name));
        Ok(setup)
    }
}

/// The scenario of this name.
///
/// # Errors
/// There is none, with the command that lists them.
pub fn named(name: &str) -> Result<Scenario, String> {
    let found = ALL.iter().copied().find(|scenario| scenario.name == name);
    found.ok_or_else(|| format!("there is no scenario '{name}'; `otto-sim scenarios` lists them"))
}

#[cfg(test)]
mod tests {
    use super::ALL;
    use crate::workload;

    #[test]
    fn scenarios_can_be_read_and_submit_plans_that_there_are() {
        for scenario in ALL {
            let setup = scenario.setup().unwrap();
            assert!(!setup.submissions.is_empty(), "{}", scenario.name);
            workload::plans(&setup).unwrap();
        }
    }
}
