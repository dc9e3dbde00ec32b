//! Records as they came from a topic: a chunk owns the bytes of many, a [`RecordRef`] names one of them.
//!
//! Payloads are copied once, per batch, into one arena: a `BorrowedMessage` would pin librdkafka's whole fetch buffer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::headers::CopyHeaders;
use crate::{Charge, Epoch, KeyHash, Lane, Offset, PairId};

/// Records larger than this get a chunk of their own, so that one slow large record pins only itself.
pub const LARGE_RECORD_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    len: u32,
}

#[derive(Debug)]
struct Entry {
    offset: Offset,
    timestamp_ms: i64,
    key: Option<Span>,
    value: Option<Span>,
    headers_start: u32,
    headers_len: u32,
    /// Bytes of a value that was left in the topic; none stands in the arena then.
    left_bytes: u32,
}

#[derive(Debug)]
struct HeaderSpan {
    name: Span,
    value: Option<Span>,
}

/// Records of one lane of one pair, in offset order, with one arena for all their bytes.
#[derive(Debug)]
pub struct Chunk {
    pair: PairId,
    lane: Lane,
    epoch: Epoch,
    arena: Vec<u8>,
    entries: Vec<Entry>,
    headers: Vec<HeaderSpan>,
    /// Of a chunk of the retry lane: whose copies its records are. Empty for the input lane, where a record is itself.
    identities: Vec<Identity>,
    charge: Option<Charge>,
    polled: Duration,
    /// Worked out when somebody asks for the first time.
    topic_hash: OnceLock<u64>,
}

/// Whose copy a record of the retry lane is, by its headers.
#[derive(Clone, Copy, Debug)]
struct Identity {
    offset: Offset,
    timestamp_ms: i64,
}

impl Chunk {
    /// The pair the records belong to.
    pub fn pair(&self) -> &PairId {
        &self.pair
    }

    /// The xxh3 of the input topic's name, once for all records.
    pub(crate) fn topic_hash(&self) -> u64 {
        *self.topic_hash.get_or_init(|| xxhash_rust::xxh3::xxh3_64(self.pair.topic.as_str().as_bytes()))
    }

    /// How long the poll took that brought them: from the question to the client until they were taken out of it.
    pub fn polled(&self) -> Duration {
        self.polled
    }

    /// The lane they came by.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// The ownership under which they were read.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all payloads, keys and headers.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// The offset of record `index` in the topic of its lane.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn offset(&self, index: u32) -> Offset {
        self.entries[index as usize].offset
    }

    /// The index of the first record at or behind an offset; its length when there is none.
    pub fn place_of(&self, offset: Offset) -> u32 {
        self.entries.partition_point(|entry| entry.offset < offset) as u32
    }

    /// The hash of the key of record `index`, none for a null key.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn key_hash(&self, index: u32) -> Option<KeyHash> {
        self.entries[index as usize].key.map(|span| KeyHash::of(self.slice(span)))
    }

    /// The bytes that record `index` holds: key, value and headers.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn record_bytes(&self, index: u32) -> usize {
        let entry = &self.entries[index as usize];
        let headers = self.header_spans(entry);
        let headers: usize =
            headers.iter().map(|h| (h.name.len + h.value.map_or(0, |v| v.len)) as usize).sum();
        headers + entry.key.map_or(0, |s| s.len as usize) + entry.value.map_or(0, |s| s.len as usize)
    }

    /// Whether the value of record `index` was left in the topic ([`ChunkBuilder::without_value`]).
    ///
    /// # Panics
    /// When there is no such record.
    pub fn is_left(&self, index: u32) -> bool {
        self.entries[index as usize].left_bytes > 0
    }

    /// Some of its records as a chunk of their own, charged to the same budget, so that the others can go.
    pub(crate) fn picked(&self, records: &[RecordRef]) -> Arc<Self> {
        let mut builder = ChunkBuilder::new(self.pair.clone(), self.lane, self.epoch);
        builder.reserve(records.len(), records.iter().map(RecordRef::bytes).sum());
        records.iter().for_each(|record| builder.copy_of(record));
        let charge = self.charge.as_ref().map(|charge| charge.another(builder.bytes() as u64));
        builder.build(charge)
    }

    /// What the headers of a copy say; a stray that says nothing is itself.
    fn identify(&self, at: usize) -> Identity {
        let entry = &self.entries[at];
        let spans = self.header_spans(entry).iter();
        let headers =
            spans.map(|header| (self.slice(header.name), header.value.map(|value| self.slice(value))));
        match CopyHeaders::decode(headers) {
            Ok(Some(headers)) => {
                Identity { offset: Offset(headers.origin.offset), timestamp_ms: headers.origin_timestamp_ms }
            }
            Ok(None) | Err(_) => Identity { offset: entry.offset, timestamp_ms: entry.timestamp_ms },
        }
    }

    fn slice(&self, span: Span) -> &[u8] {
        &self.arena[span.start as usize..(span.start + span.len) as usize]
    }

    fn header_spans(&self, entry: &Entry) -> &[HeaderSpan] {
        &self.headers[entry.headers_start as usize..(entry.headers_start + entry.headers_len) as usize]
    }
}

