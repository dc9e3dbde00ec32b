//! Run-length sets of offsets.

use serde::{Deserialize, Serialize};

use crate::Offset;

/// A set of offsets as disjoint runs that do not touch: a million neighbours cost one entry.
/// Serialised as `[[first, end), ...]` pairs, rising; reading refuses runs that overlap, touch, fall or are empty.
///
/// The runs lie sorted in one vector: additions come mostly at the end, and whole batches are merged in one pass
/// ([`Self::union`], [`Self::subtract`]), which was measured several times faster than a tree with one insertion per
/// record when many keys finish out of order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSet {
    runs: Vec<(i64, i64)>,
    /// How many offsets all runs have together.
    offsets: u64,
}

impl RunSet {
    /// The set of one run `[first, end)`; empty when `first >= end`.
    pub fn of(first: Offset, end: Offset) -> Self {
        let mut set = Self::default();
        set.insert_range(first, end);
        set
    }

    /// The set of runs `[first, end)` given in any order; they may overlap and touch, empty ones are left out.
    pub fn collect(mut runs: Vec<(i64, i64)>) -> Self {
        let tidy =
            runs.iter().all(|(first, end)| first < end) && runs.windows(2).all(|two| two[0].1 < two[1].0);
        if tidy {
            return Self::tidy(runs);
        }
        runs.retain(|(first, end)| first < end);
        runs.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(runs.len());
        for run in runs {
            push_merged(&mut merged, run);
        }
        Self::tidy(merged)
    }

