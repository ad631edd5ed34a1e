//! Applying proposals: compare versions, store bytes.
//!
//! Nothing here decodes an entry or a summary, so every replica comes to the same state, whatever
//! its build.

use super::base::{damaged, seal, unseal};
use super::state::{HEADS, HeadKey, JOURNALS, JournalKey, WAKES, WakeKey};
use otto_core::journal::{EntityId, Head, Item, Proposal, StoredHead, Verdict};
use otto_core::time::Timestamp;
use redb::{ReadableTable, Table, WriteTransaction};

/// What became of the proposals of one entry.
pub(super) struct Applied {
    pub(super) verdicts: Vec<Verdict>,
    /// About how much was written.
    pub(super) bytes: usize,
}

/// The tables that proposals change.
pub(super) struct Tables<'t> {
    heads: Table<'t, HeadKey, &'static [u8]>,
    journals: Table<'t, JournalKey, &'static [u8]>,
    wakes: Table<'t, WakeKey, ()>,
}

/// What a head says that applying must know.
#[derive(Clone, Copy, Default)]
struct Known {
    version: u64,
    wake: Option<Timestamp>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            heads: transaction.open_table(HEADS)?,
            journals: transaction.open_table(JOURNALS)?,
            wakes: transaction.open_table(WAKES)?,
        })
    }

    /// Applies the proposals of one entry one after the other, each whole or not at all.
    pub(super) fn apply(
        &mut self,
        space: u32,
        proposals: &[Proposal],
    ) -> Result<Applied, redb::Error> {
        let mut applied = Applied { verdicts: Vec::with_capacity(proposals.len()), bytes: 0 };
        for proposal in proposals {
            let verdict = self.propose(space, proposal)?;
            if verdict == Verdict::Applied {
                applied.bytes += proposal.weight();
            }
            applied.verdicts.push(verdict);
        }
        Ok(applied)
    }

    fn propose(&mut self, space: u32, proposal: &Proposal) -> Result<Verdict, redb::Error> {
        let mut known = Vec::with_capacity(proposal.items.len());
        for (position, item) in proposal.items.iter().enumerate() {
            let of_item = self.known(space, item.entity)?;
            // A second part about one entity would be compared with what the first one changed.
            let earlier = proposal.items[..position].iter();
            let again = earlier.filter(|earlier| earlier.entity == item.entity).count() as u64;
            let found = of_item.version + again;
            if found != item.expected || again > 0 {
                return Ok(Verdict::Conflict { entity: item.entity, found });
            }
            known.push(of_item);
        }
        for (item, known) in proposal.items.iter().zip(known) {
            self.store(space, item, known)?;
        }
        Ok(Verdict::Applied)
    }

    fn known(&self, space: u32, entity: EntityId) -> Result<Known, redb::Error> {
        let Some(value) = self.heads.get(head_key(space, entity))? else {
            return Ok(Known::default());
        };
        let (known, _) = split_head(value.value())?;
        Ok(known)
    }

    fn store(&mut self, space: u32, item: &Item, known: Known) -> Result<(), redb::Error> {
        let EntityId { kind, id } = item.entity;
        let version = known.version + 1;
        let head = head_bytes(version, &item.head);
        self.heads.insert(head_key(space, item.entity), head.as_slice())?;
        self.journals.insert((space, kind as u8, id, version), seal(&item.entry).as_slice())?;
        if known.wake != item.head.wake {
            if let Some(Timestamp(wake)) = known.wake {
                self.wakes.remove((space, wake, kind as u8, id))?;
            }
            if let Some(Timestamp(wake)) = item.head.wake {
                self.wakes.insert((space, wake, kind as u8, id), ())?;
            }
        }
        Ok(())
    }
}

/// Where the head of an entity is.
pub(super) fn head_key(space: u32, entity: EntityId) -> HeadKey {
    (space, entity.kind as u8, entity.id)
}

/// A head on disk: version (8 bytes), whether there is a wake-up (1), the wake-up (8), summary.
fn head_bytes(version: u64, head: &Head) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(17 + head.summary.len());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.push(head.wake.is_some().into());
    bytes.extend_from_slice(&head.wake.unwrap_or_default().0.to_be_bytes());
    bytes.extend_from_slice(&head.summary);
    seal(&bytes)
}

/// Reads a head as it is on disk.
pub(super) fn read_head(sealed: &[u8]) -> Result<StoredHead, redb::Error> {
    let (Known { version, wake }, summary) = split_head(sealed)?;
    Ok(StoredHead { version, head: Head { wake, summary: summary.to_vec() } })
}

fn split_head(sealed: &[u8]) -> Result<(Known, &[u8]), redb::Error> {
    let short = || damaged("a head is too short");
    let bytes = unseal(sealed)?;
    let (version, bytes) = bytes.split_first_chunk().ok_or_else(short)?;
    let ([wakes], bytes) = bytes.split_first_chunk().ok_or_else(short)?;
    let (wake, summary) = bytes.split_first_chunk().ok_or_else(short)?;
    let wake = (*wakes != 0).then_some(Timestamp(u64::from_be_bytes(*wake)));
    Ok((Known { version: u64::from_be_bytes(*version), wake }, summary))
}
