//! Parked keys: while a record of a key waits in the retry lane, later ones of that key follow it there (design section 4,
//! ordered retry). Counted are records, not copies: one whose copy is on its way stays where it stands.

use std::collections::BTreeSet;

use crate::{KeyHash, Offset};

use super::leaves::{Keyed, Leaves};

/// The records of the parked keys, by key and origin.
#[derive(Debug, Default)]
pub(in crate::pair) struct Parking {
    records: Leaves<Parked>,
    keys: u64,
    /// Those of them that have no copy, and whose letter is not decided for good.
    deciding: BTreeSet<(KeyHash, Offset)>,
}

/// One parked record, in 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Parked {
    key: KeyHash,
    /// The origin, and in the lowest bit of the first one of a key whether a record of the key was handed over by this ownership, so that
    /// what stands behind it with the scheduler follows. A copy that only was read (a replay) blocks what comes later, not what is
    /// at work.
    place: i64,
}

impl Parked {
    fn new(key: KeyHash, origin: Offset, diverts: bool) -> Self {
        Self { key, place: origin.0 << 1 | i64::from(diverts) }
    }

    fn origin(self) -> Offset {
        Offset(self.place >> 1)
    }

    fn diverts(self) -> bool {
        self.place & 1 == 1
    }
}

impl Keyed for Parked {
    type Key = (KeyHash, Offset);

    fn key(&self) -> (KeyHash, Offset) {
        (self.key, self.origin())
    }
}

impl Parking {
    pub(in crate::pair) fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Records that are parked.
    pub(in crate::pair) fn records(&self) -> u64 {
        self.records.len() as u64
    }

    /// Keys that are parked.
    pub(in crate::pair) fn keys(&self) -> u64 {
        self.keys
    }

    fn first(&self, key: KeyHash) -> Option<Parked> {
        self.records.first_from((key, Offset(i64::MIN))).copied().filter(|first| first.key == key)
    }

    /// Whether a record of the key waits, so that one that comes now has to follow.
    pub(in crate::pair) fn blocks(&self, key: KeyHash) -> bool {
        self.first(key).is_some()
    }

    /// Whether records of the key that are with the scheduler have to follow into the retry lane.
    pub(in crate::pair) fn diverts(&self, key: KeyHash) -> bool {
        self.first(key).is_some_and(Parked::diverts)
    }

    /// A parked record has no copy in the retry topic: its key waits for the decision over its letter alone.
    pub(in crate::pair) fn note_deciding(&mut self, key: KeyHash, origin: Offset) {
        self.deciding.insert((key, origin));
    }

    /// Whether all that is parked of a key below an offset is of that kind.
    pub(in crate::pair) fn only_decides(&self, key: KeyHash, below: Offset) -> bool {
        let parked = self.records.iter_from((key, Offset(i64::MIN)));
        let mut before = parked.take_while(|parked| parked.key == key && parked.origin() < below);
        before.all(|parked| self.deciding.contains(&(key, parked.origin())))
    }

    /// The record that comes first.
    pub(in crate::pair) fn head(&self, key: KeyHash) -> Option<Offset> {
        self.first(key).map(Parked::origin)
    }

    /// A record of the key waits; returns whether it is the first of its key.
    pub(in crate::pair) fn park(&mut self, key: KeyHash, origin: Offset) -> bool {
        match self.first(key) {
            None => {
                self.keys += 1;
                self.records.insert(Parked::new(key, origin, false));
                true
            }
            Some(first) if origin < first.origin() => {
                self.records.insert(Parked::new(key, origin, first.diverts()));
                true
            }
            Some(first) if origin == first.origin() => true,
            Some(_) => {
                self.records.insert(Parked::new(key, origin, false));
                false
            }
        }
    }

    /// A record of the key is handed over.
    pub(in crate::pair) fn divert(&mut self, key: KeyHash, origin: Offset) {
        self.park(key, origin);
        self.mark_first(key);
    }

    fn mark_first(&mut self, key: KeyHash) {
        if let Some(first) = self.first(key) {
            self.records.insert(Parked::new(key, first.origin(), true));
        }
    }

    /// A record is through; returns the one that comes first now, none when the key is free.
    pub(in crate::pair) fn release(&mut self, key: KeyHash, origin: Offset) -> Option<Offset> {
        let diverts = self.diverts(key);
        let removed = self.records.remove((key, origin)).is_some();
        self.deciding.remove(&(key, origin));
        match self.first(key) {
            Some(next) => {
                if diverts && !next.diverts() {
                    self.mark_first(key);
                }
                Some(next.origin())
            }
            None => {
                self.keys -= u64::from(removed);
                None
            }
        }
    }

    /// What lies on the heap, in bytes.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.records.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Of a key: the records that are parked, and whether what is with the scheduler follows them.
    type Plain = BTreeMap<u64, (BTreeSet<i64>, bool)>;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Scenario: records of a few keys are parked, handed over, wait for the decision over their letter, and are through, in any order. Guarantee: who
        /// comes first, what follows it, and what is counted, is what plain sets say.
        #[test]
        fn agrees_with_plain_sets(steps in proptest::collection::vec((0..4u8, 0..3u64, 0..6i64), 0..40)) {
            let (mut parking, mut plain) = (Parking::default(), Plain::new());
            let mut deciding = BTreeSet::new();
            for (step, key, origin) in steps {
                let (at, place) = (KeyHash(key), Offset(origin));
                match step {
                    0 => {
                        let (parked, _) = plain.entry(key).or_default();
                        parked.insert(origin);
                        prop_assert_eq!(parking.park(at, place), parked.first() == Some(&origin));
                    }
                    1 => {
                        let (parked, diverts) = plain.entry(key).or_default();
                        parked.insert(origin);
                        *diverts = true;
                        parking.divert(at, place);
                    }
                    2 => {
                        deciding.insert((key, origin));
                        parking.note_deciding(at, place);
                    }
                    _ => {
                        deciding.remove(&(key, origin));
                        if let Some((parked, _)) = plain.get_mut(&key) {
                            parked.remove(&origin);
                        }
                        plain.retain(|_, (parked, _)| !parked.is_empty());
                        let next = plain.get(&key).and_then(|(parked, _)| parked.first()).map(|first| Offset(*first));
                        prop_assert_eq!(parking.release(at, place), next);
                    }
                }
            }
            prop_assert_eq!(parking.keys(), plain.len() as u64);
            prop_assert_eq!(parking.is_empty(), plain.is_empty());
            prop_assert_eq!(parking.records(), plain.values().map(|(parked, _)| parked.len() as u64).sum::<u64>());
            for key in 0..3 {
                let known = plain.get(&key);
                prop_assert_eq!(parking.blocks(KeyHash(key)), known.is_some());
                prop_assert_eq!(parking.diverts(KeyHash(key)), known.is_some_and(|(_, diverts)| *diverts));
                let head = known.and_then(|(parked, _)| parked.first()).map(|first| Offset(*first));
                prop_assert_eq!(parking.head(KeyHash(key)), head);
                for below in 0..6 {
                    let before = known.into_iter().flat_map(|(parked, _)| parked.range(..below));
                    let decides = before.into_iter().all(|origin| deciding.contains(&(key, *origin)));
                    prop_assert_eq!(parking.only_decides(KeyHash(key), Offset(below)), decides);
                }
            }
        }
    }
}