    /// Of runs that rise and do not touch.
    fn tidy(runs: Vec<(i64, i64)>) -> Self {
        let offsets = offsets(&runs);
        Self { runs, offsets }
    }

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
        let (first, end) = (first.0, end.0);
        if first >= end {
            return;
        }
        match self.runs.last_mut() {
            Some(last) if first > last.1 => {}
            Some(last) if first >= last.0 => {
                self.offsets += (end - last.1).max(0) as u64;
                last.1 = last.1.max(end);
                return;
            }
            Some(_) => return self.insert_between(first, end),
            None => {}
        }
        self.runs.push((first, end));
        self.offsets += (end - first) as u64;
    }

    /// Adds a run that begins before the last one does.
    fn insert_between(&mut self, mut first: i64, mut end: i64) {
        let low = self.runs.partition_point(|run| run.1 < first);
        let high = self.runs.partition_point(|run| run.0 <= end);
        if low < high {
            first = first.min(self.runs[low].0);
            end = end.max(self.runs[high - 1].1);
            self.offsets -= offsets(&self.runs[low..high]);
            self.runs[low] = (first, end);
            self.runs.drain(low + 1..high);
        } else {
            self.runs.insert(low, (first, end));
        }
        self.offsets += (end - first) as u64;
    }

    /// Takes `[first, end)` out.
    pub fn remove_range(&mut self, first: Offset, end: Offset) {
        let (first, end) = (first.0, end.0);
        let low = self.runs.partition_point(|run| run.1 <= first);
        let high = self.runs.partition_point(|run| run.0 < end);
        if first >= end || low >= high {
            return;
        }
        let left = (self.runs[low].0, first);
        let right = (end, self.runs[high - 1].1);
        let kept = [left, right].into_iter().filter(|(first, end)| first < end);
        self.offsets -= offsets(&self.runs[low..high]);
        self.offsets += kept.clone().map(|(first, end)| (end - first) as u64).sum::<u64>();
        self.runs.splice(low..high, kept);
    }

    /// Whether the offset is in the set.
    pub fn contains(&self, offset: Offset) -> bool {
        let at = self.runs.partition_point(|run| run.1 <= offset.0);
        self.runs.get(at).is_some_and(|run| run.0 <= offset.0)
    }

    /// Adds all of another set.
    pub fn union(&mut self, other: &Self) {
        let (Some(first), Some(last)) = (other.runs.first(), other.runs.last()) else { return };
        if self.runs.last().is_none_or(|own| own.1 < first.0) {
            self.runs.extend_from_slice(&other.runs);
            self.offsets += other.offsets;
            return;
        }
        let low = self.runs.partition_point(|run| run.1 < first.0);
        let high = self.runs.partition_point(|run| run.0 <= last.1);
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(high - low + other.runs.len());
        let (mut own, mut theirs) = (self.runs[low..high].iter().peekable(), other.runs.iter().peekable());
        loop {
            let next = match (own.peek(), theirs.peek()) {
                (Some(a), Some(b)) if a.0 <= b.0 => own.next(),
                (Some(_), None) => own.next(),
                (_, Some(_)) => theirs.next(),
                (None, None) => break,
            };
            if let Some(run) = next {
                push_merged(&mut merged, *run);
            }
        }
        self.replace(low, high, merged);
    }

    /// Takes all of another set out.
    pub fn subtract(&mut self, other: &Self) {
        let (Some(own_first), Some(own_last)) = (self.runs.first(), self.runs.last()) else { return };
        let from = other.runs.partition_point(|run| run.1 <= own_first.0);
        let to = other.runs.partition_point(|run| run.0 < own_last.1);
        if from >= to {
            return;
        }
        let theirs = &other.runs[from..to];
        let low = self.runs.partition_point(|run| run.1 <= theirs[0].0);
        let high = self.runs.partition_point(|run| run.0 < theirs[theirs.len() - 1].1);
        if low >= high {
            return;
        }
        let mut kept = Vec::with_capacity(high - low);
        let mut at = 0;
        for &(mut first, end) in &self.runs[low..high] {
            // The last of theirs ends behind the beginning of each of these.
            while theirs[at].1 <= first {
                at += 1;
            }
            let mut next = at;
            while first < end {
                match theirs.get(next) {
                    Some(&(from, to)) if from < end => {
                        if first < from {
                            kept.push((first, from));
                        }
                        first = to;
                        next += 1;
                    }
                    _ => {
                        kept.push((first, end));
                        break;
                    }
                }
            }
        }
        self.replace(low, high, kept);
    }

    /// The part inside `[first, end)`.
    #[must_use]
    pub fn clipped(&self, first: Offset, end: Offset) -> Self {
        if first >= end {
            return Self::default();
        }
        let low = self.runs.partition_point(|run| run.1 <= first.0);
        let high = self.runs.partition_point(|run| run.0 < end.0);
        let runs = self.runs.get(low..high).unwrap_or_default();
        Self::tidy(runs.iter().map(|run| (run.0.max(first.0), run.1.min(end.0))).collect())
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut outside = self.clone();
        outside.subtract(other);
        let mut both = self.clone();
        both.subtract(&outside);
        both
    }

    /// The runs `[first, end)`, rising.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Offset, Offset)> + '_ {
        self.runs.iter().map(|(first, end)| (Offset(*first), Offset(*end)))
    }

    /// The lowest offset, none when empty.
    pub fn first(&self) -> Option<Offset> {
        self.runs.first().map(|run| Offset(run.0))
    }

    /// The offset behind the highest, none when empty.
    pub fn end(&self) -> Option<Offset> {
        self.runs.last().map(|run| Offset(run.1))
    }

    /// How many runs.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// How many offsets.
    pub fn len(&self) -> u64 {
        self.offsets
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The end of the run that holds `offset`, or `offset` itself when none does: where a watermark gets to.
    pub fn end_of_run(&self, offset: Offset) -> Offset {
        let at = self.runs.partition_point(|run| run.1 <= offset.0);
        match self.runs.get(at) {
            Some(run) if run.0 <= offset.0 => Offset(run.1),
            _ => offset,
        }
    }

    /// Forgets everything below `offset`.
    pub fn forget_below(&mut self, offset: Offset) {
        self.remove_range(Offset(i64::MIN), offset);
    }

    fn replace(&mut self, low: usize, high: usize, runs: Vec<(i64, i64)>) {
        self.offsets -= offsets(&self.runs[low..high]);
        self.offsets += offsets(&runs);
        if high == self.runs.len() {
            self.runs.truncate(low);
            self.runs.extend_from_slice(&runs);
        } else {
            self.runs.splice(low..high, runs);
        }
    }
}

/// How many offsets these runs have, which neither overlap nor touch.
fn offsets(runs: &[(i64, i64)]) -> u64 {
    runs.iter().map(|(first, end)| (end - first) as u64).sum()
}

