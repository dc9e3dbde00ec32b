//! The judge: where did every published record end? Told from the input topic, the sink's files with their trailers, the
//! dead-letter topic and the committed offsets; from nothing that a worker says of itself.

use std::collections::{BTreeMap, BTreeSet};

use longshore_sinks::verify::{Report, verify};

use super::rig::Rig;
use super::witness::{Committed, Seen};

/// Where a record should end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// In a file.
    Row,
    /// Nowhere, and counted.
    Filtered,
    /// In the dead-letter topic, with this reason.
    Letter(String),
}

/// The header that says why a record became a letter.
pub const LETTER_REASON: &str = "longshore.reason";

/// Partition and offset.
pub type Place = (i32, i64);

/// What became of the records of one pipeline.
#[derive(Debug, Default)]
pub struct Account {
    /// Every record of the input topic that a reader sees.
    pub published: BTreeMap<Place, Seen>,
    /// Where each of them ended; those that have not ended yet are not here.
    pub fates: BTreeMap<Place, Fate>,
    /// Records filtered by reason, as the trailers say.
    pub filtered: BTreeMap<String, u64>,
    /// Letters, copies included.
    pub letters: Vec<Seen>,
    /// Rows by place, in the order of the files.
    pub rows: BTreeMap<Place, Vec<String>>,
    /// What was committed before anything else was looked at.
    pub committed: BTreeMap<i32, Committed>,
    /// The same of the retry topic.
    pub committed_copies: BTreeMap<i32, Committed>,
    /// The ends of the partitions.
    pub ends: Vec<i64>,
    /// Everything that is wrong whatever the workers still have to do.
    pub problems: Vec<String>,
}

impl Account {
    /// Counts. Workers may be running, if the only question is whether a commit was too early.
    ///
    /// # Panics
    /// When the broker or the folder cannot be read.
    #[must_use]
    pub fn take(rig: &Rig) -> Self {
        Self::take_of(rig, None)
    }

    /// Counts one sink generation alone; the commits are those of the newest.
    ///
    /// # Panics
    /// As [`Self::take`].
    #[must_use]
    pub fn take_generation(rig: &Rig, generation: u32) -> Self {
        Self::take_of(rig, Some(generation))
    }

    fn take_of(rig: &Rig, generation: Option<u32>) -> Self {
        let counts = |found: u32| generation.is_none_or(|wanted| wanted == found);
        // First what is committed: whatever it covers must be found afterwards.
        let mut account = Self {
            committed: rig.witness.committed(&rig.group(), &rig.topic),
            committed_copies: committed_copies(rig),
            ..Self::default()
        };
        let mut order = Order::default();
        let mut row_places = Vec::new();
        let report = if rig.files().exists() {
            verify(&rig.files(), |row| {
                if !counts(row.file.generation) {
                    return;
                }
                let place = (row.origin.partition.0, row.origin.offset.0);
                account.rows.entry(place).or_default().push(row.json.to_owned());
                row_places.push((place, row.origin.index));
            })
        } else {
            Ok(Report::default())
        };
        let mut report =
            report.unwrap_or_else(|error| panic!("cannot read {}: {error}", rig.files().display()));
        report.files.retain(|file| counts(file.file.generation));
        account.letters = rig.witness.read(&rig.letter_topic());
        account.ends = rig.witness.ends(&rig.topic);
        let input = rig.witness.read(&rig.topic);
        account.published = input.into_iter().map(|seen| ((seen.partition, seen.offset), seen)).collect();
        account.problems.extend(report.findings.iter().map(ToString::to_string));
        account.check_rows_are_single(&row_places);
        for (place, _) in row_places {
            order.row(place, account.published.get(&place), &mut account.problems);
        }
        account.filtered = report.filtered();
        account.judge(rig, &report);
        account
    }

    /// I2: no identity twice.
    fn check_rows_are_single(&mut self, places: &[(Place, u32)]) {
        let mut seen = BTreeSet::new();
        for place in places {
            if !seen.insert(place) {
                self.problems.push(format!("I2: row {place:?} stands in the files twice"));
            }
        }
    }

