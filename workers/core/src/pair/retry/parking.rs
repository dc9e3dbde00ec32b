//! Parked keys: while a record of a key waits in the retry lane, later ones of that key follow it there (design section 4,
//! ordered retry). Counted are records, not copies: one whose copy is on its way stays where it stands.

use std::collections::BTreeSet;
use std::collections::hash_map::HashMap;

use foldhash::fast::FixedState;

use crate::{KeyHash, Offset};

/// The records of each parked key, by origin.
#[derive(Debug, Default)]
pub(in crate::pair) struct Parking {
    keys: HashMap<KeyHash, Parked, FixedState>,
    records: u64,
}

#[derive(Debug, Default)]
struct Parked {
    origins: BTreeSet<Offset>,
    /// A record of the key was handed over by this ownership, so what stands behind it with the scheduler follows. A
    /// copy that only was read (a replay) blocks what comes later, not what is at work.
    diverts: bool,
}

impl Parking {
    pub(in crate::pair) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Records that are parked.
    pub(in crate::pair) fn records(&self) -> u64 {
        self.records
    }

    /// Keys that are parked.
    pub(in crate::pair) fn keys(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Whether a record of the key waits, so that one that comes now has to follow.
    pub(in crate::pair) fn blocks(&self, key: KeyHash) -> bool {
        self.keys.contains_key(&key)
    }

    /// Whether records of the key that are with the scheduler have to follow into the retry lane.
    pub(in crate::pair) fn diverts(&self, key: KeyHash) -> bool {
        self.keys.get(&key).is_some_and(|parked| parked.diverts)
    }

    /// The record that comes first.
    pub(in crate::pair) fn head(&self, key: KeyHash) -> Option<Offset> {
        self.keys.get(&key)?.origins.first().copied()
    }

    /// A record of the key waits; returns whether it is the first of its key.
    pub(in crate::pair) fn park(&mut self, key: KeyHash, origin: Offset) -> bool {
        let parked = self.keys.entry(key).or_default();
        self.records += u64::from(parked.origins.insert(origin));
        parked.origins.first() == Some(&origin)
    }

    /// A record of the key is handed over.
    pub(in crate::pair) fn divert(&mut self, key: KeyHash, origin: Offset) {
        self.park(key, origin);
        if let Some(parked) = self.keys.get_mut(&key) {
            parked.diverts = true;
        }
    }

    /// A record is through; returns the one that comes first now, none when the key is free.
    pub(in crate::pair) fn release(&mut self, key: KeyHash, origin: Offset) -> Option<Offset> {
        let parked = self.keys.get_mut(&key)?;
        self.records -= u64::from(parked.origins.remove(&origin));
        match parked.origins.first() {
            Some(next) => Some(*next),
            None => {
                self.keys.remove(&key);
                None
            }
        }
    }
}
