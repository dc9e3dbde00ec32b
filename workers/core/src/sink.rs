//! The sink contract: rows are encoded on the CPU pool, appended to a pair's open segment, and published as a whole.
//!
//! Every sink, with a ledger or without, has segments. A sink **with** a ledger makes publish an atomic
//! create-if-absent of the next sequence number, so it holds each record once (I2). A sink **without** one (topic,
//! stdout) sends rows at append; its publish means "all rows of the segment are acknowledged", and repeats are possible.
//!
//! # Refused rows
//!
//! A sink may refuse single rows for good when it publishes (a constraint of a table, a payload above a broker's limit), and the rest
//! of the segment is held all the same. It says so in [`Sink::may_refuse`], since the pair then keeps the records
//! of its rows until the publish: a refused one becomes a dead letter that names the sink. Such a sink may keep the rows of its
//! segments in memory: the size that `append` returns counts against the pair's memory.
//!
//! - A record is refused as a whole. When one row of several children of a record is refused, none of them is held.
//! - With a ledger the sink stores the trailer after [`Trailer::refuse`], in the same atomic publish as the rows that it took:
//!   the refused records are not held there and, in the ledger that decides dead letters, are letters from that moment. So a
//!   crash before the letter is sent cannot bring such a record back as a row behind younger ones of its key (I1, I3).
//! - An earlier try of the same segment that turns out to be published is answered with what *it* refused, read from the
//!   stored trailer: the answer is the ledger's word, whatever a later try would refuse.
//! - A failure that concerns the segment as a whole is never a refusal; it is the error of the call, with its class.

use std::ops::Range;

use crate::ledger::{LedgerView, Trailer};
use crate::{BoxFuture, Failure, Item, PairId, RecordRef, SinkIndex, WriterId};

/// A set of sinks by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SinkMask(pub u16);

impl SinkMask {
    /// How many sinks a pipeline may have.
    pub const CAPACITY: usize = 16;
    /// No sink.
    pub const NONE: Self = Self(0);

    /// The first `count` sinks.
    pub fn first(count: usize) -> Self {
        Self(if count >= Self::CAPACITY { u16::MAX } else { (1 << count) - 1 })
    }

    /// Whether the sink is in the set.
    pub fn contains(self, sink: SinkIndex) -> bool {
        self.0 & (1 << sink.0) != 0
    }

    /// Adds a sink.
    pub fn insert(&mut self, sink: SinkIndex) {
        self.0 |= 1 << sink.0;
    }

    /// Takes a sink out.
    pub fn remove(&mut self, sink: SinkIndex) {
        self.0 &= !(1 << sink.0);
    }

    /// Whether no sink is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The sinks in the set, rising.
    pub fn iter(self) -> impl Iterator<Item = SinkIndex> {
        (0..Self::CAPACITY as u8).map(SinkIndex).filter(move |sink| self.contains(*sink))
    }
}

/// Encoded rows of one unit for one sink, in the unit's order, with one buffer for all their bytes.
#[derive(Debug, Default)]
pub struct Block {
    /// The bytes of all rows, one behind the other.
    pub bytes: Vec<u8>,
    /// Where each row lies.
    pub rows: Vec<Row>,
    /// Rows whose value is a record's own, byte for byte, and was not copied: their places, rising, each with its record. Their
    /// [`Row::value`] is none. Only for a sink that may refuse rows, whose records are held until the publish anyway, and whose
    /// writer looks here.
    pub lent: Vec<(usize, RecordRef)>,
}

/// One encoded row: ranges in its block's bytes. A line format uses `value` alone, with its newline inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The offset of the record it was made from.
    pub offset: crate::Offset,
    /// The key, none for a null key or a format without keys.
    pub key: Option<Range<u32>>,
    /// The value, none for a tombstone.
    pub value: Option<Range<u32>>,
    /// Header names and values.
    pub headers: Vec<(Range<u32>, Option<Range<u32>>)>,
}

impl Block {
    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Cuts off what a failed encoding left behind; pass what [`Self::mark`] gave before it.
    pub fn rewind(&mut self, mark: (usize, usize)) {
        self.bytes.truncate(mark.0);
        self.rows.truncate(mark.1);
        while self.lent.pop_if(|(row, _)| *row >= mark.1).is_some() {}
    }

    /// The present end, for [`Self::rewind`].
    pub fn mark(&self) -> (usize, usize) {
        (self.bytes.len(), self.rows.len())
    }
}

/// Turns items into rows; pure, shared by all CPU threads.
pub trait Encode: Send + Sync {
    /// Appends the item's row to the block.
    ///
    /// # Errors
    /// [`Failure::reject`] when the item cannot be expressed; the caller rewinds the block.
    fn encode(&self, item: &Item, block: &mut Block) -> Result<(), Failure>;
}

/// What the pair told its writer when it was opened.
#[derive(Clone, Debug)]
pub struct WriterContext {
    /// The pair.
    pub pair: PairId,
    /// The writer's id for this ownership.
    pub writer: WriterId,
    /// The Kafka cluster's id.
    pub cluster: String,
    /// The topic's id (a UUID in Kafka's base64 spelling), so that a topic made again is told from the old one;
    /// empty when the broker does not give one.
    pub topic_id: String,
}

