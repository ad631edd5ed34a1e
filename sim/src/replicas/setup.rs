//! What one simulation of replicas is made of: a seed chooses sizes, faults and load.

use crate::setup::Dice;

/// A fault at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planned {
    /// Simulated milliseconds since the start.
    pub at_ms: u64,
    /// What happens then.
    pub fault: Fault,
}

/// What the simulation does. Nodes are chosen when it happens, of those that are up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A process is killed; its machine stays.
    Kill,
    /// A machine loses power: what was not synced may be lost or torn.
    CutPower,
    /// All machines lose power at once.
    CutAllPower,
    /// A process is killed whenever it has done so many disk operations after its start, several
    /// times.
    CrashWhileOpening {
        /// Writes, length changes and syncs.
        after: u64,
    },
    /// A node is cut off from all others for so long.
    Isolate {
        /// Milliseconds.
        for_ms: u64,
    },
    /// What one node sends to another is lost for so long, the other way round it is not.
    CutOneWay {
        /// Milliseconds.
        for_ms: u64,
    },
    /// What two nodes send each other is held up for so long.
    Hold {
        /// Milliseconds.
        for_ms: u64,
    },
    /// A disk takes this much longer for each commit.
    SlowDisk {
        /// Milliseconds per commit.
        by_ms: u64,
        /// Milliseconds.
        for_ms: u64,
    },
    /// A disk fails after so many operations.
    FailDisk {
        /// Writes, length changes and syncs.
        after: u64,
    },
    /// A disk is lost; the node comes back under its old number with an empty one.
    Wipe,
    /// A disk is taken back to the copy that was made last.
    RollBack,
    /// A copy of every disk is made.
    Copy,
    /// Another node takes a member's place.
    Replace,
    /// A shard is to be led by another node.
    Move,
}

/// Everything that decides a simulation of replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// The seed.
    pub seed: u64,
    /// How many nodes the cluster grows to.
    pub members: u64,
    /// How many shards there are, beside *meta*.
    pub shards: u16,
    /// How many writers there are.
    pub writers: u64,
    /// The longest pause of a writer in milliseconds.
    pub pause_ms: u64,
    /// From how many bytes on logs are trimmed.
    pub trim_bytes: u64,
    /// The longest time that a packet takes in milliseconds.
    pub latency_ms: u64,
    /// What goes wrong.
    pub faults: Vec<Planned>,
}

/// How many nodes there are at most, spares included.
pub const NODES: u64 = 8;
/// When faults may begin, in simulated milliseconds: by then the cluster has mostly grown.
const FAULTS_FROM_MS: u64 = 4_000;
/// Until when faults happen.
pub const FAULTS_UNTIL_MS: u64 = 30_000;

const KINDS: u64 = 14;

impl Setup {
    /// The setup that a seed chooses.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x7265_706c_6963_6173);
        let members = [1, 3, 3, 3, 3, 5, 5, 2][usize::try_from(dice.between(0, 7)).unwrap_or(0)];
        // Swarm: each seed leaves most kinds of faults out, so that the others can act at length.
        let kinds: Vec<u64> = (0..KINDS).filter(|_| dice.chance(35)).collect();
        let count = if kinds.is_empty() { 0 } else { dice.between(1, 12) };
        let mut faults: Vec<Planned> = (0..count)
            .map(|_| {
                let kind = kinds[usize::try_from(dice.roll()).unwrap_or(0) % kinds.len()];
                let at_ms = dice.between(FAULTS_FROM_MS, FAULTS_UNTIL_MS);
                Planned { at_ms, fault: fault(kind, &mut dice) }
            })
            .collect();
        if faults.iter().any(|planned| planned.fault == Fault::RollBack) {
            let at_ms = dice.between(FAULTS_FROM_MS / 2, FAULTS_UNTIL_MS / 2);
            faults.push(Planned { at_ms, fault: Fault::Copy });
        }
        faults.sort_by_key(|planned| planned.at_ms);
        let writers = dice.between(1, 5);
        Self {
            seed,
            members,
            shards: u16::try_from(dice.between(1, 3)).unwrap_or(1),
            writers,
            // So that a seed has a thousand proposals or two: each costs all disks a sync.
            pause_ms: dice.between(20 * writers, 200),
            trim_bytes: [1, 2_000, 20_000, 1 << 20]
                [usize::try_from(dice.between(0, 3)).unwrap_or(0)],
            latency_ms: dice.between(2, 40),
            faults,
        }
    }
}

fn fault(kind: u64, dice: &mut Dice) -> Fault {
    match kind {
        0 => Fault::Kill,
        1 => Fault::CutPower,
        2 => Fault::CutAllPower,
        3 => Fault::CrashWhileOpening { after: dice.between(1, 120) },
        4 => Fault::Isolate { for_ms: dice.between(200, 9_000) },
        5 => Fault::CutOneWay { for_ms: dice.between(200, 9_000) },
        6 => Fault::Hold { for_ms: dice.between(100, 6_000) },
        7 => Fault::SlowDisk { by_ms: dice.between(5, 400), for_ms: dice.between(500, 6_000) },
        8 => Fault::FailDisk { after: dice.between(1, 80) },
        9 => Fault::Wipe,
        10 => Fault::RollBack,
        11 => Fault::Copy,
        12 => Fault::Replace,
        _ => Fault::Move,
    }
}
