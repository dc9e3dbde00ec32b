//! The open segment: rows gather in memory until they make a frame worth writing, then go to the spool.

use std::sync::{Arc, Mutex};

use longshore_core::{Block, Failure, Row, WriterId};

use super::Format;
use super::layout::Layout;
use super::spool::Spool;
use crate::blocking::{Turn, blocking};
use crate::compress::{GATHER_BYTES, Gathered, PIECE_BYTES, Pool, Scratch};

/// What a segment needs of its writer.
pub(super) struct Tools<'a> {
    pub(super) layout: &'a Layout,
    pub(super) writer: WriterId,
    pub(super) pool: &'a Arc<Pool>,
    pub(super) turn: &'a Turn,
}

/// Rows on their way to a file. The state changes only when a whole append came through, so an append that failed or was
/// dropped may be made again: it writes over what the first one left beyond `stored`.
#[derive(Debug, Default)]
pub(super) struct Segment {
    spool: Option<Arc<Mutex<Spool>>>,
    stored: u64,
    tail: Vec<u8>,
    gathered: Gathered,
    hasher: blake3::Hasher,
}

impl Segment {
    /// Takes the rows of a block.
    pub(super) async fn append(&mut self, block: &Block, tools: &Tools<'_>) -> Result<(), Failure> {
        let waiting = self.tail.len() + values(block).map(<[u8]>::len).sum::<usize>();
        if waiting < GATHER_BYTES && self.gathered.may_hold(waiting, tools.pool) {
            self.gathered.hold(waiting, tools.pool);
            values(block).for_each(|value| self.tail.extend_from_slice(value));
            return Ok(());
        }
        let spool = self.spool(tools).await?;
        let mut end = End { stored: self.stored, hasher: self.hasher.clone() };
        let mut pieces = Pieces { tail: &self.tail, block, row: 0, within: 0 };
        let mut rest = Vec::new();
        while !pieces.is_empty() {
            let mut scratch = tools.pool.take().await?;
            pieces.fill(scratch.input(), PIECE_BYTES);
            let left = scratch.input().len();
            if left < GATHER_BYTES && pieces.is_empty() && self.gathered.may_hold(left, tools.pool) {
                rest.extend_from_slice(scratch.input());
                break;
            }
            end = write_piece(&spool, tools, scratch, end).await?;
        }
        self.stored = end.stored;
        self.hasher = end.hasher;
        self.tail = rest;
        self.gathered.hold(self.tail.len(), tools.pool);
        Ok(())
    }

    /// Writes what still waits in memory, so that [`Self::stored`] is the whole of it.
    pub(super) async fn flush(&mut self, tools: &Tools<'_>) -> Result<Arc<Mutex<Spool>>, Failure> {
        let spool = self.spool(tools).await?;
        if !self.tail.is_empty() {
            let mut scratch = tools.pool.take().await?;
            scratch.input().extend_from_slice(&self.tail);
            let end = End { stored: self.stored, hasher: self.hasher.clone() };
            let end = write_piece(&spool, tools, scratch, end).await?;
            self.stored = end.stored;
            self.hasher = end.hasher;
            self.tail = Vec::new();
            self.gathered.hold(0, tools.pool);
        }
        Ok(spool)
    }

    /// Bytes in the spool that count.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// Bytes as stored; rows that are not compressed yet (less than [`GATHER_BYTES`]) count as they are.
    pub(super) fn size(&self) -> u64 {
        self.stored + self.tail.len() as u64
    }

    /// The hash of the stored bytes; only plain files have one.
    pub(super) fn hash(&self) -> blake3::Hash {
        self.hasher.finalize()
    }

    async fn spool(&mut self, tools: &Tools<'_>) -> Result<Arc<Mutex<Spool>>, Failure> {
        if let Some(spool) = &self.spool {
            return Ok(Arc::clone(spool));
        }
        let (folder, writer) = (tools.layout.staging.clone(), tools.writer);
        let spool = blocking(move || Spool::create(&folder, writer)).await?;
        let spool = Arc::new(Mutex::new(spool));
        self.spool = Some(Arc::clone(&spool));
        Ok(spool)
    }
}