/// A configured sink; opens one writer for each ownership of a pair.
pub trait Sink: Send + Sync {
    /// Its name in the pipeline file: the kind, with its place if there are several of a kind.
    fn name(&self) -> &str;

    /// Whether it keeps a ledger, so holds each record once.
    fn has_ledger(&self) -> bool;

    /// Whether it may refuse single rows at publish; a sink without a ledger always may.
    fn may_refuse(&self) -> bool {
        !self.has_ledger()
    }

    /// How its rows are made.
    fn encoder(&self) -> std::sync::Arc<dyn Encode>;

    /// Whether a writer of this pair could work: what [`SegmentWriter::recover`] would find wrong with the place, without claiming the
    /// pair or reading its ledger. Leaves nothing behind that a reader sees.
    ///
    /// # Errors
    /// What a writer would fail with, in its class.
    fn examine(&self, context: WriterContext) -> BoxFuture<'_, Result<(), Failure>> {
        drop(context);
        Box::pin(std::future::ready(Ok(())))
    }

    /// A writer for one ownership of one pair. Does no IO yet.
    fn open(&self, context: WriterContext) -> Box<dyn SegmentWriter>;
}

/// Writes the segments of one pair for one ownership. Calls come one at a time; a dropped call or a dropped writer
/// leaves nothing visible behind.
pub trait SegmentWriter: Send {
    /// Takes what to call, at most every second or so, while a publish does one small thing after the other for long: its pair is
    /// then not taken for one that hangs (I6). A sink whose calls end within a minute needs none.
    fn tell_progress(&mut self, tell: Box<dyn Fn() + Send + Sync>) {
        drop(tell);
    }

    /// Reads what the sink holds of the pair. Without a ledger: an empty view.
    fn recover(&mut self) -> BoxFuture<'_, Result<LedgerView, Failure>>;

    /// Adds rows to the open segment. On an error none of the rows was taken and the same block may be given again.
    /// Returns the size of the open segment in bytes, as stored.
    fn append<'a>(&'a mut self, block: &'a Block) -> BoxFuture<'a, Result<u64, Failure>>;

    /// Closes the open segment for rows: what is appended from now on belongs to the next one. Cheap; the
    /// durable work is done by [`Self::publish`].
    fn seal(&mut self) -> Result<(), Failure>;

    /// Publishes the sealed segment under its trailer's number, or (without a ledger) waits until it is acknowledged.
    /// May be called again with the same trailer after an error or an unknown outcome.
    fn publish<'a>(&'a mut self, trailer: &'a Trailer) -> BoxFuture<'a, Result<Published, Failure>>;
}

/// How a publish ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// The segment is held, but for the rows that the sink refused one by one: offsets, each with its own failure of class
    /// [`crate::Class::Reject`]. None unless [`Sink::may_refuse`].
    Done(Vec<(crate::Offset, Failure)>),
    /// The number is taken by our own writer id: an unanswered earlier try of this very segment, which refused nothing. One
    /// that refused rows is `Done` with them.
    TakenByUs,
    /// The number is taken by another writer.
    TakenByOther(WriterId),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: a failed encoding leaves nothing behind what was marked before it.
    #[test]
    fn a_block_is_cut_back_to_its_mark() {
        let row =
            |offset| Row { offset: crate::Offset(offset), key: None, value: Some(0..1), headers: Vec::new() };
        let mut block = Block { bytes: b"aa".to_vec(), rows: vec![row(0)], ..Block::default() };
        assert!(!block.is_empty() && Block::default().is_empty());
        let mut records = crate::ChunkBuilder::new(PairId::new("in", 0), crate::Lane::Input, crate::Epoch(1));
        records.record(crate::Offset(0), 0, None, Some(b"lent"));
        let record = RecordRef::new(&records.build(None), 0).unwrap();
        block.lent.push((0, record.clone()));
        let mark = block.mark();
        block.bytes.extend(b"bc");
        block.rows.push(row(1));
        block.lent.push((1, record));
        block.rewind(mark);
        assert_eq!((mark, block.bytes, block.rows), ((2, 1), b"aa".to_vec(), vec![row(0)]));
        assert_eq!(block.lent.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0]);
    }

    /// A sink that says nothing of what it may refuse.
    struct Silent {
        has_ledger: bool,
    }

    impl Sink for Silent {
        fn name(&self) -> &'static str {
            "silent"
        }

        fn has_ledger(&self) -> bool {
            self.has_ledger
        }

        fn encoder(&self) -> std::sync::Arc<dyn Encode> {
            unreachable!("nobody encodes")
        }

        fn open(&self, _: WriterContext) -> Box<dyn SegmentWriter> {
            unreachable!("nobody writes")
        }
    }

    /// Guarantee: a sink refuses single rows only where it keeps no ledger, unless it says otherwise.
    #[test]
    fn a_sink_without_a_ledger_may_refuse_rows() {
        for has_ledger in [false, true] {
            assert_eq!(Silent { has_ledger }.may_refuse(), !has_ledger);
        }
    }
}
