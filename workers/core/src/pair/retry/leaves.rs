//! Many small items in the order of their keys, packed: what waits may be a million records, and a tree of single items would spend as
//! much on its nodes as on them.

use std::collections::BTreeMap;

/// A leaf holds so many items at most.
const FULL: usize = 128;
/// It grows and shrinks by so many.
const STEP: usize = 8;

/// An item that knows its key.
pub(super) trait Keyed {
    type Key: Ord + Copy;

    fn key(&self) -> Self::Key;
}

/// Items in the order of their keys, each key once. Leaves are found by a key that none of their items is below.
#[derive(Debug)]
pub(super) struct Leaves<T: Keyed> {
    leaves: BTreeMap<T::Key, Vec<T>>,
    len: usize,
}

impl<T: Keyed> Default for Leaves<T> {
    fn default() -> Self {
        Self { leaves: BTreeMap::new(), len: 0 }
    }
}

impl<T: Keyed> Leaves<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: T::Key) -> Option<&T> {
        let (_, leaf) = self.leaves.range(..=key).next_back()?;
        leaf.binary_search_by_key(&key, T::key).ok().map(|at| &leaf[at])
    }

    /// An item, whose key must stay what it is.
    pub(super) fn get_mut(&mut self, key: T::Key) -> Option<&mut T> {
        let (_, leaf) = self.leaves.range_mut(..=key).next_back()?;
        leaf.binary_search_by_key(&key, T::key).ok().map(|at| &mut leaf[at])
    }

    /// The first item from a key on.
    pub(super) fn first_from(&self, key: T::Key) -> Option<&T> {
        let here = self.leaves.range(..=key).next_back();
        let here = here.and_then(|(_, leaf)| leaf.get(leaf.partition_point(|item| item.key() < key)));
        here.or_else(|| self.leaves.range(key..).next()?.1.first())
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.leaves.last_key_value()?.1.last()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.leaves.values().flatten()
    }

    /// The items from a key on.
    pub(super) fn iter_from(&self, key: T::Key) -> impl Iterator<Item = &T> {
        let leaf = self.leaves.range(..=key).next_back().map_or(key, |(bound, _)| *bound);
        self.leaves.range(leaf..).flat_map(|(_, items)| items).skip_while(move |item| item.key() < key)
    }

    /// Puts an item in; gives back the one that had its key.
    pub(super) fn insert(&mut self, item: T) -> Option<T> {
        let key = item.key();
        let Some(bound) = self.leaf_for(key) else {
            self.leaves.insert(key, vec![item]);
            self.len += 1;
            return None;
        };
        let leaf = self.leaves.get_mut(&bound)?;
        let at = match leaf.binary_search_by_key(&key, T::key) {
            Ok(at) => return Some(std::mem::replace(&mut leaf[at], item)),
            Err(at) => at,
        };
        self.len += 1;
        if leaf.len() < FULL {
            if leaf.len() == leaf.capacity() {
                leaf.reserve_exact(STEP);
            }
            leaf.insert(at, item);
            return None;
        }
        // Most come in order, and leave full leaves behind.
        let mut upper = leaf.split_off(if at > FULL * 3 / 4 { at } else { FULL / 2 });
        leaf.shrink_to_fit();
        let (half, at) = if at >= leaf.len() { (&mut upper, at - leaf.len()) } else { (leaf, at) };
        half.reserve_exact(STEP);
        half.insert(at, item);
        if let Some(bound) = upper.first().map(T::key) {
            let few = upper.len() < FULL / 4;
            self.leaves.insert(bound, upper);
            if few {
                // Those that come in falling order would leave such a leaf every time.
                self.merge(bound);
            }
        }
        None
    }

    /// Takes an item out.
    pub(super) fn remove(&mut self, key: T::Key) -> Option<T> {
        let (&bound, leaf) = self.leaves.range_mut(..=key).next_back()?;
        let at = leaf.binary_search_by_key(&key, T::key).ok()?;
        let item = leaf.remove(at);
        self.len -= 1;
        if leaf.len() + 2 * STEP < leaf.capacity() {
            leaf.shrink_to(leaf.len() + STEP);
        }
        let few = leaf.len() < FULL / 4;
        if leaf.is_empty() {
            self.leaves.remove(&bound);
        } else if few {
            self.merge(bound);
        }
        Some(item)
    }

    /// The leaf that a key belongs to; that of the lowest key is lowered to it. None when there is no leaf.
    fn leaf_for(&mut self, key: T::Key) -> Option<T::Key> {
        if let Some((bound, _)) = self.leaves.range(..=key).next_back() {
            return Some(*bound);
        }
        let (_, lowest) = self.leaves.pop_first()?;
        self.leaves.insert(key, lowest);
        Some(key)
    }

    /// Puts a leaf of few items and the next one together, when they are few.
    fn merge(&mut self, bound: T::Key) {
        let mut two = self.leaves.range(bound..);
        let (Some((_, leaf)), Some((&next, other))) = (two.next(), two.next()) else { return };
        if leaf.len() + other.len() > FULL * 3 / 4 {
            return;
        }
        let other = self.leaves.remove(&next).unwrap_or_default();
        if let Some(leaf) = self.leaves.get_mut(&bound) {
            leaf.reserve_exact(other.len());
            leaf.extend(other);
        }
    }

    /// What lies on the heap, in bytes; the map's own nodes as if they were two thirds full.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let nodes = self.leaves.len() * size_of::<(T::Key, Vec<T>)>() * 3 / 2;
        nodes + self.leaves.values().map(|leaf| leaf.capacity() * size_of::<T>()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Item(u16, u32);

    impl Keyed for Item {
        type Key = u16;

        fn key(&self) -> u16 {
            self.0
        }
    }

    /// Scenario: behind a leaf that is nearly full items come in falling order. Guarantee: they do not leave a leaf for every few of them.
    #[test]
    fn falling_items_behind_a_full_leaf_share_leaves() {
        let mut leaves = Leaves::default();
        let items = (0..125u16).chain((4_000..5_000).rev());
        items.for_each(|key| assert_eq!(leaves.insert(Item(key, 0)), None));
        assert!(leaves.iter().map(Item::key).eq((0..125).chain(4_000..5_000)));
        assert!(leaves.leaves.len() < 40, "{} leaves", leaves.leaves.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Scenario: runs of items come and go, rising, falling and scattered. Guarantee: what is there is what a plain map has, by
        /// every question, and few leaves stay nearly empty.
        #[test]
        fn agrees_with_a_plain_map(runs in proptest::collection::vec(
            (any::<bool>(), 0..4_000u16, 1..600u16, prop_oneof![Just(1i32), Just(-1), Just(7)]), 0..12),
            probe in 0..5_000u16,
        ) {
            let (mut leaves, mut plain) = (Leaves::default(), BTreeMap::new());
            for (number, (add, first, count, step)) in runs.into_iter().enumerate() {
                for at in 0..i32::from(count) {
                    let key = (i32::from(first) + at * step).rem_euclid(5_000) as u16;
                    if add {
                        let value = number as u32;
                        let before = leaves.insert(Item(key, value));
                        prop_assert_eq!(before.map(|item| item.1), plain.insert(key, value));
                    } else {
                        prop_assert_eq!(leaves.remove(key).map(|item| item.1), plain.remove(&key));
                    }
                }
            }
            prop_assert_eq!(leaves.len(), plain.len());
            prop_assert!(leaves.iter().map(|item| (item.0, item.1)).eq(plain.iter().map(|(k, v)| (*k, *v))));
            prop_assert_eq!(leaves.get(probe).map(|item| item.1), plain.get(&probe).copied());
            prop_assert_eq!(leaves.first_from(probe).map(Item::key), plain.range(probe..).next().map(|(k, _)| *k));
            prop_assert!(leaves.iter_from(probe).map(Item::key).eq(plain.range(probe..).map(|(k, _)| *k)));
            prop_assert_eq!(leaves.last().map(Item::key), plain.last_key_value().map(|(k, _)| *k));
            prop_assert!(leaves.leaves.len() <= 2 + leaves.len() / 6, "{} leaves", leaves.leaves.len());
        }
    }
}
