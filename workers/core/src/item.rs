//! A record on its way through the steps, and what a step is.

use std::sync::Arc;

use bytes::Bytes;

use crate::{BoxFuture, Failure, Map, RecordRef, TraceContext};

/// One record (or one child of it, after a step split it) on its way through the steps. The original bytes stay
/// reachable by `source` all the time: a dead letter or a retry carries those, never a half-made state.
#[derive(Clone, Debug)]
pub struct Item {
    /// The record as it came.
    pub source: RecordRef,
    /// The child's place when a step split the record, else 0.
    pub index: u32,
    /// Which try of the record this is, from 1; a replay begins anew.
    pub attempt: u32,
    /// The key that sinks see.
    pub key: Key,
    /// The content that steps and sinks see.
    pub content: Content,
    /// The trace that what a sink sends on is to name, for a record that is traced and whose own headers name none.
    pub trace: Option<Box<TraceContext>>,
}

/// The key that sinks see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The record's own.
    Original,
    /// Set by a step; none is a null key.
    Set(Option<Bytes>),
}

/// What a record holds for steps and sinks.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The record's own value, not read yet.
    Original,
    /// A part of the value, not read yet (a line of several).
    Raw(Bytes),
    /// Read: top-level fields by name. A log has `time_unix_nano`, `observed_time_unix_nano`, `trace_id`, `span_id`,
    /// `trace_flags`, `severity_text`, `severity_number`, `body`, `attributes`, `resource`, `event_name` (OpenTelemetry
    /// log data model in the spelling of its protocol); a document has `id`, `text`, `source`, `added`, `created`,
    /// `metadata`, `attributes` (Dolma).
    Fields(Map),
}

impl Item {
    /// A record at the start of its way, at its first try.
    pub fn new(source: RecordRef) -> Self {
        Self { source, index: 0, attempt: 1, key: Key::Original, content: Content::Original, trace: None }
    }

    /// The key that sinks see.
    pub fn key(&self) -> Option<&[u8]> {
        match &self.key {
            Key::Original => self.source.key(),
            Key::Set(key) => key.as_deref(),
        }
    }

    /// The unread bytes: none when the record is a tombstone or was read already.
    pub fn raw(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Original => self.source.value(),
            Content::Raw(bytes) => Some(bytes),
            Content::Fields(_) => None,
        }
    }

    /// Whether the record came without a value, and nothing was made of it.
    pub fn is_tombstone(&self) -> bool {
        matches!(self.content, Content::Original) && self.source.value().is_none()
    }

    /// The fields, none before a step has read the record.
    pub fn fields(&self) -> Option<&Map> {
        match &self.content {
            Content::Fields(fields) => Some(fields),
            Content::Original | Content::Raw(_) => None,
        }
    }

    /// The fields to change, none before a step has read the record.
    pub fn fields_mut(&mut self) -> Option<&mut Map> {
        match &mut self.content {
            Content::Fields(fields) => Some(fields),
            Content::Original | Content::Raw(_) => None,
        }
    }
}

/// Why a record was filtered: a short stable name such as `filter.2` or `length.short`; counted under this name in the
/// trailers, the metrics and the account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterReason(pub Arc<str>);

impl FilterReason {
    /// A reason by its name; make it once, when the step is built.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }
}

/// What a step decided.
#[derive(Debug)]
pub enum Flow {
    /// The item goes on.
    Keep,
    /// The item ends here, counted under this reason.
    Drop(FilterReason),
    /// The item became several, in a deterministic order; each gets its place as its index and goes on alone. If one
    /// of them fails, the record fails as a whole: its letter is the original record.
    Split(Vec<Item>),
}

/// A pure step: the same item always gives the same result, quickly, without IO. Runs on the CPU pool.
pub trait Step: Send + Sync {
    /// Its name in the pipeline file, such as `parse`.
    fn name(&self) -> &str;

    /// Changes the item and decides.
    ///
    /// # Errors
    /// A failure with its class; [`Failure::reject`] for what is the record's fault.
    fn apply(&self, item: &mut Item) -> Result<Flow, Failure>;
}

/// A step that waits for something outside. Runs per record under a deadline and is dropped in the middle when the
/// pair is lost, so it must be cancel-safe.
pub trait WaitingStep: Send + Sync {
    /// Its name in the pipeline file.
    fn name(&self) -> &str;

    /// Changes the item and decides.
    fn apply<'a>(&'a self, item: &'a mut Item) -> BoxFuture<'a, Result<Flow, Failure>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::{ChunkBuilder, Epoch, Lane, Offset, PairId, Value};

    fn item(value: Option<&[u8]>) -> Item {
        let mut chunk = ChunkBuilder::new(PairId::new("in", 0), Lane::Input, Epoch(1));
        chunk.record(Offset(0), 5, Some(b"key"), value);
        Item::new(RecordRef::new(&chunk.build(None), 0).unwrap())
    }

    /// Guarantee: key and content are the record's own until a step sets others; a tombstone is a record without a value of which nothing was made.
    #[test]
    fn steps_change_what_sinks_see() {
        let mut whole = item(Some(b"value"));
        assert_eq!(
            (whole.key(), whole.raw(), whole.is_tombstone()),
            (Some(&b"key"[..]), Some(&b"value"[..]), false)
        );
        whole.key = Key::Set(None);
        whole.content = Content::Raw(Bytes::from_static(b"line"));
        assert_eq!((whole.key(), whole.raw()), (None, Some(&b"line"[..])));
        assert!(whole.fields().is_none() && whole.fields_mut().is_none());
        whole.content = Content::Fields(Map::default());
        whole.fields_mut().unwrap().insert("a", Value::Null);
        assert_eq!((whole.raw(), whole.fields().map(Map::len)), (None, Some(1)));
        let mut empty = item(None);
        assert!(empty.is_tombstone());
        empty.content = Content::Raw(Bytes::new());
        assert!(!empty.is_tombstone());
    }
}
