//! What one simulation is made of: a seed chooses faults and workload, a scenario fixes them.

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

/// A fault at a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedFault {
    /// Simulated milliseconds since the start.
    pub at_ms: u64,
    /// What happens then.
    pub fault: FaultKind,
}

/// What the simulation does to a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A control process is killed, its machine stays: what was written stays readable.
    KillControl {
        /// Which.
        control: u8,
    },
    /// A control machine loses power: what was not synced may be lost or torn.
    CutPower {
        /// Which.
        control: u8,
    },
    /// An agent process is killed; its launcher ends its processes.
    KillAgent {
        /// Which.
        agent: u8,
    },
    /// The link between an agent and a control process is held for this long.
    HoldAgentLink {
        /// Which agent.
        agent: u8,
        /// Which control process.
        control: u8,
        /// Milliseconds.
        for_ms: u64,
    },
    /// The link between clients and a control process is cut for this long.
    CutClientLink {
        /// Which control process.
        control: u8,
        /// Milliseconds.
        for_ms: u64,
    },
    /// Two control processes cannot reach each other for this long.
    CutControls {
        /// One of them.
        control: u8,
        /// The other.
        other: u8,
        /// Milliseconds.
        for_ms: u64,
    },
    /// A control disk fails at the operation that is so many away: an I/O error, then a restart.
    FailDisk {
        /// Which.
        control: u8,
        /// Writes, length changes and syncs from now.
        after: u64,
    },
    /// An actor of a control process panics.
    PanicControl {
        /// Which.
        control: u8,
        /// At the so-manieth message from now.
        at: u64,
    },
    /// An actor of an agent process panics.
    PanicAgent {
        /// Which.
        agent: u8,
        /// At the so-manieth message from now.
        at: u64,
    },
    /// A control disk is full for this long.
    FillDisk {
        /// Which.
        control: u8,
        /// Milliseconds.
        for_ms: u64,
    },
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

/// Everything that decides a simulation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The seed of time's and network's randomness.
    pub seed: u64,
    /// How many control processes there are.
    pub controls: u8,
    /// How many agent processes there are.
    pub agents: u8,
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

impl FaultKind {
    /// How many agents there must be for it.
    #[must_use]
    pub fn agents(self) -> u8 {
        match self {
            Self::KillAgent { agent }
            | Self::HoldAgentLink { agent, .. }
            | Self::PanicAgent { agent, .. } => agent + 1,
            Self::KillControl { .. }
            | Self::CutPower { .. }
            | Self::CutClientLink { .. }
            | Self::CutControls { .. }
            | Self::FailDisk { .. }
            | Self::PanicControl { .. }
            | Self::FillDisk { .. } => 1,
        }
    }
}

/// Until when faults happen, in simulated milliseconds; then they stop, and everything must end.
pub const SAFETY_PHASE_MS: u64 = 40_000;

impl Setup {
    /// The setup that a seed chooses from these plans, for so many control processes.
    #[must_use]
    pub fn from_seed(seed: u64, plans: &[&str], controls: u8) -> Self {
        let mut dice = Dice::new(seed);
        let hosts = Hosts { controls, agents: dice.pick(3) + 1 };
        let submissions =
            (0..dice.between(1, 6)).map(|n| submission(n, plans, &mut dice)).collect();
        // Swarm: each seed leaves most kinds of faults out, so that the others can act at length.
        let all = if controls > 1 { 10 } else { 9 };
        let kinds: Vec<u64> = (0..all).filter(|_| dice.chance(40)).collect();
        let count = if kinds.is_empty() { 0 } else { dice.between(0, 7) };
        let mut faults: Vec<PlannedFault> = (0..count)
            .map(|_| {
                let kind = kinds[usize::try_from(dice.roll()).unwrap_or(0) % kinds.len()];
                let at_ms = dice.between(200, SAFETY_PHASE_MS - 8_000);
                PlannedFault { at_ms, fault: fault(kind, hosts, &mut dice) }
            })
            .collect();
        faults.sort_by_key(|fault| fault.at_ms);
        let Hosts { controls, agents } = hosts;
        Self {
            seed,
            controls,
            agents,
            submissions,
            faults,
            pipeline: None,
            crash_at: None,
            planted: None,
            origin: None,
        }
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
        if setup.faults.iter().any(|planned| planned.fault.agents() > setup.agents) {
            return Err("a fault is for an agent that there is not".to_owned());
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
            agents: 1,
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

/// How many hosts a setup has.
#[derive(Clone, Copy)]
struct Hosts {
    controls: u8,
    agents: u8,
}

fn fault(kind: u64, hosts: Hosts, dice: &mut Dice) -> FaultKind {
    let (control, agent) = (dice.pick(hosts.controls), dice.pick(hosts.agents));
    match kind {
        0 => FaultKind::KillControl { control },
        1 => FaultKind::CutPower { control },
        2 => FaultKind::KillAgent { agent },
        // Mostly shorter than a lease, sometimes longer.
        3 => FaultKind::HoldAgentLink { agent, control, for_ms: dice.between(100, 25_000) },
        4 => FaultKind::CutClientLink { control, for_ms: dice.between(100, 8_000) },
        5 => FaultKind::FailDisk { control, after: dice.between(1, 60) },
        6 => FaultKind::PanicControl { control, at: dice.between(1, 200) },
        7 => FaultKind::PanicAgent { agent, at: dice.between(1, 60) },
        8 => FaultKind::FillDisk { control, for_ms: dice.between(500, 6_000) },
        _ => {
            let other = (control + 1) % hosts.controls.max(1);
            FaultKind::CutControls { control, other, for_ms: dice.between(500, 9_000) }
        }
    }
}