/// Gathers records into a [`Chunk`].
#[derive(Debug)]
pub struct ChunkBuilder {
    chunk: Chunk,
}

impl ChunkBuilder {
    /// An empty chunk of one lane under one ownership.
    pub fn new(pair: PairId, lane: Lane, epoch: Epoch) -> Self {
        let chunk = Chunk {
            pair,
            lane,
            epoch,
            arena: Vec::new(),
            entries: Vec::new(),
            headers: Vec::new(),
            identities: Vec::new(),
            charge: None,
            polled: Duration::ZERO,
            topic_hash: OnceLock::new(),
        };
        Self { chunk }
    }

    /// Notes how long the poll took that brings the records.
    pub fn polled(&mut self, took: Duration) {
        self.chunk.polled = took;
    }

    /// Reserves room, to avoid growing the arena step by step.
    pub fn reserve(&mut self, records: usize, bytes: usize) {
        self.chunk.entries.reserve(records);
        self.chunk.arena.reserve(bytes);
    }

    /// Adds a record without headers; add its headers right after with [`Self::header`]. Offsets must rise.
    pub fn record(&mut self, offset: Offset, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let key = key.map(|bytes| self.copy(bytes));
        let value = value.map(|bytes| self.copy(bytes));
        let headers_start = self.chunk.headers.len() as u32;
        let (headers_len, left_bytes) = (0, 0);
        let entry = Entry { offset, timestamp_ms, key, value, headers_start, headers_len, left_bytes };
        self.chunk.entries.push(entry);
    }

    /// Adds a copy of the retry lane whose value, of so many bytes, stays in the topic until its turn comes: enough to know
    /// whose copy it is. Its headers follow as those of any record.
    pub fn without_value(
        &mut self,
        offset: Offset,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        left_bytes: usize,
    ) {
        self.record(offset, timestamp_ms, key, None);
        if let Some(entry) = self.chunk.entries.last_mut() {
            entry.left_bytes = u32::try_from(left_bytes).unwrap_or(u32::MAX).max(1);
        }
    }

    /// Adds a record of another chunk as it is there.
    pub fn copy_of(&mut self, record: &RecordRef) {
        self.record(record.lane_offset(), record.landed_ms(), record.key(), record.value());
        record.headers().for_each(|header| self.header(header.name, header.value));
    }

    /// Adds a header to the record added last; names are bytes, since Kafka does not promise UTF-8.
    pub fn header(&mut self, name: &[u8], value: Option<&[u8]>) {
        let name = self.copy(name);
        let value = value.map(|bytes| self.copy(bytes));
        if let Some(entry) = self.chunk.entries.last_mut() {
            entry.headers_len += 1;
            self.chunk.headers.push(HeaderSpan { name, value });
        }
    }

