//! The pair: input partition p and its retry partition p as one pure state machine.
//!
//! `handle(event, now)` returns actions; the runtime performs them and reports back with events. The offset tracker,
//! the key scheduler, the open segments and the ledger views live here and nowhere else.
//!
//! The way of a record through the machine: *queued* ([`crate::scheduler`]), *running* (with the steps), *finished* (its
//! rows or its filtering wait in the open segments of the sinks), *settled* (all of them published), *committed*. A
//! failed record goes back to the queue, is handed over to the retry partition, or becomes a letter, which is decided in the ledger of the first sink that
//! keeps one, produced after that publish, and settled by the broker's acknowledgement.
//!
//! **Architecture invariant:** everything that belongs to one ownership lives in `ownership::Ownership` and is dropped
//! as a whole; nothing can leak from one epoch into the next.

use std::sync::Arc;

use crate::rules::Rule;
use crate::{Epoch, Failure, Moment, Offset, PairId, RunSet};

mod action;
mod assign;
mod backlog;
mod careful;
mod commit;
mod event;
mod flood;
mod hold;
mod intake;
mod letters;
mod options;
mod outcomes;
mod ownership;
mod retry;
mod segments;
mod stop;
mod suspects;
mod turn;

pub use action::{Action, Destination, Letter, LetterId, SpoolId, SpoolRead, Tally, Unit, UnitEntry};
pub use event::{CommitResult, Event, Position, UnitResult, Verdict};
pub use options::{
    CommitPolicy, FloodPolicy, Grain, Order, PairOptions, RetryPolicy, SealPolicy, SinkSpec, Window,
};

use ownership::Ownership;

/// What a record that waits for its retry takes in memory, in bytes, wherever its payload is.
pub const WAITING_ENTRY_BYTES: u64 = retry::Index::ENTRY_BYTES;

/// One pair's state machine. See the module's own words.
#[derive(Debug)]
pub struct Pair {
    options: Arc<PairOptions>,
    id: PairId,
    phase: Phase,
    own: Ownership,
    /// So many records may be given twice to a sink without a ledger.
    repeats: u64,
    /// Something spoke of offsets up to here, beyond the end of the log as the assignment told it.
    suspect_end: Option<Offset>,
}

/// Where a pair stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Not ours.
    Idle,
    /// Ours; the ledgers are being read.
    Recovering,
    /// At work.
    Running,
    /// Finishing what is here, for SIGTERM.
    Draining,
    /// Publishing what is appended, for a rebalance.
    Revoking,
    /// Another writer took our number: a commit is to tell who owns the pair (design section 4, rule 7).
    Contested {
        /// Whether the commit in flight was sent after the number was found taken.
        asked: bool,
        /// When to ask again after an unknown answer.
        again: Option<Moment>,
        /// How often the answer was unknown.
        unknown: u32,
    },
    /// Ours, to begin anew: the next word is `Assigned`.
    Reassigning,
    /// A commit was refused: not ours any more, the source has yet to say so.
    Dropped,
    /// Halted for a reason that only a person can mend.
    Halted(Failure),
}

impl Pair {
    /// A pair that is not ours yet.
    pub fn new(options: Arc<PairOptions>, id: PairId) -> Self {
        let own = Ownership::none(&options, &id);
        let repeats = options.commit.uncommitted_cap;
        Self { options, id, phase: Phase::Idle, own, repeats, suspect_end: None }
    }

    /// Takes an event in and appends what is to be done, in order. An event of an old epoch changes nothing.
    pub fn handle(&mut self, event: Event, now: Moment, actions: &mut Vec<Action>) {
        match event {
            Event::Assigned { assignment, writer } => return self.assigned(assignment, writer, now, actions),
            Event::Lost => return self.lost(actions),
            Event::Share(repeats) => {
                self.repeats = repeats;
                if self.phase == Phase::Idle {
                    return;
                }
            }
            _ if self.phase == Phase::Idle => return,
            _ if event.epoch().is_some_and(|epoch| epoch != self.own.epoch()) && Rule::EpochDoor.holds() => {
                return;
            }
            Event::Recovered { sink, ledger, .. } => self.recovered(sink, ledger, now, actions),
            Event::Received(chunk) => self.received(&chunk, now, actions),
            Event::CopiesRead { chunk, wall_ms } => self.copies_read(&chunk, wall_ms, now, actions),
            Event::Passed { lane, offset, .. } => self.passed(lane, offset),
            Event::UnitDone { result, .. } => self.unit_done(result, now, actions),
            Event::Appended { sink, bytes, .. } => self.appended(sink, bytes),
            Event::SinkHeld { sink, failure, .. } => self.sink_held(sink, failure, actions),
            Event::SinkResumed { sink, .. } => self.sink_resumed(sink, actions),
            Event::Published { sink, sequence, outcome, .. } => {
                self.published(sink, sequence, outcome, now, actions);
            }
            Event::LettersDelivered { answers, .. } => self.letters_delivered(answers, now, actions),
            Event::Spooled { id, taken, .. } => self.spooled(id, taken),
            Event::Fetched { chunk, lost, wall_ms, .. } => {
                self.fetched(chunk, &lost, wall_ms, now, actions);
            }
            Event::Committed { lane, offset, result, .. } => {
                self.commit_answered(lane, offset, result, now, actions)
            }
            Event::EndFound { end, .. } => self.end_found(end, now, actions),
            Event::Tick => {}
            Event::Halt(failure) => self.halt(failure, actions),
            Event::Drain => self.drain(actions),
            Event::Revoke => self.revoke(actions),
            Event::Deadline => self.deadline(actions),
        }
        self.turn(now, actions);
    }

