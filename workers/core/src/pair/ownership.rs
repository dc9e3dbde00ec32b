//! Everything that belongs to one ownership of a pair.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::metadata::Metadata;
use crate::rules::Rule;
use crate::scheduler::{Entry, Scheduler};
use crate::source::Assignment;
use crate::tracker::{Ticket, Tracker};
use crate::{Chunk, Epoch, Lane, Moment, Offset, PairId, RecordRef, RunSet, SinkIndex, SinkMask, WriterId};

use super::PairOptions;
use super::careful::Careful;
use super::commit::Commits;
use super::hold::Holds;
use super::intake::Grants;
use super::letters::Letters;
use super::retry::RetryLane;
use super::segments::SinkState;

/// The state of one ownership; dropped as a whole when it ends.
#[derive(Debug)]
pub(super) struct Ownership {
    pub(super) assignment: Assignment,
    pub(super) writer: WriterId,
    pub(super) random: Random,
    /// What the committed metadata said.
    pub(super) found: Metadata,
    pub(super) sinks: Vec<SinkState>,
    /// The sink whose ledger decides dead letters.
    pub(super) decider: Option<usize>,
    /// Beyond this offset no ledger, dead letter or run of the metadata says anything.
    pub(super) known_end: Offset,
    /// The offset behind the input's last record, when it was asked for last.
    pub(super) input_end: Offset,
    /// Whether metadata and ledgers were found good, so that commits may take the place of what was found.
    pub(super) begun: bool,
    pub(super) tracker: Tracker,
    /// Gaps at ends of the log that were passed, as far as a segment's `covers` may still reach over them.
    pub(super) gaps: RunSet,
    /// The tickets of records that are queued or running.
    pub(super) working: Ticket,
    /// The tickets of records that wait in segments or as letters.
    pub(super) finished: Ticket,
    pub(super) scheduler: Scheduler,
    pub(super) chunks: Chunks,
    pub(super) grants: Grants,
    pub(super) letters: Letters,
    pub(super) commits: Commits,
    /// The retry lane; none for a pipeline without retry topics.
    pub(super) retry: Option<RetryLane>,
    /// Whether the input lane was told to begin.
    pub(super) input_started: bool,
    /// Records of the input lane that run again only to tell why their letter was decided.
    pub(super) relettering: BTreeSet<Offset>,
    pub(super) holds: Holds,
    pub(super) careful: Careful,
}

impl Ownership {
    pub(super) fn new(
        options: &PairOptions,
        assignment: Assignment,
        writer: WriterId,
        found: Metadata,
    ) -> Self {
        let (epoch, input_end) = (assignment.epoch, assignment.log_end);
        let start = assignment.committed.as_ref().map_or(assignment.start, |position| position.offset);
        let sinks: Vec<SinkState> =
            (0u8..).zip(&options.sinks).map(|(n, s)| SinkState::new(SinkIndex(n), s, start)).collect();
        let decider = sinks.iter().position(|sink| sink.ledger);
        let repeats = sinks.iter().any(|sink| !sink.ledger);
        let units = options.units_in_flight as usize;
        // Nobody of ours wrote an empty text.
        let unmarked = assignment.committed.as_ref().is_none_or(|position| position.metadata.is_empty());
        let scheduler = Scheduler::new(options.order, options.grain, options.unit_records as usize, units);
        let lane = assignment.retry.is_some();
        let careful = Careful::new(&found, unmarked, options.window.records, start, lane);
        Self {
            tracker: Tracker::new(epoch, start, found.settled.clone()),
            gaps: RunSet::default(),
            working: Ticket::empty(epoch),
            finished: Ticket::empty(epoch),
            commits: Commits::new(assignment.committed.clone(), start, &found.settled, repeats),
            retry: assignment.retry.as_ref().map(|retry| RetryLane::new(epoch, retry, repeats)),
            input_started: false,
            relettering: BTreeSet::new(),
            random: Random::seeded(writer),
            assignment,
            writer,
            found,
            sinks,
            decider,
            known_end: start,
            input_end,
            begun: false,
            scheduler,
            chunks: Chunks::default(),
            grants: Grants::default(),
            letters: Letters::default(),
            holds: Holds::default(),
            careful,
        }
    }

