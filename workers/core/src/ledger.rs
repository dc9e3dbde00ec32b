//! The ledger: what a sink holds of a pair, told by the trailers of its segments.

mod holdings;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use holdings::Holdings;

use crate::rules::Rule;
use crate::source::Assignment;
use crate::{Failure, Generation, Offset, Reason, RunSet, Sequence, WriterId};

/// The version of the trailer format written by this code.
pub const TRAILER_VERSION: u32 = 1;

/// What one published segment says of itself (design section 4, rule 4).
///
/// The segment holds: the own offsets in `covers` less `except`, and `also`. Offsets that were filtered, compacted
/// away or taken by transaction markers lie inside `covers`; otherwise a 50 % filter would make one run per record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trailer {
    /// [`TRAILER_VERSION`].
    pub version: u32,
    /// The pipeline's name.
    pub pipeline: String,
    /// The sink generation.
    pub generation: Generation,
    /// The Kafka cluster's id.
    pub cluster: String,
    /// The input topic's name.
    pub topic: String,
    /// The input topic's id; empty when the broker gave none.
    pub topic_id: String,
    /// The pair's partition.
    pub partition: i32,
    /// How many partitions the topic had.
    pub partitions: u32,
    /// The segment's number.
    pub sequence: Sequence,
    /// Who wrote it.
    pub writer: WriterId,
    /// First offset covered, and the offset behind the last.
    pub covers: (Offset, Offset),
    /// Received offsets inside `covers` that this segment does not hold.
    pub except: RunSet,
    /// Own offsets outside `covers`, or finished after an earlier `covers` passed them, that this segment holds.
    pub also: RunSet,
    /// Dead letters decided here: offset to replay number. Inside `covers` they also stand in `except`.
    pub dead: BTreeMap<Offset, u32>,
    /// Rows in the segment.
    pub rows: u64,
    /// Records filtered, by reason.
    pub filtered: BTreeMap<String, u64>,
    /// Some in the ledger that decides dead letters: the replay numbers above 0 of the segment's records, for
    /// [`Trailer::refuse`]. What the pair tells its writer; never stored.
    #[serde(skip)]
    pub decides: Option<BTreeMap<Offset, u32>>,
}

impl Trailer {
    /// Whether what it says of offsets can be: it is read from where others can write, and what is folded once is believed for ever.
    pub fn is_sound(&self) -> bool {
        let (first, end) = self.covers;
        let offsets = Offset(0)..Offset(i64::MAX);
        first.0 >= 0 && first <= end && self.dead.keys().all(|offset| offsets.contains(offset))
    }

    /// Takes out records that the sink refuses, of which `rows` rows were counted: the segment does not hold them, and
    /// where this ledger decides dead letters they are letters from here on. The sink does this to what it stores and the
    /// pair to what it folds, so that both say the same (see [`crate::sink`]).
    pub fn refuse(&mut self, refused: &[Offset], rows: u64) {
        let gone = RunSet::collect(refused.iter().map(|offset| (offset.0, offset.next().0)).collect());
        self.also.subtract(&gone);
        self.except.union(&gone.clipped(self.covers.0, self.covers.1));
        self.rows = self.rows.saturating_sub(rows);
        if let Some(replays) = self.decides.as_ref().filter(|_| Rule::RefusalDecides.holds()) {
            self.dead
                .extend(refused.iter().map(|offset| (*offset, replays.get(offset).copied().unwrap_or(0))));
        }
    }
}

/// What a sink holds of a pair: all trailers folded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerView {
    /// The first free number.
    pub next_sequence: Sequence,
    /// Offsets held (rows, filtered, or never there), and dead letters decided.
    pub holdings: Holdings,
    /// The cluster of the newest trailer, empty without one.
    pub cluster: String,
    /// The topic id of the newest trailer, empty without one.
    pub topic_id: String,
    /// The partition count noted in the oldest trailer, 0 without one.
    pub partitions_at_birth: u32,
}

impl LedgerView {
    /// Folds the next trailer in. Trailers come in the order of their numbers.
    pub fn fold(&mut self, trailer: &Trailer) {
        let mut covered = RunSet::default();
        covered.insert_range(trailer.covers.0, trailer.covers.1);
        covered.subtract(&trailer.except);
        covered.union(&trailer.also);
        self.holdings.add(&covered, &trailer.dead);
        if self.partitions_at_birth == 0 {
            self.partitions_at_birth = trailer.partitions;
        }
        self.cluster.clone_from(&trailer.cluster);
        self.topic_id.clone_from(&trailer.topic_id);
        self.next_sequence = trailer.sequence.next();
    }

    /// The offset behind the last one it says anything about, none when it is empty.
    pub fn end(&self) -> Option<Offset> {
        self.holdings.end()
    }

    /// Whether the ledger fits the assignment: it holds the segments that were committed (`promised` is the first number
    /// not yet published then), and is about this very topic (design section 4, rule 8).
    ///
    /// # Errors
    /// [`LedgerMismatch`]
    pub fn check(&self, assignment: &Assignment, promised: Option<Sequence>) -> Result<(), LedgerMismatch> {
        if let Some(promised) = promised.filter(|promised| *promised > self.next_sequence) {
            return Err(LedgerMismatch::Missing { promised, found: self.next_sequence });
        }
        let differs = |ours: &str, theirs: &str| !ours.is_empty() && !theirs.is_empty() && ours != theirs;
        if differs(&self.cluster, &assignment.cluster) {
            return Err(LedgerMismatch::Cluster);
        }
        if differs(&self.topic_id, &assignment.topic_id) {
            return Err(LedgerMismatch::Topic);
        }
        match self.end() {
            Some(end) if end > assignment.log_end => {
                Err(LedgerMismatch::BeyondEnd { held: end, log_end: assignment.log_end })
            }
            _ => Ok(()),
        }
    }
}

