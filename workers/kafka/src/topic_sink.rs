//! The `topic` sink: rows become records of another topic. It keeps no ledger, so after a crash records may repeat;
//! each carries `longshore.source`, the origin it was made from, by which a reader can tell.
//!
//! Records of one key go out in their order. Two things bring a record later than those behind it: a failure that passes
//! (it is sent again), and a batch that the broker refused for one of its records (the others are sent again one by one).
//! A topic whose `max.message.bytes` is at least 256 KiB, the size of our batches, never refuses several rows for the size
//! of one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::headers::{self, is_ours};
use longshore_core::ledger::{LedgerView, Trailer};
use longshore_core::sink::{Block, Encode, Published, Row, SegmentWriter, Sink, WriterContext};
use longshore_core::trace::TRACEPARENT;
use longshore_core::{BoxFuture, Class, Content, Failure, Item, Offset, Origin, Reason, RecordRef};

use crate::producer::{BatchTicket, Handling, OwnedRecord, Producer, ProducerRecord};

/// A record's own value of this size is lent to the client instead of copied twice, into the row and into the client's queue. Lending takes
/// an allocation and a count of its own, so small values are copied; where the border lies best was not measured (1 KB was: a fifth of the CPU).
const LENT_FROM_BYTES: usize = 256;
/// How long a call waits for room or answers before it says that the topic does not take records.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which partition a record goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartitionBy {
    /// By the key's hash, as Java's clients do; without a key by chance.
    #[default]
    Key,
    /// The number of the partition it came from; the topic needs as many.
    Origin,
}

/// Where rows go. What they are written as is the business of the encoder given to [`TopicSink::new`], how batches are
/// packed that of the [`Producer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOptions {
    /// The topic's name.
    pub name: String,
    /// Which partition a record goes to.
    pub partition: PartitionBy,
}

/// The sink.
pub struct TopicSink {
    name: String,
    options: TopicOptions,
    producer: Producer,
    encoder: Arc<dyn Encode>,
}

impl std::fmt::Debug for TopicSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicSink")
            .field("name", &self.name)
            .field("topic", &self.options.name)
            .finish_non_exhaustive()
    }
}

impl TopicSink {
    /// A sink under the name it has in the pipeline file. `encode` makes the value of what a step has read; what no step
    /// has read passes byte for byte.
    pub fn new(
        name: impl Into<String>,
        options: TopicOptions,
        producer: Producer,
        encode: Arc<dyn Encode>,
    ) -> Self {
        Self { name: name.into(), options, producer, encoder: Arc::new(RecordEncoder { value: encode }) }
    }
}

impl Sink for TopicSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn has_ledger(&self) -> bool {
        false
    }

    fn encoder(&self) -> Arc<dyn Encode> {
        Arc::clone(&self.encoder)
    }

    fn open(&self, context: WriterContext) -> Box<dyn SegmentWriter> {
        let partition = match self.options.partition {
            PartitionBy::Key => None,
            PartitionBy::Origin => Some(context.pair.partition.0),
        };
        Box::new(TopicWriter {
            topic: self.options.name.clone(),
            partition,
            producer: self.producer.clone(),
            open: Vec::new(),
            open_bytes: 0,
            taken: 0,
            sealed: VecDeque::new(),
            refused: Vec::new(),
            again: Vec::new(),
        })
    }
}

/// Value by the format's encoder; key and headers here.
struct RecordEncoder {
    value: Arc<dyn Encode>,
}

impl Encode for RecordEncoder {
    fn encode(&self, item: &Item, block: &mut Block) -> Result<(), Failure> {
        let before = block.rows.len();
        match &item.content {
            Content::Original => put_original(item, block),
            Content::Raw(_) | Content::Fields(_) => self.value.encode(item, block)?,
        }
        for index in before..block.rows.len() {
            let key = item.key().map(|bytes| put(block, bytes));
            let headers = copy_headers(item, block);
            let row = &mut block.rows[index];
            row.key = key;
            row.headers = headers;
        }
        Ok(())
    }
}

/// The row of what no step has read.
fn put_original(item: &Item, block: &mut Block) {
    let value = item.source.value();
    let lends = value.is_some_and(|value| value.len() >= LENT_FROM_BYTES);
    if lends {
        block.lent.push((block.rows.len(), item.source.clone()));
    }
    let value = value.filter(|_| !lends).map(|bytes| put(block, bytes));
    block.rows.push(Row { offset: item.source.offset(), key: None, value, headers: Vec::new() });
}