    /// The pair.
    pub fn id(&self) -> &PairId {
        &self.id
    }

    /// The present or last ownership.
    pub fn epoch(&self) -> Epoch {
        self.own.epoch()
    }

    /// Where the pair stands, in one word, for metrics and the status page.
    pub fn state(&self) -> &'static str {
        match self.phase {
            Phase::Idle => "idle",
            Phase::Recovering => "recovering",
            Phase::Running if self.own.holds.reason().is_some() => "held",
            Phase::Running if self.own.careful.is_on() => "careful",
            Phase::Running => "running",
            Phase::Draining => "draining",
            Phase::Revoking => "revoking",
            Phase::Contested { .. } => "contested",
            Phase::Reassigning => "reassigning",
            Phase::Dropped => "dropped",
            Phase::Halted(_) => "halted",
        }
    }

    /// Whether the pair is recovered and takes records.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether records are tried alone, because owners before this one crashed.
    pub fn is_careful(&self) -> bool {
        self.own.careful.is_on()
    }

    /// Why the pair is halted, none when it is not.
    pub fn halted(&self) -> Option<&Failure> {
        match &self.phase {
            Phase::Halted(failure) => Some(failure),
            _ => None,
        }
    }

    /// Why the pair takes no records though it would go on by itself, none when it takes them.
    pub fn held(&self) -> Option<&Failure> {
        self.own.holds.reason()
    }

    /// Records between intake and finish, letters on their way included.
    pub fn in_flight_records(&self) -> u64 {
        self.own.window_records()
    }

    /// Bytes between intake and finish: chunks still needed, and rows not yet taken by a segment.
    pub fn in_flight_bytes(&self) -> u64 {
        self.own.window_bytes()
    }

    /// Records that wait in the retry lane, and the keys that wait behind one of them.
    pub fn waiting(&self) -> (u64, u64) {
        let lane = self.own.retry.as_ref();
        lane.map_or((0, 0), |lane| (lane.index.len() + lane.strays.waiting(), lane.parking.keys()))
    }

    /// The bytes of what waits in the retry lane: its entries in memory, and its payloads with the spool.
    pub fn waiting_bytes(&self) -> (u64, u64) {
        let lane = self.own.retry.as_ref();
        lane.map_or((0, 0), |lane| (lane.entries_bytes(), lane.payloads.spooled_bytes()))
    }

    /// Whether the spool owes an answer; the watchdog looks at it (I6).
    pub fn awaits_spool(&self) -> bool {
        self.own
            .retry
            .as_ref()
            .is_some_and(|lane| lane.payloads.asked_bytes() > 0 || lane.fetches.asks_spool())
    }

    /// By how many payloads of the retry lane are held in memory, and how many records of it are with the steps, in a segment, or on their
    /// way as letters, each of which holds one. The simulation compares the two.
    pub fn holds(&self) -> (u64, u64) {
        let Some(lane) = &self.own.retry else { return (0, 0) };
        let segments: u64 = self.own.sinks.iter().map(segments::SinkState::of_retry_lane).sum();
        (lane.payloads.holds(), lane.at_work + segments + self.own.letters.of_retry_lane())
    }

    /// Everything below is settled.
    pub fn watermark(&self) -> Offset {
        self.own.tracker.watermark()
    }

    /// The offset behind the last one received.
    pub fn position(&self) -> Offset {
        self.own.tracker.position()
    }

    /// What the broker acknowledged last under this ownership, or what was committed before it.
    pub fn committed(&self) -> Offset {
        self.own.commits.acknowledged()
    }

    /// Offsets received and not settled, gaps before them included.
    pub fn unsettled(&self) -> &RunSet {
        self.own.tracker.open()
    }

    /// Since when the oldest record waits that is neither finished nor lettered. The runtime's watchdog judges by units
    /// under way instead; this is for tests and status.
    pub fn oldest_unfinished_since(&self) -> Option<Moment> {
        self.own.chunks.oldest()
    }

    /// Since when the oldest sealed segment waits for its publish; the watchdog looks at it (I6).
    pub fn oldest_sealed_since(&self) -> Option<Moment> {
        self.own.sinks.iter().filter_map(segments::SinkState::sealed_since).min()
    }
}

#[cfg(test)]
mod tests;
