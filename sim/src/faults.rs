//! What can go wrong, and how a seed chooses it.

use crate::setup::Dice;
use serde::{Deserialize, Serialize};

/// A fault at a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedFault {
    /// Simulated milliseconds since the start.
    pub at_ms: u64,
    /// What happens then.
    pub fault: FaultKind,
}

/// What the simulation does to a host. Control and agent processes are named by their numbers,
/// from zero on; spans of time are in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what they are")]
pub enum FaultKind {
    /// A control process is killed, its machine stays: what was written stays readable.
    KillControl { control: u8 },
    /// A control machine loses power: what was not synced may be lost or torn.
    CutPower { control: u8 },
    /// A control machine loses power, and again when its process has done so many writes, length
    /// changes and syncs while it recovers.
    CrashWhileOpening { control: u8, after: u64 },
    /// A control process is killed, or its machine loses power, while it awards a stage next.
    KillAtAward { control: u8 },
    /// All control machines lose power at once.
    CutAllPower,
    /// An agent process is killed; its launcher ends its processes.
    KillAgent { agent: u8 },
    /// A control process is stopped for this long, and goes on as if nothing had been.
    StopControl { control: u8, for_ms: u64 },
    /// An agent process is stopped for this long. Its launcher is not.
    StopAgent { agent: u8, for_ms: u64 },
    /// The link between an agent and a control process is held for this long.
    HoldAgentLink { agent: u8, control: u8, for_ms: u64 },
    /// Nothing arrives from an agent at a control process, or the other way, for this long.
    CutAgentOneWay { agent: u8, control: u8, from_agent: bool, for_ms: u64 },
    /// The link between clients and a control process is cut for this long.
    CutClientLink { control: u8, for_ms: u64 },
    /// What a control process answers to clients is lost for this long: it was done.
    LoseAnswers { control: u8, for_ms: u64 },
    /// Two control processes cannot reach each other for this long.
    CutControls { control: u8, other: u8, for_ms: u64 },
    /// Nothing arrives from one control process at another for this long.
    CutOneWay { control: u8, other: u8, for_ms: u64 },
    /// A control process cannot reach any other for this long.
    Isolate { control: u8, for_ms: u64 },
    /// What two control processes send each other takes up to so much longer, for this long.
    SlowLink { control: u8, other: u8, by_ms: u64, for_ms: u64 },
    /// Of what two control processes send each other so much is lost, for this long.
    LosePackets { control: u8, other: u8, percent: u8, for_ms: u64 },
    /// The next frame that a control process sends is cut in the middle.
    CutFrame { control: u8 },
    /// A control disk fails at the operation that is so many away: an I/O error, then a restart.
    FailDisk { control: u8, after: u64 },
    /// A control disk is full for this long.
    FillDisk { control: u8, for_ms: u64 },
    /// Each commit to a control disk takes so much longer, for this long.
    SlowDisk { control: u8, by_ms: u64, for_ms: u64 },
    /// A sector of a control disk is damaged while the machine is without power, counted in
    /// thousandths of the file: of the state, or of the log.
    DamageSector { control: u8, of_state: bool, at_permille: u16 },
    /// A copy of a control disk is made.
    CopyDisk { control: u8 },
    /// A control disk is taken back to that copy, and the process starts under its old identity.
    TakeBackDisk { control: u8 },
    /// A control disk is lost; the process starts under its old identity.
    WipeDisk { control: u8 },
    /// A control machine is lost with all that was on it; an empty one takes its place and joins.
    LoseMachine { control: u8 },
    /// An actor of a control process panics, at the so-manieth message from now.
    PanicControl { control: u8, at: u64 },
    /// An actor of an agent process panics, at the so-manieth message from now.
    PanicAgent { agent: u8, at: u64 },
    /// The wall clock of a control machine is set ahead or back; its process is started again after
    /// a while, or sees it at its next start.
    JumpClock { control: u8, by_ms: i64, restart: bool },
    /// The clock of a control machine runs faster or slower by so many millionths, for this long.
    DriftClock { control: u8, ppm: i64, for_ms: u64 },
    /// The wall clock of a control machine jumps to and fro, for this long.
    StrobeClock { control: u8, by_ms: i64, for_ms: u64 },
    /// The next spare machine joins as a control node.
    Join,
    /// A control node is to lead nothing.
    Drain { control: u8 },
    /// It may lead again.
    Resume { control: u8 },
    /// A control node is taken away for good.
    Remove { control: u8 },
}

/// How many hosts a simulation has.
#[derive(Clone, Copy, Debug)]
pub struct Hosts {
    /// Control processes.
    pub controls: u8,
    /// Agent processes.
    pub agents: u8,
}