type Spans = Vec<(std::ops::Range<u32>, Option<std::ops::Range<u32>>)>;

/// The record's own headers, its trace if they name none and it has one, and where it came from. What it brought along under our names is left out: on the next
/// pipeline's input it would be a forgery.
fn copy_headers(item: &Item, block: &mut Block) -> Spans {
    let mut spans = Spans::new();
    for header in item.source.headers().filter(|header| !is_ours(header.name)) {
        let name = put(block, header.name);
        let value = header.value.map(|value| put(block, value));
        spans.push((name, value));
    }
    if let Some(trace) = &item.trace {
        let name = put(block, TRACEPARENT.as_bytes());
        let value = put(block, trace.to_string().as_bytes());
        spans.push((name, Some(value)));
    }
    let pair = item.source.pair();
    let origin = Origin {
        topic: pair.topic.clone(),
        partition: pair.partition,
        offset: item.source.offset(),
        index: item.index,
    };
    let name = put(block, headers::SOURCE.as_bytes());
    let value = put(block, origin.to_string().as_bytes());
    spans.push((name, Some(value)));
    spans
}

fn put(block: &mut Block, bytes: &[u8]) -> std::ops::Range<u32> {
    let start = block.bytes.len() as u32;
    block.bytes.extend_from_slice(bytes);
    start..block.bytes.len() as u32
}

fn at<'a>(block: &'a Block, range: &std::ops::Range<u32>) -> &'a [u8] {
    &block.bytes[range.start as usize..range.end as usize]
}

/// Name and value of a header.
type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Adds the headers of all rows to the list; where those of each one end.
fn list_headers<'a>(block: &'a Block, list: &mut Vec<Header<'a>>) -> Vec<usize> {
    let ends = block.rows.iter().map(|row| {
        let headers = row.headers.iter();
        list.extend(
            headers.map(|(name, value)| (at(block, name), value.as_ref().map(|value| at(block, value)))),
        );
        list.len()
    });
    ends.collect()
}

/// Whose value each row has, where it was not copied.
fn lenders(block: &Block) -> Vec<Option<&RecordRef>> {
    let mut lenders = vec![None; block.rows.len()];
    block.lent.iter().for_each(|(row, record)| lenders[*row] = Some(record));
    lenders
}

/// Rows that went out together.
struct Sent {
    ticket: BatchTicket,
    /// The offset of each row.
    offsets: Vec<Offset>,
}

struct TopicWriter {
    topic: String,
    partition: Option<i32>,
    producer: Producer,
    open: Vec<Sent>,
    open_bytes: u64,
    /// How many rows of the block in hand went out before there was no room; given again, it goes on behind them.
    taken: usize,
    sealed: VecDeque<Sent>,
    /// Rows of the sealed segment that the topic refused one by one.
    refused: Vec<(Offset, Failure)>,
    /// Rows of the sealed segment that have to be sent again.
    again: Vec<(Offset, OwnedRecord)>,
}

