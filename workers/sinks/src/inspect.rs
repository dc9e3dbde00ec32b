//! What commands that look at sinks are told: the state of each pair's ledger, and what is wrong with what lies there.

use std::collections::BTreeMap;
use std::fmt;

use longshore_core::RunSet;
use serde::Serialize;

use crate::verify::Claim;

/// At most so many findings of one kind are kept of a pair; what is left out is counted.
const MOST_OF_A_KIND: usize = 20;

/// What a sink's ledger says of one pair in one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PairSummary {
    /// The generation.
    pub generation: u32,
    /// The pair's topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// How often the pair changed its owner: by claims where the store counts them, else by who has published.
    pub epoch: u64,
    /// Segments that were published, those without rows included.
    pub segments: u64,
    /// Rows in them; of a ledger that forgets its oldest entries, those of the segments from `rows_from` on.
    pub rows: u64,
    /// The first segment whose rows are counted.
    pub rows_from: u64,
    /// Objects or files; none in a table.
    pub objects: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
    /// Offsets that are held: with rows, filtered, or never there.
    pub held: u64,
    /// The offset behind the last one that is held or a letter.
    pub held_to: Option<i64>,
    /// Offsets before that which are neither: they wait in the retry topic, or nobody has read them.
    pub open: u64,
    /// Dead letters that were decided here.
    pub dead: u64,
    /// The newest segment.
    pub last: Option<LastSegment>,
    /// What could not be read, in words; `sink verify` says all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// The newest segment of a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LastSegment {
    /// Its number.
    pub sequence: u64,
    /// When it was published, milliseconds since 1970.
    pub published_ms: i64,
    /// What it covers: an offset, and the one behind the last.
    pub covers: (i64, i64),
    /// Its rows.
    pub rows: u64,
}

/// The offsets that all segments of a pair say something about.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) held: RunSet,
    dead: BTreeMap<i64, u32>,
}

impl Passed {
    #[cfg(feature = "postgres")]
    pub(crate) fn of(held: RunSet, dead: BTreeMap<i64, u32>) -> Self {
        Self { held, dead }
    }

    pub(crate) fn add(&mut self, claim: &Claim, runs: &RunSet) {
        self.held.union(runs);
        self.dead.extend(&claim.dead);
    }

    /// Runs between the first and the last offset that are neither held nor letters.
    pub(crate) fn open(&self) -> RunSet {
        let mut passed = RunSet::collect(self.dead.keys().map(|offset| (*offset, offset + 1)).collect());
        passed.union(&self.held);
        let (Some(first), Some(end)) = (passed.first(), passed.end()) else { return RunSet::default() };
        let mut open = RunSet::of(first, end);
        open.subtract(&passed);
        open
    }

    pub(crate) fn tell(&self, summary: &mut PairSummary) {
        let last_letter = self.dead.last_key_value().map(|(offset, _)| offset + 1);
        summary.held = self.held.len();
        summary.held_to = self.held.end().map(|end| end.0).max(last_letter);
        summary.open = self.open().len();
        summary.dead = self.dead.len() as u64;
    }
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Data is missing, doubled or not what the ledger says.
    Fault,
    /// Worth knowing: what a worker is doing now, or will mend, or what costs readers time.
    Note,
}

/// Something that was found, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing it is, as `docs/sinks.md` lists them.
    pub kind: &'static str,
    /// The object, file, entry or table.
    pub place: String,
    /// What is wrong, in words.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.detail)
    }
}

/// What a sink was found to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Pairs whose ledger was read, over all generations.
    pub pairs: u64,
    /// Segments.
    pub segments: u64,
    /// Objects or files that the ledgers name.
    pub objects: u64,
    /// Rows that were counted; those that the ledgers say where nobody asked to count.
    pub rows: u64,
    /// Faults in all, those included that are not listed.
    pub faults: u64,
    /// What was found; of one kind in one pair not all, where there are many.
    pub findings: Vec<Finding>,
    #[serde(skip)]
    of_a_kind: BTreeMap<&'static str, usize>,
}

impl Verified {
    #[cfg(feature = "objects")]
    pub(crate) fn of_pair() -> Self {
        Self { pairs: 1, ..Self::default() }
    }

    pub(crate) fn fault(&mut self, kind: &'static str, place: impl fmt::Display, detail: impl fmt::Display) {
        self.faults += 1;
        self.find(Severity::Fault, kind, place, detail);
    }

    pub(crate) fn note(&mut self, kind: &'static str, place: impl fmt::Display, detail: impl fmt::Display) {
        self.find(Severity::Note, kind, place, detail);
    }

    fn find(
        &mut self,
        severity: Severity,
        kind: &'static str,
        place: impl fmt::Display,
        detail: impl fmt::Display,
    ) {
        let known = self.of_a_kind.entry(kind).or_default();
        *known += 1;
        if *known <= MOST_OF_A_KIND {
            let (place, detail) = (place.to_string(), detail.to_string());
            self.findings.push(Finding { severity, kind, place, detail });
        }
    }

    /// Takes in what was found elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        self.pairs += other.pairs;
        self.segments += other.segments;
        self.objects += other.objects;
        self.rows += other.rows;
        self.faults += other.faults;
        self.findings.extend(other.findings);
    }

    /// The findings in the order of their places.
    pub(crate) fn sorted(mut self) -> Self {
        self.findings.sort();
        self
    }
}