/// Appends a run that begins no lower than the last one began, joining what overlaps or touches.
fn push_merged(runs: &mut Vec<(i64, i64)>, run: (i64, i64)) {
    match runs.last_mut() {
        Some(last) if run.0 <= last.1 => last.1 = last.1.max(run.1),
        _ => runs.push(run),
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
        Ok(Self::tidy(pairs.into_iter().map(|[first, end]| (first, end)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn naive(set: &RunSet) -> BTreeSet<i64> {
        set.iter().flat_map(|(first, end)| first.0..end.0).collect()
    }

    fn tidy(set: &RunSet) -> bool {
        let runs: Vec<_> = set.iter().collect();
        runs.iter().all(|(first, end)| first < end) && runs.windows(2).all(|two| two[0].1 < two[1].0)
    }

    fn runs() -> impl Strategy<Value = Vec<(i64, i64)>> {
        proptest::collection::vec((0..60i64, 0..6i64).prop_map(|(first, len)| (first, first + len)), 0..12)
    }

    proptest! {
        /// Scenario: any sequence of range additions and removals. Guarantee: the set is what a plain set would be.
        #[test]
        fn ranges_agree_with_a_plain_set(steps in proptest::collection::vec((any::<bool>(), 0..60i64, 0..9i64), 0..40)) {
            let (mut set, mut plain) = (RunSet::default(), BTreeSet::new());
            for (add, first, len) in steps {
                if add {
                    set.insert_range(Offset(first), Offset(first + len));
                    plain.extend(first..first + len);
                } else {
                    set.remove_range(Offset(first), Offset(first + len));
                    plain.retain(|offset| !(first..first + len).contains(offset));
                }
                prop_assert!(tidy(&set));
                prop_assert_eq!(&naive(&set), &plain);
                prop_assert_eq!(set.len(), plain.len() as u64);
            }
        }

        /// Scenario: two sets. Guarantee: union, difference, intersection, clipping and forgetting are those of plain
        /// sets, each tells its length, and what was written is read again.
        #[test]
        fn whole_sets_agree_with_plain_sets(a in runs(), b in runs(), cut in (0..60i64, 0..20i64)) {
            let (a, b) = (RunSet::collect(a), RunSet::collect(b));
            let (plain_a, plain_b) = (naive(&a), naive(&b));
            let mut union = a.clone();
            union.union(&b);
            prop_assert!(tidy(&union));
            prop_assert_eq!(union.len(), naive(&union).len() as u64);
            prop_assert_eq!(naive(&union), plain_a.union(&plain_b).copied().collect::<BTreeSet<_>>());
            let mut less = a.clone();
            less.subtract(&b);
            prop_assert!(tidy(&less));
            prop_assert_eq!(less.len(), naive(&less).len() as u64);
            prop_assert_eq!(naive(&less), plain_a.difference(&plain_b).copied().collect::<BTreeSet<_>>());
            let both = a.intersection(&b);
            prop_assert!(tidy(&both));
            prop_assert_eq!(both.len(), naive(&both).len() as u64);
            prop_assert_eq!(naive(&both), plain_a.intersection(&plain_b).copied().collect::<BTreeSet<_>>());
            let clipped = a.clipped(Offset(cut.0), Offset(cut.0 + cut.1));
            prop_assert!(tidy(&clipped));
            prop_assert_eq!(clipped.len(), naive(&clipped).len() as u64);
            let inside = plain_a.iter().copied().filter(|o| (cut.0..cut.0 + cut.1).contains(o)).collect::<BTreeSet<_>>();
            prop_assert_eq!(naive(&clipped), inside);
            let mut above = a.clone();
            above.forget_below(Offset(cut.0));
            prop_assert!(tidy(&above));
            prop_assert_eq!(above.len(), naive(&above).len() as u64);
            prop_assert_eq!(naive(&above), plain_a.range(cut.0..).copied().collect::<BTreeSet<_>>());
            let read: RunSet = serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap();
            prop_assert_eq!(read.len(), a.len());
            prop_assert_eq!(read, a);
        }
    }

    #[test]
    fn reading_refuses_runs_that_touch_fall_or_are_empty() {
        for bad in ["[[1,1]]", "[[2,1]]", "[[1,3],[3,4]]", "[[5,6],[1,2]]", "[[-1,2]]"] {
            assert!(serde_json::from_str::<RunSet>(bad).is_err(), "{bad}");
        }
        let good: RunSet = serde_json::from_str("[[1,3],[5,6]]").unwrap();
        assert_eq!(serde_json::to_string(&good).unwrap(), "[[1,3],[5,6]]");
    }
}