    /// How many records were added.
    pub fn len(&self) -> usize {
        self.chunk.len()
    }

    /// Whether none was added.
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty()
    }

    /// The bytes gathered so far.
    pub fn bytes(&self) -> usize {
        self.chunk.bytes()
    }

    /// The memory of what was gathered so far: bytes, and the places of headers; a copy has many.
    pub fn memory_bytes(&self) -> usize {
        self.bytes() + self.chunk.headers.len() * size_of::<HeaderSpan>()
    }

    /// Lets go of room for bytes that is not needed, where it is worth it: headers make an arena grow beyond what was reserved, to twice
    /// of it.
    pub fn trim(&mut self) {
        let arena = &mut self.chunk.arena;
        if arena.capacity() - arena.len() > arena.len() / 8 {
            arena.shrink_to_fit();
        }
    }

    /// Lets go of room that was reserved and is not needed.
    pub fn pack(&mut self) {
        self.chunk.arena.shrink_to_fit();
        self.chunk.entries.shrink_to_fit();
        self.chunk.headers.shrink_to_fit();
    }

    /// The finished chunk; `charge` is given back when the last reference to any of its records is dropped.
    pub fn build(mut self, charge: Option<Charge>) -> Arc<Chunk> {
        self.chunk.charge = charge;
        if self.chunk.lane == Lane::Retry {
            self.chunk.identities = (0..self.chunk.entries.len()).map(|at| self.chunk.identify(at)).collect();
        }
        Arc::new(self.chunk)
    }

    fn copy(&mut self, bytes: &[u8]) -> Span {
        let start = self.chunk.arena.len() as u32;
        self.chunk.arena.extend_from_slice(bytes);
        Span { start, len: bytes.len() as u32 }
    }
}

/// One record of a chunk. Cloning counts a reference; the bytes stay where they are.
#[derive(Clone, Debug)]
pub struct RecordRef {
    chunk: Arc<Chunk>,
    index: u32,
}

impl RecordRef {
    /// Record `index` of a chunk, none when there is no such record.
    pub fn new(chunk: &Arc<Chunk>, index: u32) -> Option<Self> {
        ((index as usize) < chunk.len()).then(|| Self { chunk: Arc::clone(chunk), index })
    }

