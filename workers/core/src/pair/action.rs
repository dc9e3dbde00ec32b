//! What a pair asks the runtime to do.

use std::sync::Arc;
use std::time::Duration;

use crate::item::FilterReason;
use crate::ledger::Trailer;
use crate::{
    Block, Chunk, Epoch, Failure, Lane, Offset, RecordRef, SinkIndex, SinkMask, TraceContext, UnitId,
    WriterId,
};

use super::Position;

/// One record of a unit.
#[derive(Clone, Debug)]
pub struct UnitEntry {
    /// The record as it was read, from the input or as a copy of the retry topic.
    pub record: RecordRef,
    /// Sinks that hold it already: make no row for them.
    pub held: SinkMask,
    /// Which try this is, from 1.
    pub attempt: u32,
}

/// Records for the steps. Records that must not overtake each other stand in order; when one fails with a retry, the
/// later ones of its key (of the whole unit with `order: partition`) come back as [`super::Verdict::Deferred`].
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its id.
    pub id: UnitId,
    /// The ownership.
    pub epoch: Epoch,
    /// The records.
    pub entries: Vec<UnitEntry>,
}

/// A letter on its way, unique within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId(pub u64);

/// A chunk that the spool has, unique within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolId(pub u64);

/// One record that is wanted of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolRead {
    /// The chunk.
    pub id: SpoolId,
    /// The record's place in it.
    pub index: u32,
    /// The record's offset in the retry partition.
    pub copy: Offset,
}

/// Where a letter goes: always to the partition of its pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The dead-letter topic.
    DeadLetters,
    /// The retry topic: the next try is wanted after this span, zero for as soon as it may.
    Retry {
        /// From now on.
        delay: Duration,
    },
    /// The end of the retry topic, with the headers that it has: a copy carried forward.
    Tail,
}

/// A record for the dead-letter topic or the retry topic.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its id.
    pub id: LetterId,
    /// Where it goes.
    pub to: Destination,
    /// Its identity: its offset in the pair's input partition. None for a stray of the retry topic, which has no other
    /// coordinate than its own there.
    pub origin: Option<Offset>,
    /// The record as it was read, from the input or as a copy: payload, key and own headers are the original's either way.
    pub record: RecordRef,
    /// Why; `at` names the step or sink.
    pub failure: Failure,
    /// Tries made in this replay.
    pub attempts: u32,
    /// Replay number.
    pub replays: u32,
    /// The trace that it is to name, for a record that is traced and whose own headers name none. The machine knows no traces: whoever
    /// performs its actions sets it.
    pub trace: Option<TraceContext>,
}

/// What a pair asks the runtime to do, in this order.
#[derive(Debug)]
pub enum Action {
    /// Open a writer for the sink and read its ledger; answer with `Recovered`.
    Recover {
        /// The sink.
        sink: SinkIndex,
        /// The writer id.
        writer: WriterId,
    },
    /// Begin to fetch a lane from this offset. The retry lane may be sent back to an earlier one, whose value is wanted even where
    /// the values of large copies are left in the topic, and forward again.
    Start {
        /// The lane.
        lane: Lane,
        /// Where to begin.
        offset: Offset,
    },
    /// Absolute grants since the epoch began: records, bytes.
    Grant {
        /// The lane.
        lane: Lane,
        /// Records in all.
        records: u64,
        /// Bytes in all.
        bytes: u64,
    },
    /// Ask the source where the input ends by now; answer with `EndFound`.
    FindEnd,
    /// Run the steps; answer with `UnitDone`.
    Run(Unit),
    /// Forget every unit in flight: no answer is wanted, waiting steps are dropped.
    CancelUnits,
    /// Add rows to the sink's open segment; answer with `Appended`.
    Append {
        /// The sink.
        sink: SinkIndex,
        /// The rows.
        block: Block,
    },
    /// Seal the open segment behind the appends already asked for, and publish it; answer with `Published`.
    Publish {
        /// The sink.
        sink: SinkIndex,
        /// Its trailer.
        trailer: Box<Trailer>,
    },
    /// Produce a dead letter, or a copy for the retry topic; answer with `LettersDelivered`.
    Letter(Box<Letter>),
    /// Keep a chunk of copies outside of memory; answer with `Spooled`. The topic has it as well.
    Spool {
        /// What it is called from now on.
        id: SpoolId,
        /// The chunk.
        chunk: Arc<Chunk>,
    },
    /// Bring records back that the spool has, a few or all of a chunk; answer with `Fetched`.
    Fetch(Vec<SpoolRead>),
    /// Nobody needs these chunks of the spool any more.
    Forget(Vec<SpoolId>),
    /// Commit; answer with `Committed`.
    Commit {
        /// The lane.
        lane: Lane,
        /// What to commit.
        position: Position,
    },
    /// Begin anew: drop writers, ask the source to reassign.
    Reassign,
    /// The pair is halted: say so. It stays owned, commits what is settled, takes no record.
    Halt(Failure),
    /// The pair does not take records, and why (it goes on by itself).
    Hold(Failure),
    /// It takes records again.
    Resume,
    /// The end of drain, revoke or loss: the last positions to commit, none when nothing changed or nothing may be.
    Released {
        /// The input lane's.
        input: Option<Position>,
        /// The retry lane's; it counts on the input's, so it is committed after that one is acknowledged.
        retry: Option<Position>,
    },
    /// Records reached a final place, for metrics.
    Settled(Tally),
}

/// Records that reached a final place, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Held by every sink they were routed to.
    pub sunk: u64,
    /// Filtered, by reason.
    pub filtered: Vec<(FilterReason, u64)>,
    /// Dead letters acknowledged, by reason.
    pub dead: Vec<(crate::Reason, u64)>,
    /// Re-read and found held already.
    pub already_held: u64,
    /// Copies acknowledged by the retry topic, by reason: no final place, but one on the way.
    pub retried: Vec<(crate::Reason, u64)>,
}
