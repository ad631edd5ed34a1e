//! What one simulation is made of: a seed chooses faults and workload, a scenario fixes them.

use crate::faults::{self, FaultKind, Hosts, PlannedFault};
use serde::{Deserialize, Serialize};

/// A small generator for choosing a setup (`SplitMix64`), apart from the one that libraries draw
/// from.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A generator from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0xA076_1D64_78BD_642F)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high.saturating_sub(low) + 1)
    }

    /// A number below `count`, which is at least one.
    pub fn pick(&mut self, count: u8) -> u8 {
        u8::try_from(self.roll() % u64::from(count.max(1))).unwrap_or(0)
    }

    /// True in so many of a hundred rolls.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}

/// A wish of a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedSubmission {
    /// Simulated milliseconds since the start.
    pub at_ms: u64,
    /// Its idempotency key.
    pub key: String,
    /// The plan's name in [`crate::workload`].
    pub plan: String,
    /// Submits the same key from two clients at once.
    pub doubled: bool,
    /// Cancels the run so many milliseconds after it was accepted.
    pub cancel_after_ms: Option<u64>,
}

/// How large a simulation is where that is what it is about; seeds leave it as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Scale {
    /// How many shards there are beside the cluster's own.
    pub shards: u16,
    /// How many agents share a host. turmoil looks at every link for every host in every tick, so
    /// that hosts, not agents, are what its time grows with.
    pub crowd: u8,
    /// How many runs are there, and over, before the others are submitted.
    pub stored: u32,
}

impl Default for Scale {
    fn default() -> Self {
        Self { shards: 2, crowd: 1, stored: 0 }
    }
}

/// Everything that decides a simulation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The seed of time's and network's randomness.
    pub seed: u64,
    /// How many control processes there are from the beginning.
    pub controls: u8,
    /// Whether that was asked for, and not chosen by the seed.
    #[serde(skip)]
    pub asked_controls: bool,
    /// How many machines more there are that may join as control nodes.
    #[serde(default)]
    pub spares: u8,
    /// How many agent processes there are.
    pub agents: u8,
    /// What seeds leave alone.
    #[serde(default)]
    pub scale: Scale,
    /// What clients do.
    pub submissions: Vec<PlannedSubmission>,
    /// What goes wrong.
    pub faults: Vec<PlannedFault>,
    /// Only this pipeline is submitted, and nothing goes wrong but what is asked for.
    pub pipeline: Option<String>,
    /// Crash the control disk at this operation, for trying every single one.
    pub crash_at: Option<u64>,
    /// A bug that is planted, by name.
    pub planted: Option<String>,
    /// How to name it on the command line, where it does not come from its seed.
    #[serde(skip)]
    pub origin: Option<String>,
}

/// Until when faults happen, in simulated milliseconds; then they stop, and everything must end.
pub const SAFETY_PHASE_MS: u64 = 32_000;

impl Setup {
    /// The setup that a seed chooses from these plans; for so many control processes, where that is
    /// said.
    #[must_use]
    pub fn from_seed(seed: u64, plans: &[&str], controls: Option<u8>) -> Self {
        let mut dice = Dice::new(seed);
        let chosen = [1, 1, 1, 1, 3, 3, 3, 5][usize::from(dice.pick(8))];
        let asked_controls = controls.is_some();
        let controls = controls.unwrap_or(chosen);
        let hosts = Hosts { controls, agents: dice.pick(4) + 1 };
        let submissions =
            (0..dice.between(1, 6)).map(|n| submission(n, plans, &mut dice)).collect();
        let kinds = faults::kinds(hosts, &mut dice);
        let count = if kinds.is_empty() { 0 } else { dice.between(0, 8) };
        let mut faults: Vec<PlannedFault> = (0..count)
            .map(|_| {
                let kind = kinds[usize::try_from(dice.roll()).unwrap_or(0) % kinds.len()];
                let at_ms = dice.between(200, SAFETY_PHASE_MS - 8_000);
                PlannedFault { at_ms, fault: faults::fault(kind, hosts, &mut dice) }
            })
            .collect();
        // A disk can only be taken back to a copy.
        let taken = faults.iter().find_map(|planned| match planned.fault {
            FaultKind::TakeBackDisk { control } => Some((planned.at_ms, control)),
            _other => None,
        });
        if let Some((until_ms, control)) = taken {
            let at_ms = dice.between(200, until_ms.max(201));
            faults.push(PlannedFault { at_ms, fault: FaultKind::CopyDisk { control } });
        }
        // Now and then a cluster grows from one node, with runs going on.
        let grows = controls == 1 && !faults.is_empty() && dice.chance(20);
        for _ in 0..if grows { 2 } else { 0 } {
            let at_ms = dice.between(1_000, SAFETY_PHASE_MS / 2);
            faults.push(PlannedFault { at_ms, fault: FaultKind::Join });
        }
        faults.sort_by_key(|fault| fault.at_ms);
        let joins = faults.iter().filter(|planned| planned.fault.needs_spare()).count();
        Self {
            seed,
            controls,
            asked_controls,
            spares: u8::try_from(joins.min(2)).unwrap_or(0),
            agents: hosts.agents,
            scale: Scale::default(),
            submissions,
            faults,
            pipeline: None,
            crash_at: None,
            planted: None,
            origin: None,
        }
    }

    /// Whether its control processes are, or become, a cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.controls + self.spares > 1
    }

    /// The setup as text, which [`Setup::from_json`] reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Reads a setup.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let setup: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if setup.controls == 0 || setup.agents == 0 {
            return Err("there must be a control process and an agent".to_owned());
        }
        let agents = setup.faults.iter().filter_map(|planned| planned.fault.agent());
        if agents.max().is_some_and(|agent| agent >= setup.agents) {
            return Err("a fault is for an agent that there is not".to_owned());
        }
        if setup.scale.crowd != 1 && !setup.faults.is_empty() {
            return Err("where agents share hosts there can be no faults".to_owned());
        }
        Ok(setup)
    }

    /// The setup that submits one pipeline once, and injects nothing.
    #[must_use]
    pub fn only(seed: u64, plan: &str) -> Self {
        let submission = PlannedSubmission {
            at_ms: 300,
            key: "key-0".to_owned(),
            plan: plan.to_owned(),
            doubled: false,
            cancel_after_ms: None,
        };
        Self {
            seed,
            controls: 1,
            asked_controls: false,
            spares: 0,
            agents: 1,
            scale: Scale::default(),
            submissions: vec![submission],
            faults: Vec::new(),
            pipeline: Some(plan.to_owned()),
            crash_at: None,
            planted: None,
            origin: None,
        }
    }
}

fn submission(number: u64, plans: &[&str], dice: &mut Dice) -> PlannedSubmission {
    let plan = usize::try_from(dice.roll()).unwrap_or(0) % plans.len().max(1);
    PlannedSubmission {
        at_ms: dice.between(100, 15_000),
        key: format!("key-{number}"),
        plan: plans.get(plan).map_or_else(String::new, |plan| (*plan).to_owned()),
        doubled: dice.chance(25),
        cancel_after_ms: dice.chance(25).then(|| dice.between(0, 6_000)),
    }
}
