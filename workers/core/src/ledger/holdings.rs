//! What a sink holds and which dead letters it decided, in a form that stays small for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::pages::OffsetPages;
use crate::{Offset, RunSet};

/// The offsets that a ledger holds, and its dead letters with their replay numbers; exact for every offset since the
/// ledger's birth, since a copy of a letter may come at any time (from the retry topic, by `dlq replay`, by a re-read).
///
/// Both are only ever added to, so their size is what counts. Held offsets and letters together are runs that a
/// letter does not split; the letters alone are a set of scattered offsets. Counted over a million letters (a test
/// holds the figures): 0.25 bytes a letter when every other record is one, 0.13 when all are, 4.4 when one in a
/// thousand is, whatever their replay numbers; half as much to as much again for letters that a replay brought into
/// the sink after all. A checkpoint takes 0.34, 0.17 and 2.8. Only what is in neither place splits the runs: 16 bytes for
/// each such gap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holdings {
    /// Held, or decided to be a letter, or both.
    passed: RunSet,
    /// Letters by their replay number; an offset stands under its highest number alone.
    letters: BTreeMap<u32, OffsetPages>,
    /// Those letters that are held nevertheless: a replay of them passed.
    revived: OffsetPages,
}

impl Holdings {
    /// Adds offsets that are held now, and letters with their replay numbers. Nothing is ever taken back: an offset
    /// stays held, and of two replay numbers the higher one stands.
    pub fn add(&mut self, held: &RunSet, letters: &BTreeMap<Offset, u32>) {
        for pages in self.letters.values() {
            for (first, end) in held.iter() {
                for offset in pages.within(first, end) {
                    self.revived.insert(offset);
                }
            }
        }
        for (offset, replay) in letters {
            let known = self.letter(*offset);
            if known.is_none() && (held.contains(*offset) || self.passed.contains(*offset)) {
                self.revived.insert(*offset);
            }
            if known.is_none_or(|known| known < *replay) {
                if let Some(known) = known {
                    self.forget(*offset, known);
                }
                self.letters.entry(*replay).or_default().insert(*offset);
            }
        }
        let mut passed = RunSet::collect(letters.keys().map(|offset| (offset.0, offset.0 + 1)).collect());
        passed.union(held);
        self.passed.union(&passed);
    }

    fn forget(&mut self, offset: Offset, replay: u32) {
        let Some(pages) = self.letters.get_mut(&replay) else { return };
        pages.remove(offset);
        if pages.is_empty() {
            self.letters.remove(&replay);
        }
    }

    /// Whether the offset is held: it has a row, was filtered, or was never there.
    pub fn holds(&self, offset: Offset) -> bool {
        self.passed.contains(offset) && (self.revived.contains(offset) || self.letter(offset).is_none())
    }

    /// The highest replay number of the letter that this offset is, none when it is none.
    pub fn letter(&self, offset: Offset) -> Option<u32> {
        self.letters.iter().rev().find(|(_, pages)| pages.contains(offset)).map(|(replay, _)| *replay)
    }

