//! Run-length sets of offsets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Offset;

/// A set of offsets as disjoint runs that do not touch: a million neighbours cost one entry.
/// Serialised as `[[first, end), ...]` pairs, rising; reading refuses runs that overlap, touch, fall or are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSet {
    runs: BTreeMap<i64, i64>,
}

impl RunSet {
    /// Adds one offset; true when it was not there.
    pub fn insert(&mut self, offset: Offset) -> bool {
        if self.contains(offset) {
            return false;
        }
        self.insert_range(offset, offset.next());
        true
    }

    /// Adds `[first, end)`.
    pub fn insert_range(&mut self, first: Offset, end: Offset) {
        let (mut first, mut end) = (first.0, end.0);
        if first >= end {
            return;
        }
        if let Some((&start, &stop)) = self.runs.range(..=first).next_back()
            && stop >= first
        {
            first = start;
            end = end.max(stop);
        }
        while let Some((&start, &stop)) = self.runs.range(first..=end).next() {
            end = end.max(stop);
            self.runs.remove(&start);
        }
        self.runs.insert(first, end);
    }

    /// Takes `[first, end)` out.
    pub fn remove_range(&mut self, first: Offset, end: Offset) {
        let (first, end) = (first.0, end.0);
        if first >= end {
            return;
        }
        if let Some((&start, &stop)) = self.runs.range(..first).next_back()
            && stop > first
        {
            self.runs.insert(start, first);
            if stop > end {
                self.runs.insert(end, stop);
                return;
            }
        }
        while let Some((&start, &stop)) = self.runs.range(first..end).next() {
            self.runs.remove(&start);
            if stop > end {
                self.runs.insert(end, stop);
            }
        }
    }

    /// Whether the offset is in the set.
    pub fn contains(&self, offset: Offset) -> bool {
        self.runs.range(..=offset.0).next_back().is_some_and(|(_, stop)| *stop > offset.0)
    }

    /// Adds all of another set.
    pub fn union(&mut self, other: &Self) {
        for (first, end) in other.iter() {
            self.insert_range(first, end);
        }
    }

    /// Takes all of another set out.
    pub fn subtract(&mut self, other: &Self) {
        for (first, end) in other.iter() {
            self.remove_range(first, end);
        }
    }

    /// The runs `[first, end)`, rising.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Offset, Offset)> + '_ {
        self.runs.iter().map(|(first, end)| (Offset(*first), Offset(*end)))
    }

    /// How many runs.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// How many offsets.
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|(first, end)| (end - first) as u64).sum()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The end of the run that holds `offset`, or `offset` itself when none does: where a watermark gets to.
    pub fn end_of_run(&self, offset: Offset) -> Offset {
        match self.runs.range(..=offset.0).next_back() {
            Some((_, stop)) if *stop > offset.0 => Offset(*stop),
            _ => offset,
        }
    }

    /// Forgets everything below `offset`.
    pub fn forget_below(&mut self, offset: Offset) {
        self.remove_range(Offset(i64::MIN), offset);
    }
}

impl Serialize for RunSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.runs.iter().map(|(first, end)| [*first, *end]))
    }
}

impl<'de> Deserialize<'de> for RunSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<[i64; 2]>::deserialize(deserializer)?;
        let mut last = None;
        for [first, end] in &pairs {
            if first >= end || *first < 0 || last.is_some_and(|last| *first <= last) {
                return Err(serde::de::Error::custom("runs must rise, not touch and not be empty"));
            }
            last = Some(*end);
        }
        Ok(Self { runs: pairs.into_iter().map(|[first, end]| (first, end)).collect() })
    }
}