    /// The state of a pair that is not ours.
    pub(super) fn none(options: &PairOptions, pair: &PairId) -> Self {
        let assignment = Assignment {
            pair: pair.clone(),
            epoch: Epoch::default(),
            committed: None,
            start: Offset::default(),
            log_start: Offset::default(),
            log_end: Offset::default(),
            cluster: String::new(),
            topic_id: String::new(),
            partitions: 0,
            retry: None,
        };
        Self::new(options, assignment, WriterId(0), Metadata::default())
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.assignment.epoch
    }

    /// All sinks.
    pub(super) fn all_sinks(&self) -> SinkMask {
        SinkMask::first(self.sinks.len())
    }

    /// Records that count against the window: not those that wait in a segment, but letters, rows that no segment took
    /// yet, and rows that a sink without a ledger has not acknowledged.
    pub(super) fn window_records(&self) -> u64 {
        let staying = self.retry.as_ref().map_or(0, |lane| lane.staying.len());
        let work = self.scheduler.queued() + self.scheduler.running_records() + staying;
        let sinks: u64 = self.sinks.iter().map(SinkState::window_records).sum();
        work as u64 + self.letters.count() + sinks
    }

    /// Their bytes: chunks that are still needed, and rows that no segment took yet.
    pub(super) fn window_bytes(&self) -> u64 {
        self.chunks.bytes + self.sinks.iter().map(SinkState::window_bytes).sum::<u64>()
    }

    /// Forgets all work, and lets go of the chunks that only this work needed.
    pub(super) fn cancel_work(&mut self) {
        let staying = self.retry.as_mut().map(|lane| lane.staying.clear());
        for entry in self.scheduler.clear().into_iter().chain(staying.into_iter().flatten()) {
            // What a copy holds stays with the lane's index.
            if entry.lane == Lane::Input {
                self.chunks.release(entry.chunk, 1);
            }
        }
    }

    /// Moves the tickets of finished records; what they wait for has been noted before.
    pub(super) fn finish(&mut self, spans: &RunSet) {
        let ticket = self.working.split(spans);
        crate::invariant!(I1, ticket.spans() == spans, "{spans:?} was finished and not at work");
        self.finished.join(ticket);
    }

    /// Settles of these finished records those that wait for nothing more.
    pub(super) fn settle(&mut self, mut spans: RunSet) {
        for sink in &self.sinks {
            sink.subtract_waiting(&mut spans);
        }
        spans.subtract(&self.letters.waiting);
        self.settle_copies(spans.clone());
        let ticket = self.finished.split(&spans);
        crate::invariant!(I1, *ticket.spans() == spans, "{spans:?} was settled and not finished");
        let settled = self.tracker.settle(ticket);
        self.commits.note_settled(settled);
    }
}

impl Ownership {
    /// The sinks whose published ledger holds a record.
    pub(super) fn held_by(&self, origin: Offset) -> SinkMask {
        let mut held = SinkMask::NONE;
        let holding = self.sinks.iter().filter(|sink| sink.view.holdings.holds(origin));
        holding.for_each(|sink| held.insert(sink.index));
        held
    }

    /// Whether the decision over a letter and the rows behind its record may be two publishes, so that these have to wait for it where another run
    /// might end otherwise ([`Behind`](super::segments::Behind)).
    pub(super) fn decides_apart(&self) -> bool {
        self.decider.is_none() || self.sinks.len() > 1
    }

    /// Settles the copies of these records that wait for nothing more in the retry lane. A copy may have been read and run before
    /// the letter that it came by has its answer, so a record that settles in the input lane can still wait there, for
    /// the publish of its row or for its dead letter.
    pub(super) fn settle_copies(&mut self, mut origins: RunSet) {
        if let Some(lane) = self.retry.as_mut().filter(|lane| lane.has_refused()) {
            let mut done = origins.clone();
            self.sinks.iter().for_each(|sink| {
                sink.subtract_waiting(&mut done);
                sink.subtract_retried(&mut done);
            });
            lane.forget_refused(&done);
        }
        let Some(lane) = self.retry.as_mut().filter(|lane| lane.has_joined()) else { return };
        if Rule::CopyWaitsForItself.holds() {
            for sink in &self.sinks {
                sink.subtract_retried(&mut origins);
            }
            origins.subtract(&self.letters.retried);
            lane.subtract_relettering(&mut origins);
        }
        lane.settle_joined(&origins, self.commits.acknowledged());
    }