impl SegmentWriter for TopicWriter {
    fn recover(&mut self) -> BoxFuture<'_, Result<LedgerView, Failure>> {
        Box::pin(async { Ok(LedgerView::default()) })
    }

    fn append<'a>(&'a mut self, block: &'a Block) -> BoxFuture<'a, Result<u64, Failure>> {
        Box::pin(async {
            if block.is_empty() {
                return Ok(self.open_bytes);
            }
            let mut headers = Vec::new();
            let ends = list_headers(block, &mut headers);
            let lenders = lenders(block);
            let records = self.records(block, &headers, &ends, &lenders);
            while self.taken < records.len() {
                let end = self.taken + self.producer.fitting(&records[self.taken..]);
                let handling =
                    Handling { keeps: true, lenders: &lenders[self.taken..end], ..Handling::default() };
                let give = self.producer.give(&self.topic, &records[self.taken..end], handling);
                let send = tokio::time::timeout(PATIENCE, give);
                let ticket = send.await.map_err(|_| self.stuck("no room for more records"))??;
                let offsets = block.rows[self.taken..end].iter().map(|row| row.offset).collect();
                self.open.push(Sent { ticket, offsets });
                self.taken = end;
            }
            self.taken = 0;
            let lent =
                block.lent.iter().map(|(_, record)| record.value().map_or(0, <[u8]>::len)).sum::<usize>();
            self.open_bytes += (block.bytes.len() + lent) as u64;
            Ok(self.open_bytes)
        })
    }

    fn seal(&mut self) -> Result<(), Failure> {
        self.sealed.extend(self.open.drain(..));
        self.open_bytes = 0;
        Ok(())
    }

    fn publish<'a>(&'a mut self, _: &'a Trailer) -> BoxFuture<'a, Result<Published, Failure>> {
        Box::pin(async {
            self.send_again().await?;
            let deadline = tokio::time::Instant::now() + PATIENCE;
            let mut failed = None;
            // Every wait can be dropped: what is answered is taken out of the queue only then.
            while let Some(sent) = self.sealed.front_mut() {
                let answer = tokio::time::timeout_at(deadline, &mut sent.ticket).await;
                let answer = answer.map_err(|_| self.stuck("records are not acknowledged"))??;
                let Some(sent) = self.sealed.pop_front() else { break };
                for row in answer {
                    let offset = sent.offsets[row.row];
                    match row.failure.class {
                        Class::Reject => self.refused.push((offset, row.failure)),
                        Class::Retry { .. } | Class::Halt => {
                            let lost = || {
                                Failure::halt(Reason::Internal, "a failed row came back without its bytes")
                            };
                            self.again.push((offset, row.record.ok_or_else(lost)?));
                            failed = Some(row.failure);
                        }
                    }
                }
            }
            match failed {
                Some(failure) => Err(as_sink(failure)),
                None => Ok(Published::Done(std::mem::take(&mut self.refused))),
            }
        })
    }
}

impl TopicWriter {
    /// The rows as the producer takes them; `ends` says where each one's headers end.
    fn records<'a>(
        &self,
        block: &'a Block,
        headers: &'a [Header<'a>],
        ends: &[usize],
        lenders: &[Option<&'a RecordRef>],
    ) -> Vec<ProducerRecord<'a>> {
        let mut start = 0;
        let rows = block.rows.iter().zip(ends).zip(lenders);
        let records = rows.map(|((row, end), lender)| {
            let headers = &headers[start..*end];
            start = *end;
            let own = || row.value.as_ref().map(|range| at(block, range));
            ProducerRecord {
                partition: self.partition,
                key: row.key.as_ref().map(|range| at(block, range)),
                value: lender.map_or_else(own, RecordRef::value),
                timestamp_ms: None,
                headers,
            }
        });
        records.collect()
    }

    /// Sends what failed for a reason that may have passed.
    async fn send_again(&mut self) -> Result<(), Failure> {
        while !self.again.is_empty() {
            let lists: Vec<_> = self.again.iter().map(|(_, record)| record.header_list()).collect();
            let records: Vec<_> =
                self.again.iter().zip(&lists).map(|((_, record), headers)| record.as_ref(headers)).collect();
            let piece = &records[..self.producer.fitting(&records)];
            let send = tokio::time::timeout(PATIENCE, self.producer.send_to_keep(&self.topic, piece));
            let ticket = send.await.map_err(|_| self.stuck("no room for more records"))??;
            let sent = piece.len();
            let offsets = self.again.drain(..sent).map(|(offset, _)| offset).collect();
            self.sealed.push_back(Sent { ticket, offsets });
        }
        Ok(())
    }

    /// Why nothing moves: what the producer knows, else the bare fact.
    fn stuck(&self, fact: &str) -> Failure {
        let known = self.producer.trouble().map(as_sink);
        known.unwrap_or_else(|| {
            Failure::target(Reason::SinkUnavailable, format!("topic {}: {fact}", self.topic))
        })
    }
}

/// The broker's failure in a sink's words. Rows wait for their topic when it is gone, as letters do for theirs: whoever deleted it in error makes
/// it again, and the worker goes on by itself. One that waits for nothing else ends with that reason's exit code (I6).
fn as_sink(failure: Failure) -> Failure {
    if failure.reason == Reason::BrokerTopicMissing {
        return Failure::target(Reason::SinkMissing, failure.detail());
    }
    let reason = match failure.reason {
        Reason::BrokerUnavailable | Reason::BrokerFatal => Reason::SinkUnavailable,
        Reason::BrokerAuthentication | Reason::BrokerAuthorization => Reason::SinkDenied,
        other => other,
    };
    Failure::new(failure.class, reason, failure.detail())
}
