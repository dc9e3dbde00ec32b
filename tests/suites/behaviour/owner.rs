//! One ownership of the pair under test: what a pair does with its writer, and nothing more.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_core::ledger::{LedgerView, TRAILER_VERSION, Trailer};
use longshore_core::sink::{Published, SegmentWriter, Sink, WriterContext};
use longshore_core::{
    Block, ChunkBuilder, Class, Content, Epoch, Failure, Generation, Item, Lane, Map, Offset, PairId,
    RecordRef, RunSet, Value, WriterId,
};

use super::fixture::text;

pub(crate) const TOPIC: &str = "logs.raw";
pub(crate) const PARTITION: i32 = 3;
pub(crate) const PIPELINE: &str = "web-logs";
/// A target that was away is in use again within this, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// A worker that owns the pair, or believes so.
pub(crate) struct Owner {
    pub(crate) writer: Box<dyn SegmentWriter>,
    pub(crate) id: u128,
    pub(crate) view: LedgerView,
    sink: Arc<dyn Sink>,
    /// Rows in the open segment.
    rows: u64,
}

pub(crate) fn context(id: u128) -> WriterContext {
    WriterContext {
        pair: PairId::new(TOPIC, PARTITION),
        writer: WriterId(id),
        cluster: "cluster-a".into(),
        topic_id: "topic-a".into(),
    }
}

impl Owner {
    /// Takes the pair over; tries again while the target is not to be had.
    ///
    /// # Panics
    /// When that takes too long.
    pub(crate) async fn take_over(sink: &Arc<dyn Sink>, id: u128) -> Self {
        let started = Instant::now();
        loop {
            match Self::try_take_over(sink, id).await {
                Ok(owner) => return owner,
                Err(failure) => assert!(started.elapsed() < PATIENCE, "recovery: {failure}"),
            }
            // A poll, as a pair tries again: nothing tells when the target is back.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Tries once.
    pub(crate) async fn try_take_over(sink: &Arc<dyn Sink>, id: u128) -> Result<Self, Failure> {
        let mut writer = sink.open(context(id));
        let view = writer.recover().await?;
        Ok(Self { writer, id, view, sink: Arc::clone(sink), rows: 0 })
    }

    /// The rows of these records, in the order given; `(offset, index)`.
    pub(crate) fn block(&self, records: &[(i64, u32)], bytes: usize) -> Block {
        let mut block = Block::default();
        for (offset, index) in records {
            let item = item(*offset, *index, &text(*offset, *index, bytes));
            self.sink.encoder().encode(&item, &mut block).unwrap();
        }
        block
    }

    /// Adds a block to the open segment.
    pub(crate) async fn take(&mut self, block: &Block) -> Result<u64, Failure> {
        let size = self.writer.append(block).await?;
        self.rows += block.rows.len() as u64;
        Ok(size)
    }

    /// Adds those of the records that the ledger does not hold, and seals; the trailer to publish them with.
    pub(crate) async fn fill(&mut self, covers: Range<i64>) -> Trailer {
        self.fill_with(covers, 60).await
    }

    /// The same with texts of this length.
    pub(crate) async fn fill_with(&mut self, covers: Range<i64>, bytes: usize) -> Trailer {
        for offset in covers.clone() {
            if !self.view.holdings.holds(Offset(offset)) {
                let block = self.block(&[(offset, 0)], bytes);
                self.take(&block).await.unwrap();
            }
        }
        self.seal(covers)
    }

    /// Seals; the trailer says that the segment holds all of `covers`.
    pub(crate) fn seal(&mut self, covers: Range<i64>) -> Trailer {
        self.writer.seal().unwrap();
        Trailer {
            version: TRAILER_VERSION,
            pipeline: PIPELINE.into(),
            generation: Generation::FIRST,
            cluster: "cluster-a".into(),
            topic: TOPIC.into(),
            topic_id: "topic-a".into(),
            partition: PARTITION,
            partitions: 8,
            sequence: self.view.next_sequence,
            writer: WriterId(self.id),
            covers: (Offset(covers.start), Offset(covers.end)),
            except: RunSet::default(),
            also: RunSet::default(),
            dead: Default::default(),
            rows: std::mem::take(&mut self.rows),
            filtered: Default::default(),
            decides: self.sink.may_refuse().then(Default::default),
        }
    }

    /// Tries to publish once; what is held by then is in the view.
    pub(crate) async fn try_publish(&mut self, trailer: &Trailer) -> Result<Published, Failure> {
        let published = self.writer.publish(trailer).await?;
        if !matches!(published, Published::TakenByOther(_)) && trailer.sequence == self.view.next_sequence {
            let mut trailer = trailer.clone();
            if let Published::Done(refused) = &published {
                let offsets: Vec<Offset> = refused.iter().map(|(offset, _)| *offset).collect();
                trailer.refuse(&offsets, offsets.len() as u64);
            }
            self.view.fold(&trailer);
        }
        Ok(published)
    }

    /// Publishes; tries again while the target is not to be had, as a pair does.
    ///
    /// # Panics
    /// When that takes too long, or the failure is no outage.
    pub(crate) async fn publish(&mut self, trailer: &Trailer) -> Published {
        let started = Instant::now();
        loop {
            match self.try_publish(trailer).await {
                Ok(published) => return published,
                Err(failure) => {
                    assert!(
                        failure.class != Class::Reject && started.elapsed() < PATIENCE,
                        "publish: {failure}"
                    );
                }
            }
            // A poll, as a pair tries again: nothing tells when the target is back.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Publishes all that is not held of these records as one segment, and checks that it is held then.
    pub(crate) async fn write(&mut self, covers: Range<i64>) {
        let trailer = self.fill(covers).await;
        let published = self.publish(&trailer).await;
        assert!(is_held(&published), "{published:?}");
    }
}

/// Whether the segment is held, as a whole.
pub(crate) fn is_held(published: &Published) -> bool {
    match published {
        Published::Done(refused) => refused.is_empty(),
        Published::TakenByUs => true,
        Published::TakenByOther(_) => false,
    }
}

/// A log with this text.
fn item(offset: i64, index: u32, text: &str) -> Item {
    let mut chunk = ChunkBuilder::new(PairId::new(TOPIC, PARTITION), Lane::Input, Epoch(1));
    chunk.record(Offset(offset), 0, None, Some(text.as_bytes()));
    let mut item = Item::new(RecordRef::new(&chunk.build(None), 0).unwrap());
    let fields: Map = [("body".into(), Value::from(text))].into_iter().collect();
    (item.content, item.index) = (Content::Fields(fields), index);
    item
}
