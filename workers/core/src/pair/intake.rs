//! Intake: what becomes of a received record, and how many more may come.

use std::sync::Arc;

use crate::scheduler::Entry;
use crate::{Chunk, Failure, Lane, Moment, Offset, Reason, SinkIndex, SinkMask};

use super::{Action, Pair, Phase, Tally};

/// How much came and how much may come, absolute since the epoch began.
#[derive(Debug, Default)]
pub(super) struct Grants {
    received_records: u64,
    received_bytes: u64,
    granted_records: u64,
    granted_bytes: u64,
}

/// What a received record is.
enum Fate {
    /// Settled before this ownership, or held by every sink.
    Done,
    /// To be run for all sinks but these; `lettered` when only its letter is wanted.
    Run { held: SinkMask, lettered: bool },
}

impl Pair {
    pub(super) fn received(&mut self, chunk: &Arc<Chunk>, now: Moment, actions: &mut Vec<Action>) {
        match (chunk.lane(), &self.phase) {
            (Lane::Input, Phase::Running) => self.admit(chunk, now, actions),
            // What comes after a stop began is not admitted; the next owner reads it.
            (Lane::Input, _) => {}
            (Lane::Retry, _) => {
                self.halt(
                    Failure::halt(Reason::Internal, "records of a retry lane, which no pipeline has yet"),
                    actions,
                );
            }
        }
    }

    /// Goes on to an offset that no record stands before any more. The gap is nobody's, so it is settled at once, and the
    /// ledgers may claim it like any other gap.
    pub(super) fn passed(&mut self, offset: Offset) {
        let from = self.own.tracker.position();
        if self.phase != Phase::Running || offset <= from {
            return;
        }
        self.own.tracker.pass_to(offset);
        self.own.gaps.insert_range(from, offset);
        // Behind open records there is nothing to commit yet, and when they settle there is.
        if self.own.tracker.open().is_empty() {
            self.own.commits.note_settled(1);
        }
    }

    fn admit(&mut self, chunk: &Arc<Chunk>, now: Moment, actions: &mut Vec<Action>) {
        self.own.grants.received_records += chunk.len() as u64;
        self.own.grants.received_bytes += chunk.bytes() as u64;
        let place = self.own.chunks.insert(chunk, now);
        let (mut queued, mut done) = (0, 0);
        for index in 0..chunk.len() as u32 {
            let offset = chunk.offset(index);
            if offset < self.own.tracker.position() {
                continue;
            }
            match self.fate(offset) {
                Fate::Done => {
                    self.own.tracker.pass(offset);
                    done += 1;
                }
                Fate::Run { held, lettered } => {
                    self.queue(chunk, place, index, held, lettered);
                    queued += 1;
                }
            }
        }
        // The insertion itself counted for one, so that the chunk stays while its records are queued.
        self.own.chunks.need(place, queued);
        self.own.chunks.release(place, 1);
        if done > 0 {
            actions.push(Action::Settled(Tally { already_held: done, ..Tally::default() }));
            self.own.commits.note_settled(done);
        }
    }

    fn queue(&mut self, chunk: &Chunk, place: u32, index: u32, held: SinkMask, lettered: bool) {
        let own = &mut self.own;
        let offset = chunk.offset(index);
        let Some(first) = own.tracker.admit(offset, &mut own.working) else { return };
        let key = if own.scheduler.needs_keys() { chunk.key_hash(index) } else { None };
        own.scheduler.push(Entry { first, offset, key, chunk: place, index, held, attempt: 1, lettered });
    }

    fn fate(&self, offset: Offset) -> Fate {
        let own = &self.own;
        let mut held = SinkMask::NONE;
        if offset >= own.known_end {
            return Fate::Run { held, lettered: false };
        }
        if own.tracker.was_settled(offset) {
            return Fate::Done;
        }
        for sink in own.sinks.iter().filter(|sink| sink.view.holdings.holds(offset)) {
            held.insert(sink.index);
        }
        if !own.sinks.is_empty() && held == own.all_sinks() {
            return Fate::Done;
        }
        let lettered = own.decider.is_some_and(|sink| own.sinks[sink].view.holdings.letter(offset).is_some());
        // The decision stands: whatever the steps say this time, no sink gets a row.
        Fate::Run { held: if lettered { own.all_sinks() } else { held }, lettered }
    }

    /// Grants what the window has room for. Small rises wait, so that the source is not told of every record.
    pub(super) fn grant(&mut self, actions: &mut Vec<Action>) {
        if self.phase != Phase::Running || self.own.holds.reason().is_some() {
            return;
        }
        let window = self.options.window;
        let (used_records, used_bytes) = (self.own.window_records(), self.own.window_bytes());
        let grants = &mut self.own.grants;
        let records = grants.received_records + window.records.saturating_sub(used_records);
        let bytes = grants.received_bytes + window.bytes.saturating_sub(used_bytes);
        let (records, bytes) = (records.max(grants.granted_records), bytes.max(grants.granted_bytes));
        let (more_records, more_bytes) = (records - grants.granted_records, bytes - grants.granted_bytes);
        let worth = more_records >= (window.records / 8).max(1) || more_bytes >= (window.bytes / 8).max(1);
        let empty = used_records == 0 && (more_records > 0 || more_bytes > 0);
        // A few large records, slow or waiting for their next try, may hold nearly all bytes for long. The others go on
        // with the rest, however little it is.
        let room = window.bytes.saturating_sub(used_bytes);
        let scarce = used_records <= window.records / 8 && more_bytes > 0 && more_bytes >= room / 2;
        if worth || empty || scarce {
            (grants.granted_records, grants.granted_bytes) = (records, bytes);
            actions.push(Action::Grant { lane: Lane::Input, records, bytes });
        }
    }

    /// The sink at an index, none for an index that no sink has.
    pub(super) fn sink_mut(&mut self, sink: SinkIndex) -> Option<&mut super::segments::SinkState> {
        self.own.sinks.get_mut(usize::from(sink.0))
    }
}
