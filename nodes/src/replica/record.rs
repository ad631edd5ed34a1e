//! What replication writes to disk, in our own words: openraft's types stay out of the files, so
//! that it can be replaced.

use super::types::{Batch, Entry, LogId, Membership, Payload, Vote};
use openraft::{BasicNode, CommittedLeaderId, Membership as RaftMembers};
use otto_core::journal::{Proposal, Unreadable, decode, encode};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A place in a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    term: u64,
    leader: u64,
    index: u64,
}

impl From<LogId> for Place {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
    }
}

impl From<Place> for LogId {
    fn from(place: Place) -> Self {
        Self::new(CommittedLeaderId::new(place.term, place.leader), place.index)
    }
}

/// Who belongs to a group. There are two sets of voters while one replaces the other.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Members {
    voters: Vec<BTreeSet<u64>>,
    addresses: BTreeMap<u64, String>,
}

impl From<&RaftMembers<u64, BasicNode>> for Members {
    fn from(members: &RaftMembers<u64, BasicNode>) -> Self {
        let addresses = members.nodes().map(|(id, node)| (*id, node.addr.clone())).collect();
        Self { voters: members.get_joint_config().clone(), addresses }
    }
}

impl From<Members> for RaftMembers<u64, BasicNode> {
    fn from(members: Members) -> Self {
        let addresses = members.addresses.into_iter();
        let nodes: BTreeMap<u64, BasicNode> =
            addresses.map(|(id, address)| (id, BasicNode::new(address))).collect();
        Self::new(members.voters, nodes)
    }
}

/// What an entry of the log holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Nothing,
    Proposals(Arc<Vec<Proposal>>),
    Members(Members),
}

/// An entry of the log.
#[derive(Debug, Serialize, Deserialize)]
struct StoredEntry {
    place: Place,
    content: Content,
}

/// The bytes of an entry.
pub(super) fn entry_bytes(entry: &Entry) -> Vec<u8> {
    let content = match &entry.payload {
        Payload::Blank => Content::Nothing,
        Payload::Normal(Batch(proposals)) => Content::Proposals(Arc::clone(proposals)),
        Payload::Membership(members) => Content::Members(members.into()),
    };
    encode(&StoredEntry { place: entry.log_id.into(), content })
}

/// Reads [`entry_bytes`] back.
pub(super) fn read_entry(bytes: &[u8]) -> Result<Entry, Unreadable> {
    let StoredEntry { place, content } = decode("entry of a log", bytes)?;
    let payload = match content {
        Content::Nothing => Payload::Blank,
        Content::Proposals(proposals) => Payload::Normal(Batch(proposals)),
        Content::Members(members) => Payload::Membership(members.into()),
    };
    Ok(Entry { log_id: place.into(), payload })
}

/// A vote: for whom, in which term, and whether a majority did the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Ballot {
    term: u64,
    node: u64,
    committed: bool,
}

impl Ballot {
    /// The term that is voted in.
    pub(super) fn term(self) -> u64 {
        self.term
    }
}

impl From<Vote> for Ballot {
    fn from(vote: Vote) -> Self {
        let leader = vote.leader_id();
        Self { term: leader.term, node: leader.node_id, committed: vote.is_committed() }
    }
}

impl From<Ballot> for Vote {
    fn from(Ballot { term, node, committed }: Ballot) -> Self {
        if committed { Self::new_committed(term, node) } else { Self::new(term, node) }
    }
}

/// The bytes of a vote.
pub(super) fn vote_bytes(vote: &Vote) -> Vec<u8> {
    encode(&Ballot::from(*vote))
}

/// Reads [`vote_bytes`] back.
pub(super) fn read_vote(bytes: &[u8]) -> Result<Vote, Unreadable> {
    decode::<Ballot>("vote", bytes).map(Vote::from)
}

/// The bytes of a place in the log.
pub(super) fn place_bytes(id: LogId) -> Vec<u8> {
    encode(&Place::from(id))
}

