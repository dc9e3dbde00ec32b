//! What happens to a pair.

use std::sync::Arc;
use std::time::Duration;

use crate::item::FilterReason;
use crate::ledger::LedgerView;
use crate::sink::Published;
use crate::source::Assignment;
use crate::{Block, Chunk, Epoch, Failure, Lane, Offset, Sequence, SinkIndex, SinkMask, UnitId, WriterId};

use super::{LetterId, SpoolId, SpoolRead};

/// A committed offset with its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The watermark: everything below it is settled.
    pub offset: Offset,
    /// Settled offsets beyond it and the sinks' sequence numbers, as [`crate::metadata`] writes them; at most 4096 bytes.
    pub metadata: String,
}

/// What the broker said to a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitResult {
    /// Acknowledged: at that moment the pair was ours.
    Done,
    /// Refused: the pair is no longer ours.
    Refused,
    /// No answer, or one that says nothing about the ownership: ask again.
    Unknown,
}

/// What became of one record in a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has rows in the blocks of these sinks (none: nothing wanted it, which counts as filtered `unrouted`).
    Routed {
        /// The sinks that got a row.
        sinks: SinkMask,
    },
    /// It was filtered (all its children were).
    Filtered(FilterReason),
    /// It failed; it has no row anywhere.
    Failed(Box<Failure>),
    /// It was not tried, because a record before it that it must not overtake failed.
    Deferred,
}

/// What one unit gave, or several that ended together: units of one record come back by the hundred, and one turn of the
/// machine serves them all.
#[derive(Debug)]
pub struct UnitResult {
    /// The units. Either all of them are in flight or none is, since units are cancelled all at once.
    pub units: Vec<UnitId>,
    /// One verdict for each entry, in the order of the units and of their entries.
    pub verdicts: Vec<Verdict>,
    /// Encoded rows of all units by sink, in that order; a sink without rows is left out.
    pub blocks: Vec<(SinkIndex, Block)>,
    /// Children filtered although their parent was routed, by reason.
    pub children_filtered: Vec<(FilterReason, u64)>,
    /// How long they were with the steps, without the time that they queued for them; zero where that is not known, as of
    /// steps that wait.
    pub took: Duration,
}

/// What happens to a pair. Everything that answers an action carries the epoch of that action; the machine drops what
/// carries an old one.
#[derive(Debug)]
pub enum Event {
    /// The pair is ours. `writer` is fresh and random.
    Assigned {
        /// What the source knows.
        assignment: Assignment,
        /// The writer id for this ownership.
        writer: WriterId,
    },
    /// A sink's ledger was read (an empty view without a ledger).
    Recovered {
        /// The ownership.
        epoch: Epoch,
        /// The sink.
        sink: SinkIndex,
        /// What it holds, or why it cannot be read.
        ledger: Result<LedgerView, Failure>,
    },
    /// Records of the input lane arrived.
    Received(Arc<Chunk>),
    /// Records of the retry lane arrived.
    CopiesRead {
        /// The copies.
        chunk: Arc<Chunk>,
        /// The time of day at that moment, milliseconds since 1970: headers and broker timestamps are told in it.
        wall_ms: i64,
    },
    /// Nothing comes any more from below this offset, though the last record may lie farther down.
    Passed {
        /// The ownership.
        epoch: Epoch,
        /// The lane.
        lane: Lane,
        /// The offset.
        offset: Offset,
    },
    /// The source was asked where the input ends.
    EndFound {
        /// The ownership.
        epoch: Epoch,
        /// The offset behind its last record; none when the source could not find out.
        end: Option<Offset>,
    },
    /// Units are through the steps.
    UnitDone {
        /// The ownership.
        epoch: Epoch,
        /// What it gave.
        result: UnitResult,
    },
    /// A block was taken by the open segment, which now has so many stored bytes.
    Appended {
        /// The ownership.
        epoch: Epoch,
        /// The sink.
        sink: SinkIndex,
        /// Stored bytes of the open segment.
        bytes: u64,
    },
    /// The sink does not take what it is given; the runtime goes on trying it with backoff. Intake pauses.
    SinkHeld {
        /// The ownership.
        epoch: Epoch,
        /// The sink.
        sink: SinkIndex,
        /// Why; class Halt stops the pair.
        failure: Failure,
    },
    /// The sink takes again.
    SinkResumed {
        /// The ownership.
        epoch: Epoch,
        /// The sink.
        sink: SinkIndex,
    },
    /// A publish came to its end.
    Published {
        /// The ownership.
        epoch: Epoch,
        /// The sink.
        sink: SinkIndex,
        /// The segment's number.
        sequence: Sequence,
        /// How it ended.
        outcome: Published,
    },
    /// The broker acknowledged letters, or refused them (the runtime goes on trying what is worth it).
    LettersDelivered {
        /// The ownership.
        epoch: Epoch,
        /// The letters, each with its answer.
        answers: Vec<(LetterId, Result<(), Failure>)>,
    },
    /// The spool has a chunk, or does not take it: for want of room, or since it does not work.
    Spooled {
        /// The ownership.
        epoch: Epoch,
        /// The chunk.
        id: SpoolId,
        /// Whether it is there.
        taken: bool,
    },
    /// The spool gave records back.
    Fetched {
        /// The ownership.
        epoch: Epoch,
        /// Those that it gave, of any of its chunks; none when it gave none.
        chunk: Option<Arc<Chunk>>,
        /// Those that it could not give, nor any other one of their chunks.
        lost: Vec<SpoolRead>,
        /// The time of day, milliseconds since 1970.
        wall_ms: i64,
    },
    /// The broker answered a commit.
    Committed {
        /// The ownership.
        epoch: Epoch,
        /// The lane.
        lane: Lane,
        /// The committed offset.
        offset: Offset,
        /// The answer.
        result: CommitResult,
    },
    /// From now on this takes the place of [`super::CommitPolicy::uncommitted_cap`]: the pair's share, in records, of what may repeat
    /// after a crash of the worker. It outlives the ownership.
    Share(u64),
    /// The moment of [`super::Action`]s asked for by `next_wake` has come.
    Tick,
    /// The pair must halt for a reason outside of it.
    Halt(Failure),
    /// Stop by SIGTERM: no more intake, finish what is here, publish, then [`super::Action::Released`].
    Drain,
    /// Stop by rebalance: seal what fits, cancel the rest; the runtime sends [`Event::Deadline`] when time is up.
    Revoke,
    /// The drain's or revoke's time is up: [`super::Action::Released`] now, with what is settled.
    Deadline,
    /// The pair is gone: abort, commit nothing.
    Lost,
}

impl Event {
    /// The ownership that the event answers to, none for those that stand for themselves.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Recovered { epoch, .. }
            | Self::Passed { epoch, .. }
            | Self::EndFound { epoch, .. }
            | Self::UnitDone { epoch, .. }
            | Self::Appended { epoch, .. }
            | Self::SinkHeld { epoch, .. }
            | Self::SinkResumed { epoch, .. }
            | Self::Published { epoch, .. }
            | Self::LettersDelivered { epoch, .. }
            | Self::Spooled { epoch, .. }
            | Self::Fetched { epoch, .. }
            | Self::Committed { epoch, .. } => Some(*epoch),
            Self::Received(chunk) | Self::CopiesRead { chunk, .. } => Some(chunk.epoch()),
            Self::Assigned { assignment, .. } => Some(assignment.epoch),
            Self::Share(_)
            | Self::Tick
            | Self::Halt(_)
            | Self::Drain
            | Self::Revoke
            | Self::Deadline
            | Self::Lost => None,
        }
    }
}
