//! A cluster under the eyes of the referee, and the people, tokens and keys that it meets.

use super::referee::Referee;
use crate::cluster::Cluster;
use crate::cluster::command::{Newcomer, Refusal, Started, Wish};
use crate::cluster::duty::Duty;
use crate::cluster::event::{Entry, Event};
use crate::cluster::state::{By, Holder, JoinRole, Levels, UserRole};
use crate::ids::{AgentId, BootId, ClusterId, KeyId, NodeId, TokenHash};
use crate::journal::{decode, encode};
use crate::time::{Span, Timestamp};

/// What answers wishes. The heart does; planted bugs answer in its place.
pub(super) type Decider = fn(&Cluster, &Wish, Timestamp) -> Result<Vec<Event>, Refusal>;

/// The heart itself.
pub(super) fn heart(cluster: &Cluster, wish: &Wish, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    cluster.decide(wish, now)
}

/// When every cluster is founded: late enough to have a past.
pub(super) const START: Timestamp = Timestamp(1_000_000_000);

pub(super) fn key(number: u8) -> KeyId {
    KeyId([number; 32])
}

pub(super) fn token(number: u8) -> TokenHash {
    TokenHash([number; 32])
}

pub(super) fn boot(number: u8) -> BootId {
    BootId([number; 16])
}

pub(super) fn agent(number: u8) -> AgentId {
    AgentId::of(&key(number).0)
}

pub(super) fn by(role: UserRole) -> By {
    By { name: role.word().to_owned(), role, token: None }
}

pub(super) fn admin() -> By {
    by(UserRole::Admin)
}

/// A newcomer whose build understands levels 1 to `newest`.
pub(super) fn newcomer(number: u8, newest: u32) -> Newcomer {
    Newcomer {
        name: format!("machine-{number}"),
        addresses: vec![format!("10.0.0.{number}:7301")],
        key: key(number),
        levels: Levels { oldest: 1, newest },
    }
}

pub(super) fn found() -> Wish {
    Wish::Found {
        cluster: ClusterId([7; 16]),
        shards: 8,
        authority: key(200),
        node: newcomer(1, 1),
    }
}

pub(super) fn create(number: u8, role: JoinRole, uses: u32) -> Wish {
    Wish::CreateToken { token: token(number), role, lifetime: Span::hours(1), uses, by: admin() }
}

pub(super) fn join(with: u8, role: JoinRole, who: u8) -> Wish {
    Wish::Join { token: token(with), role, newcomer: newcomer(who, 2) }
}

pub(super) fn start(node: u64, count: u64, number: u8, known: &[u8]) -> Wish {
    Wish::Start(Started {
        node: NodeId(node),
        count,
        boot: boot(number),
        known: known.iter().copied().map(boot).collect(),
        addresses: vec!["10.0.0.9:7301".to_owned()],
        levels: Levels { oldest: 1, newest: 2 },
        release: Some("0.2.0".to_owned()),
    })
}

/// The wish that says that a duty is done.
pub(super) fn done(duty: Duty) -> Wish {
    match duty {
        Duty::AddLearner { node } => Wish::BecameLearner { node },
        Duty::Promote { node } => Wish::BecameVoter { node },
        Duty::MoveLeaders { node } => Wish::Emptied { node },
        Duty::Part { node } => Wish::Parted { node },
    }
}

/// A cluster, its journal, and what the referee makes of it.
#[derive(Clone)]
pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) now: Timestamp,
    journal: Vec<Entry>,
    referee: Referee,
    decider: Decider,
}

impl World {
    pub(super) fn new(decider: Decider) -> Self {
        let (cluster, referee) = (Cluster::default(), Referee::default());
        Self { cluster, now: START, journal: Vec::new(), referee, decider }
    }

    /// A founded cluster in which these wishes were granted.
    pub(super) fn after(decider: Decider, wishes: &[Wish]) -> Result<Self, String> {
        let mut world = Self::new(decider);
        for wish in std::iter::once(&found()).chain(wishes) {
            world.wish(wish)?.map_err(|refusal| format!("{wish:?}: {refusal}"))?;
        }
        Ok(world)
    }

    /// Makes a wish; complains about whatever does not hold.
    pub(super) fn wish(&mut self, wish: &Wish) -> Result<Result<bool, Refusal>, String> {
        let answer = (self.decider)(&self.cluster, wish, self.now);
        self.referee.judge(wish, &answer, self.now)?;
        let events = match answer {
            Ok(events) => events,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if events.is_empty() {
            return Ok(Ok(false));
        }
        let entry = Entry { at: self.now, events };
        self.cluster.apply(&entry);
        self.journal.push(entry);
        self.repeats(wish)?;
        Ok(Ok(true))
    }

    /// A wish that was just granted is granted again, and leads to nothing.
    fn repeats(&self, wish: &Wish) -> Result<(), String> {
        let again = (self.decider)(&self.cluster, wish, self.now);
        match again {
            Ok(events) if events.is_empty() => Ok(()),
            other => Err(format!("M2: a repeat of {wish:?} got another answer: {other:?}")),
        }
    }

    /// What is stored leads to the same state, by replay and by the head.
    pub(super) fn reads_back(&self) -> Result<(), String> {
        let stored: Vec<Entry> = self
            .journal
            .iter()
            .map(|entry| decode("entry", &encode(entry)).map_err(|error| error.to_string()))
            .collect::<Result<_, String>>()?;
        let head = Cluster::from_head(Some(&self.cluster.to_head()));
        let head = head.map_err(|error| error.to_string())?;
        if Cluster::replay(&stored) == self.cluster && head == self.cluster {
            Ok(())
        } else {
            Err("the journal or the head tells of another cluster".to_owned())
        }
    }

    /// Doing what is owed leads to an end: all nodes vote or are gone.
    pub(super) fn comes_to_rest(&self) -> Result<(), String> {
        let mut world = self.clone();
        for _ in 0..100 {
            let owed = world.cluster.owed();
            let Some(duty) = owed.iter().find(|duty| !world.stands_for_ever(**duty)) else {
                return Ok(());
            };
            let wish = done(*duty);
            if world.wish(&wish)?.ok() != Some(true) {
                return Err(format!("{duty:?} is owed, and {wish:?} does not end it"));
            }
        }
        Err("duties never end".to_owned())
    }

    /// A drained node is kept empty for as long as it drains.
    fn stands_for_ever(&self, duty: Duty) -> bool {
        use crate::cluster::state::Wanted;
        let Duty::MoveLeaders { node } = duty else { return false };
        self.cluster.node(node).is_some_and(|member| member.wanted == Wanted::Drain)
    }

    /// The same world at another time.
    pub(super) fn at(&self, now: Timestamp) -> Self {
        Self { now, ..self.clone() }
    }

    pub(super) fn timeline(&self) -> String {
        let line = |entry: &Entry| format!("{} {:?}\n", entry.at.0, entry.events);
        self.journal.iter().map(line).collect()
    }

    /// What tells states apart.
    pub(super) fn state(&self) -> Vec<u8> {
        // The count of entries only says how one came here.
        let mut state = encode(&Cluster { version: 0, ..self.cluster.clone() });
        state.extend(encode(&self.now));
        state
    }
}

pub(super) fn holder_of(number: u8) -> Holder {
    Holder::Agent(agent(number))
}