    /// I1 and I4, record by record.
    fn judge(&mut self, rig: &Rig, report: &Report) {
        let mut letters: BTreeMap<Place, BTreeSet<String>> = BTreeMap::new();
        for letter in &self.letters {
            match place_of(letter, &rig.topic) {
                Some(place) if self.published.contains_key(&place) => {
                    letters
                        .entry(place)
                        .or_default()
                        .insert(letter.header(LETTER_REASON).unwrap_or_default());
                }
                _ => self.problems.push(format!("a letter without a published origin: {letter:?}")),
            }
        }
        let mut held: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
        for claim in report.files.iter().filter_map(|file| file.claim.as_ref()) {
            held.entry(claim.partition).or_default().extend(claim.runs());
        }
        let (mut filtered, mut nowhere) = (0, Vec::new());
        for place in self.published.keys() {
            let held = held.get(&place.0).into_iter().flatten().any(|run| (run.0..run.1).contains(&place.1));
            let (row, letter) = (self.rows.contains_key(place), letters.get(place));
            match (row, letter, held) {
                (true, None, true) => drop(self.fates.insert(*place, Fate::Row)),
                (false, Some(reasons), false) => {
                    let reason = reasons.iter().next().cloned().unwrap_or_default();
                    self.fates.insert(*place, Fate::Letter(reason));
                }
                (false, None, true) => {
                    filtered += 1;
                    self.fates.insert(*place, Fate::Filtered);
                }
                (false, None, false) => {}
                _ => self.problems.push(format!(
                    "I1: {place:?} has several final places: row {row}, letter {letter:?}, held {held}"
                )),
            }
            let committed = self.committed.get(&place.0).is_some_and(|position| place.1 < position.offset);
            if committed && !self.fates.contains_key(place) {
                nowhere.push(*place);
            }
        }
        self.check_copies(rig, nowhere);
        let counted: u64 = self.filtered.values().sum();
        if counted != filtered {
            self.problems.push(format!("I1: {filtered} records were filtered, the trailers count {counted}"));
        }
        for place in self.rows.keys().filter(|place| !self.published.contains_key(place)) {
            self.problems.push(format!("a row of {place:?}, which was never published"));
        }
    }

    /// I4: what is committed and has no final place waits in the retry topic, as a copy that is not committed.
    fn check_copies(&mut self, rig: &Rig, places: Vec<Place>) {
        if places.is_empty() {
            return;
        }
        let copies = if has_retry(rig) { rig.witness.read(&rig.retry_topic()) } else { Vec::new() };
        let from =
            |partition: i32| self.committed_copies.get(&partition).map_or(0, |position| position.offset);
        let open = copies.iter().filter(|copy| copy.offset >= from(copy.partition));
        let waiting: BTreeSet<Place> = open.filter_map(|copy| place_of(copy, &rig.topic)).collect();
        for place in places.into_iter().filter(|place| !waiting.contains(place)) {
            self.problems
                .push(format!("I4: {place:?} is committed, has no final place, and waits in no open copy"));
        }
    }

    /// Records that have not ended anywhere.
    #[must_use]
    pub fn missing(&self) -> Vec<Place> {
        self.published.keys().filter(|place| !self.fates.contains_key(place)).copied().collect()
    }