/// Why a ledger cannot be the one of this pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerMismatch {
    /// Segments that were committed are not there (a pod-local disk, a folder emptied by hand).
    #[error(
        "the next free segment is {found}, but at the last commit it was {promised}: published segments are gone"
    )]
    Missing {
        /// The first number not yet published when the commit was made.
        promised: Sequence,
        /// The first free number found.
        found: Sequence,
    },
    /// Another Kafka cluster.
    #[error("the ledger was written for another kafka cluster")]
    Cluster,
    /// Another topic of the same name.
    #[error("the ledger was written for an earlier topic of the same name")]
    Topic,
    /// It holds offsets that the log does not have.
    #[error("the ledger holds offsets up to {held}, but the log ends at {log_end}")]
    BeyondEnd {
        /// The offset behind the last one held.
        held: Offset,
        /// The end of the log.
        log_end: Offset,
    },
}

impl LedgerMismatch {
    /// The failure it is for the pair: always [`crate::Class::Halt`], since only a person can say what is right.
    pub fn into_failure(self) -> Failure {
        let reason = match self {
            Self::Missing { .. } => Reason::LedgerMissing,
            Self::Cluster | Self::Topic | Self::BeyondEnd { .. } => Reason::LedgerForeign,
        };
        Failure::halt(reason, self)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Epoch, PairId};

    use super::*;

    fn trailer(sequence: u64, partitions: u32) -> Trailer {
        Trailer {
            version: TRAILER_VERSION,
            pipeline: "p".into(),
            generation: Generation::FIRST,
            cluster: String::new(),
            topic: "in".into(),
            topic_id: String::new(),
            partition: 0,
            partitions,
            sequence: Sequence(sequence),
            writer: WriterId(1),
            covers: (Offset(0), Offset(5)),
            except: RunSet::default(),
            also: RunSet::default(),
            dead: BTreeMap::new(),
            rows: 5,
            filtered: BTreeMap::new(),
            decides: None,
        }
    }

    /// Scenario: partitions are added after the ledger was born. Guarantee: it keeps the number that it was born with.
    #[test]
    fn a_ledger_keeps_the_partitions_of_its_birth() {
        let mut view = LedgerView::default();
        [8, 16]
            .into_iter()
            .zip(0..)
            .for_each(|(partitions, sequence)| view.fold(&trailer(sequence, partitions)));
        assert_eq!((view.partitions_at_birth, view.next_sequence), (8, Sequence(2)));
    }

    /// Scenario: a broker gives no ids, or the ledger was written when it gave none. Guarantee: that is no other cluster and no other topic; other
    /// names are.
    #[test]
    fn what_has_no_id_differs_from_nothing() {
        let mut view = LedgerView::default();
        view.fold(&trailer(0, 1));
        let mut assignment = Assignment {
            pair: PairId::new("in", 0),
            epoch: Epoch(1),
            committed: None,
            start: Offset(0),
            log_start: Offset(0),
            log_end: Offset(5),
            cluster: "c".into(),
            topic_id: "t".into(),
            partitions: 1,
            retry: None,
        };
        assert_eq!(view.check(&assignment, Some(Sequence(1))), Ok(()), "written without ids");
        (view.cluster, view.topic_id) = ("c".into(), "t".into());
        assert_eq!(view.check(&assignment, None), Ok(()));
        assignment.topic_id = "u".into();
        assert_eq!(view.check(&assignment, None), Err(LedgerMismatch::Topic));
        assignment.cluster = "d".into();
        assert_eq!(view.check(&assignment, None), Err(LedgerMismatch::Cluster));
        (assignment.cluster, assignment.topic_id) = (String::new(), String::new());
        assert_eq!(view.check(&assignment, None), Ok(()), "asked of a broker without ids");
    }

    /// Bad input: offsets that there are not, and a span that ends before it begins. Guarantee: such a trailer is not sound, and one at the edge of
    /// what there is is.
    #[test]
    fn a_trailer_of_offsets_that_there_are_not_is_not_sound() {
        let of = |covers: (i64, i64), dead: &[i64]| Trailer {
            covers: (Offset(covers.0), Offset(covers.1)),
            dead: dead.iter().map(|offset| (Offset(*offset), 0)).collect(),
            ..trailer(0, 1)
        };
        for sound in [of((0, 0), &[]), of((7, 7), &[0]), of((0, i64::MAX), &[i64::MAX - 1])] {
            assert!(sound.is_sound(), "{sound:?}");
        }
        for bad in [
            of((-1, 5), &[]),
            of((-5, -1), &[]),
            of((5, 4), &[]),
            of((0, 5), &[-1]),
            of((0, 5), &[1, i64::MAX]),
        ] {
            assert!(!bad.is_sound(), "{bad:?}");
        }
    }

    /// Scenario: the log ends where the ledger does, and before. Guarantee: the first is this pair's ledger; the second is one of another log.
    #[test]
    fn what_lies_beyond_the_log_is_another_logs() {
        let mut view = LedgerView::default();
        view.fold(&trailer(0, 1));
        let check = |end| {
            let assignment = Assignment {
                pair: PairId::new("in", 0),
                epoch: Epoch(1),
                committed: None,
                start: Offset(0),
                log_start: Offset(0),
                log_end: Offset(end),
                cluster: String::new(),
                topic_id: String::new(),
                partitions: 1,
                retry: None,
            };
            view.check(&assignment, None)
        };
        assert_eq!((view.end(), check(5)), (Some(Offset(5)), Ok(())));
        assert_eq!(check(4), Err(LedgerMismatch::BeyondEnd { held: Offset(5), log_end: Offset(4) }));
    }
}