/// Where the counted part of the spool ends.
struct End {
    stored: u64,
    hasher: blake3::Hasher,
}

async fn write_piece(
    spool: &Arc<Mutex<Spool>>,
    tools: &Tools<'_>,
    mut scratch: Scratch,
    mut end: End,
) -> Result<End, Failure> {
    let format = tools.layout.format;
    let write = move |spool: &mut Spool| {
        let bytes = match format {
            Format::JsonlZst => scratch.frame()?,
            Format::Jsonl => {
                end.hasher.update(scratch.input());
                scratch.input()
            }
        };
        spool.write(bytes, end.stored)?;
        end.stored += bytes.len() as u64;
        Ok(end)
    };
    tools.turn.run(spool, write).await
}

fn values(block: &Block) -> impl Iterator<Item = &[u8]> {
    block.rows.iter().map(|row| value_of(block, row))
}

fn value_of<'a>(block: &'a Block, row: &Row) -> &'a [u8] {
    row.value.as_ref().map_or(&[], |value| &block.bytes[value.start as usize..value.end as usize])
}

/// The rows that wait and a block's, one behind the other, to be taken in pieces.
struct Pieces<'a> {
    tail: &'a [u8],
    block: &'a Block,
    row: usize,
    within: usize,
}

impl Pieces<'_> {
    fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.row == self.block.rows.len()
    }

    /// Moves up to `most` bytes to `out`.
    fn fill(&mut self, out: &mut Vec<u8>, most: usize) {
        let from_tail = self.tail.len().min(most);
        out.extend_from_slice(&self.tail[..from_tail]);
        self.tail = &self.tail[from_tail..];
        while out.len() < most
            && let Some(row) = self.block.rows.get(self.row)
        {
            let value = value_of(self.block, row);
            let take = (value.len() - self.within).min(most - out.len());
            out.extend_from_slice(&value[self.within..self.within + take]);
            self.within += take;
            if self.within == value.len() {
                self.row += 1;
                self.within = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::{Generation, Offset, PairId};

    use super::*;
    use crate::blocking::Turns;
    use crate::compress::GATHERED_BYTES;

    /// Scenario: a thousand partitions, each with an open segment that rows trickle into. Guarantee: what waits in memory is
    /// bounded for all together (I5), every row counts, and a segment that is dropped gives its share back.
    #[tokio::test]
    async fn memory_does_not_grow_with_the_partitions() {
        let folder = tempfile::tempdir().unwrap();
        let layout =
            Layout::new(folder.path(), Generation::FIRST, &PairId::new("logs.raw", 0), Format::Jsonl);
        std::fs::create_dir_all(&layout.staging).unwrap();
        let (pool, turns) = (Pool::new(3), Turns::default());
        let turn = turns.next();
        let tools = Tools { layout: &layout, writer: WriterId(1), pool: &pool, turn: &turn };
        let row = Row { offset: Offset(0), key: None, value: Some(0..10_000), headers: Vec::new() };
        let block = Block { bytes: vec![b'x'; 10_000], rows: vec![row], ..Block::default() };
        let mut segments: Vec<Segment> = (0..500).map(|_| Segment::default()).collect();
        for _ in 0..3 {
            for segment in &mut segments {
                segment.append(&block, &tools).await.unwrap();
            }
        }
        let waiting: usize = segments.iter().map(|segment| segment.tail.len()).sum();
        assert!(waiting > GATHERED_BYTES / 2 && waiting <= GATHERED_BYTES, "{waiting} bytes wait");
        assert!(segments.iter().all(|segment| segment.size() == 30_000));
        segments.truncate(1);
        segments[0].flush(&tools).await.unwrap();
        assert_eq!(segments[0].stored(), 30_000);
        let mut last = Segment::default();
        last.append(&block, &tools).await.unwrap();
        assert_eq!(last.tail.len(), 10_000, "there is room again");
    }
}