/// Reads [`place_bytes`] back.
pub(super) fn read_place(bytes: &[u8]) -> Result<LogId, Unreadable> {
    decode::<Place>("place in a log", bytes).map(LogId::from)
}

/// Up to where a log is applied, and who belonged to the group then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) applied: Option<LogId>,
    pub(super) members: Membership,
}

#[derive(Serialize, Deserialize)]
struct StoredMark {
    applied: Option<Place>,
    members_since: Option<Place>,
    members: Members,
}

impl Mark {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        encode(&StoredMark {
            applied: self.applied.map(Place::from),
            members_since: self.members.log_id().map(Place::from),
            members: self.members.membership().into(),
        })
    }

    /// Reads [`Mark::to_bytes`] back; no bytes at all are the mark of a shard that is new.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let stored: StoredMark = decode("mark of a shard", bytes)?;
        let since = stored.members_since.map(LogId::from);
        Ok(Self {
            applied: stored.applied.map(LogId::from),
            members: Membership::new(since, stored.members.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Mark, entry_bytes, place_bytes, read_entry, read_place, read_vote, vote_bytes};
    use crate::replica::types::{Batch, Entry, LogId, Membership, Payload, Vote};
    use openraft::{BasicNode, CommittedLeaderId, Membership as RaftMembers};
    use otto_core::journal::{EntityId, EntityKind, Head, Item, Proposal};
    use otto_core::time::Timestamp;
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    /// The bytes that every later release must read. They may be added to, never changed.
    const GOLDEN: &str = include_str!("record.golden");

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write;
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes everything");
            text
        })
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("text"));
        pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
    }

    fn golden(name: &str) -> Vec<u8> {
        let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        bytes(line.unwrap_or_else(|| panic!("there are no golden bytes of {name}")))
    }

    fn place(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(3, 1), index)
    }

    fn members() -> RaftMembers<u64, BasicNode> {
        let nodes = BTreeMap::from([(1, BasicNode::new("a:1")), (2, BasicNode::new("b:2"))]);
        RaftMembers::new(vec![BTreeSet::from([1])], nodes)
    }

    fn proposals() -> Payload {
        let entity = EntityId { kind: EntityKind::Run, id: 1 << 64 | 7 };
        let head = Head { wake: Some(Timestamp(5)), summary: vec![9] };
        let item = Item { entity, expected: 4, entry: vec![1, 2, 3], head };
        Payload::Normal(Batch(Arc::new(vec![Proposal { items: vec![item] }])))
    }

    #[test]
    fn records_are_written_and_read_as_ever() {
        let payloads = [
            ("nothing", Payload::Blank),
            ("proposals", proposals()),
            ("members", Payload::Membership(members())),
        ];
        for (name, payload) in payloads {
            let entry = Entry { log_id: place(12), payload };
            let written = entry_bytes(&entry);
            assert_eq!(hex(&written), hex(&golden(name)), "{name}");
            let read = read_entry(&golden(name)).expect("golden bytes are readable");
            assert_eq!(entry_bytes(&read), written, "{name}");
        }
        for (name, vote) in [("vote", Vote::new(3, 1)), ("won vote", Vote::new_committed(3, 1))] {
            assert_eq!(hex(&vote_bytes(&vote)), hex(&golden(name)), "{name}");
            assert_eq!(read_vote(&golden(name)), Ok(vote), "{name}");
        }
        assert_eq!(hex(&place_bytes(place(12))), hex(&golden("place")));
        assert_eq!(read_place(&golden("place")), Ok(place(12)));
        let members = Membership::new(Some(place(1)), members());
        let mark = Mark { applied: Some(place(12)), members };
        assert_eq!(hex(&mark.to_bytes()), hex(&golden("mark")));
        assert_eq!(Mark::from_bytes(&golden("mark")), Ok(mark));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for cut in 0..golden("proposals").len() {
            assert!(read_entry(&golden("proposals")[..cut]).is_err(), "cut at {cut}");
        }
    }
}