    /// The record of an entry. Whoever has the entry needs the chunk, and of the retry lane holds it, so it is in memory.
    pub(super) fn record(&self, entry: &Entry) -> Option<RecordRef> {
        let record = match entry.lane {
            Lane::Input => self.chunks.record(entry.chunk, entry.index),
            Lane::Retry => self.retry.as_ref()?.payloads.record(entry.chunk, entry.index),
        };
        crate::invariant!(I1, record.is_some(), "the record of {entry:?} left memory before its end");
        record
    }

    /// One more of the machine's parts needs the record of an entry.
    pub(super) fn need(&mut self, entry: &Entry) {
        match (entry.lane, &mut self.retry) {
            (Lane::Input, _) => self.chunks.need(entry.chunk, 1),
            (Lane::Retry, Some(lane)) => lane.payloads.hold(entry.chunk),
            (Lane::Retry, None) => {}
        }
    }

    /// So many records of a chunk are not needed any more.
    pub(super) fn release(&mut self, lane: Lane, chunk: u32, records: usize) {
        match (lane, &mut self.retry) {
            (Lane::Input, _) => self.chunks.release(chunk, records),
            (Lane::Retry, Some(lane)) => lane.payloads.let_go(chunk, records),
            (Lane::Retry, None) => {}
        }
    }
}

/// The chunks that queued and running records, letters and unacknowledged rows still need. An entry of the scheduler
/// names its chunk by number, so that a record costs no counted reference.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct Slot {
    chunk: Arc<Chunk>,
    needed: usize,
    since: Moment,
}

impl Chunks {
    /// Keeps a chunk for so many records.
    pub(super) fn insert(&mut self, chunk: &Arc<Chunk>, now: Moment) -> u32 {
        self.bytes += chunk.bytes() as u64;
        let slot = Some(Slot { chunk: Arc::clone(chunk), needed: 1, since: now });
        match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        }
    }

    /// More records need the chunk.
    pub(super) fn need(&mut self, place: u32, records: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(place as usize) {
            slot.needed += records;
        }
    }

    /// So many records do not need it any more.
    pub(super) fn release(&mut self, place: u32, records: usize) {
        let Some(kept) = self.slots.get_mut(place as usize) else { return };
        if let Some(slot) = kept {
            slot.needed -= records;
            if slot.needed == 0 {
                self.bytes -= slot.chunk.bytes() as u64;
                *kept = None;
                self.free.push(place);
            }
        }
    }

    /// The record at a place of a chunk.
    pub(super) fn record(&self, place: u32, index: u32) -> Option<RecordRef> {
        let slot = self.slots.get(place as usize)?.as_ref()?;
        RecordRef::new(&slot.chunk, index)
    }

    /// The first record of a lane at or behind an offset in what is still needed.
    pub(super) fn first_from(&self, lane: Lane, offset: Offset) -> Option<RecordRef> {
        let of_lane =
            self.slots.iter().flatten().map(|slot| &slot.chunk).filter(|chunk| chunk.lane() == lane);
        let reaches = |chunk: &&Arc<Chunk>| {
            (chunk.len() as u32).checked_sub(1).is_some_and(|last| chunk.offset(last) >= offset)
        };
        let chunk = of_lane.filter(reaches).min_by_key(|chunk| chunk.offset(0))?;
        // A span begins behind the record before it, so its first offset may be a gap's.
        RecordRef::new(chunk, chunk.place_of(offset))
    }

    /// When the oldest chunk that is still needed came.
    pub(super) fn oldest(&self) -> Option<Moment> {
        self.slots.iter().flatten().map(|slot| slot.since).min()
    }
}

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), seeded from the
/// writer id: enough to spread retries, and the same again in a replayed run.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    fn seeded(writer: WriterId) -> Self {
        Self((writer.0 >> 64) as u64 ^ writer.0 as u64)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: the numbers are SplitMix64's, as its authors' program gives them for the seed 0; both halves of a writer's number count.
    #[test]
    fn waits_are_spread_by_the_writer() {
        let first = |writer: u128| Random::seeded(WriterId(writer)).next();
        let mut random = Random::seeded(WriterId(5 << 64 | 5));
        let numbers = [random.next(), random.next(), random.next()];
        assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
        assert_eq!(first(1 << 64), first(1));
        assert_ne!(first(1), numbers[0]);
    }
}
