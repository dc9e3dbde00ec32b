//! Sets of letters, and the blocks they are written in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::{Offset, RunSet};

/// How many offsets one block is about. Every second one of them, the worst there is, takes about 450 KB as JSON.
pub const BLOCK_OFFSETS: i64 = 32_768;

/// Letters of one block: runs `[first, end)` relative to its base.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// [`VERSION`].
    pub version: u32,
    /// Rising runs, 0 being the block's base.
    pub runs: RunSet,
}

impl Block {
    /// Whether all of it lies inside the block.
    pub(super) fn is_sound(&self) -> bool {
        self.runs.end().is_none_or(|end| end.0 <= BLOCK_OFFSETS)
    }
}

/// Letters of any number of topics and partitions, by their offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    topics: BTreeMap<String, BTreeMap<i32, RunSet>>,
}

impl Marks {
    /// Adds one letter; true when it was not there.
    pub fn insert(&mut self, topic: &str, partition: i32, offset: i64) -> bool {
        self.of_mut(topic, partition).insert(Offset(offset))
    }

    /// Adds `[first, end)`.
    pub fn insert_range(&mut self, topic: &str, partition: i32, first: Offset, end: Offset) {
        self.of_mut(topic, partition).insert_range(first, end);
    }

    /// Whether a letter is there.
    pub fn contains(&self, topic: &str, partition: i32, offset: i64) -> bool {
        self.of(topic, partition).is_some_and(|runs| runs.contains(Offset(offset)))
    }

    /// The letters of one partition, none when there are none.
    pub fn of(&self, topic: &str, partition: i32) -> Option<&RunSet> {
        self.topics.get(topic)?.get(&partition)
    }