    /// Nothing is wrong, though something may still be on its way.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn assert_sound(&self) {
        assert!(self.problems.is_empty(), "{}\n{}", self.summary(), first(&self.problems));
    }

    /// Everything published has ended, where `fate` says it should, and is committed.
    ///
    /// # Panics
    /// When it is not so.
    #[track_caller]
    pub fn assert_right(&self, published: u64, fate: impl Fn(&Seen) -> Fate) {
        self.assert_sound();
        assert_eq!(self.published.len() as u64, published, "{}", self.summary());
        let missing = self.missing();
        assert!(missing.is_empty(), "I1: {}\nmissing {}", self.summary(), first(&missing));
        let wrong = |(place, seen): (&Place, &Seen)| {
            let (wanted, found) = (fate(seen), self.fates.get(place));
            (Some(&wanted) != found).then(|| format!("{place:?} should be {wanted:?} and is {found:?}"))
        };
        let wrong: Vec<_> = self.published.iter().filter_map(wrong).collect();
        assert!(wrong.is_empty(), "{}\n{}", self.summary(), first(&wrong));
        for (partition, end) in (0..).zip(&self.ends) {
            let committed = self.committed.get(&partition).map_or(0, |position| position.offset);
            assert_eq!(committed, *end, "I4: partition {partition} is not committed to its end");
        }
    }

    /// The same where workers died again and again: for at most so many records the next workers may have taken a death of chance, three times in
    /// a row, for the record's doing. Their letter `crash.loop` is their final place.
    ///
    /// # Panics
    /// When it is not so.
    #[track_caller]
    pub fn assert_right_but(&self, looped: usize, published: u64, fate: impl Fn(&Seen) -> Fate) {
        let is_looped = |found: &&Fate| matches!(found, Fate::Letter(reason) if reason == "crash.loop");
        let found = |seen: &Seen| self.fates.get(&(seen.partition, seen.offset)).filter(is_looped);
        self.assert_right(published, |seen| found(seen).cloned().unwrap_or_else(|| fate(seen)));
        let count = self.fates.values().filter(is_looped).count();
        assert!(count <= looped, "{count} records were taken for those that take their workers down");
    }

    /// The sum in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for fate in self.fates.values() {
            *sums.entry(format!("{fate:?}")).or_default() += 1;
        }
        let copies = self.letters.len();
        format!("{} published, {sums:?}, {copies} letters with copies", self.published.len())
    }
}

/// I3: the rows of a key stand in the order of their offsets.
#[derive(Default)]
struct Order(BTreeMap<(i32, Vec<u8>), i64>);

impl Order {
    fn row(&mut self, place: Place, seen: Option<&Seen>, problems: &mut Vec<String>) {
        let Some(key) = seen.and_then(|seen| seen.key.clone()) else { return };
        let last = self.0.entry((place.0, key)).or_insert(-1);
        if place.1 < *last {
            problems.push(format!("I3: row {place:?} stands behind offset {last} of its key"));
        }
        *last = place.1.max(*last);
    }
}

fn has_retry(rig: &Rig) -> bool {
    rig.witness.partitions(&rig.retry_topic()) > 0
}

fn committed_copies(rig: &Rig) -> BTreeMap<i32, Committed> {
    if has_retry(rig) { rig.witness.committed(&rig.group(), &rig.retry_topic()) } else { BTreeMap::new() }
}

fn place_of(letter: &Seen, topic: &str) -> Option<Place> {
    let origin = letter.header("longshore.origin")?;
    let mut parts = origin.split('/');
    if parts.next()? != topic {
        return None;
    }
    let partition = parts.next()?.parse().ok()?;
    let offset = parts.next()?.parse().ok()?;
    (partition == letter.partition && parts.next()? == "0").then_some((partition, offset))
}

fn first<T: std::fmt::Debug>(list: &[T]) -> String {
    let shown: Vec<String> = list.iter().take(12).map(|entry| format!("{entry:?}")).collect();
    format!("{} in all: {}", list.len(), shown.join("\n"))
}

/// What [`log_line`](super::flow::log_line) should become.
#[must_use]
pub fn log_fate(seen: &Seen) -> Fate {
    fate(seen, br#""level":"debug""#)
}

/// What [`document`](super::flow::document) should become.
#[must_use]
pub fn document_fate(seen: &Seen) -> Fate {
    fate(seen, br#""text":"short""#)
}

fn fate(seen: &Seen, filtered: &[u8]) -> Fate {
    let value = seen.value.as_deref().unwrap_or_default();
    if serde_json::from_slice::<serde_json::Value>(value).is_err() {
        return Fate::Letter("decode.json".to_owned());
    }
    if value.windows(filtered.len()).any(|window| window == filtered) { Fate::Filtered } else { Fate::Row }
}