    /// All letters with their replay numbers, in no order.
    pub fn letters(&self) -> impl Iterator<Item = (Offset, u32)> + '_ {
        self.letters.iter().flat_map(|(replay, pages)| pages.iter().map(|offset| (offset, *replay)))
    }

    /// The offsets held. Costs what it holds: for judging a ledger, not for working with it.
    pub fn held(&self) -> RunSet {
        let everything = RunSet::of(Offset(0), self.end().unwrap_or_default());
        let mut held = everything.clone();
        let mut others = everything;
        self.take_held(&mut others);
        held.subtract(&others);
        held
    }

    /// Takes out of `runs` what is held.
    pub fn take_held(&self, runs: &mut RunSet) {
        let mut not_held = RunSet::default();
        for pages in self.letters.values() {
            not_held.union(&pages.common(runs));
        }
        not_held.subtract(&self.revived.common(&not_held));
        runs.subtract(&self.passed);
        runs.union(&not_held);
    }

    /// The offset behind the last one it says anything about, none when it is empty.
    pub fn end(&self) -> Option<Offset> {
        self.passed.end()
    }

    /// What lies on the heap, in bytes.
    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        let letters: usize = self.letters.values().map(OffsetPages::heap_bytes).sum();
        self.passed.run_count() * 16 + letters + self.revived.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    type Addition = (Vec<(i64, i64)>, BTreeMap<i64, u32>);

    fn additions() -> impl Strategy<Value = Vec<Addition>> {
        let held = proptest::collection::vec(
            (0..80i64, 0..9i64).prop_map(|(first, len)| (first, first + len)),
            0..5,
        );
        let letters = proptest::collection::btree_map(0..90i64, 0..4u32, 0..9);
        proptest::collection::vec((held, letters), 0..8)
    }

    proptest! {
        /// Scenario: segments hold offsets and decide letters in any order, also the same ones again and with other
        /// numbers. Guarantee: every answer is that of a plain set and a plain map, also after writing and reading.
        #[test]
        fn agrees_with_a_set_and_a_map(additions in additions(), asked in (0..90i64, 0..40i64)) {
            let (mut holdings, mut held, mut dead) = (Holdings::default(), BTreeSet::new(), BTreeMap::new());
            for (runs, letters) in additions {
                held.extend(runs.iter().flat_map(|(first, end)| *first..*end));
                for (offset, replay) in &letters {
                    let known = dead.entry(*offset).or_insert(*replay);
                    *known = (*known).max(*replay);
                }
                let letters = letters.into_iter().map(|(offset, replay)| (Offset(offset), replay)).collect();
                holdings.add(&RunSet::collect(runs), &letters);
            }
            let read: Holdings = serde_json::from_str(&serde_json::to_string(&holdings).unwrap()).unwrap();
            prop_assert_eq!(&read, &holdings);
            for offset in 0..100 {
                prop_assert_eq!(holdings.holds(Offset(offset)), held.contains(&offset), "{}", offset);
                prop_assert_eq!(holdings.letter(Offset(offset)), dead.get(&offset).copied(), "{}", offset);
            }
            let letters: BTreeMap<i64, u32> = holdings.letters().map(|(offset, replay)| (offset.0, replay)).collect();
            prop_assert_eq!(letters, dead.clone());
            let end = held.iter().chain(dead.keys()).max().map(|last| Offset(last + 1));
            prop_assert_eq!(holdings.end(), end);
            let all: BTreeSet<i64> = holdings.held().iter().flat_map(|(first, end)| first.0..end.0).collect();
            prop_assert_eq!(&all, &held);
            let mut rest = RunSet::of(Offset(asked.0), Offset(asked.0 + asked.1));
            holdings.take_held(&mut rest);
            let rest: BTreeSet<i64> = rest.iter().flat_map(|(first, end)| first.0..end.0).collect();
            prop_assert_eq!(rest, (asked.0..asked.0 + asked.1).filter(|offset| !held.contains(offset)).collect());
        }
    }

    /// A ledger of a million letters, one in `every` offsets, made by segments of 10,000 letters; `held` says whether
    /// the sink holds the offsets between them.
    fn million(every: i64, replay: u32) -> Holdings {
        let mut holdings = Holdings::default();
        for segment in 0..100 {
            let first = segment * 10_000 * every;
            let letters: BTreeMap<_, _> =
                (0..10_000).map(|at| (Offset(first + at * every), replay)).collect();
            let mut held = RunSet::of(Offset(first), Offset(first + 10_000 * every));
            held.subtract(&RunSet::collect(letters.keys().map(|offset| (offset.0, offset.0 + 1)).collect()));
            holdings.add(&held, &letters);
        }
        holdings
    }

    /// Scenario: a million letters: all records, every other one, one in a thousand; then all of them replayed, and
    /// half of those held at last. Guarantee (I5): what stays in memory and in a checkpoint is bytes per letter in the small.
    #[test]
    fn a_million_letters_stay_small() {
        for (every, most) in [(1, 0.15), (2, 0.30), (1_000, 4.6)] {
            let mut holdings = million(every, 0);
            let per = |holdings: &Holdings| holdings.heap_bytes() as f64 / 1e6;
            let first = per(&holdings);
            let written = serde_json::to_string(&holdings).unwrap().len() as f64 / 1e6;
            let again: BTreeMap<_, _> = (0..1_000_000).map(|at| (Offset(at * every), 1)).collect();
            holdings.add(&RunSet::default(), &again);
            let replayed = per(&holdings);
            let half = (0..500_000).map(|at| (at * 2 * every, at * 2 * every + 1));
            holdings.add(&RunSet::collect(half.collect()), &BTreeMap::new());
            let revived = per(&holdings);
            use std::io::Write;
            let words = format!(
                "one in {every}: {first:.2} bytes a letter, {written:.2} in a checkpoint, {replayed:.2} replayed, {revived:.2} half of them held"
            );
            writeln!(std::io::stderr(), "{words}").unwrap();
            assert_eq!(holdings.passed.run_count(), 1, "letters do not split the runs");
            assert!(first <= most && written <= most * 1.5 && revived <= most * 2.0, "{words}");
        }
    }

    /// Guarantee: a letter that is one again after a replay stands once, under its highest number.
    #[test]
    fn a_letter_stands_under_its_highest_number_alone() {
        let mut holdings = Holdings::default();
        for replay in [0, 2, 1] {
            holdings.add(&RunSet::default(), &BTreeMap::from([(Offset(5), replay)]));
        }
        assert_eq!(holdings.letters().collect::<Vec<_>>(), [(Offset(5), 2)]);
        assert_eq!(holdings.letters.len(), 1);
    }
}