    /// The chunk that owns the bytes.
    pub fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }

    /// The pair the record belongs to.
    pub fn pair(&self) -> &PairId {
        self.chunk.pair()
    }

    /// The record's offset in the pair's input partition: its identity, also where a copy of it was read (I7). Where the
    /// copy itself stands tells [`Self::lane_offset`].
    pub fn offset(&self) -> Offset {
        self.identity().map_or(self.entry().offset, |identity| identity.offset)
    }

    /// Where it stands in the topic of its lane: its own offset on the input, that of the copy in the retry topic.
    pub fn lane_offset(&self) -> Offset {
        self.entry().offset
    }

    /// The broker's timestamp of the record on the input, milliseconds since 1970; -1 when the broker gave none.
    pub fn timestamp_ms(&self) -> i64 {
        self.identity().map_or(self.entry().timestamp_ms, |identity| identity.timestamp_ms)
    }

    /// When the broker took it into the topic of its lane, milliseconds since 1970; -1 when the broker gave no time.
    pub fn landed_ms(&self) -> i64 {
        self.entry().timestamp_ms
    }

    fn identity(&self) -> Option<&Identity> {
        self.chunk.identities.get(self.index as usize)
    }

    /// The key; none is a null key, empty is a key.
    pub fn key(&self) -> Option<&[u8]> {
        self.entry().key.map(|span| self.chunk.slice(span))
    }

    /// The value; none is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.entry().value.map(|span| self.chunk.slice(span))
    }

    /// The headers in their order; a name may stand several times.
    pub fn headers(&self) -> impl Iterator<Item = HeaderRef<'_>> {
        let spans = self.chunk.header_spans(self.entry());
        spans.iter().map(|h| HeaderRef {
            name: self.chunk.slice(h.name),
            value: h.value.map(|v| self.chunk.slice(v)),
        })
    }

    /// Whether the name of a header has so many bytes; told without a look at any name.
    pub(crate) fn has_header_of(&self, bytes: usize) -> bool {
        self.chunk.header_spans(self.entry()).iter().any(|header| header.name.len as usize == bytes)
    }

    /// The bytes of key, value and headers.
    pub fn bytes(&self) -> usize {
        self.chunk.record_bytes(self.index)
    }

    /// Bytes of its value, also of one that was left in the topic; none without a value.
    pub fn value_len(&self) -> Option<u32> {
        let entry = self.entry();
        let left = (entry.left_bytes > 0).then_some(entry.left_bytes);
        left.or_else(|| entry.value.map(|span| span.len))
    }

    /// Whether its value was left in the topic.
    pub fn is_left(&self) -> bool {
        self.chunk.is_left(self.index)
    }

    fn entry(&self) -> &Entry {
        &self.chunk.entries[self.index as usize]
    }
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderRef<'a> {
    /// The name, which need not be UTF-8.
    pub name: &'a [u8],
    /// The value; none is a null value.
    pub value: Option<&'a [u8]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> ChunkBuilder {
        let mut builder = ChunkBuilder::new(PairId::new("in", 0), Lane::Input, Epoch(1));
        builder.record(Offset(5), 7, Some(b"key"), Some(b"value"));
        builder.header(b"name", Some(b"told"));
        builder.header(b"bare", None);
        builder.record(Offset(6), 7, None, None);
        builder
    }

    /// Guarantee: a chunk tells what it has and what that takes, for all of it and for each record.
    #[test]
    fn a_chunk_tells_what_it_takes() {
        let mut builder = builder();
        let bytes = b"keyvaluenametoldbare".len();
        assert_eq!((builder.len(), builder.bytes(), builder.is_empty()), (2, bytes, false));
        assert_eq!(builder.memory_bytes(), bytes + 2 * size_of::<HeaderSpan>());
        builder.polled(Duration::from_millis(3));
        let chunk = builder.build(None);
        assert_eq!((chunk.polled(), chunk.bytes()), (Duration::from_millis(3), bytes));
        assert_eq!((chunk.record_bytes(0), chunk.record_bytes(1)), (bytes, 0));
        assert_eq!(chunk.topic_hash(), xxhash_rust::xxh3::xxh3_64(b"in"));
        let record = RecordRef::new(&chunk, 0).unwrap();
        assert_eq!(record.bytes(), bytes);
        assert!(record.has_header_of(4) && !record.has_header_of(5));
        assert!(!RecordRef::new(&chunk, 1).unwrap().has_header_of(4));
    }

    /// Guarantee: room that was reserved is there; what is not needed of it is let go of where it is worth it, or all of it when asked.
    #[test]
    fn a_chunk_lets_go_of_what_it_does_not_need() {
        let of = |spare: usize| {
            let mut builder = builder();
            let used = builder.bytes();
            builder.chunk.arena.shrink_to_fit();
            builder.chunk.arena.reserve_exact(spare);
            assert_eq!(builder.chunk.arena.capacity(), used + spare);
            builder.trim();
            builder.chunk.arena.capacity() - used
        };
        assert_eq!((of(2), of(3), of(100)), (2, 0, 0), "an eighth of twenty bytes");
        let mut builder = builder();
        builder.reserve(10, 1_000);
        assert!(builder.chunk.arena.capacity() >= 1_000 && builder.chunk.entries.capacity() >= 12);
        builder.pack();
        assert_eq!(builder.chunk.arena.capacity(), builder.bytes());
        assert_eq!((builder.chunk.entries.capacity(), builder.chunk.headers.capacity()), (2, 2));
    }
}