    /// The topics with letters.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics
            .iter()
            .filter(|(_, partitions)| partitions.values().any(|runs| !runs.is_empty()))
            .map(|(topic, _)| topic.as_str())
    }

    /// The partitions of a topic with letters, with the letters.
    pub fn partitions(&self, topic: &str) -> impl Iterator<Item = (i32, &RunSet)> {
        let partitions = self.topics.get(topic).into_iter().flatten();
        partitions.filter(|(_, runs)| !runs.is_empty()).map(|(partition, runs)| (*partition, runs))
    }

    /// How many letters.
    pub fn len(&self) -> u64 {
        self.topics.values().flat_map(BTreeMap::values).map(RunSet::len).sum()
    }

    /// How many runs of neighbours they lie in; what they take in memory goes by that.
    pub fn run_count(&self) -> usize {
        self.topics.values().flat_map(BTreeMap::values).map(RunSet::run_count).sum()
    }

    /// How many bytes they take in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let entry = size_of::<(i32, RunSet)>();
        let topics = self.topics.iter().map(|(topic, partitions)| topic.len() + partitions.len() * entry);
        topics.sum::<usize>() + self.run_count() * size_of::<(i64, i64)>()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.topics.values().flat_map(BTreeMap::values).all(RunSet::is_empty)
    }

    /// Adds all of another set.
    pub fn union(&mut self, other: &Self) {
        for (topic, partitions) in &other.topics {
            for (partition, runs) in partitions {
                self.of_mut(topic, *partition).union(runs);
            }
        }
    }

    /// Takes all of another set out.
    pub fn subtract(&mut self, other: &Self) {
        for (topic, partitions) in &other.topics {
            for (partition, runs) in partitions {
                if let Some(own) = self.topics.get_mut(topic).and_then(|own| own.get_mut(partition)) {
                    own.subtract(runs);
                }
            }
        }
    }

    /// The bases of all blocks that have letters, in order.
    pub fn bases(&self) -> Vec<(&str, i32, i64)> {
        let mut bases: Vec<(&str, i32, i64)> = Vec::new();
        for (topic, partitions) in &self.topics {
            for (partition, runs) in partitions {
                let mut next = 0;
                for (first, end) in runs.iter() {
                    let from = (first.0 / BLOCK_OFFSETS * BLOCK_OFFSETS).max(next);
                    let to = (end.0 - 1) / BLOCK_OFFSETS * BLOCK_OFFSETS;
                    let mut base = from;
                    while base <= to {
                        bases.push((topic, *partition, base));
                        base += BLOCK_OFFSETS;
                    }
                    next = next.max(to + BLOCK_OFFSETS);
                }
            }
        }
        bases
    }

    /// The letters of one block, as the journal holds them.
    pub fn block(&self, topic: &str, partition: i32, base: i64) -> Block {
        let inside =
            self.of(topic, partition).map(|runs| runs.clipped(Offset(base), Offset(base + BLOCK_OFFSETS)));
        let shifted = inside.iter().flat_map(RunSet::iter).map(|(first, end)| (first.0 - base, end.0 - base));
        Block { version: VERSION, runs: RunSet::collect(shifted.collect()) }
    }

    /// Puts a block in place of what stood there.
    pub(super) fn replace(&mut self, topic: &str, partition: i32, base: i64, block: &Block) {
        let own = self.of_mut(topic, partition);
        own.remove_range(Offset(base), Offset(base + BLOCK_OFFSETS));
        let runs = block.runs.iter().map(|(first, end)| (first.0 + base, end.0 + base));
        own.union(&RunSet::collect(runs.collect()));
    }

    fn of_mut(&mut self, topic: &str, partition: i32) -> &mut RunSet {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.to_owned(), BTreeMap::new());
        }
        match self.topics.get_mut(topic) {
            Some(partitions) => partitions.entry(partition).or_default(),
            None => unreachable!("the topic was inserted just now"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: the worst block there is stays well below the megabyte that a broker takes.
    #[test]
    fn the_largest_block_is_small_enough() {
        let mut marks = Marks::default();
        for offset in (BLOCK_OFFSETS..2 * BLOCK_OFFSETS).step_by(2) {
            marks.insert("t", 0, offset);
        }
        assert_eq!(marks.bases(), [("t", 0, BLOCK_OFFSETS)]);
        let bytes = serde_json::to_vec(&marks.block("t", 0, BLOCK_OFFSETS)).unwrap().len();
        assert!(bytes < 512 * 1024, "{bytes}");
    }

    /// Scenario: runs that span, touch and miss the edges of blocks. Guarantee: the blocks hold all of it and each once.
    #[test]
    fn blocks_hold_every_letter() {
        let mut marks = Marks::default();
        let edge = BLOCK_OFFSETS;
        for (first, end) in [(0, 1), (edge - 1, edge + 1), (3 * edge, 5 * edge + 7), (9 * edge - 1, 9 * edge)]
        {
            marks.insert_range("t", 2, Offset(first), Offset(end));
        }
        let bases: Vec<i64> = marks.bases().into_iter().map(|(_, _, base)| base / edge).collect();
        assert_eq!(bases, [0, 1, 3, 4, 5, 8]);
        let mut back = Marks::default();
        for (topic, partition, base) in marks.bases() {
            back.replace(topic, partition, base, &marks.block(topic, partition, base));
        }
        assert_eq!(back, marks);
        back.subtract(&marks);
        assert!(back.is_empty() && back.topics().count() == 0);
    }

    /// Guarantee: what is there is told of, by topic and partition, and what is empty is not; what it takes grows with topics, partitions and runs.
    #[test]
    fn what_is_marked_is_told() {
        let mut marks = Marks::default();
        assert!(marks.is_empty() && !marks.contains("t", 0, 5));
        marks.insert("t", 1, 5);
        marks.insert("empty", 0, 7);
        marks.insert("t", 0, 7);
        let mut gone = Marks::default();
        gone.insert("empty", 0, 7);
        gone.insert("t", 0, 7);
        marks.subtract(&gone);
        assert!(!marks.is_empty() && marks.contains("t", 1, 5));
        assert!(!marks.contains("t", 1, 6) && !marks.contains("t", 0, 7));
        assert_eq!(marks.topics().collect::<Vec<_>>(), ["t"]);
        let partitions: Vec<(i32, u64)> = marks.partitions("t").map(|(at, runs)| (at, runs.len())).collect();
        assert_eq!(partitions, [(1, 1)]);
        assert_eq!(marks.partitions("none").count(), 0);
        let entry = size_of::<(i32, RunSet)>();
        assert_eq!(marks.bytes(), "tempty".len() + 3 * entry + size_of::<(i64, i64)>());
    }
}
