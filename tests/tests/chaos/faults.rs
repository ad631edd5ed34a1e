//! What happens to the hosts, and when: chosen by a seed before anything begins.

use std::fmt;
use std::time::Duration;

/// Something that happens to hosts, and is undone a while later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The machine is switched off without a word, and on again.
    Power(usize),
    /// A process of this role is killed; its supervisor starts the next one.
    Kill(usize, &'static str),
    /// A process of this role stands still, and goes on.
    Freeze(usize, &'static str),
    /// What the first sends the second is lost.
    OneWay(usize, usize),
    /// The host hears nobody, and nobody hears it.
    Alone(usize),
    /// Its disk is full.
    FullDisk(usize),
}

impl Fault {
    /// Whether it needs links and disks of the test's own.
    pub(crate) fn needs_namespaces(&self) -> bool {
        match self {
            Self::OneWay(..) | Self::Alone(_) | Self::FullDisk(_) => true,
            Self::Power(_) | Self::Kill(..) | Self::Freeze(..) => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Power(host) => write!(f, "host{host} is off"),
            Self::Kill(host, role) => write!(f, "{role} of host{host} is killed"),
            Self::Freeze(host, role) => write!(f, "{role} of host{host} stands still"),
            Self::OneWay(from, to) => write!(f, "host{to} does not hear host{from}"),
            Self::Alone(host) => write!(f, "host{host} is cut off"),
            Self::FullDisk(host) => write!(f, "the disk of host{host} is full"),
        }
    }
}

/// A fault at its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    /// The pause before it.
    pub(crate) after: Duration,
    /// How long it lasts.
    pub(crate) lasts: Duration,
}

/// A sequence of numbers that a seed determines (`SplitMix64`).
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// A number below this one.
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % most as u64).expect("it is below a usize")
    }
}

/// Shorter than a lease, about as long, and longer.
const LASTING_MS: [usize; 4] = [1_500, 4_000, 9_000, 22_000];

/// The faults of a seed among so many hosts: one after the other, so that a majority is left.
pub(crate) fn plan(seed: u64, hosts: usize, faults: usize, namespaces: bool) -> Vec<Planned> {
    let mut chance = Chance(seed);
    let mut planned = Vec::new();
    while planned.len() < faults {
        let fault = choose(&mut chance, hosts);
        if fault.needs_namespaces() && !namespaces {
            continue;
        }
        let after = 500 + chance.below(3_000);
        let lasts = LASTING_MS[chance.below(LASTING_MS.len())];
        let [after, lasts] = [after, lasts].map(|ms| Duration::from_millis(ms as u64));
        planned.push(Planned { fault, after, lasts });
    }
    planned
}

fn choose(chance: &mut Chance, hosts: usize) -> Fault {
    let host = chance.below(hosts);
    let other = (host + 1 + chance.below(hosts - 1)) % hosts;
    match chance.below(10) {
        0 | 1 => Fault::Power(host),
        2 => Fault::Kill(host, "otto-control"),
        3 => Fault::Kill(host, "otto-agent"),
        4 => Fault::Kill(host, "otto-launcher"),
        5 => Fault::Freeze(host, "otto-control"),
        6 => Fault::Freeze(host, "otto-agent"),
        7 => Fault::OneWay(host, other),
        8 => Fault::Alone(host),
        _ => Fault::FullDisk(host),
    }
}
