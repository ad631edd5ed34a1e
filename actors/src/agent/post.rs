//! The posts of an agent: at each control node a bid that stands, renewed with every answer.

use super::roads::{Place, Roads};
use crate::errand::Errand;
use crate::ports::control::{Bid, SharedControl};
use std::collections::BTreeMap;

/// After so many failures of each post, those that the agent began with are tried too.
const STRANDED: u32 = 3;

/// One place at which the agent stands by.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) control: SharedControl,
    /// The bids that are not answered. A newer one has the control side answer the older ones.
    pub(super) bids: BTreeMap<u64, Errand>,
    pub(super) last_bid: Option<Bid>,
    /// How many bids failed since one was answered.
    pub(super) failed: u32,
    /// The pause before the next bid, after one failed.
    pub(super) pause: Option<Errand>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Posts(BTreeMap<Place, Post>);

impl Posts {
    /// Takes up the posts that the roads lead to, and leaves the others: their bids end.
    pub(super) fn follow(&mut self, roads: &Roads) {
        let stands = roads.stands();
        // A node that moved has another link.
        self.0.retain(|place, post| {
            stands.get(place).is_some_and(|control| same(control, &post.control))
        });
        for (place, control) in stands {
            self.0.entry(place).or_insert_with(|| Post {
                control,
                bids: BTreeMap::new(),
                last_bid: None,
                failed: 0,
                pause: None,
            });
        }
    }

    /// The post at a place, if it is still taken up.
    pub(super) fn at(&mut self, place: Place) -> Option<&mut Post> {
        self.0.get_mut(&place)
    }

    /// The posts where no pause is on.
    pub(super) fn ready(&self) -> Vec<Place> {
        let ready = self.0.iter().filter(|(_, post)| post.pause.is_none());
        ready.map(|(place, _)| *place).collect()
    }

    /// Whether nobody has answered anywhere for a while.
    pub(super) fn stranded(&self) -> bool {
        self.0.values().all(|post| post.failed >= STRANDED)
    }
}

fn same(one: &SharedControl, other: &SharedControl) -> bool {
    std::ptr::addr_eq(std::sync::Arc::as_ptr(one), std::sync::Arc::as_ptr(other))
}