/// Every kind of fault that a lone control process can have.
const ALONE: u64 = 20;
/// Every kind of fault of a cluster.
const KINDS: u64 = 36;

impl FaultKind {
    /// The highest agent that it is about.
    #[must_use]
    pub fn agent(self) -> Option<u8> {
        match self {
            Self::KillAgent { agent }
            | Self::StopAgent { agent, .. }
            | Self::HoldAgentLink { agent, .. }
            | Self::CutAgentOneWay { agent, .. }
            | Self::PanicAgent { agent, .. } => Some(agent),
            _of_control_processes => None,
        }
    }

    /// Whether it needs a machine that has not joined yet.
    #[must_use]
    pub fn needs_spare(self) -> bool {
        self == Self::Join
    }
}

/// The kinds of faults that a seed injects. Swarm: each seed leaves most of them out, so that the
/// others can act at length.
pub fn kinds(hosts: Hosts, dice: &mut Dice) -> Vec<u64> {
    let all = if hosts.controls > 1 { KINDS } else { ALONE };
    (0..all).filter(|_| dice.chance(25)).collect()
}

/// A fault of a kind.
pub fn fault(kind: u64, hosts: Hosts, dice: &mut Dice) -> FaultKind {
    let (control, agent) = (dice.pick(hosts.controls), dice.pick(hosts.agents));
    // Fewer clocks are wrong than right: else nobody could tell which are.
    let wrong = control % (hosts.controls.saturating_sub(1) / 2).max(1);
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
        9 => FaultKind::CrashWhileOpening { control, after: dice.between(1, 120) },
        10 => FaultKind::StopControl { control, for_ms: dice.between(200, 22_000) },
        11 => FaultKind::StopAgent { agent, for_ms: dice.between(200, 24_000) },
        12 => FaultKind::CutAgentOneWay {
            agent,
            control,
            from_agent: dice.chance(50),
            for_ms: dice.between(100, 20_000),
        },
        13 => FaultKind::LoseAnswers { control, for_ms: dice.between(100, 8_000) },
        14 => FaultKind::CutFrame { control },
        15 => FaultKind::SlowDisk {
            control,
            by_ms: dice.between(5, 400),
            for_ms: dice.between(500, 8_000),
        },
        16 => {
            FaultKind::JumpClock { control: wrong, by_ms: offset(dice), restart: dice.chance(70) }
        }
        17 => drift(wrong, dice),
        18 => FaultKind::StrobeClock {
            control: wrong,
            by_ms: offset(dice),
            for_ms: dice.between(500, 8_000),
        },
        19 => FaultKind::KillAtAward { control },
        _ => of_cluster(kind, control, hosts, dice),
    }
}

fn of_cluster(kind: u64, control: u8, hosts: Hosts, dice: &mut Dice) -> FaultKind {
    let other = (control + 1 + dice.pick(hosts.controls.max(2) - 1)) % hosts.controls.max(1);
    let for_ms = dice.between(500, 9_000);
    match kind {
        20 => FaultKind::CutControls { control, other, for_ms },
        21 => FaultKind::CutOneWay { control, other, for_ms },
        22 => FaultKind::Isolate { control, for_ms: dice.between(500, 20_000) },
        23 => FaultKind::SlowLink { control, other, by_ms: dice.between(10, 600), for_ms },
        24 => {
            let percent = dice.pick(30) + 1;
            FaultKind::LosePackets { control, other, percent, for_ms }
        }
        25 => FaultKind::CutAllPower,
        26 => FaultKind::DamageSector {
            control,
            of_state: dice.chance(50),
            at_permille: u16::try_from(dice.between(0, 999)).unwrap_or(0),
        },
        27 => FaultKind::CopyDisk { control },
        28 => FaultKind::TakeBackDisk { control },
        29 => FaultKind::WipeDisk { control },
        30 => FaultKind::LoseMachine { control },
        31 | 32 => FaultKind::Join,
        33 => FaultKind::Drain { control },
        34 => FaultKind::Resume { control },
        _ => FaultKind::Remove { control },
    }
}

/// How far a clock jumps: mostly by seconds, sometimes by hours.
fn offset(dice: &mut Dice) -> i64 {
    let most = if dice.chance(70) { 6_000 } else { 7_200_000 };
    let by = i64::try_from(dice.between(50, most)).unwrap_or(0);
    if dice.chance(50) { -by } else { by }
}

fn drift(control: u8, dice: &mut Dice) -> FaultKind {
    let ppm = i64::try_from(dice.between(200, 60_000)).unwrap_or(0);
    let ppm = if dice.chance(50) { -ppm } else { ppm };
    FaultKind::DriftClock { control, ppm, for_ms: dice.between(2_000, 30_000) }
}
